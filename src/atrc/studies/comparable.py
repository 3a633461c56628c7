"""Whether the rows of a study are comparable: measured by the same protocol, trained by the same recipe."""

from __future__ import annotations

from collections.abc import Sequence

from atrc.studies.measured import Measured
from atrc.training.evaluation.evaluate import read_measurement
from atrc.training.evaluation.protocol import Protocol, protocol_differences
from atrc.training.recipe import differences, flatten

# Rows exist to vary the first ones; the others change no result.
VARIED = ("network.", "search.", "out", "seed", "validate_every", "data.tasks", "deterministic")


def compare_protocols(rows: Sequence[Measured]) -> tuple[Protocol | None, list[str]]:
    """Return the protocol of the first results, with the metrics of all tasks; and which cells differ, by key."""
    common: Protocol | None = None
    first = ""
    found: dict[tuple[str, str], dict[int, None]] = {}  # seeds, in order, by row and difference
    stages = [(row, cell, cell.stage_folder(stage)) for row in rows for cell in row.cells for stage in cell.stages]
    for row, cell, run in stages:
        if not run.results.exists():
            continue
        results, protocol = read_measurement(run.path)
        if common is None and protocol is not None:
            common, first = {**protocol, "tasks": {}}, row.name
        if common is None:
            continue
        known = [task for task in results if task in common["tasks"]]
        if differing := protocol_differences(common, protocol, known):
            found.setdefault((row.name, "; ".join(differing)), {})[cell.seed] = None
        common["tasks"] = {**(protocol or {}).get("tasks", {}), **common["tasks"]}
    return common, [
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
