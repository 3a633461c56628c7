"""Everything that a study's folder says: its numbers, what is missing, and what is not comparable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atrc import __version__
from atrc.studies.cells import Cell
from atrc.studies.comparable import compare_protocols, training_warnings
from atrc.studies.costs import Counter
from atrc.studies.measured import Measured, Measurements, measure
from atrc.studies.searches import Contrast, Search, contrasts, describe_searches, read_searches
from atrc.studies.study import Study
from atrc.studies.tables.records import nested_records
from atrc.training.evaluation.protocol import Protocol


@dataclass(frozen=True, eq=False)
class Report:
    """A study's numbers.

    Attributes:
        measurements: Results, Delta_m, costs and times by row and seed.
        searches: Finished searches, by row that searches.
        contrasts: The difference of searches to their controls.
        protocol: How the results were measured; None if there are none.
        missing: Rows that are not finished, and their progress.
        warnings: Why rows are not comparable.
        notes: Numbers that could not be computed.
    """

    measurements: Measurements
    searches: dict[str, list[Search]]
    contrasts: list[Contrast]
    protocol: Protocol | None
    missing: list[str]
    warnings: list[str]
    notes: list[str]

    @property
    def study(self) -> Study:
        """The study."""
        return self.measurements.study

    @property
    def cells(self) -> list[Cell]:
        """All cells."""
        return [cell for row in self.measurements.rows for cell in row.cells]

    @property
    def done(self) -> int:
        """The number of cells that are done."""
        return sum(cell.state == "done" for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "title": self.study.title,
            "atrc": __version__,
            "cells": len(self.cells),
            "done": self.done,
            "protocol": self.protocol,
            "control": self.study.control,
            "rows": nested_records(self.measurements),
            "contrasts": [
                {"searched": c.searched, "control": c.control, **c.difference.to_dict()} for c in self.contrasts
            ],
            "searches": {name: describe_searches(found) for name, found in self.searches.items() if found},
            "missing": self.missing,
            "warnings": self.warnings,
            "notes": self.notes,
        }


def make_report(study: Study, cells: Sequence[Cell], tell: Callable[[str], object] = lambda name: None) -> Report:
    """Read what the cells of a study have reached, and count what their networks cost.

    Args:
        study: The study.
        cells: Its cells, see `atrc.studies.plan.read_study`.
        tell: Called with the name of every cell whose network is counted, which takes a while.
    """
    measurements = measure(study, cells)
    rows, counter = measurements.rows, Counter(tell)
    uncounted = [note for row in rows for note in counter.add_to(row)]
    protocol, differing = compare_protocols(rows)
    return Report(
        measurements,
        {row.name: read_searches(row) for row in rows if row.row.search},
        contrasts(measurements),
        protocol,
        [line for row in rows for line in _missing(row)],
        differing + training_warnings(rows),
        measurements.notes + uncounted,
    )


def _missing(row: Measured) -> list[str]:
    """Say which cells of a row are not done; those that have begun may be running."""
    cells = [cell for cell in row.cells if cell.state != "done"]
    if not row.cells:
        return [f"{row.name}: no cell is planned yet; `atrc study` plans them"]
    if not cells:
        return []
    begun = [f"{_name(cell)} {_progress(cell)}" for cell in cells if cell.state != "waiting"]
    waiting = [_name(cell) for cell in cells if cell.state == "waiting"]
    begun += [f"not begun: {', '.join(waiting)}"] if waiting else []
    return [f"{row.name}: {len(row.cells) - len(cells)} of {len(row.cells)} cells are done; {'; '.join(begun)}"]


def _name(cell: Cell) -> str:
    return str(cell).removeprefix(f"{cell.row}, ").replace(", ", " ")  # commas separate names


def _progress(cell: Cell) -> str:
    if (reason := cell.reason()) is not None:
        return f"failed ({reason})"
    return f"is at step {cell.steps_done()} of {cell.steps}"
