"""Evaluation: every metric of a network over a data set."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from atrc.data.dataset import MultiTaskDataset
from atrc.data.loader import Loader
from atrc.data.sample import Batch, cut, network_input, without_padding
from atrc.data.sampling import EverySampler
from atrc.data.transforms import collate_padded
from atrc.errors import UserError
from atrc.metrics import MeanIoU
from atrc.metrics.functional import intersection_over_union
from atrc.network.inference import WHOLE, Inference
from atrc.tasks import Task
from atrc.training.evaluation.protocol import Protocol


@dataclass(frozen=True)
class Result:
    """One task's score.

    Attributes:
        metric: Name of the metric.
        value: In the metric's unit; shares are in percent. NaN if there is no pixel to score.
        unit: "%", "m" or "deg".
        higher_is_better: The direction of the metric.
        non_finite: Share of the valid pixels whose prediction is not a finite number; `value` leaves them out.
        classes: IoU of every class [%], by name; None for one that does not occur. Empty for tasks without classes.
        confusion: Pixels by true class (rows) and predicted class; empty for tasks without classes.
    """

    metric: str
    value: float
    unit: str
    higher_is_better: bool
    non_finite: float
    classes: dict[str, float | None] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)

    def __str__(self) -> str:
        decimals = 4 if self.unit == "m" else 2
        return f"{self.value:.{decimals}f} {self.unit}"


class Meter:
    """The running score of one task."""

    def __init__(self, task: Task, *, fast: bool, device: torch.device | str = "cpu") -> None:
        self.task = task
        self.metric = task.metric(fast=fast).to(device)
        self.counts = torch.zeros(2, dtype=torch.long, device=device)  # non-finite and all valid pixels

    def update(self, logits: Tensor, truth: Tensor, valid: Tensor) -> None:
        """Add images; all tensors of one size.

        No metric has a fair value for a prediction that is not finite: such pixels are counted, not scored.
        """
        finite = logits.isfinite().all(1)
        self.counts += torch.stack([(valid & ~finite).sum(), valid.sum()])
        if not finite.all():
            logits, valid = torch.where(finite[:, None], logits, 0.0), valid & finite
        self.metric.update(self.task.decode(logits), truth, valid)

    def result(self) -> Result:
        """Return the score over all processes."""
        counts = self.counts.clone()
        if _distributed():
            torch.distributed.all_reduce(counts)
        bad, pixels = counts.tolist()
        value = float(self.metric.compute()) * (100 if self.task.unit == "%" else 1)
        return Result(
            self.task.metric_name,
            value if bad < pixels else math.nan,  # of nothing, some metrics are 0
            self.task.unit,
            bool(self.metric.higher_is_better),
            bad / pixels if pixels else 0.0,
            *self._by_class(),
        )

    def _by_class(self) -> tuple[dict[str, float | None], list[list[int]]]:
        """Return the IoU of every class and the confusion matrix, over all processes."""
        if not isinstance(self.metric, MeanIoU):
            return {}, []
        with self.metric.sync_context():
            confusion = self.metric.confusion.cpu()
        shares = zip(self.task.region_names, intersection_over_union(confusion).tolist(), strict=True)
        return {name: None if math.isnan(iou) else 100 * iou for name, iou in shares}, confusion.tolist()


def evaluation_loader(
    dataset: MultiTaskDataset, crop: tuple[int, int], batch_size: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader[list[Batch]]:
    """Return whole images, padded to the crop size; every process gets its own share of them.

    What is loaded at a time comes in batches of one padded size each.

    Raises:
        UserError: Less than no workers.
    """
    if workers < 0:
        raise UserError(f"workers is {workers}; give 0 or more")
    return Loader(
        dataset,
        collate_padded(crop),
        batch_size=batch_size,
        sampler=EverySampler(len(dataset), rank, world),
        num_workers=workers,
    )


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    tasks: Sequence[Task],
    loader: DataLoader[list[Batch]],
    *,
    device: torch.device | str = "cpu",
    fast: bool = False,
    progress: bool = True,
    inference: Inference = WHOLE,
) -> dict[str, Result]:
    """Score a network over a loader's images, each at its own size.

    Args:
        network: Called with RGB images in [0, 1].
        tasks: The tasks to score.
        loader: Batches from `evaluation_loader`.
        device: Where the network is.
        fast: Take the faster approximations where a metric has one, as in validation while training.
        progress: Show a progress bar.
        inference: How images are predicted.
    """
    meters = {task.name: Meter(task, fast=fast) for task in tasks}
    training = network.training
    network.eval()
    for batches in tqdm(loader, "evaluate", unit="batch", disable=None if progress else True, leave=False):
        for batch in batches:
            predictions = inference(network, network_input(batch, device))
            for task, meter in meters.items():
                logits = predictions[task].float().cpu()
                for i, (window, truth, valid) in enumerate(without_padding(batch, task)):
                    meter.update(cut(logits[i : i + 1], window), truth, valid)
    network.train(training)
    results = {task: meter.result() for task, meter in meters.items()}
    if not _distributed() or torch.distributed.get_rank() == 0:
        for warning in warnings_about(results):
            tqdm.write(f"warning: {warning}", file=sys.stderr)
    return results


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def constant_results(tasks: Sequence[Task], loader: DataLoader[list[Batch]]) -> dict[str, Result]:
    """Score the best constant predictor of every task: what a network that learnt nothing could reach."""
    batches = list(itertools.chain.from_iterable(loader))
    scores = {}
    for task in tasks:
        meter = Meter(task, fast=False)
        images = [(truth, valid) for batch in batches for _, truth, valid in without_padding(batch, task.name)]
        constant = task.constant(images)
        for truth, valid in images:
            meter.counts[1] += valid.sum()
            meter.metric.update(constant.expand(*constant.shape[:-2], *valid.shape[-2:]).contiguous(), truth, valid)
        scores[task.name] = meter.result()
    return scores


def warnings_about(results: dict[str, Result]) -> list[str]:
    """Say which results are not of all valid pixels."""
    lines = []
    for task, result in results.items():
        if result.non_finite:
            share = f"{100 * result.non_finite:.3g} %"
            lines.append(
                f"{task}: {share} of the valid pixels have no finite prediction; {result.metric} is without them"
            )
        elif math.isnan(result.value):
            lines.append(f"{task}: no valid pixel in this split; there is no {result.metric}")
    return lines


def results_to_dict(results: dict[str, Result]) -> dict[str, Any]:
    """Return plain values, for JSON; a value that is NaN becomes None."""
    return {
        task: asdict(result) | {"value": None if math.isnan(result.value) else result.value}
        for task, result in results.items()
    }


def to_json(content: Any) -> str:
    """Return JSON for people: indented, but with a row of numbers on one line.

    >>> print(to_json({"confusion": [[3, 1], [0, 2]]}))
    {
      "confusion": [
        [3, 1],
        [0, 2]
      ]
    }
    """
    text = json.dumps(content, indent=2)
    return re.sub(r"\[[\d\s,.e+-]+\]", lambda row: f"[{', '.join(row[0][1:-1].replace(',', ' ').split())}]", text)


def read_results(path: Path) -> dict[str, Result]:
    """Read the results.json of a run, or of its folder.

    Raises:
        UserError: No such file, or not such a file.
    """
    return read_measurement(path)[0]


def read_measurement(path: Path) -> tuple[dict[str, Result], Protocol | None]:
    """Read results as `read_results` does, and how they were measured if that is recorded.

    Also what `atrc evaluate --json` wrote.
    """
    file = path / "results.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        results = {task: _result(fields) for task, fields in content["results"].items()}
        return results, content.get("protocol")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: not the results.json of a run ({error})") from None


def _result(fields: dict[str, Any]) -> Result:
    return Result(**fields | {"value": math.nan if fields["value"] is None else float(fields["value"])})
