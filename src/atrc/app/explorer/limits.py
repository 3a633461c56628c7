"""Limits of the explorer, the cache that keeps them, and the errors that report them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from atrc.errors import UserError

MEGABYTE = 1 << 20
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Limits:
    """Bounds on the server's memory and waiting times.

    Attributes:
        upload: Size of one file [bytes].
        uploads: Size of all files that arrive, wait or are read at a time [bytes].
        pixels: Number of pixels of one image, by its header, before it is decoded.
        images: Size of all images in memory, after shrinking [bytes].
        looks: Size of all results in memory: features, label regions, predictions [bytes].
        waiting: Number of jobs that wait for the network at a time.
        seconds: Time that one file may take to arrive [s].
    """

    upload: int = 32 * MEGABYTE
    uploads: int = 128 * MEGABYTE
    pixels: int = 50_000_000
    images: int = 128 * MEGABYTE
    looks: int = 1024 * MEGABYTE
    waiting: int = 128
    seconds: float = 60.0


class MissingError(UserError):
    """There is nothing of this name, or no longer."""


class TooLargeError(UserError):
    """A file exceeds `Limits`."""


class BusyError(UserError):
    """There are more requests than `Limits` let wait."""


class LRUCache(Generic[Key, Value]):
    """A dictionary of limited size [bytes] that drops the least recently used value. Threads may share it.

    The latest value is kept even if it alone exceeds the limit.

    >>> cache = LRUCache[str, str](10)
    >>> cache.put("a", "first", 6)
    >>> cache.put("b", "second", 6)
    >>> cache.get("a"), cache.get("b"), cache.size
    (None, 'second', 6)
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def get(self, key: Key) -> Value | None:
        """Return a value, or None if it was dropped."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Add a value of a size [bytes]."""
        with self._lock:
            self.size += size - self._values.pop(key, (None, 0))[1]
            self._values[key] = value, size
            while self.size > self.limit and len(self._values) > 1:
                self.size -= self._values.popitem(last=False)[1][1]
