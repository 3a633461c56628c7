"""What `atrc predict` is given: files, folders and patterns, each photograph with a name of its own."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from atrc.errors import UserError
from atrc.images import SUFFIXES

INDEX = "predictions.json"  # in every folder of predictions
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


class Input(NamedTuple):
    """A photograph or a video.

    Attributes:
        path: The file.
        name: What its predictions are called: its path below the folder that was given, or its own name, without the
            suffix; unlike that of any other, even where upper and lower case are one.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is a video, judged by its suffix."""
        return self.path.suffix.lower() in VIDEOS


def find_inputs(given: Sequence[str], out: Path) -> tuple[list[Input], Counter[str]]:
    """Find photographs and videos; of folders and patterns, hidden files and earlier predictions in `out` aside.

    Args:
        given: Files, folders, or patterns such as "photos/**/*.jpg".
        out: Where predictions will go.

    Returns:
        The inputs, each file once, and how many files of which suffix the folders hold besides.

    Raises:
        UserError: Nothing there, or nothing to predict.
    """
    if not given:
        raise UserError("nothing given: name pictures, folders or videos")
    found: dict[Path, Input] = {}
    others: Counter[str] = Counter()
    paths = [path for text in given for path in _expanded(text, out)]
    for path in paths:
        if len(paths) > 1 and _real(path) == _real(out) and (out / INDEX).is_file():  # so a shell expands `*`
            others[f"{path}/"] += 1
            continue
        for file, name in _below(path, out) if path.is_dir() else [(path, path.name)]:
            if path.is_dir() and file.suffix.lower() not in (*SUFFIXES, *VIDEOS):
                others[file.suffix.lower() or file.name] += 1
            else:
                found.setdefault(_real(file), Input(file, name))
    if not found:
        raise UserError(f"{', '.join(given)}: no pictures and no videos ({_count(others) or 'empty'})")
    return _named(list(found.values())), others


def describe_others(others: Counter[str]) -> str:
    """Say what was passed over in folders; empty if nothing."""
    return f"passed over: {_count(others)}" if others else ""


def _expanded(text: str, out: Path) -> list[Path]:
    path = Path(text)
    if path.exists():
        return [path]
    try:
        matches = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
    except (ValueError, NotImplementedError):  # not a pattern
        matches = []
    own = _real(out)
    if own not in map(_real, path.parents):  # or the pattern asks for what is in it
        matches = [match for match in matches if not _real(match).is_relative_to(own)]
    matches = [match for match in matches if not _is_hidden(match, path)]
    if not matches:
        raise UserError(f"{text}: no such file or folder")
    return matches


def _is_hidden(match: Path, pattern: Path) -> bool:
    """Tell whether a match has a hidden part that the pattern does not ask for, as shells have it."""
    asked = [part for part in pattern.parts if part.startswith(".")]
    hidden = [part for part in match.parts if part.startswith(".")]
    return not all(any(fnmatch(part, one) for one in asked) for part in hidden)


def _below(folder: Path, out: Path) -> Iterator[tuple[Path, str]]:
    own = _real(out)
    if own == _real(folder):
        raise UserError(f"--out {out} is the folder of the pictures itself; choose another, it may be inside")
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and _real(here / name) != own)
        for name in sorted(name for name in files if not name.startswith(".")):
            yield here / name, (here / name).relative_to(folder).as_posix()


def _real(path: Path) -> Path:
    """Return the file behind links; of a circle of links, which has none, some name that stands for it."""
    return Path(os.path.realpath(path))


def _named(found: Sequence[Input]) -> list[Input]:
    taken: set[str] = set()
    inputs = []
    for path, file in found:
        stem = file[: len(file) - len(path.suffix)]
        numbered = (f"{stem}_{number}" for number in itertools.count(2))
        choices = itertools.chain([stem, f"{stem}_{path.suffix[1:]}"], numbered)
        name = next(choice for choice in choices if choice.casefold() not in taken)
        taken.add(name.casefold())
        inputs.append(Input(path, name))
    return inputs


def _count(others: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
