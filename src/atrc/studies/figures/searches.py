"""Figures of how searches went: probabilities, schedules and entropy, and where the seeds agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from atrc.contexts import get_context
from atrc.genotype import Genotype, block_agreement, mean_agreement
from atrc.studies.figures.style import BLUE, COLUMN, ORANGE, PAGE, block_axes, ink, new_figure, seed_legend, seed_line
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
    figure = new_figure(COLUMN, 0.55 + 1.05 * rows)
    panels = figure.subplots(rows, 2, sharex=True, squeeze=False)
    blocks = len(searches[0].probabilities)
    for panel, name in zip(panels.flat, names, strict=False):
        schedule = name in ("temperature", "entropy_weight")  # the same for every seed
        for i, search in enumerate(searches[:1] if schedule else searches):
            look = {"color": ORANGE, "linewidth": 1.0} if schedule else {"color": BLUE} | seed_line(i)
            panel.plot(search.steps, search.traces[name], **look)
        panel.set_title(f"{TITLES[name]}, of {blocks}" if name == "fixed" else TITLES[name], loc="left")
        if name == "entropy_weight":
            panel.axhline(0, color="0.6", linewidth=0.5, zorder=0)
        else:
            panel.set_ylim(0, 1.05 * blocks if name == "fixed" else None)
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    for panel in panels[-1]:
        panel.set_xlabel("step")
    handles = seed_legend([search.seed for search in searches], BLUE)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def draw_probabilities(searches: Sequence[Search]) -> Figure:
    """Draw p_alpha of every block's candidates over the steps: a line for each seed, thick once its block is fixed."""
    from matplotlib.lines import Line2D

    pairs = searches[0].probabilities
    targets, sources = (list(dict.fromkeys(pair[i] for pair in pairs)) for i in (0, 1))
    figure = new_figure(min(PAGE, 1.7 * len(sources)), 0.75 + 0.85 * len(targets))
    panels = figure.subplots(len(targets), len(sources), sharex=True, sharey=True, squeeze=False)
    for pair, panel in zip(pairs, panels.flat, strict=True):
        for i, search in enumerate(searches):
            _draw_block(panel, search, pair, i)
    for panel, source in zip(panels[0], sources, strict=True):
        panel.set_title(source)
    for panel, target in zip(panels[:, 0], targets, strict=True):
        panel.set_ylabel(target)
    last = max(search.steps[-1] for search in searches)
    panels[0, 0].set(ylim=(0, None), yticks=(0, 0.5), yticklabels=("0", "0.5"), xlim=(0, last), xticks=(0, last))
    for panel in panels[-1]:
        panel.set_xlabel("step", labelpad=0)
        # The ends of neighbouring axes would touch.
        for label, side in zip(panel.get_xticklabels(), ("left", "right"), strict=True):
            label.set_horizontalalignment(side)
    contexts = [get_context(c) for c in dict.fromkeys(c for candidates in pairs.values() for c in candidates)]
    handles = [Line2D([], [], color=context.colour, linewidth=2, label=context.title) for context in contexts]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, columnspacing=0.9, handlelength=0.9)
    handles = seed_legend([search.seed for search in searches], "0.3")
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.supylabel("probability", fontsize=7)
    return figure


def _draw_block(panel: Axes, search: Search, pair: tuple[str, str], seed: int) -> None:
    step = search.fixed_by()[pair]
    at = None if step is None else search.steps.index(step)
    best = None if at is None else max(search.probabilities[pair].items(), key=lambda item: item[1][at])[0]
    for context, values in search.probabilities[pair].items():
        look = {"color": get_context(context).colour} | seed_line(seed)
        panel.plot(search.steps, values, **look)
        if context == best:
            panel.plot(search.steps[at:], values[at:], **look | {"linewidth": 1.8})


def draw_reliability(genotypes: Sequence[Genotype]) -> Figure:
    """Draw the agreement of searches on every block [%], over all pairs of them.

    Source: Sec. 4.4.
    """
    from matplotlib import colormaps

    blocks = block_agreement(genotypes)
    targets, sources = list(blocks), list(next(iter(blocks.values())))
    shares = np.array([[100 * blocks[target][source] for source in sources] for target in targets])
    figure = new_figure(min(COLUMN, 1.2 + 0.5 * len(sources)), 0.65 + 0.36 * len(targets))
    axes = figure.subplots()
    colours = colormaps["cividis"]
    axes.imshow(shares, cmap=colours, vmin=0, vmax=100, aspect="auto")
    for (i, j), share in np.ndenumerate(shares):
        axes.text(j, i, f"{share:.0f}", ha="center", va="center_baseline", color=ink(colours(share / 100)))
    block_axes(axes, targets, sources)
    title = f"agreement of {len(genotypes)} searches [%]\nmean {100 * mean_agreement(genotypes):.1f}"
    figure.suptitle(title, fontsize=7)
    return figure
