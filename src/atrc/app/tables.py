"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def print_grid(grid: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns; the first column is set to the left, the others to the right."""
    for line in format_grid(grid):
        print(line)


def format_grid(grid: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of `print_grid`."""
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = []
    for line in grid:
        head, *cells = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join([head.strip().ljust(widths[0]), *cells]).rstrip())
    return lines
