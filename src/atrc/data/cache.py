"""What is computed from a split's labels: kept beside the data, and computed again when they change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from atrc.data.dataset import MultiTaskDataset
from atrc.files import write_atomic
from atrc.tasks import Task

T = TypeVar("T")

FILE = "statistics.json"
FORMAT = 1  # to be raised when labels are read, or values computed, in another way
CARDS = ("dataset.yaml", "rooms.json")  # files of a folder that say how its labels are read


def cached(
    dataset: MultiTaskDataset, name: str, task: Task, compute: Callable[[], Any], parse: Callable[[Any], T]
) -> T:
    """Return what `compute` gives for labels of a task, from the cache where that is still good.

    The cache is one JSON file in the data set's folder, or in the user's cache folder where the data cannot be
    written. Whatever is wrong with it, it is only computed again. Processes may come at once: each writes a file of
    its own, then puts it in place, so that a reader never sees half of one.

    Args:
        dataset: The split; its ids, and sizes and times of their label files, are part of the key.
        name: What it is, with every setting that matters.
        task: The task; its definition is part of the key.
        compute: Returns plain values, for JSON.
        parse: Turns them into what is wanted; raises `ValueError`, `TypeError` or `KeyError` on what is not that.
    """
    name = f"{dataset.split} {task.name}: {name}"
    key = _key(dataset, name, task)
    for path in _places(dataset.root):
        entry = _read(path).get(name)
        if isinstance(entry, dict) and entry.get("key") == key:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                return parse(entry["value"])
    value = compute()
    for path in _places(dataset.root):
        with contextlib.suppress(OSError):
            _write(path, _read(path) | {name: {"key": key, "value": value}})
            break
    return parse(value)


def _key(dataset: MultiTaskDataset, name: str, task: Task) -> str:
    files = [file for id in dataset.ids for file in dataset.label_files(task, id)]
    cards = [path for card in CARDS if (path := dataset.root / card).exists()]
    states = [_state(dataset.root, file) for file in (*files, *cards)]
    content = json.dumps([FORMAT, name, task.to_dict(), dataset.ids, states])
    return hashlib.sha256(content.encode()).hexdigest()


def _state(root: Path, path: Path) -> list[Any]:
    place = str(path.relative_to(root) if path.is_relative_to(root) else path)
    try:
        state = path.stat()
    except OSError:  # a label that is not there; whoever reads it is told
        return [place]
    return [place, state.st_size, state.st_mtime_ns]


def _places(root: Path) -> list[Path]:
    """Return where a cache may be: beside the data, else with the user's caches."""
    places = [root / FILE]
    with contextlib.suppress(RuntimeError):  # a user without a home
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        mark = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
        places.append(folder / "atrc" / f"{root.resolve().name}-{mark}.json")
    return places


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=1) + "\n", shared=True)
