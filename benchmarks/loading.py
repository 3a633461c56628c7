"""How many images a second the training loader makes: reading and decoding alone, with augmentation, by workers.

    python benchmarks/loading.py [--root DATA] [--images N] [--json PATH]

Without a data set it renders 16 rooms of 425x560 pixels in NYUD_MT's layout: image and labels as there. One thread a
process; batches of 8 with crops of 425x560, as in training.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from timing import machine
from torch.utils.data import DataLoader

from atrc.data.layouts import open_dataset
from atrc.data.sample import collate
from atrc.data.sampling import Augmented, StepSampler
from atrc_rooms import write_rooms

SIZE, BATCH = (425, 560), 8


def read(root: Path, images: int) -> float:
    """Images a second in this process, without augmentation."""
    dataset = open_dataset(root, "train")
    start = time.perf_counter()
    for i in range(images):
        dataset[i % len(dataset)]
    return images / (time.perf_counter() - start)


def load(root: Path, images: int, workers: int) -> float:
    """Images a second from the training loader, from its second batch on."""
    dataset = open_dataset(root, "train")
    sampler = StepSampler(len(dataset), BATCH, images // BATCH + 1, seed=0)
    loader = DataLoader(
        Augmented(dataset, SIZE),
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
    )
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    for _ in batches:
        pass
    return images // BATCH * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Print Markdown; with --json, also write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder) / "rooms"
        if options.root is None:
            write_rooms(root, "indoor", train=16, val=1, size=SIZE, seed=0)
        forms = {"read and decode": lambda: read(root, options.images)}
        for workers in (0, 1, 2):
            name = f"training batches, {workers} workers" if workers else "training batches, in the training process"
            forms[name] = lambda workers=workers: load(root, options.images, workers)
        found = {name: [] for name in forms}
        for _ in range(options.repeats):
            for name, form in forms.items():
                found[name].append(form())
    print(f"{machine()}\n\n| form | images/s |\n|---|---|")
    for name, rates in found.items():
        print(f"| {name} | {statistics.median(rates):.1f} |")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "images_per_second": found}, indent=2))


if __name__ == "__main__":
    main()
