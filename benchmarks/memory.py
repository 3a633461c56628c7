"""Whether memory stays constant: `predict` over many images, and the data loader over many epochs (Linux).

python benchmarks/memory.py                      # a Markdown table: 2,000 images, 10 epochs; some minutes

What the process and its children hold (RSS) is read after every image or epoch. What grows without bound shows in the
difference between the end and a fifth of the way, when all is loaded, every size has been seen and every pool filled.
"""

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from atrc import sharing
from atrc.app.predict.predict import run_predict
from atrc.app.predict.settings import Settings
from atrc.data.dataset import MultiTaskDataset
from atrc.data.layouts import open_dataset
from atrc.data.sample import collate
from atrc.data.sampling import Augmented, StepSampler
from atrc.network import NetworkConfig, build_network
from atrc.tasks import Task
from atrc_rooms import write_rooms

PAGE = os.sysconf("SC_PAGE_SIZE")


def held() -> float:
    """Return what this process and its children hold [MB]."""
    own = os.getpid()
    listed = Path(f"/proc/{own}/task/{threading.get_native_id()}/children").read_text().split()
    return sum(_resident(pid) for pid in (str(own), *listed)) * PAGE / 1e6


def _resident(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def growth(readings: list[float]) -> float:
    """Return how much more the last tenth held than the tenth after the first fifth [MB], at most."""
    fifth, tenth = len(readings) // 5, max(1, len(readings) // 10)
    return max(readings[-tenth:]) - max(readings[fifth : fifth + tenth])


def of_predicting(folder: Path, tasks: tuple[Task, ...], images: int, side: int = 40) -> list[float]:
    """Predict images of several sizes as `atrc predict` does; return what was held after every one."""
    photos = _photos(folder / "photos", images, side)
    network = build_network(NetworkConfig(distillation="atrc", genotype="random:1"), tasks)
    sharing.save(network, folder / "network")
    readings: list[float] = []
    write = Image.Image.save
    watch: Callable[..., None] = lambda *args, **options: (write(*args, **options), readings.append(held()))[0]  # noqa: E731
    Image.Image.save = watch  # type: ignore[method-assign]  # the sheet is written last of every image
    try:
        run_predict(str(folder / "network"), [str(photos)], folder / "out", Settings(keep="sheets", device="cpu"))
    finally:
        Image.Image.save = write  # type: ignore[method-assign]
    return readings


def of_loading(dataset: MultiTaskDataset, epochs: int, workers: int, batch: int = 4) -> list[float]:
    """Load and augment a data set as training does; return what was held after every epoch, the workers' included."""
    steps = epochs * len(dataset) // batch
    images = Augmented(dataset, (48, 64))
    sampler = StepSampler(len(dataset), batch, steps, seed=0)
    loader = DataLoader(images, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
    every = max(1, len(dataset) // batch)
    return [held() for step, _ in enumerate(loader, 1) if step % every == 0]


def _photos(folder: Path, images: int, side: int) -> Path:
    """Write photographs of noise, of eight sizes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(images):
        h, w = side - i % 4 * 8, side - i // 4 % 2 * 16
        Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)).save(folder / f"{i:05d}.png")
    return folder


def main() -> None:
    """Measure both, and print what was held on the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| | a fifth of the way [MB] | end [MB] | growth [MB] |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_rooms(root / "rooms", "indoor", train=200, val=1, size=(96, 128), workers=1, progress=False)
        dataset = open_dataset(root / "rooms", "train")
        for workers in (0, 2):
            _show(f"loading, {arguments.epochs} epochs of 200 images, {workers} workers",
                  of_loading(dataset, arguments.epochs, workers))  # fmt: skip
        _show(f"predicting {arguments.images:,} images", of_predicting(root, dataset.tasks, arguments.images))


def _show(name: str, readings: list[float]) -> None:
    print(f"| {name} | {readings[len(readings) // 5]:.0f} | {readings[-1]:.0f} | {growth(readings):+.1f} |", flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
