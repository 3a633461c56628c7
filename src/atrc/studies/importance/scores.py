"""Source-task importance: what a network loses when one block's output is permuted over the images."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from atrc.errors import UserError
from atrc.metrics.functional import delta_m
from atrc.studies.measured import Spread
from atrc.training.evaluation.evaluate import Result, results_to_dict

Pair = tuple[str, str]  # target, source


@dataclass(frozen=True)
class Importance:
    """What a network scores, and what it scores with the output of one block permuted over the images.

    Attributes:
        contexts: The context of every (target, source); "none" where there is no block.
        results: The network's own results.
        permuted: By block, the target's metric under every permutation.
    """

    contexts: dict[Pair, str]
    results: dict[str, Result]
    permuted: dict[Pair, list[float]]

    @property
    def own(self) -> dict[str, float]:
        """The network's own results, by task."""
        return {task: result.value for task, result in self.results.items()}

    def drops(self, baseline: Mapping[str, float] | None = None) -> dict[Pair, list[float]]:
        """Return the drop in Delta_m [%] of every permutation of every block; 0 where there is no block.

        Args:
            baseline: The single-task results that Delta_m is against; the network's own if not given.

        Raises:
            UserError: A task has no result, or the baseline lacks it.
        """
        own = self.own
        higher = {task: result.higher_is_better for task, result in self.results.items()}
        whole = delta_m(own, baseline or own, higher)
        drops: dict[Pair, list[float]] = {}
        for target, source in self.contexts:
            values = self.permuted.get((target, source), [own[target]])
            drops[target, source] = [whole - delta_m(own | {target: v}, baseline or own, higher) for v in values]
        return drops

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        blocks = [
            {"target": target, "source": source, "context": context, "values": self.permuted.get((target, source), [])}
            for (target, source), context in self.contexts.items()
        ]
        return {"results": results_to_dict(self.results), "blocks": blocks}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Importance:
        """Undo `to_dict`."""
        blocks = {(block["target"], block["source"]): block for block in content["blocks"]}
        return cls(
            {pair: block["context"] for pair, block in blocks.items()},
            {task: Result(**fields) for task, fields in content["results"].items()},
            {pair: list(block["values"]) for pair, block in blocks.items() if block["values"]},
        )


@dataclass(frozen=True)
class RowImportance:
    """The importance of blocks in a row of a study, or in some runs.

    Attributes:
        name: Of the row.
        seeds: Of its runs.
        runs: Their importance.
        baselines: The single-task results that the Delta_m of every run is against; its own results if None.
        agreement: The share of pairs of searches that chose the same context, of every block; None with fewer than two
            searches.
        searches: Their number.
    """

    name: str
    seeds: list[int]
    runs: list[Importance]
    baselines: list[dict[str, float]] | None = None
    agreement: dict[Pair, float] | None = None
    searches: int = 0

    @cached_property
    def table(self) -> dict[Pair, Spread]:
        """The drop in Delta_m [%] of every block: over the means of runs, or over the permutations of a single run.

        Raises:
            UserError: The runs have different tasks.
        """
        contexts = self.runs[0].contexts
        if any(other.contexts.keys() != contexts.keys() for other in self.runs):
            raise UserError("importance is averaged over runs of the same tasks; these differ in theirs")
        bases = self.baselines or [run.own for run in self.runs]
        drops = [run.drops(base) for run, base in zip(self.runs, bases, strict=True)]
        found = {}
        for pair in contexts:
            values = [statistics.fmean(run[pair]) for run in drops] if len(drops) > 1 else drops[0][pair]
            std = statistics.stdev(values) if len(values) > 1 else 0.0
            found[pair] = Spread(statistics.fmean(values), std, len(values))
        return found

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of importance and agreement over the blocks; None if unknown, or if one does not vary.

        Source: Sec. 4.4.
        """
        if self.agreement is None:
            return None
        return correlation({pair: drop.mean for pair, drop in self.table.items()}, self.agreement)

    def contexts(self, pair: Pair) -> list[str]:
        """Return the contexts of a block in the runs."""
        return [run.contexts[pair] for run in self.runs]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        blocks = [
            {"target": pair[0], "source": pair[1], "mean": drop.mean, "std": drop.std, "contexts": self.contexts(pair)}
            | ({} if self.agreement is None else {"agreement": self.agreement[pair]})
            for pair, drop in self.table.items()
        ]
        return {
            "name": self.name,
            "seeds": self.seeds,
            "relative_to": "own results" if self.baselines is None else "single-task results",
            "blocks": blocks,
            "searches": self.searches,
            "correlation": self.correlation,
        }


def correlation(one: Mapping[Pair, float], other: Mapping[Pair, float]) -> float | None:
    """Return the Pearson correlation of two numbers of every block; None where one does not vary.

    >>> correlation({("a", "a"): 1.0, ("a", "b"): 2.0}, {("a", "b"): 0.1, ("a", "a"): 0.3})
    -1.0
    """
    x, y = [one[pair] for pair in one], [other[pair] for pair in one]
    if min(len(set(x)), len(set(y))) < 2:
        return None
    return round(statistics.correlation(x, y), 12)
