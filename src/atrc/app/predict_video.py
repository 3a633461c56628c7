"""Videos: a sheet for every frame, as a video again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from atrc.app.inputs import Input
from atrc.app.keys import PAPER
from atrc.app.predict_files import Size, replacing
from atrc.app.predict_settings import Settings
from atrc.app.predict_sheet import draw_sheet
from atrc.app.predict_writer import Report, Writer
from atrc.app.predictor import Predictor, decode
from atrc.data.images import shrunk
from atrc.errors import UserError, needs_extra

# h w frame

CODECS = ("libx264", "libopenh264", "mpeg4")  # the first that is built in


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: Its number in the video, from 0.
        size: Its height and width [px].
        pixels: What the network sees of it.
    """

    number: int
    size: Size
    pixels: UInt8[np.ndarray, "h w 3"]


def predict_video(one: Input, predictor: Predictor, writer: Writer, report: Report, settings: Settings) -> None:
    """Write DIR/videos/NAME.mp4, the sheets of a video's frames, without sound.

    Args:
        one: The video.
        predictor: The network.
        writer: Knows the folder; raw predictions of frames are called DIR/TASK/NAME/000000, by the number of the frame.
        report: Takes the video when it is done.
        settings: How.

    Raises:
        UserError: PyAV is not installed, or the file is no video.
    """
    with needs_extra("video", "predicting a video"):
        import av
    try:
        with av.open(str(one.path)) as container, replacing(writer.folder / f"videos/{one.name}.mp4") as partial:
            if not container.streams.video:
                raise UserError("there are no pictures in it")
            stream = container.streams.video[0]
            rate = Fraction(stream.average_rate or stream.guessed_rate or 25) / settings.every
            frames = _frames(container.decode(stream), settings.every, settings.side_for(predictor.size))
            sheets = _sheets(one, frames, predictor, writer, settings)
            with av.open(str(partial), "w", format="mp4") as video:
                size, count = _encode(video, sheets, rate)
        report.succeed(one, size, f"{count} frames")
    except av.error.FFmpegError as error:
        raise UserError(f"cannot be read as a video ({error.strerror or error}); convert it to MP4") from None
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"the network failed ({reason}); try a smaller --max_side") from None


def _frames(decoded: Iterable[Any], every: int, max_side: int) -> Iterator[Frame]:
    for number, frame in enumerate(decoded):
        if number % every == 0:
            pixels = frame.to_ndarray(format="rgb24")
            pixels = np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))
            size = (pixels.shape[0], pixels.shape[1])
            h, w = shrunk(size, max_side)
            if (h, w) != size:
                pixels = np.asarray(Image.fromarray(pixels).resize((w, h), Image.Resampling.LANCZOS, reducing_gap=3.0))
            yield Frame(number, size, pixels)


def _sheets(
    one: Input, frames: Iterator[Frame], predictor: Predictor, writer: Writer, settings: Settings
) -> Iterator[tuple[Size, Image.Image]]:
    """Yield the size of every frame and its sheet."""
    batch = settings.batch_on(predictor.device.type)
    while chunk := list(itertools.islice(frames, batch)):
        results = predictor([frame.pixels for frame in chunk])
        for frame, outputs in zip(chunk, results, strict=True):
            if settings.frames:
                writer.write_raw(f"{one.name}/{frame.number:06}", frame.size, outputs)
            title = f"{one.name}  frame {frame.number}"
            yield frame.size, draw_sheet(frame.pixels, writer.tasks, decode(writer.tasks, outputs), title)


def _encode(video: Any, sheets: Iterator[tuple[Size, Image.Image]], rate: Fraction) -> tuple[Size, int]:
    """Write sheets as frames; return the size of the first frame, and how many there are."""
    import av

    first = next(sheets, None)
    if first is None:
        raise UserError("there are no frames in it")
    codec = next(name for name in CODECS if name in av.codecs_available)
    stream = video.add_stream(codec, rate=rate.limit_denominator(60_000))
    stream.width, stream.height = (side + side % 2 for side in first[1].size)  # H.264 wants even sides
    stream.pix_fmt = "yuv420p"
    count = 0
    for _, sheet in itertools.chain([first], sheets):
        even = Image.new("RGB", (stream.width, stream.height), PAPER)
        even.paste(sheet)
        video.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(even), format="rgb24")))
        count += 1
    video.mux(stream.encode())
    return first[0], count
