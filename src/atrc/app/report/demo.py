"""The report of the demo: a table on the terminal, and a page with everything inside."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader

from atrc.app.output import print_grid
from atrc.app.predict.predictor import Predictor, decode
from atrc.app.report.curves import plot_curves
from atrc.contexts import CONTEXTS, get_context
from atrc.data.layouts import open_dataset
from atrc.files import write_atomic
from atrc.genotype import Genotype
from atrc.images import read_image
from atrc.network import MultiTaskNetwork
from atrc.studies.figures.style import ink
from atrc.tasks import SemanticSegmentation, Task
from atrc.tasks.legends import to_bytes, to_css
from atrc.training.evaluation.evaluate import Result
from atrc.training.recipe import Recipe

# h w image

IMAGES = 4  # validation images on the page


@dataclass(frozen=True)
class Row:
    """One network of the comparison; the best constant predictor has none. `seconds` is the training time."""

    name: str
    results: dict[str, Result]
    network: MultiTaskNetwork | None = None
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
    """Return the names of the columns, with their metrics, units and directions."""
    first = rows[0].results
    scores = [(task, f"{r.metric} [{r.unit}] {'↑' if r.higher_is_better else '↓'}") for task, r in first.items()]
    return [("", ""), *scores, ("Δm", "[%] ↑"), ("params", "[M]"), ("MAdds", "[G]"), ("time", "[s]")]


def print_table(rows: Sequence[Row]) -> None:
    """Print the comparison."""
    names, details = zip(*headings(rows), strict=True)
    print_grid([names, details, *(row.cells() for row in rows)])


def write_report(
    out: Path, rows: Sequence[Row], genotype: Genotype, runs: Sequence[Recipe], search: Recipe, image: Path | None
) -> None:
    """Write report.html.

    Args:
        out: Folder of the page.
        rows: The comparison; the first is the best constant predictor.
        genotype: The result of the search.
        runs: The trained networks.
        search: The search.
        image: An image to predict too.
    """
    predictors = {row.name: Predictor(row.network, "cpu") for row in rows if row.network}
    tasks = next(iter(predictors.values())).tasks
    sheets = _validation_sheets(predictors, runs[0].data.root)
    if image is not None:
        pixels = read_image(image, max_side=max(runs[0].data.crop)).pixels
        sheets.insert(0, _sheet(image.name, pixels, tasks, _predict(predictors, pixels)))
    page = Environment(loader=PackageLoader("atrc.app.report", "."), autoescape=True).get_template("demo.html.j2")
    text = page.render(
        tasks=[task.name for task in tasks],
        headings=headings(rows),
        lines=[row.cells() for row in rows],
        learned=[describe_gain(row, rows[0]) for row in rows[1:]],
        genotype=genotype,
        colours={name: (get_context(name).colour, ink(get_context(name).colour)) for name in CONTEXTS},
        curves=plot_curves([run.folder for run in runs], search.folder),
        sheets=sheets,
        legend=_legend(tasks),
        search_seconds=round(json.loads((search.folder / "results.json").read_text(encoding="utf-8"))["seconds"]),
    )
    write_atomic(out / "report.html", text)


def describe_gain(row: Row, constant: Row) -> str:
    """Compare the metrics of a network with those of the best constant predictor."""
    parts = []
    for task, result in row.results.items():
        base = constant.results[task]
        better = result.value > base.value if result.higher_is_better else result.value < base.value
        parts.append(f"{task} {result} against {base}{'' if better else ' (not better)'}")
    return f"{row.name} against the best constant: {'; '.join(parts)}."


def _validation_sheets(predictors: Mapping[str, Predictor], root: str) -> list[dict[str, Any]]:
    dataset = open_dataset(root, "val")
    sheets = []
    for index in range(min(IMAGES, len(dataset))):
        sample = dataset[index]
        pixels = sample["image"].permute(1, 2, 0).numpy()
        truth = {name: value.numpy() for name, value in sample["truth"].items()}
        sheets.append(_sheet(sample["id"], pixels, dataset.tasks, {"truth": truth, **_predict(predictors, pixels)}))
    return sheets


def _predict(
    predictors: Mapping[str, Predictor], pixels: UInt8[np.ndarray, "h w 3"]
) -> dict[str, dict[str, np.ndarray]]:
    return {name: decode(predictor.tasks, predictor([pixels])[0]) for name, predictor in predictors.items()}


def _sheet(
    name: str,
    pixels: UInt8[np.ndarray, "h w 3"],
    tasks: Sequence[Task],
    decoded: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    rows = {
        label: {task.name: _embed(task.colour(maps[task.name])) for task in tasks} for label, maps in decoded.items()
    }
    return {"name": name, "image": _embed(pixels), "rows": rows}


def _embed(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    return "data:image/png;base64," + base64.b64encode(to_bytes(pixels, optimize=True)).decode()


def _legend(tasks: Sequence[Task]) -> list[tuple[str, str]]:
    classes = next((task for task in tasks if isinstance(task, SemanticSegmentation)), None)
    return list(zip(classes.region_names, to_css(classes.region_colours), strict=True)) if classes else []
