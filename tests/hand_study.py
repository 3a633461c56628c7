"""The folder of a study, written by hand: results with round numbers, and the logs of its searches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from atrc.genotype import Genotype
from atrc.studies.cells import Cell
from atrc.studies.plan import plan, save_study
from atrc.studies.study import Study

SINGLE = {"name": "Single task", "single_task": True}
BOTH = {"name": "Both", "recipes": ["network/multi_task"]}
RANDOM = {"name": "Random", "recipes": ["network/random"]}
SEARCHED = {"name": "Searched", "recipes": ["network/global"], "search": ["search/contexts"]}

# Of seeds 0 and 1: semseg [%], higher is better, and depth [m], lower is better.
VALUES = {
    "Single task": ((40.0, 1.0), (50.0, 2.0)),
    "Both": ((44.0, 0.9), (45.0, 1.6)),  # gains +10 % and +10 %; -10 % and +20 %: Delta_m 10 and 5
    "Random": ((40.0, 0.9), (50.0, 1.8)),  # Delta_m 5 and 5
    "Searched": ((48.0, 0.8), (50.0, 1.6)),  # Delta_m 20 and 10
}
SAMPLED = ((38.0, 1.0), (50.0, 1.8))  # gains -5 % and 0; 0 and 10 %
METRICS = {"semseg": ("mIoU", "%", True), "depth": ("RMSE", "m", False)}
CANDIDATES = {  # of the blocks (target, source)
    ("semseg", "semseg"): ("none", "global", "local", "t_label"),
    ("semseg", "depth"): ("none", "global", "local", "t_label", "s_label"),
    ("depth", "semseg"): ("none", "global", "local", "t_label", "s_label"),
    ("depth", "depth"): ("none", "global", "local", "t_label"),
}
FOUND = (  # by seed; two of four blocks agree
    {"semseg": {"semseg": "t_label", "depth": "s_label"}, "depth": {"semseg": "none", "depth": "t_label"}},
    {"semseg": {"semseg": "t_label", "depth": "global"}, "depth": {"semseg": "local", "depth": "t_label"}},
)


def write_study(
    out: Path, *rows: dict[str, Any], seeds: Sequence[int] = (0, 1), control: str | None = None
) -> list[Cell]:
    """Write the study and its cells, without results; return the cells."""
    settings = {"data.tasks": ["semseg", "depth"], "data.crop": [32, 32], "optim.steps": 4, "accelerator": "cpu"}
    content = {"title": "By hand", "layout": "nyud", "set": settings, "seeds": list(seeds), "rows": list(rows)}
    content |= {"control": control} if control else {}
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(content))
    study = Study.load(file)
    cells = plan(study, out)
    save_study(study, cells, out)
    return cells


def finished(out: Path, *rows: dict[str, Any], **options: Any) -> list[Cell]:
    """Write the study with the results of all its cells."""
    cells = write_study(out, *rows, **options)
    for cell in cells:
        finish(cell)
    return cells


def finish(cell: Cell, values: Mapping[str, float] | None = None, **protocol: Any) -> None:
    """Write the results of a cell, those of the table above unless others are given."""
    own = values or dict(zip(METRICS, VALUES[cell.row][cell.seed % 2], strict=True))
    for stage in cell.stages:
        folder = cell.folder / stage.name
        folder.mkdir(parents=True, exist_ok=True)
        if stage.search:
            write_search(folder, cell.seed)
            write_results(folder, dict(zip(METRICS, SAMPLED[cell.seed % 2], strict=True)), seconds=50.0, **protocol)
        else:
            kept = {task: value for task, value in own.items() if cell.task in (None, task)}
            write_results(folder, kept, seconds=100.0 + cell.seed, **protocol)


def write_results(folder: Path, values: Mapping[str, float], *, seconds: float, **protocol: Any) -> None:
    described = {
        "layout": "drawn", "split": "val", "images": 10, "image": [32, 32], "crop": [32, 32], "padding": "padded",
        "checkpoint": "last", "tasks": {task: f"{METRICS[task][0]}()" for task in values},
    }  # fmt: skip
    results = {
        task: dict(zip(("metric", "unit", "higher_is_better"), METRICS[task], strict=True))
        | {"value": None if value != value else value, "non_finite": 0.0}
        for task, value in values.items()
    }
    content = {"steps": 4, "seconds": seconds, "protocol": described | protocol, "results": results}
    (folder / "results.json").write_text(json.dumps(content))


def write_search(folder: Path, seed: int) -> None:
    """Write the logs of four steps: semseg <- semseg is fixed by step 2, depth <- depth by 4, the others never."""
    found = FOUND[seed % 2]
    Genotype(found, 4).save(folder / "genotype.json")
    leads = {("semseg", "semseg"): (0.1, 0.3, 0.3, 0.3), ("depth", "depth"): (0.0, 0.1, 0.2, 0.4)}
    rows, traces = [], []
    for i in range(4):
        row: dict[str, float] = {"step": i + 1}
        for (target, source), contexts in CANDIDATES.items():
            lead = leads.get((target, source), (0.05,) * 4)[i]
            rest = (1 - lead) / len(contexts)
            best = found[target][source]
            row |= {f"{target}/{source}/{context}": rest + lead * (context == best) for context in contexts}
        rows.append(row)
        traces.append(
            {"step": i + 1, "temperature": 1 - 0.3 * i, "entropy_weight": 0.01 * i, "entropy": 1.5 - 0.1 * i}
            | {"fixed": (0, 1, 1, 2)[i], "loss": 2.0}
        )
    for name, table in (("search", rows), ("train", traces)):
        lines = [",".join(table[0]), *(",".join(f"{value:.10g}" for value in line.values()) for line in table)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
