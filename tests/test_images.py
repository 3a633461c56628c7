"""Photographs from anywhere: every mode and every fault."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from atrc.errors import UserError
from atrc.images import FORMATS, SUFFIXES, image_size, read_image, read_values, single_channel

GRADIENT = np.stack(np.meshgrid(np.arange(6) * 40, np.arange(4) * 60, [90]), -1)[:, :, 0].astype(np.uint8)  # 4 x 6


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_path_bytes_and_an_open_file_give_the_same(tmp_path):
    data = encode(Image.fromarray(GRADIENT))
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, io.BytesIO(data), tmp_path / "a.png", str(tmp_path / "a.png")):
        photo = read_image(source)
        np.testing.assert_array_equal(photo.pixels, GRADIENT)
        assert (photo.size, photo.note) == ((4, 6), "")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_stands_upright(kind, orientation):
    undo = {1: (0, 0), 2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (1, 0), 7: (1, 1), 8: (3, 0)}[orientation]
    stored = np.rot90(GRADIENT, undo[0])
    stored = np.ascontiguousarray(stored[:, ::-1] if undo[1] else stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = read_image(encode(Image.fromarray(stored), kind, exif=exif, **options))
    np.testing.assert_array_equal(photo.pixels, GRADIENT)
    assert photo.size == (4, 6)


def test_a_large_jpeg_is_shrunk_upright_and_tells_its_own_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.linear_gradient("L").resize((2001, 1000)).convert("RGB")
    photo = read_image(encode(wide, "JPEG", exif=exif), max_side=100)
    assert photo.size == (2001, 1000)
    assert photo.pixels.shape == (100, 50, 3)
    row = photo.pixels[:, :, 0].astype(int)
    assert (np.diff(row[50]) <= 0).all()  # dark above turned clockwise: dark on the right
    assert row[50, 0] > 240
    assert row[50, -1] < 15


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("RGB", (2, 2), (9, 8, 7)).quantize(2), (9, 8, 7)),
        (Image.fromarray(np.full((2, 2), 65535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 0x7F00, np.uint16)), (127, 127, 127)),
        (Image.new("RGBA", (2, 2), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (2, 2), (0, 127)), (128, 128, 128)),
    ],
    ids=["grey", "bits", "palette", "16-bit white", "16-bit grey", "transparent", "opaque", "half"],
)
def test_every_mode_becomes_rgb(image, expected):
    assert np.abs(read_image(encode(image)).pixels.astype(int) - expected).max() <= 1


def test_cmyk_and_transparent_palettes_too():
    cmyk = read_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert (np.abs(cmyk.pixels.astype(int) - (255, 0, 0)) < 8).all()
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert (read_image(encode(palette, transparency=0)).pixels == 255).all()
    assert (read_image(encode(palette, transparency=b"\xff\x00")).pixels == (10, 20, 30)).all()
    keyed = read_image(encode(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3)))
    assert (keyed.pixels == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken_and_it_says_so(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    photo = read_image(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert (np.abs(photo.pixels.astype(int) - (255, 0, 0)) < 4).all()
    assert photo.note == "the first of several frames"


def test_one_pixel_and_one_row_are_photographs():
    assert read_image(encode(Image.new("RGB", (1, 1), "red")), max_side=640).pixels.tolist() == [[[255, 0, 0]]]
    photo = read_image(encode(Image.new("RGB", (5000, 1))), max_side=100)
    assert (photo.pixels.shape, photo.size) == ((1, 100, 3), (1, 5000))


def test_twenty_thousand_pixels_a_side_are_read_and_more_are_refused_by_their_header():
    giant = encode(Image.new("1", (20_000, 20_000)))
    with pytest.raises(UserError, match="x.png: 20000 x 20000 pixels, more than the 1000000 allowed; make it smaller"):
        read_image(giant, max_pixels=10**6, name="x.png")
    wide = read_image(encode(Image.new("L", (20_000, 500))), max_side=200)
    assert (wide.pixels.shape, wide.size) == ((5, 200, 3), (500, 20_000))
    over = bytearray(encode(Image.new("L", (1, 1))))
    over[16:24] = (50_000).to_bytes(4) * 2
    over[29:33] = __import__("zlib").crc32(over[12:29]).to_bytes(4)
    with pytest.raises(UserError, match="the image: 50000 x 50000 pixels, more than the 400000000 allowed"):
        read_image(bytes(over))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"dear diary, this is not a picture", "not a readable image; convert it to JPEG or PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not a readable image"),
        (encode(Image.effect_noise((64, 64), 50), "JPEG")[:900], "cannot be read .*truncated.*; copy or export it"),
        (
            encode(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"),
            "cannot be read .its pixels are not whole numbers",
        ),
    ],
    ids=["zero bytes", "text", "eps", "truncated", "floats"],
)
def test_what_is_no_photograph_says_why(tmp_path, data, said):
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(UserError, match=f"x.jpg: {said}"):
        read_image(tmp_path / "x.jpg")
    with pytest.raises(UserError, match=f"the image: {said}"):
        read_image(data)


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    with pytest.raises(UserError, match="gone.jpg: no such file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match="cannot be read .*directory"):
        read_image(tmp_path)


def test_broken_metadata_do_no_harm():
    plain = encode(Image.fromarray(GRADIENT))
    broken = encode(Image.fromarray(GRADIENT), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert broken != plain
    np.testing.assert_array_equal(read_image(broken).pixels, GRADIENT)


def test_pillows_own_limit_is_back_after_many_threads_have_read():
    limit, data = Image.MAX_IMAGE_PIXELS, encode(Image.fromarray(GRADIENT))
    threads = [threading.Thread(target=lambda: [read_image(data) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit == Image.MAX_IMAGE_PIXELS is not None


def test_the_suffixes_are_those_of_the_formats():
    Image.init()
    known = {suffix: kind for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    assert {known[suffix] for suffix in SUFFIXES} == set(FORMATS)
    assert set(SUFFIXES) <= set(known)


# Maps of values


def png(width, bits, kind, row, palette=b""):
    """A PNG of one row, packed by hand: Pillow does not write every bit depth."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0))
    colours = chunk(b"PLTE", palette) if palette else b""
    return b"\x89PNG\r\n\x1a\n" + header + colours + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


GREY, RGB, PALETTE = 0, 2, 3
INVERTED = bytes([255, 255, 255, 0, 0, 0])  # a palette that begins with white


@pytest.mark.parametrize(
    ("content", "exact", "seen"),
    [
        (png(4, 8, GREY, bytes([0, 1, 40, 255])), [0, 1, 40, 255], [0, 1, 40, 255]),
        (png(2, 16, GREY, struct.pack(">2H", 1200, 65535)), [1200, 65535], [1200, 65535]),
        (png(4, 4, GREY, bytes([0x03, 0x1F])), [0, 3, 1, 15], [0, 51, 17, 255]),
        (png(4, 2, GREY, bytes([0b00011011])), [0, 1, 2, 3], [0, 85, 170, 255]),
        (png(3, 1, GREY, bytes([0b01000000])), [0, 1, 0], [0, 255, 0]),
        (png(3, 8, PALETTE, bytes([0, 1, 1]), INVERTED), [0, 1, 1], [255, 0, 0]),
        (png(3, 1, PALETTE, bytes([0b01000000]), INVERTED), [0, 1, 0], [255, 0, 255]),
    ],
    ids=["8 bits", "16 bits", "4 bits", "2 bits", "1 bit", "palette", "palette of 1 bit"],
)
def test_values_are_those_of_the_file_and_brightness_is_what_one_sees(tmp_path, content, exact, seen):
    (tmp_path / "a.png").write_bytes(content)
    assert read_values(tmp_path / "a.png").tolist() == [exact]
    assert read_values(tmp_path / "a.png", brightness=True).tolist() == [seen]


def test_values_that_would_change_are_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(GRADIENT[..., 0])
    for content, reason in (
        (png(1, 16, RGB, struct.pack(">3H", 1200, 1200, 1200)), "several channels of 16 bits"),
        (encode(grey, "JPEG"), "JPEG changes the values of labels; save them as PNG"),
        (encode(grey, exif=exif), "is to be turned .* save it upright"),
        (encode(grey, "TIFF", exif=exif), "is to be turned .* save it upright"),
        (encode(Image.new("1", (10_000, 10_000))), "10000 x 10000 pixels, more than"),
    ):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match=rf"a\.png: .*{reason}"):
            read_values(tmp_path / "a.png")


def test_arrays_of_any_byte_order_and_one_or_three_equal_channels_are_one_map(tmp_path):
    plain = np.array([[1.5, np.nan], [2, 3]])
    for array in (plain, plain[..., None], plain[..., None].repeat(3, 2), plain.astype(">f4")):
        np.save(tmp_path / "a.NPY", array)
        (tmp_path / "a.NPY.npy").rename(tmp_path / "a.NPY")
        found = single_channel(read_values(tmp_path / "a.NPY"), tmp_path)
        np.testing.assert_array_equal(found, plain)
        assert found.dtype.isnative
    with pytest.raises(UserError, match="expected one channel, found 3"):
        single_channel(GRADIENT, tmp_path)


def test_megabytes_of_metadata_are_no_reason_to_refuse_an_image():
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 2_000_000, zip=True)
    assert read_image(encode(Image.fromarray(GRADIENT), pnginfo=info)).size == (4, 6)


def test_the_size_in_a_header_is_that_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "TIFF", "JPEG"):
        (tmp_path / "a").write_bytes(encode(Image.fromarray(GRADIENT), kind, exif=exif))
        assert image_size(tmp_path / "a") == (6, 4) == read_image(tmp_path / "a").size
    (tmp_path / "a").write_text("no image")
    assert image_size(tmp_path / "a") is None
