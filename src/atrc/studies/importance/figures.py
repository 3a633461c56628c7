"""Figure 6 of the paper, and importance against reliability. Matplotlib is imported where it draws: it is slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from atrc.contexts import CONTEXTS, get_context
from atrc.studies.figures.style import BLUE, COLUMN, GREY, fold, ink, new_figure, plain_axes
from atrc.studies.importance.runs import RowImportance
from atrc.studies.importance.scores import Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

LEAST = 0.01  # importance that may be darkest, the least that is printed [%]
DARKEST = 0.9  # the colour map's end is almost black
CELL = 0.47  # width of a block, for the name and the count of its context [in]
LABELLED = 0.12  # blocks of less than this share of the greatest importance crowd near 0
MARKER = 3  # half of a block's marker [px]
LOWER = 1.5  # a name this many lines below its block would be taken for another's

# p blocks


def draw_importance(row: RowImportance) -> Figure:
    """Draw the mean drop in Delta_m of every block as a map of targets over sources.

    Source: Fig. 6.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    table = row.table
    targets, sources = (list(dict.fromkeys(pair[i] for pair in table)) for i in (0, 1))
    means = np.array([[table[target, source][0] for source in sources] for target in targets])
    colours = ListedColormap(colormaps["Blues"](np.linspace(0, DARKEST, 256)))
    figure = new_figure(COLUMN + CELL * max(len(sources) - 4, 0), 0.75 + 0.5 * len(targets))
    axes = figure.add_subplot()
    image = axes.imshow(means, cmap=colours, vmin=0, vmax=max(means.max(), LEAST), aspect="auto")
    for y, target in enumerate(targets):
        for x, source in enumerate(sources):
            _write_cell(axes, x, y, row, (target, source), ink(tuple(colours(image.norm(means[y, x])))))
    axes.set(xlabel="source", ylabel="target")
    axes.set_xticks(range(len(sources)), [source.replace("_", "\n") for source in sources])
    axes.set_yticks(range(len(targets)), targets)
    plain_axes(axes)
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
    mean, std = row.table[pair]
    number = f"{round(mean, 2) + 0:.2f}".replace("-", "\N{MINUS SIGN}")
    axes.text(x, y - 0.24, number, color=colour, ha="center", va="center", size=8)
    axes.text(x, y + 0.04, f"± {std:.2f}", color=colour, ha="center", va="center", size=6)
    axes.text(x, y + 0.3, describe_contexts(contexts), color=colour, ha="center", va="center", size=5.5)


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
    """Say what the means and deviations are of."""
    permutations = max((len(values) for run in row.runs for values in run.permuted.values()), default=0)
    if len(row.runs) > 1:
        return f"{len(row.runs)} runs (±), {permutations} permutations each"
    return f"{permutations} permutations (±)"


def draw_reliability(row: RowImportance) -> Figure:
    """Draw the importance of every block over the agreement of searches about it.

    Source: Sec. 4.4.
    """
    table, agreement = row.table, row.agreement or {}
    figure = new_figure(COLUMN, 2.7)
    axes = figure.add_subplot()
    points = np.array([(100 * agreement[pair], table[pair][0]) for pair in table])
    spreads = np.array([(0.0, table[pair][1]) for pair in table])
    axes.vlines(points[:, 0], points[:, 1] - spreads[:, 1], points[:, 1] + spreads[:, 1], color="0.6", linewidth=0.6)
    own = np.array([target == source for target, source in table])
    axes.plot(*points[~own].T, "o", color="white", markeredgecolor=BLUE, markersize=4, label="from another task")
    axes.plot(*points[own].T, "s", color=BLUE, markersize=4, label="self-attention")
    axes.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    axes.set(xlim=(-8, 108), xlabel=f"searches ({row.searches}) that agree about the context [% of pairs]")
    axes.set_ylabel("importance: drop in Δm [%]")
    r = row.correlation
    found = "no correlation, one does not vary" if r is None else f"r = {r:.2f}".replace("-", "\N{MINUS SIGN}")
    axes.set_title(fold(f"{row.name}: {found}, {len(table)} blocks", 52), loc="left")
    figure.legend(loc="outside lower center", ncols=2)
    axes.margins(y=0.12)
    figure.draw_without_rendering()  # fixes the size that labels are placed by
    names = [f"{target} \N{LEFTWARDS ARROW} {source}" for target, source in table]
    _label(axes, points, spreads[:, 1], names)
    return figure


def _label(
    axes: Axes, points: Float[np.ndarray, "p 2"], spreads: Float[np.ndarray, " p"], names: Sequence[str]
) -> None:
    """Write names beside the blocks that matter more than they vary, below other names, where they cover no block."""
    boxes: list[Bbox] = []
    bars = [_bar(axes, x, y, spread) for (x, y), spread in zip(points, spreads, strict=True)]
    for i in np.argsort(-points[:, 1]):
        x, y = points[i]
        if y <= max(spreads[i], LABELLED * points[:, 1].max()):
            continue
        side, align = (6, "left") if x <= 50 else (-6, "right")
        label = axes.annotate(
            names[i], (x, y), (side, 0), textcoords="offset points", ha=align, va="center", color=GREY
        )
        label.set_in_layout(False)  # or the axes would give way, and the blocks move
        place = box = label.get_window_extent()
        while covered := [other for other in boxes if box.overlaps(other)]:
            box = box.translated(0, min(other.y0 for other in covered) - box.y1 - 1)
        if place.y0 - box.y0 > LOWER * place.height or box.count_overlaps(bars):
            label.remove()
            continue
        label.xyann = (side, (box.y0 - place.y0) * 72 / axes.figure.dpi)
        boxes.append(box)


def _bar(axes: Axes, x: float, y: float, spread: float) -> Bbox:
    """Return where a block is drawn: its marker and error bar, in pixels."""
    from matplotlib.transforms import Bbox

    return Bbox(axes.transData.transform([(x, y - spread), (x, y + spread)])).padded(MARKER)
