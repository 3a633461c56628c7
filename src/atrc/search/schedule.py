"""Schedules of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def linear(ends: tuple[float, float], step: int, steps: int) -> float:
    """Go from `ends[0]` at step 0 towards `ends[1]`, which would be reached at step `steps`, after the last one.

    >>> linear((1.0, 0.0), 5, 10)
    0.5
    """
    return ends[0] + (ends[1] - ends[0]) * min(step / steps, 1.0)


def temperature(search: Mapping[str, Any], step: int, steps: int) -> float | None:
    """Return the temperature of a step; None in the warm-up, when nothing is sampled.

    Args:
        search: The recipe's keys of that name.
        step: The step, counted from 0.
        steps: Steps in all.
    """
    warmup = round(search.get("warmup", 0) * steps)
    return None if step < warmup else linear(tuple(search["temperature"]), step - warmup, steps - warmup)
