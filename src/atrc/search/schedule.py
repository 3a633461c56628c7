"""Schedules of a search."""

from __future__ import annotations


def linear(ends: tuple[float, float], step: int, steps: int) -> float:
    """Go from `ends[0]` at step 0 to `ends[1]` at the last step.

    >>> linear((1.0, 0.0), 5, 11)
    0.5
    """
    share = min(step / max(steps - 1, 1), 1.0)
    return ends[0] + (ends[1] - ends[0]) * share
