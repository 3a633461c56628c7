"""Write data sets of rooms in the layouts of NYUD_MT and PASCAL_MT."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from atrc_rooms.files import nyud_files, pascal_files
from atrc_rooms.profiles import CLASSES, PROFILES, RoomsError

VERSION = 1
FILES = {profile: pascal_files if "sal" in tasks else nyud_files for profile, tasks in PROFILES.items()}
LISTS = {profile: "ImageSets/Context" if "sal" in tasks else "gt_sets" for profile, tasks in PROFILES.items()}
SPLITS = ("train", "val")  # a scene's seed is (seed, index of its split, index of the image)

Job = tuple[str, int, int]  # id, index of the split, index of the image


@dataclass(frozen=True)
class RoomsReport:
    """The result of `write_rooms`.

    Attributes:
        written: Images rendered and written.
        skipped: Images that existed.
        seconds: Time taken.
    """

    written: int
    skipped: int
    seconds: float

    def __str__(self) -> str:
        rate = f", {self.written / self.seconds:.1f} images/s" if self.written else ""
        return f"{self.written} images written, {self.skipped} there already, in {self.seconds:.1f} s{rate}"


def write_rooms(
    root: Path | str,
    profile: str = "indoor",
    *,
    train: int = 800,
    val: int = 200,
    size: tuple[int, int] = (240, 320),
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> RoomsReport:
    """Render a data set; only missing images are rendered.

    The bytes of an image depend on the seed only, not on the number of workers or images. The split lists are written
    last, so an unfinished folder is not a data set yet.

    Args:
        root: The folder.
        profile: A key of `PROFILES`.
        train: Training images.
        val: Validation images, of other rooms.
        size: Height and width [px].
        seed: Fixes every scene.
        workers: Processes; one for each core by default.
        progress: Show a progress bar.

    Raises:
        RoomsError: Arguments out of range, a folder of other settings, or one that cannot be written.
    """
    _check(profile, {"train": train, "val": val}, size, seed)
    if workers is not None and workers < 1:
        raise RoomsError(f"workers = {workers}: rendering needs at least one process")
    root, began = Path(root), time.perf_counter()
    counts = dict(zip(SPLITS, (train, val), strict=True))
    try:
        settings = _settings(profile, size, seed)
        _claim(root, settings)
        jobs = [(f"{s}_{i:05d}", k, i) for k, s in enumerate(SPLITS) for i in range(counts[s])]
        missing = [job for job in jobs if not _is_complete(root, profile, job[0])]
        rendered = _run(partial(_render, root, profile, size, seed), missing, workers or os.cpu_count() or 1)
        for _ in tqdm(rendered, "rooms", len(missing), unit="image", disable=None if progress else True, leave=False):
            pass
        for split in SPLITS:
            ids = "".join(f"{split}_{i:05d}\n" for i in range(counts[split]))
            _write(root / LISTS[profile] / f"{split}.txt", ids.encode())
        _write_json(root / "rooms.json", settings | {"splits": counts})
    except OSError as error:
        raise RoomsError(f"{root}: cannot write ({error.strerror}); choose a folder you may write to") from None
    except BrokenProcessPool:
        raise RoomsError(
            "a worker process ended early: memory may be short, or a script lacks `if __name__ == '__main__':`; "
            "run it again with workers = 1, finished images are kept"
        ) from None
    return RoomsReport(len(missing), len(jobs) - len(missing), time.perf_counter() - began)


def _check(profile: str, counts: dict[str, int], size: tuple[int, int], seed: int) -> None:
    if profile not in PROFILES:
        raise RoomsError(f"unknown Rooms profile '{profile}'; choose from {', '.join(PROFILES)}")
    for name, count in counts.items():
        if count < 1:
            raise RoomsError(f"{name} = {count}: a split needs at least one image")
    if min(size) < 16:
        raise RoomsError(f"size = {size[0]}x{size[1]}: images have at least 16x16 pixels")
    if seed < 0:
        raise RoomsError(f"seed = {seed}: choose 0 or a positive number")


def _settings(profile: str, size: tuple[int, int], seed: int) -> dict[str, object]:
    return {
        "format": "atrc-rooms",
        "version": VERSION,
        "profile": profile,
        "seed": seed,
        "size": list(size),
        "classes": list(CLASSES[profile]),
        "tasks": list(PROFILES[profile]),
        "camera": "depth in metres along the optical axis; normals in the camera frame, x right, y up, z to the viewer",
    }


def _claim(root: Path, settings: dict[str, object]) -> None:
    """Write the settings into a new folder, or check those of an existing one."""
    path = root / "rooms.json"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        if any(entry.suffix != ".partial" for entry in root.iterdir()):
            raise RoomsError(f"{root}: holds other files; give a new or empty folder")
        _write_json(path, settings)  # "splits" are added at the end
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise RoomsError(f"{path}: not the settings of rooms; remove the folder and render it again") from None
    for key, value in settings.items():
        if found.get(key) != value:
            raise RoomsError(f"{root}: holds rooms with {key} {found.get(key)}, not {value}; choose another folder")


def _write_json(path: Path, content: dict[str, object]) -> None:
    _write(path, (json.dumps(content, indent=2) + "\n").encode())


def _is_complete(root: Path, profile: str, id: str) -> bool:
    return all((root / name).exists() for name in FILES[profile](id))


def _run(render: Callable[[Job], None], jobs: list[Job], workers: int) -> Iterator[None]:
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from map(render, jobs)
        return
    # Spawned, not forked: a forked process inherits locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        yield from executor.map(render, jobs)
    finally:
        executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when its parent is killed; it would wait for work forever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _render(root: Path, profile: str, size: tuple[int, int], seed: int, job: Job) -> None:
    from atrc_rooms.render import render_room  # imports the ray tracer, which a complete data set does not need

    id, split, index = job
    view = render_room(profile, (seed, split, index), size)
    for name, encode in FILES[profile](id).items():
        _write(root / name, encode(view))


def _write(path: Path, content: bytes) -> None:
    """Write atomically: after a kill no file is incomplete, and the next run replaces temporary files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
