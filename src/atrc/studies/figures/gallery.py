"""Which figures a study has the numbers for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from atrc.studies.figures.results import draw_differences, draw_proportions, draw_resources, draw_retraining
from atrc.studies.figures.searches import draw_probabilities, draw_progress, draw_reliability
from atrc.studies.measured import DELTA_M
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
class ReportFigure:
    """A figure of a report, or why it is missing.

    Attributes:
        name: Of its files.
        row: The row that it shows; None if it shows the whole study.
        caption: What it shows.
        draw: Draws it.
        missing: Why it cannot be drawn; empty if it can.
    """

    name: str
    row: str | None
    caption: str
    draw: Callable[[], Figure]
    missing: str


Draft = tuple[str, Callable[[], "Figure"], str]  # kind, what draws it, why it cannot be drawn


def report_figures(report: Report) -> Iterator[ReportFigure]:
    """Yield all figures that a study of its kind can have."""
    for kind, draw, missing in _of_study(report):
        yield ReportFigure(kind, None, CAPTIONS[kind], draw, missing)
    for name, searches in report.searches.items():
        for kind, draw, missing in _of_searches(searches):
            yield ReportFigure(f"{kind}-{slug(name)}", name, CAPTIONS[kind], draw, missing)


def _of_study(report: Report) -> Iterator[Draft]:
    found = report.measurements
    gained = [row for row in found.rows if row is not found.baseline and row.of(DELTA_M.name)]
    counted = [row for row in gained if row.of("parameters")]
    missing = "" if counted else "no checkpoint to count is left" if gained else "no row has a Δm yet"
    yield "resources", partial(draw_resources, counted), missing
    if found.control:
        compared = [row for row in found.rows if any(found.difference(row, c.name) for c in found.columns)]
        missing = "" if compared else "no row has a seed of the control yet"
        yield "differences", partial(draw_differences, found, compared), missing
    none = "no search{} is finished" if report.searches else "no row searches"
    sampled = [row for row in found.rows if found.task_gains(row.sampled)]
    unpaired = any(row.sampled for row in found.rows)
    missing = "no search has a single-task result of its seed" if unpaired else none.format("")
    yield "retraining", partial(draw_retraining, found, sampled), "" if sampled else missing
    genotypes = {name: [s.genotype for s in searches if s.genotype] for name, searches in report.searches.items()}
    genotypes = {name: own for name, own in genotypes.items() if own}
    yield "proportions", partial(draw_proportions, genotypes), "" if genotypes else none.format(" for contexts")


def _of_searches(searches: list[Search]) -> Iterator[Draft]:
    contexts = [search for search in searches if search.genotype]
    none = "" if searches else "no search is finished"
    branches = "it searches branches" if searches and not contexts else ""
    few = f"it needs two finished searches for contexts, there is {len(contexts) or 'none'}"
    genotypes = [search.genotype for search in searches if search.genotype]
    yield "progress", partial(draw_progress, searches), none
    yield "probabilities", partial(draw_probabilities, contexts), branches or none
    yield "reliability", partial(draw_reliability, genotypes), "" if len(contexts) > 1 else branches or few
