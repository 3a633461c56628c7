"""Figures of how searches went: probabilities, schedules and entropy, and where the seeds agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atrc.contexts import get_context
from atrc.genotype import Genotype, block_agreement, mean_agreement
from atrc.studies.figures.style import BLUE, COLUMN, ORANGE, ink, new_figure, plain_axes
from atrc.studies.searches import Search

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "entropy": "mean entropy [nat]",
    "temperature": "temperature",
    "entropy_weight": "entropy weight",
    "fixed": "blocks fixed",
}


def draw_progress(searches: Sequence[Search]) -> Figure:
    """Draw entropy, temperature, entropy weight and the number of fixed blocks over the steps, a line for each seed."""
    names = [name for name in TITLES if name in searches[0].traces]
    rows = -(-len(names) // 2)
    figure = new_figure(COLUMN, 0.35 + 1.05 * rows)
    panels = figure.subplots(rows, 2, sharex=True, squeeze=False)
    for panel, name in zip(panels.flat, names, strict=False):
        for search in searches:
            # Schedules are the same for every seed.
            colour = BLUE if name in ("entropy", "fixed") else ORANGE
            panel.plot(search.steps, search.traces[name], color=colour, linewidth=0.8, alpha=0.8)
        panel.set_title(TITLES[name], loc="left")
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    _limit(panels.flat, names, searches[0])
    for panel in panels[-1]:
        panel.set_xlabel("step")
    return figure


def _limit(panels: Iterable[Axes], names: Sequence[str], search: Search) -> None:
    for panel, name in zip(panels, names, strict=False):
        if name == "entropy_weight":
            panel.axhline(0, color="0.6", linewidth=0.5, zorder=0)
        elif name == "fixed":
            panel.set_ylim(0, 1.05 * len(search.probabilities))
            panel.set_title(f"blocks fixed, of {len(search.probabilities)}", loc="left")
        else:
            panel.set_ylim(bottom=0)


def draw_probabilities(searches: Sequence[Search]) -> Figure:
    """Draw p_alpha of every block's candidates over the steps; a line for each seed, a mark where a block was fixed."""
    from matplotlib.lines import Line2D

    pairs = searches[0].probabilities
    targets, sources = (list(dict.fromkeys(pair[i] for pair in pairs)) for i in (0, 1))
    figure = new_figure(COLUMN, 0.55 + 0.68 * len(targets))
    panels = figure.subplots(len(targets), len(sources), sharex=True, sharey=True, squeeze=False)
    for (target, source), panel in zip(pairs, panels.flat, strict=True):
        for search in searches:
            _draw_block(panel, search, (target, source))
    for panel, source in zip(panels[0], sources, strict=True):
        panel.set_title(source.replace("_", "\n"), fontsize=6.5)
    for panel, target in zip(panels[:, 0], targets, strict=True):
        panel.set_ylabel(target.replace("_", "\n"))
    last = max(search.steps[-1] for search in searches)
    panels[0, 0].set(ylim=(0, None), yticks=(0, 0.5), yticklabels=("0", "0.5"), xlim=(0, last), xticks=(0, last))
    for panel in panels.flat:
        panel.tick_params(labelsize=6)
    for panel in panels[-1]:  # the ends of neighbours' axes would touch
        for label, side in zip(panel.get_xticklabels(), ("left", "right"), strict=True):
            label.set_horizontalalignment(side)
    contexts = list(dict.fromkeys(context for candidates in pairs.values() for context in candidates))
    handles = [Line2D([], [], color=get_context(c).colour, linewidth=2, label=get_context(c).title) for c in contexts]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, columnspacing=0.9, handlelength=0.9)
    figure.supxlabel("step (rows: targets, columns: sources)", fontsize=7)
    figure.supylabel("probability", fontsize=7)
    return figure


def _draw_block(panel: Axes, search: Search, pair: tuple[str, str]) -> None:
    step = search.fixed_by()[pair]
    for context, values in search.probabilities[pair].items():
        panel.plot(search.steps, values, color=get_context(context).colour, linewidth=0.7)
    if step is not None:
        at = search.steps.index(step)
        context, values = max(search.probabilities[pair].items(), key=lambda item: item[1][at])
        panel.plot(step, values[at], "o", color=get_context(context).colour, markersize=2.2, markeredgecolor="black",
                   markeredgewidth=0.4, clip_on=False, zorder=3)  # fmt: skip


def draw_reliability(genotypes: Sequence[Genotype]) -> Figure:
    """Draw the agreement of searches on every block [%], over all pairs of them.

    Source: Sec. 4.4.
    """
    blocks = block_agreement(genotypes)
    title = f"agreement of {len(genotypes)} searches [%]\nmean {100 * mean_agreement(genotypes):.1f}"
    return draw_heat_map({t: {s: 100 * share for s, share in row.items()} for t, row in blocks.items()}, title)


def draw_heat_map(values: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Draw shares [%] by target and source, each with its number."""
    from matplotlib import colormaps

    targets, sources = list(values), list(next(iter(values.values())))
    matrix = np.array([[values[t][s] for s in sources] for t in targets])
    figure = new_figure(min(COLUMN, 1.2 + 0.5 * len(sources)), 0.65 + 0.36 * len(targets))
    axes = figure.subplots()
    colours = colormaps["cividis"]
    axes.imshow(matrix, cmap=colours, vmin=0, vmax=100, aspect="auto")
    for (i, j), value in np.ndenumerate(matrix):
        axes.text(j, i, f"{value:.0f}", ha="center", va="center_baseline", color=ink(colours(value / 100)))
    axes.set(xticks=range(len(sources)), yticks=range(len(targets)), xlabel="source", ylabel="target")
    axes.set_xticklabels([source.replace("_", "\n") for source in sources])
    axes.set_yticklabels(targets)
    axes.set_xticks(np.arange(len(sources) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(targets) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    figure.suptitle(title, fontsize=7)
    plain_axes(axes)
    return figure
