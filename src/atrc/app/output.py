"""The output of commands: tables on the terminal, JSON for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrc.errors import UserError
from atrc.files import write_atomic


class PartialError(Exception):
    """Part of a command's work failed: its content is still written, and the exit status is 1."""

    def __init__(self, content: Any = None) -> None:
        self.content = content


def print_grid(grid: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns; the first column is aligned left, the others right."""
    for line in format_grid(grid):
        print(line)


def format_grid(grid: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of `print_grid`.

    >>> format_grid([["", "mIoU"], ["ATRC", "9"]])
    ['      mIoU', 'ATRC     9']
    """
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = []
    for head, *cells in grid:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([head.strip().ljust(widths[0]), *right]).rstrip())
    return lines


def require_writable(path: str | None) -> None:
    """Refuse a JSON file that cannot be written, before hours of work.

    Raises:
        UserError: It is a folder, lies in a file, or may not be written.
    """
    if not path or path == "-":
        return
    file = Path(path)
    if file.is_dir():
        raise UserError(f"--json {path}: a folder; name a file in it")
    above = next(folder for folder in file.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"--json {path}: {above} is a file, not a folder; choose another place")
    if not os.access(file if file.exists() else above, os.W_OK):
        raise UserError(f"--json {path}: you may not write there; choose another place")


def write_json(content: Any, path: str | None) -> None:
    """Write plain values to a file, whose folder is made, or to standard output for "-"."""
    text = json.dumps(content, indent=2) + "\n"
    if path == "-":
        print(text, end="")
    elif path and Path(path).exists() and (Path(path).is_symlink() or not Path(path).is_file()):  # /dev/stdout, a pipe
        Path(path).write_text(text, encoding="utf-8")
    elif path:
        write_atomic(path, text)
