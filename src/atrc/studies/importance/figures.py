"""Figure 6 of the paper, and importance next to reliability. Matplotlib is imported where it draws: it is slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from atrc.contexts import CONTEXTS, get_context
from atrc.studies.figures.style import BLUE, COLUMN, GREY, block_axes, fold, ink, new_figure
from atrc.studies.importance.scores import Pair, RowImportance
from atrc.studies.measured import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANGE = 1.0  # the scale ends here at least: drops of a few hundredths stay pale [%]
DARKEST = 0.9  # the colour map's end is almost black
CELL = 0.47  # width of a block, for the name and the count of its context [in]


def draw_importance(row: RowImportance) -> Figure:
    """Draw the mean drop in Delta_m of every block as a map of targets over sources.

    Source: Fig. 6.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    table = row.table
    targets, sources = (list(dict.fromkeys(pair[i] for pair in table)) for i in (0, 1))
    means = np.array([[table[target, source].mean for source in sources] for target in targets])
    colours = ListedColormap(colormaps["Blues"](np.linspace(0, DARKEST, 256)))
    figure = new_figure(COLUMN + CELL * max(len(sources) - 4, 0), 0.75 + 0.5 * len(targets))
    axes = figure.add_subplot()
    image = axes.imshow(means, cmap=colours, vmin=0, vmax=max(means.max(), RANGE), aspect="auto")
    for y, target in enumerate(targets):
        for x, source in enumerate(sources):
            _write_cell(axes, x, y, row, (target, source), ink(tuple(colours(image.norm(means[y, x])))))
    block_axes(axes, targets, sources)
    relative = "Δm" if row.baselines else "Δm (against the network itself)"
    bar = figure.colorbar(image, ax=axes, pad=0.02, label=f"drop in {relative} [%]")
    bar.outline.set_visible(False)
    axes.set_title(fold(f"{row.name}: {_spread_of(row)}", 52), loc="left")
    return figure


def _write_cell(axes: Axes, x: int, y: int, row: RowImportance, pair: Pair, colour: str) -> None:
    contexts = row.contexts(pair)
    if set(contexts) == {"none"}:
        axes.text(x, y, "none", color=GREY, ha="center", va="center", style="italic")
        return
    number, spread = describe_drop(row.table[pair]).replace("-", "\N{MINUS SIGN}").split(" ", 1)
    for place, text, size in ((-0.24, number, 8), (0.04, spread, 6), (0.3, describe_contexts(contexts), 6)):
        axes.text(x, y + place, text, color=colour, ha="center", va="center", size=size)


def describe_drop(drop: Spread) -> str:
    """Print a drop with its deviation.

    >>> describe_drop(Spread(-0.001, 0.25, 3))
    '0.00 ± 0.25'
    """
    return f"{round(drop.mean, 2) + 0:.2f} ± {drop.std:.2f}"  # + 0: no -0.00


def describe_contexts(contexts: Sequence[str]) -> str:
    """Name the context that most runs have, and how many have it unless all do.

    >>> describe_contexts(["t_label", "global", "t_label"]), describe_contexts(["global", "local"])
    ('T-label 2/3', '2 contexts')
    """
    ((context, count), *others) = Counter(contexts).most_common()
    if others and others[0][1] == count:
        return f"{1 + len(others)} contexts"
    name = get_context(context).title if context in CONTEXTS else context
    return f"{name} {count}/{len(contexts)}" if others else name


def _spread_of(row: RowImportance) -> str:
    """Say what the means and deviations are over."""
    permutations = max((len(values) for run in row.runs for values in run.permuted.values()), default=0)
    if len(row.runs) > 1:
        return f"{len(row.runs)} runs (±), {permutations} permutations each"
    return f"{permutations} permutations (±)"


def draw_reliability(row: RowImportance) -> Figure:
    """Draw the importance of every block, largest first, next to the agreement of searches about it.

    Source: Sec. 4.4.
    """
    table, agreement = row.table, row.agreement or {}
    pairs = sorted(table, key=lambda pair: -table[pair].mean)
    figure = new_figure(COLUMN, 0.75 + 0.135 * len(pairs))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
    for y, pair in enumerate(pairs):
        own = pair[0] == pair[1]
        left.errorbar(table[pair].mean, y, xerr=table[pair].std, fmt="s" if own else "o", markersize=3, linewidth=0.7,
                      color=BLUE if own else "white", ecolor="0.6", markeredgecolor=BLUE)  # fmt: skip
        right.barh(y, 100 * agreement[pair], 0.6, color="0.75")
    left.axvline(0, color="0.7", linewidth=0.6, zorder=0)
    left.set_yticks(range(len(pairs)), [f"{target} \N{LEFTWARDS ARROW} {source}" for target, source in pairs])
    left.set(ylim=(len(pairs) - 0.4, -0.6), xlabel="drop in Δm [%]")
    left.set_xlim(right=max(RANGE, left.get_xlim()[1]))
    right.set(xlim=(0, 100), xlabel="agreement [%]")
    for axes in (left, right):
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    r = row.correlation
    found = "no correlation, one does not vary" if r is None else f"r = {r:.2f}".replace("-", "\N{MINUS SIGN}")
    figure.suptitle(
        fold(f"{row.name}: {found}, {len(table)} blocks, {row.searches} searches; squares: own task", 60),
        fontsize=7,
    )
    return figure
