"""Reading label files; every failure names the file, the reason and the cure."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from atrc.data.dataset import Label, unit_normals
from atrc.errors import UserError

# What pictures come in. Pillow also knows formats that start other programs, such as EPS.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 1 << 26  # of one sample of a data set; a file of a few bytes can tell of any number
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names of grey pictures of 16 and 32 bits


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
    """Read a picture as RGB."""
    picture = open_picture(path)
    if picture.mode in DEEP_MODES:
        raise UserError(f"{path}: a picture of more than 8 bits a channel; save it with 8 bits a channel")
    return np.asarray(picture.convert("RGB"))


def read_png(path: Path) -> UInt8[np.ndarray, "h w *c"]:
    """Read an 8-bit picture as it is: grey, palette indices or RGB."""
    array = np.asarray(open_picture(path))
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"{path}: expected an 8-bit picture, found {array.dtype}; save it with 8 bits a channel")
    return array


def read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Read an 8-bit picture of one channel, or of three that are alike."""
    array = read_png(path)
    if array.ndim == 2:
        return array
    if array.shape[2] < 3 or (array[..., 1:3] != array[..., :1]).any():
        raise UserError(f"{path}: expected a grey picture, found {array.shape[2]} channels; save it with one channel")
    return array[..., 0]


def read_npy(path: Path) -> Shaped[np.ndarray, "h w *c"]:
    """Read a NumPy map of real numbers, (h w) or (h w c); pickled objects are refused."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old headers, which are read all the same
            array = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the split lists this id but its label is not there") from None
    except Exception as error:  # NumPy raises many kinds on bytes that are no array
        raise UserError(f"{path}: not a readable .npy array ({error}); write it again with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = f"of {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise UserError(f"{path}: expected an array of real numbers, this is {kind}; write it again with numpy.save")
    if array.ndim not in (2, 3):
        raise UserError(f"{path}: expected an array (h, w) or (h, w, c), found shape {array.shape}")
    return array


def read_normals(path: Path) -> Label:
    """Read normals from .npy, or from a picture of v / 255 * 2 - 1; a vector far from unit length is not valid.

    127 and 128 decode to about zero, which marks what is unknown. Black and white decode to vectors of length 1.7,
    which no direction is.
    """
    if path.suffix == ".npy":
        vectors = read_npy(path)
        if vectors.dtype.kind != "f":
            raise UserError(f"{path}: normals are numbers from -1 to 1, these are {vectors.dtype}; save unit vectors")
        return unit_normals(vectors, path)
    return unit_normals(read_png(path) / np.float32(127.5) - 1, path, longest=1.5)


def open_picture(path: Path) -> Image.Image:
    """Open and decode a picture."""
    try:
        with path.open("rb") as file, quiet():
            image = Image.open(file, formats=known_formats())
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than the {MOST_PIXELS} of a sample")
            image.load()
            return image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the split lists this id but its picture is not there") from None
    except Exception as error:  # Pillow raises many kinds on bytes that are no picture
        raise UserError(f"{path}: not a readable picture ({error}); copy or export it again") from None


def picture_size(path: Path) -> tuple[int, int] | None:
    """Return height and width [px] from the header; None of what is no picture."""
    try:
        with quiet(), Image.open(path, formats=known_formats()) as image:
            return image.height, image.width
    except Exception:  # as above; whoever reads the picture itself is told
        return None


def known_formats() -> list[str]:
    """Return those of `FORMATS` that this Pillow reads."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave out Pillow's warnings of odd metadata: the picture counts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def common_size(paths: Sequence[Path]) -> str:
    """Return the size of pictures in words, judged by some of them.

    >>> common_size([])
    'of unknown size'
    """
    some = paths[:: max(1, len(paths) // 8)]
    sizes = {f"{size[0]}x{size[1]}" for path in some if (size := picture_size(path))}
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
