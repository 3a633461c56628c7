"""Numba's compiler, with a cache on the disk where one can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function; cache the result on the disk if the package's or the user's cache folder is writable.

    A cached result that cannot be read is compiled again: of processes that start together after an update of Numba,
    one may read what another is about to replace.
    """
    try:
        compiled: Any = njit(cache=True)(function)
    except RuntimeError:  # no folder to write to
        return njit(function)
    load = compiled._cache.load_overload

    def load_if_readable(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception:  # whatever unpickling may raise
            return None  # a miss

    compiled._cache.load_overload = load_if_readable
    return compiled
