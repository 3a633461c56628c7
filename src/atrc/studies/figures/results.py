"""Figures of a study's results: 4, 5 and 7 of the paper, and differences to a control.

Matplotlib is imported where it draws: it is slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atrc.contexts import CONTEXTS, get_context
from atrc.genotype import Genotype
from atrc.studies.figures.style import (
    BLUE,
    COLUMN,
    GREY,
    ORANGE,
    PAGE,
    VERMILION,
    fold,
    ink,
    new_figure,
    seed_legend,
    seed_marker,
)
from atrc.studies.measured import COSTS, DELTA_M, Measured, Measurements, Spread
from atrc.studies.searches import context_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = 24  # letters of a row's name that have room on a line
LINE = 0.125  # height of such a line [in]


def draw_resources(rows: Sequence[Measured]) -> Figure:
    """Draw Delta_m, parameters and multiply-adds, a line for every row.

    Source: Fig. 5, as lines: systems of almost the same size would cover each other in a scatter plot.
    """
    names = [fold(row.name, NAME) for row in rows]
    figure = new_figure(COLUMN, 0.55 + sum(max(0.19, LINE * (1 + name.count("\n"))) for name in names))
    panels = figure.subplots(1, 3, sharey=True, width_ratios=(1.7, 1, 1))
    for y, row in enumerate(rows):
        if gain := row.spread(DELTA_M.name):
            marker, face, edge = look_of(row)
            panels[0].errorbar(gain.mean, y, xerr=gain.std, fmt=marker, color=face, ecolor=edge, markeredgecolor=edge,
                               markersize=7 if marker == "*" else 4, linewidth=0.8, capsize=1.5)  # fmt: skip
        for panel, quantity, scale in zip(panels[1:], COSTS, (1e6, 1e9), strict=True):
            if size := Spread.of(value / scale for value in row.of(quantity.name).values()):
                panel.barh(y, size.mean, 0.62, color="0.82", xerr=size.std, error_kw={"linewidth": 0.6})
                panel.text(0, y, f" {size.mean:.2f}", va="center_baseline", fontsize=6)
    panels[0].axvline(0, color="0.4", linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    for panel, label in zip(panels, ("Δm [%]", "params [M]", "MAdds [G]"), strict=True):
        panel.set_title(label, loc="left")
    _name_rows(panels, names)
    return figure


def draw_differences(measurements: Measurements, rows: Sequence[Measured]) -> Figure:
    """Draw what every row has more than the control within seeds, by metric: mean, 95 % interval and seeds.

    Axes run so that better is to the right. A mean is filled if its interval excludes 0.
    """
    metrics = [*measurements.columns, DELTA_M]
    metrics = [q for q in metrics if any(measurements.difference(row, q.name) for row in rows)]
    control, seeds = measurements.control, measurements.study.seeds
    assert control is not None, "differences need a control"
    names = [fold(row.name, NAME) for row in rows]
    lane = 1 / (2.5 + len(seeds))  # of a seed, in rows
    figure = new_figure(PAGE, 0.95 + 0.058 / lane * len(rows))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for panel, quantity in zip(panels, metrics, strict=True):
        base = control.of(quantity.name)
        for y, row in enumerate(rows):
            if spread := measurements.difference(row, quantity.name):
                face = BLUE if spread.interval is not None and abs(spread.mean) > spread.interval else "white"
                panel.errorbar(spread.mean, y - 0.5 + 1.2 * lane, xerr=spread.interval, fmt="o", color=face,
                               ecolor=BLUE, markeredgecolor=BLUE, markersize=3.5, linewidth=1.0, capsize=2)  # fmt: skip
                for seed, value in row.of(quantity.name).items():
                    if seed in base:
                        i = seeds.index(seed)
                        panel.plot(value - base[seed], y - 0.5 + (2.2 + i) * lane, **seed_marker(i))
        panel.axvline(0, color="0.4", linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
        panel.margins(x=0.12)
        if quantity.higher_is_better is False:
            panel.invert_xaxis()
        name = "Δm" if quantity is DELTA_M else f"{quantity.name} {quantity.metric}"
        panel.set_title(f"{name} [{quantity.unit}]", loc="left")
    _name_rows(panels, names)
    figure.suptitle(f"difference to {control.name} within seeds (right is better)", fontsize=7)
    figure.legend(handles=seed_legend(seeds), loc="outside lower center", ncols=len(seeds))
    return figure


def _name_rows(panels: Sequence[Axes], names: Sequence[str]) -> None:
    """Write the names of the rows at the left of the first panel, and leave one line under each panel."""
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.45, -0.55)
    for panel in panels:
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)
        for y in range(1, len(names)):
            panel.axhline(y - 0.5, color="0.92", linewidth=0.5, zorder=0)


def look_of(row: Measured) -> tuple[str, str, str]:
    """Return marker, face and edge of a row: stars search, circles control, coloured by their context."""
    network = row.cells[0].stages[-1].recipe.network
    if row.row.search:
        return "*", VERMILION, VERMILION
    if network.distillation == "atrc" and network.genotype in CONTEXTS:
        return "o", get_context(network.genotype).colour, get_context(network.genotype).colour
    if network.distillation == "atrc" and str(network.genotype).startswith("random"):
        return "o", "white", "black"
    return ("s", "black", "black") if network.distillation == "none" else ("D", GREY, GREY)


def draw_retraining(measurements: Measurements, rows: Sequence[Measured]) -> Figure:
    """Draw the gain of every task over single task: sampled from the supergraph, and retrained.

    Source: Fig. 4.

    Args:
        measurements: The study's numbers.
        rows: The rows that search; one panel each.
    """
    from matplotlib.patches import Patch

    figure = new_figure(COLUMN, 0.45 + 1.5 * len(rows))
    panels = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    tasks, seeds = [column.name for column in measurements.columns], measurements.study.seeds
    for panel, row in zip(panels, rows, strict=True):
        for i, (results, colour) in enumerate(((row.sampled, ORANGE), (row.results, BLUE))):
            gains = measurements.task_gains(results)
            _draw_bars(panel, i, [gains.get(task, {}) for task in tasks], seeds, colour)
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
    figure.legend(handles=seed_legend(seeds), loc="outside lower center", ncols=len(seeds))
    return figure


def _draw_bars(
    axes: Axes, side: int, by_task: Sequence[Mapping[int, float]], seeds: Sequence[int], colour: str
) -> None:
    """Draw the bars of all tasks, and of their mean, with the deviation and a marker for every seed."""
    common = [seed for seed in by_task[0] if all(seed in gains for gains in by_task)]
    means = {seed: float(np.mean([gains[seed] for gains in by_task])) for seed in common}
    places = np.linspace(-0.06, 0.16, len(seeds)) if len(seeds) > 1 else np.zeros(1)
    for x, gains in enumerate([*by_task, means]):
        if not (spread := Spread.of(gains.values())):
            continue
        centre = x + (side - 0.5) * 0.44
        axes.bar(centre, spread.mean, 0.42, color=colour)
        if spread.std is None:
            continue
        axes.errorbar(centre - 0.15, spread.mean, spread.std, color="black", linewidth=0.7, capsize=1.5, capthick=0.7)
        for seed, gain in gains.items():
            i = seeds.index(seed)
            axes.plot(centre + places[i], gain, **seed_marker(i))


def draw_proportions(found: Mapping[str, Sequence[Genotype]]) -> Figure:
    """Draw the proportions of the context types that searches chose, one bar for every row.

    Source: Fig. 7.

    Args:
        found: The genotypes of every row's finished searches.
    """
    names = [fold(f"{name} (n={len(genotypes)})", NAME) for name, genotypes in found.items()]
    lines = max(1 + name.count("\n") for name in names)
    figure = new_figure(COLUMN, 0.75 + max(0.33, 0.11 * lines) * len(names))
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
    axes.set(xlim=(0, 100), xlabel="share of the blocks [%]", yticks=range(len(found)), yticklabels=names)
    axes.set_ylim(len(found) - 0.5, -0.55)
    axes.spines[["left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, columnspacing=0.9, handlelength=0.8,
                  handletextpad=0.4)  # fmt: skip
    return figure


def _print_share(axes: Axes, x: float, y: int, share: float, colour: str) -> None:
    """Print a share in its segment, or above a segment that is too narrow for it."""
    text = f"{share:.1f}" if share >= 9 else f"{share:.0f}"
    inside = share >= 4
    axes.text(x, y if inside else y - 0.34, text, ha="center", va="center_baseline" if inside else "bottom",
              color=colour if inside else "black", fontsize=6)  # fmt: skip
