"""Plain SVG, as strings: the pieces of the figures that explain the method."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

INK, SOFT, LINE, PAPER = "#1d1d1d", "#4a4a4a", "#666666", "#ffffff"
TARGET, SOURCE, PLAIN, REGION = "#cfe0f5", "#f9dcc0", "#ececec", "#e4d3ec"  # as in systems.py

STYLE = (
    "<style>text{font:15px Helvetica,Arial,sans-serif;fill:#1d1d1d}.small{font-size:13px;fill:#4a4a4a}"
    ".bold{font-weight:bold}.middle{text-anchor:middle}.end{text-anchor:end}</style>"
)
ARROWHEAD = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>'
)


def page(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """Return a figure on white paper: it reads the same on a light and on a dark page."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img"'
    paper = f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>'
    return "\n".join([f'{head} aria-label="{escape(title)}">', STYLE, ARROWHEAD, paper, *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, kind: str = "", fill: str = "") -> str:
    """Return a line of text; `kind` names classes: small, bold, middle, end."""
    style = f' style="fill:{fill}"' if fill else ""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{style}>{escape(words)}</text>'


def rect(x: float, y: float, w: float, h: float, fill: str, stroke: str = LINE, more: str = "") -> str:
    """Return a rectangle; `more` are attributes."""
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="{fill}" stroke="{stroke}" {more}/>'


def box(x: float, y: float, w: float, h: float, fill: str, lines: Sequence[str], ink: str = "") -> str:
    """Return a rounded box with centred lines; the first in full size."""
    step = 18
    top = y + h / 2 + 5 - step * (len(lines) - 1) / 2
    words = [
        text(x + w / 2, top + i * step, line, "middle small" if i else "middle", ink) for i, line in enumerate(lines)
    ]
    return rect(x, y, w, h, fill, more='rx="7"') + "".join(words)


def arrow(*points: tuple[float, float], dashed: bool = False) -> str:
    """Return an arrow along points."""
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.5" marker-end="url(#a)"{dash}/>'


def line(points: Sequence[tuple[float, float]], colour: str, width: float = 2) -> str:
    """Return a curve through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-linejoin="round"/>'
