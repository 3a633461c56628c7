"""Images and labels from anywhere: each is read, or refused by a `UserError`."""

from __future__ import annotations

import io
import zlib
from contextlib import suppress

import mutations
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from atrc.data.folder.labels import ClassLabels, DepthLabels, MaskLabels
from atrc.data.labels import read_normals, read_rgb
from atrc.errors import UserError
from atrc.images import image_size, read_image, read_values
from atrc.metrics.boundary.reading import read_prediction, read_truths

# A program in PostScript, which Pillow would give to Ghostscript
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(hostile_canary) print\nshowpage\n%%EOF\n"


def saved(mode: str, kind: str, **options: object) -> bytes:
    values = np.arange(7 * 9 * 4, dtype=np.uint16).reshape(7, 9, 4)
    if mode in ("I;16", "F", "I"):
        image = Image.fromarray(values[..., 0].astype({"I;16": "u2", "F": "f4", "I": "i4"}[mode]))
    else:
        image = Image.fromarray(values[..., :3].astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112], made[0x010F] = orientation, "maker"
    return made


def seeds() -> tuple[bytes, ...]:
    made = [saved(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    made += [saved("P", "PNG", transparency=3), saved("RGB", "PNG", transparency=(1, 2, 3), exif=exif(6))]
    made += [saved(mode, "JPEG", quality=80) for mode in ("L", "RGB", "CMYK")]
    made += [saved("RGB", "JPEG", exif=exif(8), progressive=True)]
    made += [saved(mode, "TIFF", compression=how) for mode in ("RGB", "P") for how in ("raw", "tiff_lzw", "packbits")]
    made += [saved(mode, "TIFF") for mode in ("1", "F", "I;16", "CMYK")]
    made += [saved("RGB", "TIFF", compression=how) for how in ("jpeg", "tiff_adobe_deflate")]
    made += [saved("RGB", "BMP"), saved("P", "BMP"), saved("L", "PPM"), saved("RGB", "PPM"), saved("P", "GIF")]
    frames = [Image.new("P", (5, 4), colour) for colour in (1, 2, 3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], transparency=0)
    made += [file.getvalue(), EPS, b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12", b"\0\0\1\0" + b"\1" * 60]
    for kind in ("WEBP", "AVIF", "JPEG2000", "MPO", "TGA", "PSD", "ICO", "PCX"):
        try:
            made += [saved("RGB", kind), saved("RGBA", kind)] if kind in ("WEBP", "AVIF") else [saved("RGB", kind)]
        except (KeyError, OSError):  # not written by this Pillow
            continue
    return tuple(made)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def arrays() -> tuple[bytes, ...]:
    base = np.arange(24).reshape(2, 4, 3)
    made = [
        npy((base[..., 0] if flat else base).astype(kind)) for flat in (True, False) for kind in ("u1", ">i4", "f8")
    ]
    return (*made, npy(np.array([[None]])), npy(np.zeros((2, 2), [("a", "f4")])), b"\x80\x04cos\nsystem\n.")


def bomb(width: int, height: int, text: int) -> bytes:
    """A PNG that tells of many pixels, and a text chunk that unpacks to much."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    texts = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * text)) + chunk(
        b"iCCP", b"k\0\0" + zlib.compress(b"y" * text)
    )
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 50000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x02\0\0\0") + texts + rows + chunk(b"IEND", b"")


sides = st.sampled_from([0, 1, 5, 300, 10_000, 20_000, 2**31 - 1, 2**32 - 1])
bombs = st.builds(bomb, sides, sides, st.sampled_from([0, 1000, 10**6, 10**7]))
pictures = mutations.rarely(mutations.of_bytes(seeds()), bombs)


LABELS = (
    read_rgb, read_values, read_normals, read_truths, read_prediction,
    ClassLabels("semseg", {0: 0, 3: 1}, (255,), ("a", "b")).read,
    DepthLabels("depth", 0.001, (0.0,)).read, MaskLabels("edge", None, ()).read, MaskLabels("edge", 3.0, (255,)).read,
)  # fmt: skip
MAPS = (read_values, read_normals, read_truths, read_prediction, DepthLabels("depth", 1.0, (0.0, float("nan"))).read)


@mutations.few
@given(pictures)
def test_images_are_read_or_refused(content):
    with mutations.folder({"a.png": content}) as folder, suppress(UserError):
        image = read_image(content, max_side=64, max_pixels=2**22)
        assert image.pixels.dtype == np.uint8
        assert max(image.pixels.shape[:2]) <= 64
        assert read_image(folder / "a.png", max_pixels=2**22).pixels.shape == (*image.size, 3)


@mutations.few
@given(pictures)
def test_labels_in_images_are_read_or_refused(content):
    with mutations.folder({"a.png": content}) as folder:
        image_size(folder / "a.png")
        for read in LABELS:
            with suppress(UserError):
                read(folder / "a.png")


@mutations.few
@given(mutations.of_bytes(arrays()))
def test_labels_in_arrays_are_read_or_refused(content):
    with mutations.folder({"a.npy": content}) as folder:
        for read in MAPS:
            with suppress(UserError):
                read(folder / "a.npy")
