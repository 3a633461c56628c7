"""Which figures a study has the numbers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from atrc.studies.figures.results import draw_proportions, draw_resources, draw_retraining
from atrc.studies.figures.searches import draw_probabilities, draw_progress, draw_reliability
from atrc.studies.plan import slug
from atrc.studies.report import Report
from atrc.studies.searches import Search

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure of a report, or why there is none.

    Attributes:
        name: Of its files.
        row: The row that it is of; None if it is of the whole study.
        caption: What it shows.
        draw: Draws it.
        missing: Why it cannot be drawn.
    """

    name: str
    row: str | None
    caption: str
    draw: Callable[[], Figure] | None = None
    missing: str = ""


def pictures(report: Report) -> Iterator[Picture]:
    """Yield all figures that a study of its kind can have."""
    yield _resources(report)
    yield _retraining(report)
    yield _proportions(report)
    for name, searches in report.searches.items():
        yield from _of_searches(name, searches)


def _resources(report: Report) -> Picture:
    """Figure 5."""
    caption = (
        "Δm over parameters and multiply-adds of the networks; mean and sample standard deviation over seeds. "
        "Stars search, circles are their controls, diamonds distil otherwise. As Figure 5 of the paper."
    )
    found = report.measurements
    rows = [row for row in found.rows if row is not found.baseline and found.gains.get(row.name)]
    drawn = [row for row in rows if report.costs[row.name].parameters]
    if not drawn:
        reason = "no row has a Δm yet" if not rows else "no checkpoint to count is left"
        return Picture("resources", None, caption, missing=reason)
    return Picture("resources", None, caption, partial(draw_resources, found, report.costs, drawn))


def _retraining(report: Report) -> Picture:
    """Figure 4."""
    caption = (
        "Gain over the single-task networks of the same seed, positive is better: of the networks that searches ended "
        "with, and of the same after retraining from scratch; mean and sample standard deviation, a dot for each "
        "seed. As Figure 4 of the paper."
    )
    found = report.measurements
    rows = [row for row in found.rows if found.sampled_gains[row.name]]
    if not rows:
        searched = any(row.sampled for row in found.rows)
        reason = "no search has a single-task result of its seed" if searched else _no_search(report)
        return Picture("retraining", None, caption, missing=reason)
    return Picture("retraining", None, caption, partial(draw_retraining, found, rows))


def _proportions(report: Report) -> Picture:
    """Figure 7."""
    caption = "Proportions of the context types that searches chose, n searches each. As Figure 7 of the paper."
    genotypes = {
        name: [search.genotype for search in searches if search.genotype] for name, searches in report.searches.items()
    }
    genotypes = {name: found for name, found in genotypes.items() if found}
    if not genotypes:
        return Picture("proportions", None, caption, missing=_no_search(report, "for contexts"))
    return Picture("proportions", None, caption, partial(draw_proportions, genotypes))


def _of_searches(name: str, searches: list[Search]) -> Iterator[Picture]:
    captions = {
        "progress": "State and schedules of the searches, a line for each seed.",
        "probabilities": "Probability of every context (rows are targets, columns sources), a line for each seed; "
        "a dot where a block was fixed.",
        "reliability": "Percentage agreement on the context of every block, over all pairs of searches.",
    }
    contexts = [search for search in searches if search.genotype]
    genotypes = [search.genotype for search in searches if search.genotype]
    branches = "it searches branches" if searches and not contexts else ""
    few = f"it needs two finished searches for contexts, there is {len(contexts) or 'none'}"
    draws: dict[str, tuple[Callable[[], Figure], str]] = {
        "progress": (partial(draw_progress, searches), "" if searches else "no search is finished"),
        "probabilities": (
            partial(draw_probabilities, contexts),
            "" if contexts else branches or "no search is finished",
        ),
        "reliability": (partial(draw_reliability, genotypes), "" if len(contexts) > 1 else branches or few),
    }
    for kind, (draw, missing) in draws.items():
        yield Picture(f"{kind}-{slug(name)}", name, captions[kind], None if missing else draw, missing)


def _no_search(report: Report, what: str = "") -> str:
    kind = f"search {what}".strip()
    return f"no {kind} is finished" if report.searches else "no row searches"
