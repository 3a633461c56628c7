"""The paper's figures 4, 5 and 7, of a study's own numbers. Matplotlib is imported where it draws: it is slow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atrc.contexts import CONTEXTS, get_context
from atrc.genotype import Genotype
from atrc.studies.costs import Costs
from atrc.studies.figures.labels import place_labels
from atrc.studies.figures.style import (
    BLUE,
    COLUMN,
    GREY,
    ORANGE,
    VERMILION,
    fold,
    ink,
    new_figure,
)
from atrc.studies.measured import Measured, Measurements, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_retraining(measurements: Measurements, rows: Sequence[Measured]) -> Figure:
    """Draw the gain of every task over single task: sampled from the supergraph, and retrained.

    Source: Fig. 4.

    Args:
        measurements: The study's numbers.
        rows: The rows that search; one panel each.
    """
    from matplotlib.patches import Patch

    figure = new_figure(COLUMN, 0.35 + 1.5 * len(rows))
    panels = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    tasks = [column.task for column in measurements.columns]
    for panel, row in zip(panels, rows, strict=True):
        kinds = measurements.sampled_gains[row.name], measurements.task_gains[row.name]
        for i, (gains, colour) in enumerate(zip(kinds, (ORANGE, BLUE), strict=True)):
            _draw_bars(panel, i, [gains.get(task, {}) for task in tasks], colour)
        panel.axhline(0, color="black", linewidth=0.6)
        panel.axvline(len(tasks) - 0.5, color="0.7", linewidth=0.6)
        panel.set_title(fold(row.name, 50), loc="left")
        panel.set_xlim(-0.5, len(tasks) + 0.5)
        panel.set_xticks(range(len(tasks) + 1), [*(task.replace("_", "\n") for task in tasks), "Δm"])
        panel.tick_params(axis="x", length=0)
        panel.spines["bottom"].set_visible(False)
    figure.supylabel("gain over single task [%]", fontsize=7)
    handles = [Patch(color=ORANGE, label="sampled from the supergraph"), Patch(color=BLUE, label="retrained")]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _draw_bars(axes: Axes, i: int, by_task: Sequence[Mapping[int, float]], colour: str) -> None:
    """Draw the bars of all tasks, and of their mean, with a dot for every seed."""
    seeds = [seed for seed in by_task[0] if all(seed in gains for gains in by_task)]
    means = {seed: float(np.mean([gains[seed] for gains in by_task])) for seed in seeds}
    groups = [list(gains.values()) for gains in (*by_task, means)]
    for x, values in enumerate(groups):
        if not (spread := Spread.of(values)):
            continue
        place = x + (i - 0.5) * 0.38
        axes.bar(place, spread.mean, 0.34, color=colour)
        if spread.std is not None:
            axes.errorbar(place, spread.mean, spread.std, color="black", linewidth=0.8, capsize=2, capthick=0.8)
            beside = place + np.linspace(-0.08, 0.08, len(values))
            axes.plot(beside, values, "o", color="white", markeredgecolor="black", markersize=2, markeredgewidth=0.4)


FIGURE_SPACE = "\u2007"  # as wide as a digit
HALF = 21  # letters of a name for which half a column has room


@dataclass(frozen=True)
class Look:
    """How the point of a row is drawn: by what kind of system it is."""

    marker: str
    face: str
    edge: str
    size: float = 4.5


def look_of(row: Measured) -> Look:
    """Choose a row's marker: stars search, round ones are its controls, in the colour of a uniform context."""
    network = row.cells[0].stages[-1].recipe.network
    if row.row.search:
        return Look("*", VERMILION, VERMILION, 7.5)
    if network.distillation == "atrc" and network.genotype in CONTEXTS:
        return Look("o", get_context(network.genotype).colour, get_context(network.genotype).colour)
    if network.distillation == "atrc" and str(network.genotype).startswith("random"):
        return Look("o", "white", "black")
    return Look("s", "black", "black", 4.0) if network.distillation == "none" else Look("D", GREY, GREY, 3.8)


def draw_resources(measurements: Measurements, costs: Mapping[str, Costs], rows: Sequence[Measured]) -> Figure:
    """Draw Delta_m over parameters and over multiply-adds: a numbered point for every row, with its deviation.

    Source: Fig. 5. Single task is the line at 0.

    Args:
        measurements: The study's numbers.
        costs: What the rows' networks cost.
        rows: The rows to draw, which have a Delta_m and costs.
    """
    from matplotlib.lines import Line2D

    names = [fold(row.name, 50) for row in rows]
    columns = 2 if max(map(len, names)) <= HALF else 1
    lines = sum(1 + name.count("\n") for name in names)  # of the key
    figure = new_figure(COLUMN, 2.1 + 0.125 * (lines // columns + 1))
    panels = figure.subplots(1, 2, sharey=True)
    gains = [_known(measurements.gains[row.name].values()) for row in rows]
    looks = [look_of(row) for row in rows]
    numbers = [str(i) for i in range(1, len(rows) + 1)]
    width = len(numbers[-1])
    handles = [
        Line2D([], [], linestyle="", marker=look.marker, color=look.face, markeredgecolor=look.edge,
               markersize=look.size, markeredgewidth=0.7, label=f"{number.rjust(width, FIGURE_SPACE)}  {name}")
        for look, number, name in zip(looks, numbers, names, strict=True)
    ]  # fmt: skip
    zero: dict[str, Any] = {"color": "0.4", "linewidth": 0.7, "linestyle": (0, (4, 2))}
    handles.append(Line2D([], [], **zero, label=" " * width + "single task"))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.0, handletextpad=0.3)
    drawn = []
    for panel, field, scale in zip(panels, ("parameters", "multiply_adds"), (1e6, 1e9), strict=True):
        sizes = [_known(n / scale for n in getattr(costs[row.name], field).values()) for row in rows]
        drawn.append((panel, *_draw_points(panel, sizes, gains, looks)))
        panel.axhline(0, **zero, zorder=0)
        panel.margins(0.14, 0.12)
    panels[0].set(xlabel="parameters [M]", ylabel="Δm [%]")
    panels[1].set(xlabel="multiply-adds [G]")
    figure.draw_without_rendering()  # labels are placed in the panels' final sizes
    for panel, points, spreads in drawn:
        place_labels(panel, points, spreads, numbers)
    return figure


def _draw_points(
    axes: Axes, sizes: Sequence[Spread], gains: Sequence[Spread], looks: Sequence[Look]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points with error bars; return where they are, and half the bars' lengths."""
    points = np.array([(size.mean, gain.mean) for size, gain in zip(sizes, gains, strict=True)])
    spreads = np.array([(size.std or 0.0, gain.std or 0.0) for size, gain in zip(sizes, gains, strict=True)])
    for (x, y), (dx, dy), look in zip(points, spreads, looks, strict=True):
        axes.errorbar(x, y, dy or None, dx or None, color=look.edge, linewidth=0.7, capsize=1.5, capthick=0.7)
        axes.plot(x, y, look.marker, color=look.face, markeredgecolor=look.edge, markersize=look.size,
                  markeredgewidth=0.7, clip_on=False)  # fmt: skip
    return points, spreads


def _known(values: Iterable[float]) -> Spread:
    spread = Spread.of(values)
    assert spread is not None, "a row without numbers is not drawn"
    return spread


def context_shares(genotypes: Sequence[Genotype]) -> dict[str, float]:
    """Return the share of every context [%] over all blocks of all genotypes.

    >>> context_shares([Genotype({"depth": {"depth": "local", "edge": "none"}})])["local"]
    50.0
    """
    counts = [genotype.counts() for genotype in genotypes]
    blocks = sum(sum(count.values()) for count in counts)
    return {context: 100 * sum(count[context] for count in counts) / blocks for context in CONTEXTS}


def draw_proportions(found: Mapping[str, Sequence[Genotype]]) -> Figure:
    """Draw the proportions of the context types that searches chose, one bar for every row.

    Source: Fig. 7.

    Args:
        found: The genotypes of every row's finished searches.
    """
    runs = [fold(f"{name} (n={len(genotypes)})", 24) for name, genotypes in found.items()]
    figure = new_figure(COLUMN, 0.75 + max(0.33, 0.11 * max(1 + run.count("\n") for run in runs)) * len(runs))
    axes = figure.subplots()
    for y, genotypes in enumerate(found.values()):
        left = 0.0
        for context, share in context_shares(genotypes).items():
            colour = get_context(context).colour
            label = get_context(context).title if y == 0 else None
            axes.barh(y, share, 0.62, left=left, color=colour, edgecolor="white", linewidth=0.6, label=label)
            if share:
                _print_share(axes, left + share / 2, y, share, ink(colour))
            left += share
    axes.set(xlim=(0, 100), xlabel="share of the blocks [%]", yticks=range(len(found)), yticklabels=runs)
    axes.set_ylim(len(found) - 0.5, -0.55)
    axes.spines[["left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, columnspacing=0.9, handlelength=0.8,
                  handletextpad=0.4)  # fmt: skip
    return figure


def _print_share(axes: Axes, x: float, y: int, share: float, colour: str) -> None:
    """Print a share in its segment, or above if that is too narrow for it."""
    text = f"{share:.1f}" if share >= 9 else f"{share:.0f}"
    inside = share >= 4
    axes.text(x, y if inside else y - 0.34, text, ha="center", va="center_baseline" if inside else "bottom",
              color=colour if inside else "black", fontsize=6)  # fmt: skip
