"""`atrc predict`: photographs and videos in, predictions of every task out, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from atrc.app.predict.inputs import Input, describe_others, find_inputs
from atrc.app.predict.predictor import Predictor, non_finite
from atrc.app.predict.report import Report, explain
from atrc.app.predict.settings import Settings
from atrc.app.predict.video import predict_video
from atrc.app.predict.writer import Writer
from atrc.images import Photo, read_image
from atrc.training.loading import load

Job = tuple[Input, Photo]


def run_predict(model: str, images: Sequence[str], out: Path, settings: Settings) -> bool:
    """Predict photographs and videos, and tell of those that could not be.

    Args:
        model: What `atrc.load` takes.
        images: Files, folders and patterns.
        out: The folder to write.
        settings: How.

    Returns:
        Whether all went well.

    Raises:
        UserError: Nothing can be predicted at all, or the disk is full.
    """
    inputs, others = find_inputs(images, out)
    predictor = Predictor(load(model), settings.device, settings.precision)
    writer, report = Writer(out, predictor.tasks, settings.keep), Report()
    with ExitStack() as end:  # even if it is interrupted: first the index, then what is told
        end.callback(lambda: report.tell(out, describe_others(others), inputs))
        end.callback(lambda: report.write(out, model, predictor.tasks, inputs))
        _predict_all(inputs, predictor, writer, report, settings)
    return not report.failed


def _predict_all(
    inputs: Sequence[Input], predictor: Predictor, writer: Writer, report: Report, settings: Settings
) -> None:
    side, size = settings.side_for(predictor.size), settings.batch_on(predictor.device.type)
    photos = [one for one in inputs if not one.is_video]
    with tqdm(total=len(inputs), desc="predict", unit="file", disable=None) as progress:
        for batch in batches(photos, side, size, report):
            _predict(batch, predictor, writer, report)
            progress.update(len(report.done) + len(report.failed) - progress.n)
        for video in [one for one in inputs if one.is_video]:
            with report.trying(video):
                predict_video(video, predictor, writer, report, settings)
            progress.update(len(report.done) + len(report.failed) - progress.n)


def batches(inputs: Sequence[Input], max_side: int, size: int, report: Report) -> Iterator[list[Job]]:
    """Read photographs and put those of one size together; never more than a few batches are in memory.

    Args:
        inputs: The photographs.
        max_side: See `Settings`.
        size: Photographs of a batch.
        report: Takes those that cannot be read.
    """
    waiting: dict[tuple[int, ...], list[Job]] = {}
    for one in inputs:
        with report.trying(one):
            photo = read_image(one.path, max_side=max_side)
            waiting.setdefault(photo.pixels.shape, []).append((one, photo))
        fullest = max(waiting, key=lambda shape: len(waiting[shape]), default=())
        if waiting and (len(waiting[fullest]) == size or sum(map(len, waiting.values())) > 4 * size):
            yield waiting.pop(fullest)
    yield from waiting.values()


def _predict(batch: Sequence[Job], predictor: Predictor, writer: Writer, report: Report) -> None:
    try:
        results = predictor([photo.pixels for _, photo in batch])
    except Exception as error:  # too much memory, most likely: one by one they may fit
        if len(batch) == 1:
            return report.fail(batch[0][0], explain(error))
        for job in batch:
            _predict([job], predictor, writer, report)
        return None
    for (one, photo), outputs in zip(batch, results, strict=True):
        with report.trying(one):
            writer(one.name, photo.pixels, photo.size, outputs)
            report.succeed(one, photo.size, photo.note, non_finite(outputs))
