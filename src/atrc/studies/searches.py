"""How the searches of a study went: traces, when blocks were fixed, how far seeds agree, what controls reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atrc.contexts import CONTEXTS
from atrc.genotype import Genotype, SearchSpace
from atrc.studies.cells import Cell
from atrc.studies.measured import Measured, Measurements, Spread
from atrc.training.run.folder import read_table

Pair = tuple[str, str]  # target, source


@dataclass(frozen=True)
class Search:
    """One finished search.

    Attributes:
        seed: Its seed.
        steps: The steps that were logged.
        traces: Values at these steps: "entropy" (mean over the blocks [nat]), "temperature" and, of contexts,
            "entropy_weight" and "fixed" (number of blocks).
        probabilities: p_alpha at these steps, by pair and context; empty in a search for branches.
        lead: A block is fixed once its best probability leads the second by this much.
        genotype: What was found; None in a search for branches.
    """

    seed: int
    steps: list[int]
    traces: dict[str, list[float]]
    probabilities: dict[Pair, dict[str, list[float]]]
    lead: float
    genotype: Genotype | None

    def fixed_by(self) -> dict[Pair, int | None]:
        """Return the first logged step at which every block was fixed; None if it never was.

        A block is fixed as soon as it leads, and stays as it was then: so what leads in a row of the log is fixed.
        """
        return {pair: next((step for step, lead in zip(self.steps, _leads(p), strict=True) if lead >= self.lead), None)
                for pair, p in self.probabilities.items()}  # fmt: skip


def read_searches(row: Measured) -> list[Search]:
    """Read the finished searches of a row, of every cell the last one before its training."""
    stages = [(cell, cell.stages[-2]) for cell in row.cells if len(cell.stages) > 1]
    return [_read(cell, stage.name) for cell, stage in stages if (cell.folder / stage.name / "results.json").exists()]


def _read(cell: Cell, name: str) -> Search:
    run, recipe = cell.folder / name, cell.stages[-2].recipe
    table = read_table(run / "train.csv")
    known = ("entropy", "temperature", "entropy_weight", "fixed")
    traces = {key: [float(line[key]) for line in table] for key in known if key in table[0]}
    contexts = recipe.search.space == "contexts"
    probabilities = _probabilities(read_table(run / "search.csv")) if contexts else {}
    genotype = Genotype.load(run / "genotype.json") if contexts else None
    steps = [int(line["step"]) for line in table]
    return Search(cell.seed, steps, traces, probabilities, recipe.search.lead, genotype)


def _probabilities(table: Sequence[Mapping[str, str]]) -> dict[Pair, dict[str, list[float]]]:
    found: dict[Pair, dict[str, list[float]]] = {}
    for name in table[0]:
        if name != "step":
            target, source, context = name.split("/")
            found.setdefault((target, source), {})[context] = [float(line[name]) for line in table]
    return found


def _leads(probabilities: Mapping[str, Sequence[float]]) -> list[float]:
    """Return by how much the best probability leads the second, at every step."""
    ordered = [sorted(values) for values in zip(*probabilities.values(), strict=True)]
    return [values[-1] - values[-2] for values in ordered]


def chance_agreement(tasks: Sequence[str]) -> float:
    """Return the agreement in [0, 1] that genotypes drawn at random have on average.

    >>> round(chance_agreement(["semseg", "depth"]), 3)  # of 4 candidates on the diagonal, 5 elsewhere
    0.225
    """
    space = SearchSpace(tuple(tasks))
    shares = [1 / len(space.candidates(target, source)) for target in tasks for source in tasks]
    return sum(shares) / len(shares)


@dataclass(frozen=True)
class Contrast:
    """What a search gains over a control, in Delta_m [%], paired by seed."""

    searched: str
    control: str
    difference: Spread

    def __str__(self) -> str:
        std = "" if self.difference.std is None else f" ± {self.difference.std:.2f}"
        return f"{self.searched} against {self.control}: {self.difference.mean:+.2f}{std} (n={self.difference.n})"


def contrasts(measurements: Measurements) -> list[Contrast]:
    """Compare every row that searches with its controls: random genotypes, and every uniform context.

    Controls are rows of the same backbone and neck.
    """
    found = []
    for row in measurements.rows:
        for control in measurements.rows:
            if row.row.search and row.cells and is_control(control, row):
                ours, theirs = (measurements.gains.get(one.name, {}) for one in (row, control))
                spread = Spread.of(ours[seed] - theirs[seed] for seed in ours if seed in theirs)
                if spread:
                    found.append(Contrast(row.name, control.name, spread))
    return found


def is_control(row: Measured, searched: Measured) -> bool:
    """Return whether a row is what a search has to beat: the same network with a genotype that nobody chose."""
    if row.row.search or not row.cells:
        return False
    own, other = _network(row), _network(searched)
    alike = all(own[key] == other[key] for key in own if key not in ("genotype", "branching"))
    genotype = str(own["genotype"])
    return alike and own["distillation"] == "atrc" and (genotype in CONTEXTS or genotype.startswith("random"))


def _network(row: Measured) -> dict[str, Any]:
    return vars(row.cells[0].stages[-1].recipe.network)
