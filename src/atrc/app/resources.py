"""`atrc resources`: the cost of every system in the paper's tables, next to the paper's numbers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from atrc.app.output import print_grid
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork, build_network
from atrc.studies.study import Row, Study
from atrc.tasks import Task
from atrc.training.resources import count_multiply_adds, count_parameters, find_device

HEAD = (
    ("", "params", "paper", "MAdds", "paper", "latency"),
    ("", "[M]", "[M]", "[G]", "[G]", "[ms]"),
)


def show_resources(names: Sequence[str], repeats: int, device: str) -> list[dict[str, Any]]:
    """Measure the rows of studies and print a table for each; return the rows as plain values."""
    if repeats < 0:
        raise UserError(f"repeats is {repeats}; it has to be 0 or more")
    device = str(find_device(device))
    studies = [Study.load(name) for name in names]
    costs: list[dict[str, Any]] = []
    bar = tqdm(total=sum(len(study.rows) for study in studies), unit="row", disable=None, leave=False)
    for study in studies:
        found = []
        for row in study.rows:
            bar.set_description(row.name)
            found.append(measure_row(study, row, repeats, device))
            bar.update()
        size = "x".join(map(str, study.recipe(study.rows[0]).data.crop))
        with bar.external_write_mode():
            print(f"\n{study.title}; one image of {size}")
            print_grid([*HEAD, *(_cells(cost) for cost in found)])
        costs += found
    bar.close()
    threads = f"; {torch.get_num_threads()} threads" if device == "cpu" else ""
    print(
        "\nMAdds: convolutions, matrix products and attention; the paper counts batch norm and ReLU too."
        + (f"\nLatency: median of {repeats} after one to warm up, on {device}{threads}." if repeats else "")
    )
    return costs


def measure_row(study: Study, row: Row, repeats: int, device: str) -> dict[str, Any]:
    """Count the networks of a row for one image, and time them; single-task networks are added up.

    Args:
        study: The study.
        row: One of its rows.
        repeats: Timed passes after one to warm up; 0 does not time.
        device: Where to time.
    """
    recipe = study.recipe(row)
    config = dataclasses.replace(recipe.network, pretrained=False)
    sets: list[tuple[Task, ...]] = [(task,) for task in study.tasks] if row.single_task else [study.tasks]
    parameters, multiply_adds, latency = 0, 0, 0.0
    for tasks in sets:
        with torch.device("cpu" if repeats else "meta"):  # counting needs no memory
            network = build_network(config, tasks).eval()
        parameters += count_parameters(network)
        multiply_adds += count_multiply_adds(network, recipe.data.crop)
        latency += _measure_latency(network.to(device), recipe.data.crop, repeats) if repeats else 0.0
    return {
        "study": study.title,
        "row": row.name,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "latency": latency if repeats else None,  # [s]
        "paper_parameters": row.paper.get("parameters"),  # [M]
        "paper_multiply_adds": row.paper.get("multiply_adds"),  # [G]
    }


@torch.inference_mode()
def _measure_latency(network: MultiTaskNetwork, size: Sequence[int], repeats: int) -> float:
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


def _cells(cost: dict[str, Any]) -> list[str]:
    sizes = ("parameters", 1e-6), ("paper_parameters", 1), ("multiply_adds", 1e-9), ("paper_multiply_adds", 1)
    shown = [(cost[key], scale, 2) for key, scale in sizes] + [(cost["latency"], 1e3, 0)]
    return [cost["row"], *("" if v is None else f"{v * scale:.{places}f}" for v, scale, places in shown)]
