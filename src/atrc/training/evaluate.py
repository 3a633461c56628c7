"""Evaluation: every metric of a network over a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from atrc.data.dataset import MultiTaskDataset
from atrc.data.sample import Batch
from atrc.data.sampling import EverySampler
from atrc.data.transforms import collate_padded
from atrc.errors import UserError
from atrc.network import Output
from atrc.tasks import Task


@dataclass(frozen=True)
class Result:
    """One task's score.

    Attributes:
        metric: Name of the metric.
        value: In the metric's unit; shares are in percent.
        unit: "%", "m" or "deg".
        higher_is_better: The direction of the metric.
        non_finite: Share of valid pixels whose prediction was not a finite number.
    """

    metric: str
    value: float
    unit: str
    higher_is_better: bool
    non_finite: float

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
        """Add images; all tensors of one size."""
        bad = ~logits.isfinite().all(1) & valid
        self.counts += torch.stack([bad.sum(), valid.sum()])
        self.metric.update(self.task.decode(logits), truth, valid)

    def result(self) -> Result:
        """Return the score over all processes."""
        counts = self.counts.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
        value = float(self.metric.compute()) * (100 if self.task.unit == "%" else 1)
        share = float(counts[0] / counts[1]) if counts[1] else 0.0
        return Result(self.task.metric_name, value, self.task.unit, bool(self.metric.higher_is_better), share)


def evaluation_loader(
    dataset: MultiTaskDataset, crop: tuple[int, int], batch_size: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """Return whole images, padded to the crop size; every process gets its own share of them."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=EverySampler(len(dataset), rank, world),
        num_workers=workers,
        collate_fn=collate_padded(crop),
    )


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    tasks: Sequence[Task],
    loader: DataLoader[Batch],
    *,
    device: torch.device | str = "cpu",
    fast: bool = False,
    progress: bool = True,
) -> dict[str, Result]:
    """Score a network over a loader's images, each at its own size.

    Args:
        network: Called with RGB images in [0, 1].
        tasks: The tasks to score.
        loader: Batches from `evaluation_loader`.
        device: Where the network is.
        fast: Take the faster approximations where a metric has one, as in validation while training.
        progress: Show a progress bar.
    """
    meters = {task.name: Meter(task, fast=fast) for task in tasks}
    training = network.training
    network.eval()
    for batch in tqdm(loader, "evaluate", unit="batch", disable=None if progress else True, leave=False):
        output: Output = network(batch["image"].to(device).float() / 255)
        for name, meter in meters.items():
            logits = output.predictions[name].float().cpu()
            for i, (h, w) in enumerate(batch["size"]):
                meter.update(
                    logits[i : i + 1, :, :h, :w],
                    batch["truth"][name][i : i + 1, ..., :h, :w],
                    batch["valid"][name][i : i + 1, :h, :w],
                )
    network.train(training)
    return {name: meter.result() for name, meter in meters.items()}


def constant_results(tasks: Sequence[Task], loader: DataLoader[Batch]) -> dict[str, Result]:
    """Score the best constant predictor of every task: what a network that learnt nothing could reach."""
    batches = list(loader)
    scores = {}
    for task in tasks:
        meter = Meter(task, fast=False)
        images = [
            (batch["truth"][task.name][i : i + 1, ..., :h, :w], batch["valid"][task.name][i : i + 1, :h, :w])
            for batch in batches
            for i, (h, w) in enumerate(batch["size"])
        ]
        constant = task.constant(images)
        for truth, valid in images:
            meter.metric.update(constant.expand(*constant.shape[:-2], *valid.shape[-2:]).contiguous(), truth, valid)
        scores[task.name] = meter.result()
    return scores


def results_to_dict(results: dict[str, Result]) -> dict[str, Any]:
    """Return plain values, for JSON."""
    return {task: asdict(result) for task, result in results.items()}


def read_results(path: Path) -> dict[str, Result]:
    """Read the results.json of a run, or of its folder.

    Raises:
        UserError: No such file, or not such a file.
    """
    file = path / "results.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))["results"]
        return {task: Result(**fields) for task, fields in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not the results.json of a run ({error})") from None
