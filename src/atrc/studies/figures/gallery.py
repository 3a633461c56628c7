"""Which figures a study has the numbers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from atrc.studies.figures.results import draw_differences, draw_proportions, draw_resources, draw_retraining
from atrc.studies.figures.searches import draw_probabilities, draw_progress, draw_reliability
from atrc.studies.plan import slug
from atrc.studies.report import Report
from atrc.studies.searches import Search

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "resources": "Δm, parameters and multiply-adds of the networks; mean and sample standard deviation over seeds. "
    "Stars search, circles are their controls, diamonds distil otherwise. The numbers of Figure 5 of the paper.",
    "differences": "Difference to the control within seeds: mean with 95 % confidence interval (Student's t), filled "
    "where the interval excludes 0, and a marker for each seed.",
    "retraining": "Gain over the single-task networks of the same seed, positive is better: of the networks that "
    "searches end with, and of the same networks retrained from scratch; mean, sample standard deviation, and a marker "
    "for each seed. As Figure 4 of the paper.",
    "proportions": "Proportions of the context types that searches chose, n searches each. As Figure 7 of the paper.",
    "progress": "State and schedules of the searches.",
    "probabilities": "Probability of every context (rows are targets, columns sources); a line is thick once its "
    "block is fixed.",
    "reliability": "Percentage agreement on the context of every block, over all pairs of searches.",
}


@dataclass(frozen=True)
class Picture:
    """A figure of a report, or why there is none.

    Attributes:
        name: Of its files.
        row: The row that it is of; None if it is of the whole study.
        caption: What it shows.
        draw: Draws it.
        missing: Why it cannot be drawn; empty if it can.
    """

    name: str
    row: str | None
    caption: str
    draw: Callable[[], Figure]
    missing: str


def pictures(report: Report) -> Iterator[Picture]:
    """Yield all figures that a study of its kind can have."""
    found = report.measurements
    for kind, draw, missing in (_resources(report), _differences(report), _retraining(report), _proportions(report)):
        if kind != "differences" or found.control:
            yield Picture(kind, None, CAPTIONS[kind], draw, missing)
    for name, searches in report.searches.items():
        for kind, draw, missing in _of_searches(searches):
            yield Picture(f"{kind}-{slug(name)}", name, CAPTIONS[kind], draw, missing)


Draft = tuple[str, Callable[[], "Figure"], str]  # kind, what draws it, why it cannot


def _resources(report: Report) -> Draft:
    found = report.measurements
    rows = [row for row in found.rows if row is not found.baseline and row.of("delta_m")]
    drawn = [row for row in rows if row.of("parameters")]
    missing = "" if drawn else "no checkpoint to count is left" if rows else "no row has a Δm yet"
    return "resources", partial(draw_resources, drawn), missing


def _differences(report: Report) -> Draft:
    found = report.measurements
    names = [column.name for column in found.columns]
    rows = [row for row in found.rows if any(found.difference(row, name) for name in names)]
    return "differences", partial(draw_differences, found, rows), "" if rows else "no seed of the control and a row yet"


def _retraining(report: Report) -> Draft:
    found = report.measurements
    rows = [row for row in found.rows if found.task_gains(row.sampled)]
    searched = any(row.sampled for row in found.rows)
    missing = "no search has a single-task result of its seed" if searched else _no_search(report)
    return "retraining", partial(draw_retraining, found, rows), "" if rows else missing


def _proportions(report: Report) -> Draft:
    genotypes = {name: [s.genotype for s in searches if s.genotype] for name, searches in report.searches.items()}
    genotypes = {name: found for name, found in genotypes.items() if found}
    return "proportions", partial(draw_proportions, genotypes), "" if genotypes else _no_search(report, "for contexts")


def _of_searches(searches: list[Search]) -> Iterator[Draft]:
    contexts = [search for search in searches if search.genotype]
    genotypes = [search.genotype for search in searches if search.genotype]
    none = "" if searches else "no search is finished"
    branches = "it searches branches" if searches and not contexts else ""
    few = f"it needs two finished searches for contexts, there is {len(contexts) or 'none'}"
    yield "progress", partial(draw_progress, searches), none
    yield "probabilities", partial(draw_probabilities, contexts), branches or none
    yield "reliability", partial(draw_reliability, genotypes), "" if len(contexts) > 1 else branches or few


def _no_search(report: Report, what: str = "") -> str:
    kind = f"search {what}".strip()
    return f"no {kind} is finished" if report.searches else "no row searches"
