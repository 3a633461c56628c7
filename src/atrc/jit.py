"""Numba's compiler with a cache on disk, where one can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function like `numba.njit` and cache the result on disk, unless nothing can be written there.

    Args:
        function: The function; None to decorate with options.
        options: Options of `njit`.

    >>> @jit
    ... def double(x):
    ...     return 2 * x
    >>> double(2)
    4
    """
    if function is None:
        return lambda function: jit(function, **options)
    try:
        return _lenient(njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(**options)(function)


def _lenient(compiled: Any) -> Any:
    """Compile again when a cached result cannot be read.

    Of processes that start together after an update of Numba, one may read what another is about to replace.
    """
    load = compiled._cache.load_overload

    def load_if_readable(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception:  # whatever unpickling may raise
            return None  # as if nothing was cached

    compiled._cache.load_overload = load_if_readable
    return compiled
