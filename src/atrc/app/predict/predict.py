"""`atrc predict` in constant memory: read, batch by size, predict, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from atrc.app.predict.files import Writer
from atrc.app.predict.inputs import Input, describe, find_inputs
from atrc.app.predict.predictor import Predictor, non_finite
from atrc.app.predict.report import Report, explain
from atrc.app.predict.settings import Settings
from atrc.app.predict.video import predict_video
from atrc.images import Photo, read_image
from atrc.network.inference import Inference
from atrc.training.loading import load

Job = tuple[Input, Photo]


def run_predict(model: str, images: Sequence[str], out: Path, settings: Settings) -> bool:
    """Predict images and videos, and report failures. The arguments are the options of `atrc predict`.

    Returns:
        Whether every input succeeded.

    Raises:
        UserError: Nothing can be predicted at all, or the disk is full.
    """
    inputs, others = find_inputs(images, out)
    inference = Inference.parse(settings.window, settings.tta)
    predictor = Predictor(load(model), settings.device, settings.precision, settings.max_side, inference)
    writer, report = Writer(out, predictor.tasks, settings.keep), Report()
    with ExitStack() as end:  # also if interrupted: first the index, then the summary
        end.callback(lambda: report.summarise(out, describe(others), inputs))
        end.callback(lambda: report.write(out, model, predictor.tasks, inputs))
        _predict_all(inputs, predictor, writer, report, settings)
    return not report.failed


def _predict_all(
    inputs: Sequence[Input], predictor: Predictor, writer: Writer, report: Report, settings: Settings
) -> None:
    size = settings.batch_on(predictor.device.type)
    images = [one for one in inputs if not one.is_video]
    with tqdm(total=len(inputs), desc="predict", unit="file", disable=None) as progress:
        for batch in batches(images, predictor.side, size, report):
            _predict(batch, predictor, writer, report)
            progress.update(len(report.done) + len(report.failed) - progress.n)
        for video in [one for one in inputs if one.is_video]:
            with report.trying(video):
                predict_video(video, predictor, writer, report, settings)
            progress.update(len(report.done) + len(report.failed) - progress.n)


def batches(inputs: Sequence[Input], max_side: int | None, size: int, report: Report) -> Iterator[list[Job]]:
    """Read images and group those of one size; at most a few batches are in memory.

    Args:
        inputs: The images.
        max_side: Side that larger images are shrunk to [px], if any.
        size: Number of images in a batch.
        report: Records the images that cannot be read.
    """
    waiting: dict[tuple[int, ...], list[Job]] = {}
    for one in inputs:
        with report.trying(one):
            image = read_image(one.path, max_side=max_side)
            waiting.setdefault(image.pixels.shape, []).append((one, image))
        fullest = max(waiting, key=lambda shape: len(waiting[shape]), default=())
        if waiting and (len(waiting[fullest]) == size or sum(map(len, waiting.values())) > 4 * size):
            yield waiting.pop(fullest)
    yield from waiting.values()


def _predict(batch: Sequence[Job], predictor: Predictor, writer: Writer, report: Report) -> None:
    try:
        results = predictor([image.pixels for _, image in batch])
    except Exception as error:  # out of memory, most likely: single images may fit
        if len(batch) == 1:
            return report.fail(batch[0][0], explain(error))
        for job in batch:
            _predict([job], predictor, writer, report)
        return None
    for (one, image), outputs in zip(batch, results, strict=True):
        with report.trying(one):
            writer(one.name, image.pixels, image.size, outputs)
            report.succeed(one, image.size, image.note, non_finite(outputs))
