"""Everything that a study's folder tells: its numbers, what is missing, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atrc import __version__
from atrc.genotype import block_agreement, mean_agreement
from atrc.studies.cells import Cell
from atrc.studies.comparable import protocol_of, protocol_warnings, training_warnings
from atrc.studies.costs import Costs, Counter
from atrc.studies.figures.results import context_shares
from atrc.studies.measured import Measured, Measurements, measure
from atrc.studies.searches import Contrast, Search, chance_agreement, contrasts, read_searches
from atrc.studies.study import Study
from atrc.studies.tables.records import nested_records
from atrc.training.evaluation.protocol import Protocol


@dataclass(frozen=True, eq=False)
class Report:
    """A study's numbers.

    Attributes:
        measurements: Results by row and seed, and Delta_m.
        costs: Parameters and multiply-adds by row.
        searches: Finished searches, by row that searches.
        contrasts: What searches gain over their controls.
        protocol: How it was measured; None if nothing was.
        missing: Rows that are not finished, and how far they are.
        warnings: What makes rows not comparable.
        notes: Numbers that there could not be.
    """

    measurements: Measurements
    costs: dict[str, Costs]
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
            "rows": nested_records(self.measurements, self.costs),
            "contrasts": [{"searched": c.searched, "control": c.control, **vars(c.difference)} for c in self.contrasts],
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
    costs = {row.name: counter.row(row) for row in rows}
    return Report(
        measurements,
        costs,
        {row.name: read_searches(row) for row in rows if row.row.search},
        contrasts(measurements),
        protocol_of(rows),
        [line for row in rows for line in _missing(row)],
        protocol_warnings(rows) + training_warnings(rows),
        measurements.notes + [note for cost in costs.values() for note in cost.notes],
    )


def describe_searches(searches: Sequence[Search]) -> dict[str, Any]:
    """Return what a row's searches found, and how far they agree, as plain values."""
    found: dict[str, Any] = {"seeds": [search.seed for search in searches]}
    genotypes = [search.genotype for search in searches if search.genotype]
    if not genotypes:
        return found
    found["shares"] = context_shares(genotypes)
    found["agreement_by_chance"] = chance_agreement(genotypes[0].targets)
    if len(genotypes) > 1:
        found |= {"agreement": mean_agreement(genotypes), "block_agreement": block_agreement(genotypes)}
    found["genotypes"] = {search.seed: search.genotype.contexts for search in searches if search.genotype}
    found["fixed_by"] = {
        search.seed: {f"{target}/{source}": step for (target, source), step in search.fixed_by().items()}
        for search in searches
    }
    return found


def _missing(row: Measured) -> list[str]:
    """Say which cells of a row are not done; those that were begun may be running."""
    cells = [cell for cell in row.cells if cell.state != "done"]
    if not row.cells:
        return [f"{row.name}: no cell was planned yet; `atrc study` plans them"]
    if not cells:
        return []
    told = [f"{_name(cell)} {_how_far(cell)}" for cell in cells if cell.state != "waiting"]
    waiting = [_name(cell) for cell in cells if cell.state == "waiting"]
    told += [f"not begun: {', '.join(waiting)}"] if waiting else []
    return [f"{row.name}: {len(row.cells) - len(cells)} of {len(row.cells)} cells are done; {'; '.join(told)}"]


def _name(cell: Cell) -> str:
    return str(cell).removeprefix(f"{cell.row}, ").replace(", ", " ")  # commas are between names


def _how_far(cell: Cell) -> str:
    if (reason := cell.reason()) is not None:
        return f"failed ({reason})"
    return f"is at step {cell.steps_done()} of {cell.steps}"
