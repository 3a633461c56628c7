"""`atrc resources`: the cost of every system in the paper's tables, next to the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from tqdm import tqdm

from atrc.app.output import print_grid
from atrc.errors import UserError
from atrc.studies.costs import Cost, measure_row
from atrc.studies.study import Study
from atrc.training.resources import find_device

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
    costs: list[Cost] = []
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
    return [asdict(cost) for cost in costs]


def _cells(cost: Cost) -> list[str]:
    return [
        cost.row,
        f"{cost.parameters / 1e6:.2f}",
        "" if cost.paper_parameters is None else f"{cost.paper_parameters:.2f}",
        f"{cost.multiply_adds / 1e9:.2f}",
        "" if cost.paper_multiply_adds is None else f"{cost.paper_multiply_adds:.2f}",
        "" if cost.latency is None else f"{cost.latency * 1e3:.0f}",
    ]
