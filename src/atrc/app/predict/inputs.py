"""The inputs of `atrc predict`: files, folders and patterns; every image and video gets a name of its own."""

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
    """An image or a video.

    Attributes:
        path: The file.
        name: Name of its predictions: the path below the given folder, or the file name, without the suffix. Names are
            unique, also where upper and lower case are the same.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is a video, judged by its suffix."""
        return self.path.suffix.lower() in VIDEOS


def find_inputs(given: Sequence[str], out: Path) -> tuple[list[Input], Counter[str]]:
    """Find images and videos. Folders and patterns leave out hidden files and earlier predictions in `out`.

    Args:
        given: Files, folders, or patterns such as "photos/**/*.jpg".
        out: Folder of the predictions.

    Returns:
        The inputs, each file once, and the number of other files in the folders by suffix.

    Raises:
        UserError: A path does not exist, or there is nothing to predict.
    """
    if not given:
        raise UserError("nothing given: name images, folders or videos")
    found: dict[Path, Input] = {}
    others: Counter[str] = Counter()
    paths = [path for text in given for path in _expand(text, out)]
    for path in paths:
        if len(paths) > 1 and _real(path) == _real(out) and (out / INDEX).is_file():  # a shell expands `*` like this
            others[f"{path}/"] += 1
            continue
        for file, name in _walk(path, out) if path.is_dir() else [(path, path.name)]:
            if path.is_dir() and file.suffix.lower() not in (*SUFFIXES, *VIDEOS):
                others[file.suffix.lower() or file.name] += 1
            else:
                found.setdefault(_real(file), Input(file, name))
    if not found:
        raise UserError(f"{', '.join(given)}: no images and no videos ({describe(others) or 'empty'})")
    return _with_unique_names(list(found.values())), others


def describe(others: Counter[str]) -> str:
    """List the most frequent suffixes.

    >>> describe(Counter({".txt": 3, ".md": 1}))
    '3 .txt, 1 .md'
    """
    return ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))


def _expand(text: str, out: Path) -> list[Path]:
    path, own = Path(text), _real(out)
    if path.exists():
        return [path]
    try:
        matches = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
    except (ValueError, NotImplementedError):  # not a pattern
        matches = []
    if own not in map(_real, path.parents):  # the pattern does not name the folder of predictions
        matches = [match for match in matches if not _real(match).is_relative_to(own)]
    matches = [match for match in matches if not _is_hidden(match, path)]
    if not matches:
        raise UserError(f"{text}: no such file or folder")
    return matches


def _is_hidden(match: Path, pattern: Path) -> bool:
    """Tell whether a match has a hidden part that the pattern does not name, as in shells."""
    named, hidden = ([part for part in path.parts if part.startswith(".")] for path in (pattern, match))
    return not all(any(fnmatch(part, one) for one in named) for part in hidden)


def _walk(folder: Path, out: Path) -> Iterator[tuple[Path, str]]:
    own = _real(out)
    if own == _real(folder):
        raise UserError(f"--out {out} is the folder of the images itself; choose another one, it may be inside")
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and _real(here / name) != own)
        for name in sorted(name for name in files if not name.startswith(".")):
            yield here / name, (here / name).relative_to(folder).as_posix()


def _real(path: Path) -> Path:
    """Resolve links; `Path.resolve` would raise on a circle of links."""
    return Path(os.path.realpath(path))


def _with_unique_names(found: Sequence[Input]) -> list[Input]:
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
