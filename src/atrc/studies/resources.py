"""What the networks of a study cost: parameters, multiply-adds and time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch

from atrc.network import MultiTaskNetwork, build_network
from atrc.studies.study import Row, Study
from atrc.tasks import Task
from atrc.training.resources import count_multiply_adds, count_parameters


@dataclass(frozen=True)
class Cost:
    """The cost of one image through the networks of a row; single-task networks are added up.

    Attributes:
        study: Title of the study.
        row: Name of the row.
        parameters: Number of parameters.
        multiply_adds: Multiply-adds of convolutions, matrix products and attention.
        latency: Median time of one image [s]; None if it was not measured.
        paper_parameters: What the paper reports [M], if it does.
        paper_multiply_adds: What the paper reports [G]; it counts batch norm and ReLU too.
    """

    study: str
    row: str
    parameters: int
    multiply_adds: int
    latency: float | None
    paper_parameters: float | None
    paper_multiply_adds: float | None


def measure_row(study: Study, row: Row, repeats: int, device: str) -> Cost:
    """Build the networks of a row at their size for evaluation, and count and time them.

    Args:
        study: The study.
        row: One of its rows.
        repeats: Timed passes after one for warming up; 0 does not time.
        device: Where to time.
    """
    recipe = study.recipe(row)
    config = dataclasses.replace(recipe.network, pretrained=False)
    sets: list[tuple[Task, ...]] = [(task,) for task in study.tasks] if row.single_task else [study.tasks]
    parameters, multiply_adds, latency = 0, 0, 0.0
    for tasks in sets:
        network = build_network(config, tasks).eval()
        parameters += count_parameters(network)
        multiply_adds += count_multiply_adds(network, recipe.data.crop)
        latency += measure_latency(network.to(device), recipe.data.crop, repeats) if repeats else 0.0
    reported = row.paper.get("parameters"), row.paper.get("multiply_adds")
    return Cost(study.title, row.name, parameters, multiply_adds, latency if repeats else None, *reported)


@torch.inference_mode()
def measure_latency(network: MultiTaskNetwork, size: Sequence[int], repeats: int) -> float:
    """Return the median time of one image [s], after one pass to warm up."""
    image = torch.rand(1, 3, *size, device=network.mean.device)
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        network(image)
        if image.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times[1:])
