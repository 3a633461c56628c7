"""Videos: the sheets of all frames, as a video."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from atrc.app.predict.files import Size, Writer
from atrc.app.predict.inputs import Input
from atrc.app.predict.predictor import Predictor, decode, non_finite
from atrc.app.predict.report import Report, is_full
from atrc.app.predict.settings import Settings
from atrc.errors import UserError, needs_extra
from atrc.files import replacing
from atrc.images import shrunk
from atrc.tasks.legends import PAPER
from atrc.tasks.sheet import draw_sheet

# h w frame

CODECS = ("libx264", "libopenh264", "mpeg4")  # the first one that PyAV was built with is used


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: Its number in the video, from 0.
        size: Its height and width [px].
        pixels: The network's input.
    """

    number: int
    size: Size
    pixels: UInt8[np.ndarray, "h w 3"]


@dataclass
class Summary:
    """Sizes and numerical faults of the frames of a video.

    Attributes:
        sizes: Number of frames by size, in the order of the video.
        non_finite: Sum of the shares of NaN or infinite pixels, by task.
    """

    sizes: Counter[Size] = field(default_factory=Counter)
    non_finite: Counter[str] = field(default_factory=Counter)

    def add(self, size: Size, shares: Mapping[str, float]) -> None:
        """Count a frame."""
        self.sizes[size] += 1
        self.non_finite.update(shares)

    def report(self, one: Input, report: Report) -> None:
        """Record a video that is done, with the size of its first frame."""
        count = self.sizes.total()
        several = f" of {len(self.sizes)} sizes" if len(self.sizes) > 1 else ""
        shares = {name: total / count for name, total in self.non_finite.items()}
        report.succeed(one, next(iter(self.sizes)), f"{count} frames{several}", shares)


def predict_video(one: Input, predictor: Predictor, writer: Writer, report: Report, settings: Settings) -> None:
    """Write DIR/videos/NAME.mp4, the sheets of a video's frames, without sound.

    Args:
        one: The video.
        predictor: The network.
        writer: Knows the folder; raw predictions of frames are DIR/frames/TASK/NAME/000000, by frame number.
        report: Records the video when it is done.
        settings: The options.

    Raises:
        UserError: PyAV is not installed, or the file is not a video.
    """
    with needs_extra("video", "predicting a video"):
        import av
    try:
        with av.open(str(one.path)) as container, replacing(writer.folder / f"videos/{one.name}.mp4") as partial:
            if not container.streams.video:
                raise UserError("it has no video stream")
            stream = container.streams.video[0]
            rate = Fraction(stream.average_rate or stream.guessed_rate or 25) / settings.every
            frames = _frames(container.decode(stream), settings.every, predictor.side)
            summary = Summary()
            sheets = _sheets(one, frames, predictor, writer, settings, summary)
            with av.open(str(partial), "w", format="mp4") as video:
                _encode(video, sheets, rate)
        summary.report(one, report)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise UserError(f"cannot be read as a video ({error.strerror or error}); convert it to MP4") from None


def _frames(decoded: Iterable[Any], every: int, max_side: int | None) -> Iterator[Frame]:
    for number, frame in enumerate(decoded):
        if number % every == 0:
            pixels = frame.to_ndarray(format="rgb24")
            pixels = np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))
            size = (pixels.shape[0], pixels.shape[1])
            h, w = shrunk(size, max_side)
            if (h, w) != size:
                pixels = np.asarray(Image.fromarray(pixels).resize((w, h), Image.Resampling.LANCZOS, reducing_gap=3.0))
            yield Frame(number, size, pixels)


def chunks(frames: Iterable[Frame], most: int) -> Iterator[list[Frame]]:
    """Yield consecutive frames of one input size, at most this many at a time; the size may change midway."""
    for _, same_size in itertools.groupby(frames, key=lambda frame: frame.pixels.shape):
        while chunk := list(itertools.islice(same_size, most)):
            yield chunk


def _sheets(
    one: Input, frames: Iterator[Frame], predictor: Predictor, writer: Writer, settings: Settings, summary: Summary
) -> Iterator[Image.Image]:
    for chunk in chunks(frames, settings.batch_on(predictor.device.type)):
        results = predictor([frame.pixels for frame in chunk])
        for frame, outputs in zip(chunk, results, strict=True):
            if settings.frames:  # in a folder of their own: an image may have the name of a frame
                writer.write_raw(f"{one.name}/{frame.number:06}", frame.size, outputs, folder="frames")
            summary.add(frame.size, non_finite(outputs))
            title = f"{one.name}  frame {frame.number}"
            yield draw_sheet(frame.pixels, writer.tasks, decode(writer.tasks, outputs), title)


def _encode(video: Any, sheets: Iterator[Image.Image], rate: Fraction) -> None:
    """Write sheets as frames of the first one's size; larger ones are shrunk, smaller ones get a margin."""
    import av

    first = next(sheets, None)
    if first is None:
        raise UserError("it has no frames")
    codec = next(name for name in CODECS if name in av.codecs_available)
    stream = video.add_stream(codec, rate=rate.limit_denominator(60_000))
    stream.width, stream.height = (side + side % 2 for side in first.size)  # H.264 needs even sides
    stream.pix_fmt = "yuv420p"
    for sheet in itertools.chain([first], sheets):
        sheet.thumbnail((stream.width, stream.height))
        even = Image.new("RGB", (stream.width, stream.height), PAPER)
        even.paste(sheet)
        video.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(even), format="rgb24")))
    video.mux(stream.encode())
