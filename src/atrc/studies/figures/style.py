"""The look of the figures: one column of a printed page, colours for the colour-blind, the same file every time."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrc.files import replacing

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.4  # width of a figure [in]
PAGE = 7.0  # width of one across both columns [in]

# Of all else; Okabe and Ito.
ORANGE, SKY, GREEN, BLUE, VERMILION = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00"
GREY = "#777777"

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

    # Whatever the reader's own matplotlibrc says; a backend is not ours to choose.
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
