"""Reading images from any source, and maps of values stored as images or arrays. Needs no torch."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from atrc.errors import UserError, first_line

# h w image, c channels of a file

# What images come in. Pillow also knows formats that start other programs, such as EPS.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
MAX_PIXELS = 20_000 * 20_000
MOST_PIXELS = 1 << 26  # of one sample of a data set; a file of a few bytes can claim any number
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # some programs write megabytes of metadata

_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names of grey images of 16 and 32 bits
_SMOOTH = ("RGB", "L", "CMYK", "YCbCr")  # modes that can be shrunk as they are, JPEGs even while decoding
_LOSSY = ("JPEG", "MPO")
_ORIENTATION = 0x0112
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


Source = str | Path | bytes | Readable | Image.Image


class Photo(NamedTuple):
    """An image.

    Attributes:
        pixels: Upright, RGB.
        size: Height and width of the image in the file, upright [px].
        note: What was left out of a file that holds more than one image; empty otherwise.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    size: tuple[int, int]
    note: str


def read_image(source: Source, *, max_side: int | None = None, max_pixels: int = MAX_PIXELS, name: str = "") -> Photo:
    """Read an image upright as RGB, with 8 bits a channel.

    Orientation is that of the EXIF data. Transparent parts turn white, 16-bit grey turns into 8-bit grey, and of an
    animation the first frame is taken.

    Args:
        source: A path, the bytes of a file, an open binary file, or a PIL image.
        max_side: Shrink so that the longer side has at most this many pixels; by default it stays as it is.
        max_pixels: Refuse files whose header claims more pixels, before they are decoded.
        name: What to call it in errors; by default the path.

    Raises:
        UserError: Not an image, or of too many pixels.
    """
    with _opened(source, max_pixels, name) as image:
        h, w = image.height, image.width
        turn = _turn(image)
        animated = getattr(image, "is_animated", False) and image.format != "MPO"
        pixels = _pixels(image, shrunk((h, w), max_side), turn)
        size = (w, h) if turn in _SIDEWAYS else (h, w)
        return Photo(pixels, size, "the first of several frames" if animated else "")


def read_values(path: Path, *, brightness: bool = False) -> Shaped[np.ndarray, "h w *c"]:
    """Read a map exactly as its file holds it: a NumPy array, or an image's grey values, palette indices or colours.

    Args:
        path: A NPY file, or an image that keeps values: not JPEG.
        brightness: Read an image as one sees it, from 0 to 255: a palette by its colours, 1 bit as 0 and 255.

    Raises:
        UserError: It cannot be read, or not exactly.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; the split lists this id but its label is not there")
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    with _opened(path, MOST_PIXELS) as image:
        if image.format in _LOSSY:
            raise UserError(f"{path}: JPEG changes the values of labels; save them as PNG")
        stored = _stored_mode(image)
        if "16" in stored and image.mode not in _DEEP_MODES:
            raise UserError(f"{path}: several channels of 16 bits, of which only 8 would be read; save a .npy array")
        if image.format != "TIFF" and _turn(image):
            raise UserError(f"{path}: says that it is to be turned (EXIF orientation); save it upright")
        if image.format == "TIFF" and image.getexif().get(_ORIENTATION, 1) != 1:
            raise UserError(f"{path}: says that it is to be turned (orientation tag); save it upright")
        if brightness and image.mode in ("1", "P"):
            return np.asarray(image.convert("L"))
        values = np.asarray(image)
        bits = {"L;2": 2, "L;4": 4}.get(stored)
        if bits and not brightness:  # which Pillow spreads over 0 to 255
            return values // np.uint8(255 // (2**bits - 1))
        return values.astype(np.uint8) if values.dtype == bool else values


def _stored_mode(image: Image.Image) -> str:
    """Return Pillow's name of what the file holds before it is converted, such as RGB;16B."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return arguments if isinstance(arguments, str) else str(arguments[0] if arguments else "")


def _read_npy(path: Path) -> Shaped[np.ndarray, "h w *c"]:
    """Read a NumPy map of real numbers, (h w) or (h w c); pickled objects are refused.

    Raises:
        UserError: It is not such an array.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old headers, which are read all the same
            array = np.load(file, allow_pickle=False)
    except Exception as error:  # NumPy raises many kinds on bytes that are not an array
        raise UserError(f"{path}: not a readable .npy array ({error}); write it again with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = f"of {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise UserError(f"{path}: expected an array of real numbers, this is {kind}; write it again with numpy.save")
    if array.ndim not in (2, 3):
        raise UserError(f"{path}: expected an array (h, w) or (h, w, c), found shape {array.shape}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def single_channel(array: Shaped[np.ndarray, "h w *c"], path: Path) -> Shaped[np.ndarray, "h w"]:
    """Return the only channel, or the first of three equal ones.

    Raises:
        UserError: The channels differ.
    """
    if array.ndim == 2:
        return array
    first = array[..., 0]
    if array.shape[2] == 1 or (array.shape[2] == 3 and all(_equal(first, array[..., i]) for i in (1, 2))):
        return first
    raise UserError(f"{path}: expected one channel, found {array.shape[2]}; save labels as values, not as colours")


def _equal(one: Shaped[np.ndarray, "h w"], other: Shaped[np.ndarray, "h w"]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def image_size(path: Path) -> tuple[int, int] | None:
    """Return height and width [px] of an upright image from its header; None if it is not an image."""
    try:
        with _opened(path, MAX_PIXELS) as image:
            return (image.width, image.height) if _turn(image) in _SIDEWAYS else (image.height, image.width)
    except UserError:  # whoever reads the image itself reports it
        return None


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


@contextmanager
def _opened(source: Source, max_pixels: int, name: str = "") -> Iterator[Image.Image]:
    """Open an image, whatever is raised naming it."""
    name = name or (str(source) if isinstance(source, str | Path) else "the image")
    try:
        with _limit_lifted(), _image(source) as image:
            if image.height * image.width > max_pixels:
                size = f"{image.width} x {image.height} pixels"
                raise UserError(f"{name}: {size}, more than the {max_pixels} allowed; make it smaller")
            yield image
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except Exception as error:  # Pillow raises many kinds on bytes that are not an image
        raise UserError(f"{name}: {_reason(error, source)}") from None


@contextmanager
def _image(source: Source) -> Iterator[Image.Image]:
    if isinstance(source, Image.Image):
        yield source.copy()  # reading may change it
    elif isinstance(source, str | Path):
        with Path(source).open("rb") as file, Image.open(file, formats=_known_formats()) as image:
            yield image
    else:
        content = source if isinstance(source, bytes) else source.read()
        with Image.open(io.BytesIO(content), formats=_known_formats()) as image:
            yield image


def _known_formats() -> list[str]:
    """Return those of `FORMATS` that this Pillow reads."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@contextmanager
def _limit_lifted() -> Iterator[None]:
    """Lift Pillow's own limit, which all threads share, while any of them reads here; leave out its warnings."""
    with _LOCK:
        if not _reading:
            _reading.append(Image.MAX_IMAGE_PIXELS)
        _reading.append(None)
        Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata: the image counts
            yield
    finally:
        with _LOCK:
            _reading.pop()
            if len(_reading) == 1:
                Image.MAX_IMAGE_PIXELS = _reading.pop()


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what brings an image upright. Pillow turns TIFFs itself, and their headers hold the upright size."""
    try:
        return None if image.format == "TIFF" else _TURNS.get(image.getexif().get(_ORIENTATION, 1))
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
    if image.mode in _DEEP_MODES:
        values = np.asarray(image)
        if values.dtype.kind == "f" or values.min() < 0 or values.max() >= 1 << 16:
            raise ValueError("its pixels are not whole numbers from 0 to 65535")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception, source: Source) -> str:
    if isinstance(error, UnidentifiedImageError):
        empty = source == b"" or (isinstance(source, str | Path) and Path(source).stat().st_size == 0)
        return "an empty file" if empty else "not a readable image; convert it to JPEG or PNG"
    return f"cannot be read ({first_line(error)}); copy or export it again"
