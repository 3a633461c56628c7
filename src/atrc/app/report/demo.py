"""The demo's table and its page: one HTML file with everything inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader

from atrc.app.output import print_grid
from atrc.app.report.curves import plot_curves
from atrc.app.report.pictures import decode, load_photo, paint, png_uri
from atrc.contexts import CONTEXTS, get_context
from atrc.data.layouts import open_dataset
from atrc.files import write_atomic
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.studies.figures.style import ink
from atrc.tasks import SemanticSegmentation
from atrc.training.evaluation.evaluate import Result
from atrc.training.loading import load
from atrc.training.recipe import Recipe
from atrc.training.run.checkpoint import Checkpoint, checkpoint_path

IMAGES = 4


@dataclass(frozen=True)
class Row:
    """One network of the comparison; `seconds` is the time of training here."""

    name: str
    results: dict[str, Result]
    parameters: int | None = None
    multiply_adds: int | None = None
    seconds: float | None = None
    delta_m: float | None = None

    def cells(self) -> list[str]:
        """Return the row as text."""
        scores = [str(result).split(" ")[0] for result in self.results.values()]
        gain = "" if self.delta_m is None else f"{self.delta_m:+.2f}"
        return [
            self.name,
            *scores,
            gain,
            "" if self.parameters is None else f"{self.parameters / 1e6:.2f}",
            "" if self.multiply_adds is None else f"{self.multiply_adds / 1e9:.2f}",
            "" if self.seconds is None else f"{self.seconds:.0f}",
        ]


def headings(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the columns' names and their metrics, units and directions."""
    first = rows[0].results
    scores = [(task, f"{r.metric} [{r.unit}] {'↑' if r.higher_is_better else '↓'}") for task, r in first.items()]
    return [("", ""), *scores, ("Δm", "[%] ↑"), ("params", "[M]"), ("MAdds", "[G]"), ("time", "[s]")]


def print_table(rows: Sequence[Row]) -> None:
    """Print the comparison."""
    names, details = zip(*headings(rows), strict=True)
    print_grid([names, details, *(row.cells() for row in rows)])


def write_report(
    out: Path, rows: Sequence[Row], genotype: Genotype, runs: Sequence[Recipe], search: Recipe, photo: Path | None
) -> None:
    """Write report.html.

    Args:
        out: Folder of the page.
        rows: The comparison; the first is the best constant predictor.
        genotype: What the search found.
        runs: The trained networks.
        search: The search.
        photo: A photograph to predict too.
    """
    networks = {run.folder.name: load(run.folder) for run in runs}
    network = next(iter(networks.values()))
    sheets = _truth_sheets(networks, runs[0].data.root)
    if photo is not None:
        image = load_photo(photo, longest=max(runs[0].data.crop))
        sheets.insert(0, _sheet(photo.name, image, {name: decode(n, image) for name, n in networks.items()}, network))
    page = Environment(loader=PackageLoader("atrc.app.report", "."), autoescape=True).get_template("demo.html.j2")
    text = page.render(
        tasks=[task.name for task in network.tasks],
        headings=headings(rows),
        lines=[row.cells() for row in rows],
        learnt=[learnt(row, rows[0]) for row in rows[1:]],
        genotype=genotype,
        colours={name: (get_context(name).colour, ink(get_context(name).colour)) for name in CONTEXTS},
        curves=plot_curves([run.folder for run in runs], search.folder),
        sheets=sheets,
        legend=_legend(network),
        search_seconds=round(Checkpoint.load(checkpoint_path(search.folder)).seconds),
    )
    write_atomic(out / "report.html", text)


def learnt(row: Row, constant: Row) -> str:
    """Say which metrics beat the best constant predictor, and by how much."""
    parts = []
    for task, result in row.results.items():
        base = constant.results[task]
        better = result.value > base.value if result.higher_is_better else result.value < base.value
        parts.append(f"{task} {result} against {base}{'' if better else ' (not better)'}")
    return f"{row.name} against the best constant: {'; '.join(parts)}."


def _truth_sheets(networks: Mapping[str, MultiTaskNetwork], root: str) -> list[dict[str, Any]]:
    dataset = open_dataset(root, "val")
    network = next(iter(networks.values()))
    sheets = []
    for index in range(min(IMAGES, len(dataset))):
        sample = dataset[index]
        image = sample["image"].permute(1, 2, 0).numpy()
        decoded = {"truth": {name: value.numpy() for name, value in sample["truth"].items()}}
        decoded |= {name: decode(trained, image) for name, trained in networks.items()}
        sheets.append(_sheet(sample["id"], image, decoded, network))
    return sheets


def _sheet(
    name: str,
    image: UInt8[np.ndarray, "h w 3"],
    decoded: Mapping[str, Mapping[str, np.ndarray]],
    network: MultiTaskNetwork,
) -> dict[str, Any]:
    rows = {
        label: {task: png_uri(picture) for task, picture in paint(network, maps).items()}
        for label, maps in decoded.items()
    }
    return {"name": name, "image": png_uri(image), "rows": rows}


def _legend(network: MultiTaskNetwork) -> list[tuple[str, str]]:
    task = next((task for task in network.tasks if isinstance(task, SemanticSegmentation)), None)
    if task is None:
        return []
    return [(name, f"rgb({r},{g},{b})") for name, (r, g, b) in zip(task.class_names, task.colours, strict=False)]
