"""Reading label files; every failure names the file, the reason and the cure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from atrc.errors import UserError


def read_list(path: Path) -> list[str]:
    """Read one id a line."""
    try:
        ids = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise UserError(f"{path}: no such split list; check the data set's folder and the split's name") from None
    if not ids:
        raise UserError(f"{path}: the split is empty; it needs one image id a line")
    return ids


def read_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Read a picture as RGB."""
    return np.asarray(open_picture(path).convert("RGB"))


def read_png(path: Path) -> UInt8[np.ndarray, "h w *c"]:
    """Read an 8-bit picture as it is: grey, palette indices or RGB."""
    array = np.asarray(open_picture(path))
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"{path}: expected an 8-bit picture, found {array.dtype}; save it with 8 bits a channel")
    return array


def read_npy(path: Path) -> Shaped[np.ndarray, "h w *c"]:
    """Read a NumPy array of numbers; pickled objects are refused."""
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the split lists this id but its label is not there") from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a readable .npy array ({error}); write it again with numpy.save") from None


def open_picture(path: Path) -> Image.Image:
    """Open and decode a picture."""
    try:
        with path.open("rb") as file:
            image = Image.open(file)
            image.load()
            return image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the split lists this id but its picture is not there") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable picture ({error}); copy or export it again") from None


def rooms_classes(root: Path) -> tuple[str, ...] | None:
    """Return the class names of a folder of rendered Rooms, None of any other."""
    path = root / "rooms.json"
    if not path.exists():
        return None
    try:
        return tuple(map(str, json.loads(path.read_text(encoding="utf-8"))["classes"]))
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not the settings of rendered Rooms; remove the folder and render it again") from None
