"""What the trained networks of a study cost, counted from their checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from atrc.errors import UserError
from atrc.studies.cells import Cell
from atrc.studies.measured import Measured
from atrc.training.resources import count_multiply_adds, count_parameters
from atrc.training.run.checkpoint import Checkpoint

Count = tuple[int, int]  # parameters, multiply-adds of one image


@dataclass(frozen=True)
class Costs:
    """Parameters and multiply-adds of a row's networks, by seed; single-task networks are added up.

    Attributes:
        parameters: By seed.
        multiply_adds: By seed; convolutions, matrix products and attention of one image at the size of evaluation.
        notes: What could not be counted, and why.
    """

    parameters: dict[int, int] = field(default_factory=dict)
    multiply_adds: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Counter:
    """Counts cells; what has the same architecture is counted once."""

    def __init__(self, tell: Callable[[str], object] = lambda name: None) -> None:
        """Count nothing yet.

        Args:
            tell: Called with the name of every cell that is counted.
        """
        self.tell = tell
        self.known: dict[str, Count] = {}

    def row(self, row: Measured) -> Costs:
        """Count a row's networks, of seeds whose cells are all done."""
        costs, unknown = Costs(), {}
        for seed in row.seconds:
            try:
                counts = [self.cell(cell) for cell in row.cells if cell.seed == seed]
            except UserError as error:
                unknown[seed] = str(error)
                continue
            costs.parameters[seed] = sum(parameters for parameters, _ in counts)
            costs.multiply_adds[seed] = sum(multiply_adds for _, multiply_adds in counts)
        if unknown:
            seeds, reason = ", ".join(map(str, unknown)), next(iter(unknown.values()))
            costs.notes.append(f"{row.name}: parameters and multiply-adds are unknown of seed {seeds}: {reason}")
        return costs

    def cell(self, cell: Cell) -> Count:
        """Count the network of a cell."""
        key = _architecture(cell)
        if key not in self.known:
            self.tell(str(cell))
            network = Checkpoint.load(cell.run.checkpoint).build()
            height, width = cell.stages[-1].recipe.data.crop
            self.known[key] = count_parameters(network), count_multiply_adds(network, (height, width))
        return self.known[key]


def _architecture(cell: Cell) -> str:
    """Return what a cell's counts depend on, as text."""
    recipe, run = cell.stages[-1].recipe, cell.run
    found = [file.read_text(encoding="utf-8") for file in (run.genotype, run.branching) if file.exists()]
    data = [recipe.data.crop, [cell.task] if cell.task else recipe.data.tasks]
    # The run's own genotype, too: the recipe may name a file, or ask for a random one. It also has the step, which
    # only costs a second count where it differs.
    return json.dumps([vars(recipe.network), data, found])
