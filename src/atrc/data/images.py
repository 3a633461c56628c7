"""Reading anybody's photographs: any mode, any size, upright, and never more pixels than allowed."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from atrc.data.labels import DEEP_MODES, known_formats, quiet
from atrc.errors import UserError, first_line

# h w image

MAX_PIXELS = 20_000 * 20_000
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
_SMOOTH = ("RGB", "L", "CMYK", "YCbCr")  # modes that can be shrunk as they are, JPEGs even while decoding
_TURNS = {  # EXIF orientations
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_LOCK, _reading = threading.Lock(), list[int | None]()  # Pillow's limit, then an entry for every reader


@runtime_checkable
class Readable(Protocol):
    """An open binary file."""

    def read(self) -> bytes:
        """Return the rest of it."""


class Photo(NamedTuple):
    """A photograph.

    Attributes:
        pixels: Upright, RGB.
        size: Height and width of the file's own picture, upright [px].
        note: What was made of a file that is more than a photograph; empty otherwise.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    size: tuple[int, int]
    note: str


def read_image(
    source: str | Path | bytes | Readable, *, max_side: int | None = None, max_pixels: int = MAX_PIXELS, name: str = ""
) -> Photo:
    """Read a photograph upright as RGB, with 8 bits a channel.

    Orientation is that of the EXIF data. Transparent parts turn white, 16-bit grey turns into 8-bit grey, and of an
    animation the first frame is taken.

    Args:
        source: A path, the bytes of a file, or an open binary file.
        max_side: Shrink so that the longer side has at most this many pixels; by default it stays as it is.
        max_pixels: Refuse files whose header tells of more pixels, before they are decoded.
        name: What to call it in errors; by default the path.

    Raises:
        UserError: Not a photograph, or of too many pixels.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "the image")
    try:
        with _limit_lifted(), _opened(source) as file, Image.open(file, formats=known_formats()) as image:
            h, w = image.height, image.width
            if h * w > max_pixels:
                raise UserError(f"{name}: {w} x {h} pixels, more than the {max_pixels} allowed; make it smaller")
            turn = _turn(image)
            animated = getattr(image, "is_animated", False) and image.format != "MPO"
            pixels = _pixels(image, shrunk((h, w), max_side), turn)
            size = (w, h) if turn in _SIDEWAYS else (h, w)
            return Photo(pixels, size, "the first of several frames" if animated else "")
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except Exception as error:  # Pillow raises many kinds on bytes that are no picture
        raise UserError(f"{name}: {_reason(error, source)}") from None


def shrunk(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Return height and width with the longer side at most `max_side`.

    >>> shrunk((3000, 4000), 640), shrunk((1, 5000), 640), shrunk((96, 128), 640)
    ((480, 640), (1, 640), (96, 128))
    """
    longest = max(size)
    if max_side is None or longest <= max_side:
        return size
    h, w = (max(1, round(side * max_side / longest)) for side in size)
    return h, w


def _opened(source: str | Path | bytes | Readable) -> io.BytesIO | io.BufferedReader:
    if isinstance(source, str | Path):
        return Path(source).open("rb")
    return io.BytesIO(source if isinstance(source, bytes) else source.read())


@contextmanager
def _limit_lifted() -> Iterator[None]:
    """Let Pillow's own limit, which all threads share, give way while any of them reads here: callers have theirs."""
    with _LOCK:
        if not _reading:
            _reading.append(Image.MAX_IMAGE_PIXELS)
        _reading.append(None)
        Image.MAX_IMAGE_PIXELS = None
    try:
        with quiet():
            yield
    finally:
        with _LOCK:
            _reading.pop()
            if len(_reading) == 1:
                Image.MAX_IMAGE_PIXELS = _reading.pop()


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What brings an image upright. Pillow turns TIFFs by itself, and their headers tell of the upright size."""
    try:
        return None if image.format == "TIFF" else _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # broken metadata, of which Pillow raises many kinds
        return None


def _pixels(image: Image.Image, size: tuple[int, int], turn: Image.Transpose | None) -> UInt8[np.ndarray, "h w 3"]:
    h, w = size
    smooth = image.mode in _SMOOTH and not image.has_transparency_data
    if smooth and (w, h) != image.size:
        image.draft(None, (2 * w, 2 * h))  # JPEGs only: decoded at a half, a quarter or an eighth
    flat = image if smooth else _flat(image)
    if (w, h) != flat.size:
        flat = flat.resize((w, h), Image.Resampling.LANCZOS, reducing_gap=3.0)
    flat = flat.convert("RGB")
    return np.asarray(flat.transpose(turn) if turn is not None else flat)


def _flat(image: Image.Image) -> Image.Image:
    """Return an image of 8 bits a channel without palette and transparency."""
    if image.mode in DEEP_MODES:
        values = np.asarray(image)
        if values.dtype.kind == "f" or values.min() < 0 or values.max() >= 1 << 16:
            raise ValueError("its pixels are no whole numbers from 0 to 65535")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception, source: str | Path | bytes | Readable) -> str:
    if isinstance(error, UnidentifiedImageError):
        empty = source == b"" or (isinstance(source, str | Path) and Path(source).stat().st_size == 0)
        return "an empty file" if empty else "not a picture that can be read; convert it to JPEG or PNG"
    return f"cannot be read ({first_line(error)}); copy or export it again"
