"""Numba's compiler, whose results are kept where there is a place for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function like `numba.njit`; keep the result on the disk, unless nothing can be written there.

    Args:
        function: What to compile; None to decorate with options.
        options: Of `njit`.

    >>> @jit
    ... def double(x):
    ...     return 2 * x
    >>> double(2)
    4
    """
    if function is None:
        return lambda function: jit(function, **options)
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(**options)(function)
