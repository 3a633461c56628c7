"""Whether the rows of a study are comparable: measured by the same protocol, trained by the same recipe."""

from __future__ import annotations

from collections.abc import Sequence

from atrc.studies.cells import Cell
from atrc.studies.measured import Measured
from atrc.training.evaluation.evaluate import read_measurement
from atrc.training.evaluation.protocol import Protocol, protocol_differences
from atrc.training.recipe import differences, flatten

# Rows exist to vary the first ones; the others change no result.
VARIED = ("network.", "search.", "out", "seed", "validate_every", "data.tasks", "deterministic")


def protocol_warnings(rows: Sequence[Measured]) -> list[str]:
    """Say which cells were measured by another protocol than the first that has results, and name the keys."""
    reference: Protocol | None = None
    first = ""
    found: dict[tuple[str, str], dict[int, None]] = {}  # seeds, in order, by row and difference
    for row in rows:
        for cell, stage in _finished(row):
            results, theirs = read_measurement(cell.folder / stage)
            if reference is None and theirs is not None:
                reference, first = {**theirs, "tasks": {}}, row.name
            if reference is None:
                continue
            known = [task for task in results if task in reference["tasks"]]
            if differing := protocol_differences(reference, theirs, known):
                found.setdefault((row.name, "; ".join(differing)), {})[cell.seed] = None
            reference["tasks"] = {**(theirs or {}).get("tasks", {}), **reference["tasks"]}
    return [
        f"{name} (there; seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}) was measured by another protocol "
        f"than {first} (here): {differing}"
        for (name, differing), seeds in found.items()
    ]


def training_warnings(rows: Sequence[Measured]) -> list[str]:
    """Say which rows were trained by another recipe than the first, in more than their network and search."""
    planned = [row for row in rows if row.cells]
    recipes = {row.name: row.cells[0].stages[-1].recipe.to_dict() for row in planned}
    warnings = []
    for row in planned[1:]:
        first, own = recipes[planned[0].name], recipes[row.name]
        ours, theirs = flatten(own), flatten(first)
        keys = [key for key in differences(first, own) if not key.startswith(VARIED)]
        if keys:
            values = "; ".join(f"{key} {ours.get(key)}, not {theirs.get(key)}" for key in keys)
            warnings.append(f"{row.name} was trained by another recipe than {planned[0].name}: {values}")
    return warnings


def common_protocol(rows: Sequence[Measured]) -> Protocol | None:
    """Return the protocol of the first results that there are, with the metrics of all tasks."""
    protocols = [read_measurement(cell.folder / stage)[1] for row in rows for cell, stage in _finished(row)]
    known = [protocol for protocol in protocols if protocol]
    if not known:
        return None
    tasks: dict[str, str] = {}
    for protocol in known:
        tasks = {**protocol["tasks"], **tasks}
    return {**known[0], "tasks": tasks}


def _finished(row: Measured) -> list[tuple[Cell, str]]:
    """Return the stages whose results the report shows."""
    stages = [(cell, stage.name) for cell in row.cells for stage in cell.stages]
    return [(cell, stage) for cell, stage in stages if (cell.folder / stage / "results.json").exists()]
