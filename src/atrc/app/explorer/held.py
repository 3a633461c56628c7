"""What is held in memory: the latest used, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Held(Generic[Key, Value]):
    """A dictionary that lets go of what was used least recently. Threads may share it.

    >>> held = Held[str, str](10)
    >>> held.put("a", "first", 6)
    >>> held.put("b", "second", 6)
    >>> held.get("a"), held.get("b"), held.size
    (None, 'second', 6)
    """

    def __init__(self, most: int) -> None:
        """Hold nothing yet.

        Args:
            most: Bytes of all values together; the latest is held even if it alone takes more.
        """
        self.most, self.size = most, 0
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def get(self, key: Key) -> Value | None:
        """Return a value, if it is still held."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Hold a value of a size [bytes]."""
        with self._lock:
            self.size += size - self._values.pop(key, (None, 0))[1]
            self._values[key] = value, size
            while self.size > self.most and len(self._values) > 1:
                self.size -= self._values.popitem(last=False)[1][1]
