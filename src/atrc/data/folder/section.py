"""Reading `dataset.yaml`: every key has a type, and a mistake is named with its key, its value and the choices."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

from atrc.errors import UserError
from atrc.files import read_yaml

REQUIRED: Any = object()


class Section:
    """One mapping of a YAML file. Keys are taken one by one; `close` refuses those that nobody took.

    Attributes:
        path: The file.
        key: The mapping's own key, dotted; empty for the whole file.
    """

    def __init__(self, path: Path, key: str, content: Any) -> None:
        """Wrap a mapping.

        Raises:
            UserError: It is none.
        """
        self.path, self.key = path, key
        if not isinstance(content, dict):
            raise UserError(f"{path}: {key or 'the file'} is {show(content)}; give keys with values, as `key: value`")
        self.content, self.taken = content, set[Any]()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.content)

    def dotted(self, key: Any) -> str:
        """Return a key with those of the mappings around it."""
        return f"{self.key}.{key}" if self.key else f"{key}"

    def fail(self, key: Any, reason: str) -> NoReturn:
        """Refuse the value of a key."""
        raise UserError(f"{self.path}: {self.dotted(key)} {reason}")

    def close(self) -> None:
        """Refuse the keys that are left over."""
        for key in self.content.keys() - self.taken:
            raise UserError(f"{self.path}: unknown key {self.dotted(key)}; {nearest(key, self.taken)}")

    def take(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a value of any type."""
        self.taken.add(key)
        if key in self.content:
            return self.content[key]
        if default is REQUIRED:
            close = difflib.get_close_matches(key, map(str, self.content), n=1)
            self.fail(key, "is missing" + (f"; is {self.dotted(close[0])} meant to be it?" if close else ""))
        return default

    def section(self, key: Any) -> Section:
        """Return a mapping within, which may not be empty."""
        return Section(self.path, self.dotted(key), self.take(key) or None)

    def options(self, key: Any) -> Section:
        """Return a mapping within; `key:` alone is an empty one."""
        content = self.take(key)
        return Section(self.path, self.dotted(key), {} if content is None else content)

    def text(self, key: str, default: str = REQUIRED) -> str:
        """Return text; YAML reads some words and numbers as other things, which need quotes."""
        value = self.take(key, default)
        if not isinstance(value, str) or not value:
            self.fail(key, f"is {show(value)}; give text, in quotes if need be")
        return value

    def number(self, key: str, default: float, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number above `low` and at most `high`."""
        value = as_number(given := self.take(key, default))
        if value is None or not math.isfinite(value) or not low < value <= high:
            limits = [f" above {low:g}"] * math.isfinite(low) + [f" up to {high:g}"] * math.isfinite(high)
            self.fail(key, f"is {show(given)}; give a number{' and'.join(limits)}")
        return value

    def whole(self, key: str, default: int, low: int) -> int:
        """Return a whole number, at least `low`."""
        value = self.take(key, default)
        if not is_whole(value) or value < low:
            self.fail(key, f"is {show(value)}; give a whole number from {low}")
        return int(value)

    def several(self, key: str, default: Collection[Any]) -> list[Any]:
        """Return a list; a single value stands for a list of it."""
        value = self.take(key, default)
        return list(value) if isinstance(value, list | tuple) else [value]


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def as_number(value: Any) -> float | None:
    """Return a number, also one that YAML takes for text, such as 1e-3 or nan; None of anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def show(value: Any) -> str:
    """Return a value as it may stand in a line of text."""
    text = "empty" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: Any, choices: Collection[str]) -> str:
    """Say what a name may have meant, or what there is.

    >>> nearest("labelz", ["labels", "unit"])
    'did you mean labels?'
    """
    close = difflib.get_close_matches(str(name), choices, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(sorted(choices))}"


def read_section(path: Path) -> Section:
    """Read a YAML file of keys and values.

    Raises:
        UserError: It is not there, no YAML, or not a mapping of keys to values.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; it says what the folder holds")
    return Section(path, "", read_yaml(path))
