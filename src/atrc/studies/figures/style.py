"""The style of the figures: sized for a printed page, colours for the colour-blind, the same file every time."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atrc.files import replacing

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLUMN = 3.4  # width of a figure [in]
PAGE = 7.0  # width of one across both columns [in]

# Of all but contexts; Okabe and Ito.
ORANGE, BLUE, VERMILION, GREY = "#e69f00", "#0072b2", "#d55e00", "#777777"
# Of the first seeds, everywhere; further ones repeat them.
MARKERS = ("o", "s", "^", "D", "v")
DASHES = ("-", (0, (4, 1.2)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (8, 2)))

STYLE: dict[str, Any] = {
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "svg.hashsalt": "atrc",
}


def styled() -> AbstractContextManager[None]:
    """Draw and write in the style of the figures."""
    from matplotlib import rc_context, rcParamsDefault

    # Whatever the reader's own matplotlibrc says, except for the backend.
    plain = {key: value for key, value in rcParamsDefault.items() if not key.startswith(("backend", "interactive"))}
    values: dict[Any, Any] = {**plain, **STYLE}
    return rc_context(values)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size [in] that lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write_figure(draw: Callable[[], Figure], out: Path, name: str) -> list[Path]:
    """Draw a figure and write it as PNG and SVG; the same figure gives the same files."""
    files = []
    with styled():
        figure = draw()
        for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
            file = out / f"{name}.{suffix}"
            with replacing(file) as partial:
                figure.savefig(partial, format=suffix, metadata=metadata)
            files.append(file)
    return files


def seed_marker(place: int) -> dict[str, Any]:
    """Return how the value of a study's seed is plotted, by its place among the seeds."""
    marker = MARKERS[place % len(MARKERS)]
    return {"linestyle": "", "marker": marker, "color": "white", "markeredgecolor": "black", "markersize": 2.6,
            "markeredgewidth": 0.5}  # fmt: skip


def seed_legend(seeds: Sequence[int], colour: str | None = None) -> list[Line2D]:
    """Return the legend of the seeds: their markers, or their lines if a colour is given."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], label=f"seed {seed}", **(seed_line(i) | {"color": colour} if colour else seed_marker(i)))
        for i, seed in enumerate(seeds)
    ]


def seed_line(place: int) -> dict[str, Any]:
    """Return how the trace of a study's seed is drawn, by its place among the seeds."""
    return {"linestyle": DASHES[place % len(DASHES)], "linewidth": 0.8}


def fold(name: str, width: int) -> str:
    """Break a name into lines of so many letters at most, for where there is no more room.

    >>> fold("ATRC on all levels", 9).splitlines()
    ['ATRC on', 'all', 'levels']
    """
    return "\n".join(textwrap.wrap(name, width))


def plain_axes(axes: Axes) -> None:
    """Leave out an axes' frame and the marks of its ticks."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def block_axes(axes: Axes, targets: Sequence[str], sources: Sequence[str]) -> None:
    """Name the rows and columns of a map of targets over sources, and separate its blocks."""
    axes.set(xlabel="source", ylabel="target")
    axes.set_xticks(range(len(sources)), [source.replace("_", "\n") for source in sources])
    axes.set_yticks(range(len(targets)), targets)
    axes.set_xticks(np.arange(len(sources) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(targets) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    plain_axes(axes)


def ink(colour: str | tuple[float, float, float, float]) -> str:
    """Return black or white, whichever is read well on a colour.

    >>> ink("#228833"), ink("#ccbb44")
    ('white', 'black')
    """
    from matplotlib.colors import to_rgb

    # Relative luminance of WCAG 2; its contrast is equal at 0.18, where white still looks better.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.2 else "white"
