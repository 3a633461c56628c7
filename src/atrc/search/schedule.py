"""Schedules of a search."""

from __future__ import annotations


def linear(ends: tuple[float, float], step: int, steps: int) -> float:
    """Go from `ends[0]` at step 0 towards `ends[1]`, which would be reached at step `steps`, after the last one.

    >>> linear((1.0, 0.0), 5, 10)
    0.5
    """
    return ends[0] + (ends[1] - ends[0]) * min(step / steps, 1.0)
