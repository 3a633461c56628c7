"""How the searches of a study went: traces, when blocks were fixed, how far seeds agree, what controls reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atrc.contexts import CONTEXTS
from atrc.genotype import Genotype, SearchSpace, block_agreement, mean_agreement
from atrc.studies.cells import Cell
from atrc.studies.measured import Measured, Measurements, Spread, paired_difference
from atrc.training.run.folder import read_table

Pair = tuple[str, str]  # target, source
TRACES = ("entropy", "temperature", "entropy_weight", "fixed")


@dataclass(frozen=True)
class Search:
    """One finished search.

    Attributes:
        seed: Its seed.
        steps: The steps that were logged.
        traces: Values at these steps: "entropy" (mean over the blocks [nat]), "temperature" and, for contexts,
            "entropy_weight" and "fixed" (number of blocks).
        probabilities: p_alpha at these steps, by pair and context; empty in a search for branches.
        margin: A block is fixed once its best probability exceeds the second by this much.
        genotype: What was found; None in a search for branches.
    """

    seed: int
    steps: list[int]
    traces: dict[str, list[float]]
    probabilities: dict[Pair, dict[str, list[float]]]
    margin: float
    genotype: Genotype | None

    def fixed_by(self) -> dict[Pair, int | None]:
        """Return the first logged step at which every block was fixed; None if it never was.

        A block is fixed as soon as the margin is reached, and its probabilities stay as they were then.
        """
        found: dict[Pair, int | None] = {}
        for pair, by_context in self.probabilities.items():
            ordered = [sorted(values) for values in zip(*by_context.values(), strict=True)]
            fixed = [values[-1] - values[-2] >= self.margin for values in ordered]
            found[pair] = next((step for step, is_fixed in zip(self.steps, fixed, strict=True) if is_fixed), None)
        return found


def read_searches(row: Measured) -> list[Search]:
    """Read the finished searches of a row, of every cell the last one before its training."""
    stages = [(cell, cell.stages[-2].name) for cell in row.cells if len(cell.stages) > 1]
    return [_read(cell, stage) for cell, stage in stages if (cell.folder / stage / "results.json").exists()]


def _read(cell: Cell, name: str) -> Search:
    run, search = cell.folder / name, cell.stages[-2].recipe.search
    table = read_table(run / "train.csv")
    traces = {key: [float(line[key]) for line in table] for key in TRACES if key in table[0]}
    contexts = search.space == "contexts"
    probabilities = _probabilities(read_table(run / "search.csv")) if contexts else {}
    genotype = Genotype.load(run / "genotype.json") if contexts else None
    return Search(cell.seed, [int(line["step"]) for line in table], traces, probabilities, search.lead, genotype)


def _probabilities(table: Sequence[Mapping[str, str]]) -> dict[Pair, dict[str, list[float]]]:
    found: dict[Pair, dict[str, list[float]]] = {}
    for name in table[0]:
        if name != "step":
            target, source, context = name.split("/")
            found.setdefault((target, source), {})[context] = [float(line[name]) for line in table]
    return found


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


def context_shares(genotypes: Sequence[Genotype]) -> dict[str, float]:
    """Return the share of every context [%] over all blocks of all genotypes.

    >>> context_shares([Genotype({"depth": {"depth": "local", "edge": "none"}})])["local"]
    50.0
    """
    counts = [genotype.counts() for genotype in genotypes]
    blocks = sum(sum(count.values()) for count in counts)
    return {context: 100 * sum(count[context] for count in counts) / blocks for context in CONTEXTS}


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
    """The difference in Delta_m [%] between a search and a control, paired by seed."""

    searched: str
    control: str
    difference: Spread

    def __str__(self) -> str:
        interval = "" if self.difference.interval is None else f" ± {self.difference.interval:.2f}"
        return f"{self.searched} against {self.control}: {self.difference.mean:+.2f}{interval} (n={self.difference.n})"


def contrasts(measurements: Measurements) -> list[Contrast]:
    """Compare every row that searches with its controls: random genotypes, and every uniform context.

    Controls are rows of the same backbone and neck.
    """
    found = []
    for row in measurements.rows:
        for control in measurements.rows:
            if row.row.search and row.cells and is_control(control, row):
                spread = paired_difference(row.of("delta_m"), control.of("delta_m"))
                found += [Contrast(row.name, control.name, spread)] if spread else []
    return found


def is_control(row: Measured, searched: Measured) -> bool:
    """Return whether a row is a control of a search: the same network with a genotype that nobody chose."""
    if row.row.search or not row.cells:
        return False
    own, other = (vars(one.cells[0].stages[-1].recipe.network) for one in (row, searched))
    same = all(own[key] == other[key] for key in own if key not in ("genotype", "branching"))
    genotype = str(own["genotype"])
    return same and own["distillation"] == "atrc" and (genotype in CONTEXTS or genotype.startswith("random"))
