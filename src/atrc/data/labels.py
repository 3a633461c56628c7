"""Reading label files; every failure names the file, the reason and the cure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from atrc.data.dataset import Label, unit_normals
from atrc.errors import UserError
from atrc.images import MOST_PIXELS, image_size, read_image, read_values


def read_list(path: Path) -> list[str]:
    """Read one id a line; an id is a file name, so it leads out of no folder."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such split list; check the data set's folder and the split's name") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable text ({error}); write one image id a line in UTF-8") from None
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f"{path}: the split is empty; it needs one image id a line")
    for id in ids:
        if id == ".." or any(mark in id for mark in "/\\\0"):
            raise UserError(f"{path}: {id!r} is no image id; write names of files, without folders and endings")
    return ids


def read_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Read the image of a sample, as `atrc predict` reads images."""
    if not path.exists():
        raise UserError(f"{path}: no such file; the split lists this id but its image is not there")
    return read_image(path, max_pixels=MOST_PIXELS).pixels


def read_normals(path: Path) -> Label:
    """Read normals from .npy, or from an image of v / 255 * 2 - 1; a vector far from unit length is not valid.

    127 and 128 decode to about zero, which marks what is unknown. Black and white decode to vectors of length 1.7,
    which no direction is.
    """
    values = read_values(path)
    if path.suffix.lower() != ".npy":
        return unit_normals(values / np.float32(127.5) - 1, path, longest=1.5)
    if values.dtype.kind != "f":
        raise UserError(f"{path}: normals are numbers from -1 to 1, these are {values.dtype}; save unit vectors")
    return unit_normals(values, path)


def common_size(paths: Sequence[Path]) -> str:
    """Return the size of images in words, judged by some of them.

    >>> common_size([])
    'of unknown size'
    """
    some = paths[:: max(1, len(paths) // 8)]
    sizes = {f"{size[0]}x{size[1]}" for path in some if (size := image_size(path))}
    if not sizes:
        return "of unknown size"
    return "of several sizes" if len(sizes) > 1 else sizes.pop()


def rooms_settings(root: Path) -> dict[str, Any] | None:
    """Return the settings of a folder of rendered Rooms, None of any other."""
    path = root / "rooms.json"
    if not path.exists():
        return None
    try:
        settings = dict(json.loads(path.read_text(encoding="utf-8")))
        return settings | {"classes": tuple(map(str, settings["classes"]))}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path}: not the settings of rendered Rooms; remove the folder and render it again") from None


def rooms_classes(root: Path) -> tuple[str, ...] | None:
    """Return the class names of a folder of rendered Rooms, None of any other."""
    settings = rooms_settings(root)
    return settings["classes"] if settings else None


def name_layout(root: Path, layout: str) -> str:
    """Return the layout's name, or which Rooms they are.

    >>> name_layout(Path("data/NYUD_MT"), "NYUD_MT")
    'NYUD_MT'
    """
    settings = rooms_settings(root)
    if settings is None:
        return layout
    known = [f"{key} {settings[key]}" for key in ("profile", "version", "seed") if key in settings]
    return " ".join(["Rooms", *known]).replace("profile ", "")
