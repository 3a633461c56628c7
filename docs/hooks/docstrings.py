"""Makes docstrings read well as Markdown: doctests are code, and a module says what its letters of shapes mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

DOCTEST = re.compile(r"(?:^>>> .*\n?)(?:^(?!\s*$).*\n?)*", re.M)
LEGEND = re.compile(r"^# ((?:\w(?: / \w)*(?: \w)*) [a-z(].*(?:\n# .*)*)$", re.M)
LETTERS = re.compile(r"^(\w(?:(?: /)? \w)*) (?=\S\S|\()")


class Markdown(griffe.Extension):
    """Changes docstrings as they are collected."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence the doctests, and give a module its legend."""
        if obj.docstring is None:
            return
        obj.docstring.value = fenced(obj.docstring.value)
        if obj.is_module and isinstance(obj.filepath, Path):
            obj.docstring.value += legend(obj.filepath.read_text(encoding="utf-8"))


def fenced(docstring: str) -> str:
    """Put fences around doctests; Markdown would take them for quotations."""
    return DOCTEST.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", docstring)


def legend(source: str) -> str:
    """Return what the letters of a file's shapes mean, from its one comment about them; nothing if it has none."""
    found = LEGEND.search(source)
    if not found:
        return ""
    parts = [LETTERS.sub(r"`\1` ", part) for part in found[1].replace("\n# ", " ").split(", ")]
    return "\n\nShapes: " + ", ".join(parts) + ".\n"
