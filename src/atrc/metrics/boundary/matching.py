"""Maximum one-to-one matching of boundary pixels, kept up to date while predictions change. Imports numba."""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Int, Int32
from numpy import ndarray

from atrc.jit import jit

_ABSENT, _FREE = -2, -1
_DEAD = np.int32(2**31 - 1)


class Matching:
    """A matching of predicted with true pixels, at most ``radius`` apart, that no other exceeds in size.

    Predicted pixels may come and go; after every update the matching is maximum again. It grows along
    augmenting paths, found breadth-first (Berge 1957). A true pixel from which no free true pixel can be
    reached any more is dead: later searches pass it by, until a removal frees a true pixel behind it.

    True pixels are numbered in raster order, so those within reach of a pixel are one range of numbers per
    row: no list of edges, let alone a cost matrix, is ever built.

    Args:
        truth: The true boundary, with a margin wider than the radius on each side.
        radius: Largest distance of a matched pair [px].
    """

    def __init__(self, truth: Bool[ndarray, "h w"], radius: float) -> None:
        width = truth.shape[1]
        flat = truth.ravel()
        self._truth_at = np.flatnonzero(flat).astype(np.int32)
        self._truths_before = np.concatenate([[0], np.cumsum(flat)]).astype(np.int32)
        self._truth_of = np.full(flat.size, _ABSENT, np.int32)
        total = self._truth_at.size
        self._pixel_of = np.full(total, _FREE, np.int32)
        self._seen = np.zeros(total, np.int32)
        self._came_from = np.empty(total, np.int32)
        self._queue = np.empty(total + 1, np.int32)
        self._rows, self._disc = _reach(radius, width)
        self._searches = 0
        self.size = 0

    def update(self, added: Int32[ndarray, " added"], removed: Int32[ndarray, " removed"]) -> None:
        """Let predicted pixels, given as flat indices, come and go."""
        planes = (self._truth_of, self._pixel_of, self._truths_before, self._truth_at)
        scratch = (self._seen, self._came_from, self._queue)
        self.size += _update(added, removed, *planes, *scratch, self._rows, self._disc, self._searches)
        self._searches += added.size

    def matched(self) -> tuple[Int[ndarray, " n"], Int[ndarray, " n"]]:
        """Flat indices of the matched predicted pixels and of their true pixels."""
        true = np.flatnonzero(self._pixel_of != _FREE)
        return self._pixel_of[true], self._truth_at[true]


def _reach(radius: float, width: int) -> tuple[Int32[ndarray, "rows 2"], Int32[ndarray, " disc"]]:
    """First and last offset within reach per row, nearest row first; and all offsets, nearest first."""
    reach = int(radius)
    rows = sorted(range(-reach, reach + 1), key=abs)
    halves = [int(math.sqrt(radius * radius - y * y)) for y in rows]
    spans = [(y * width - half, y * width + half) for y, half in zip(rows, halves, strict=True)]
    disc = [(y, x) for y, half in zip(rows, halves, strict=True) for x in range(-half, half + 1)]
    disc.sort(key=lambda offset: offset[0] ** 2 + offset[1] ** 2)
    return np.array(spans, np.int32), np.array([y * width + x for y, x in disc], np.int32)


@jit(nogil=True)
@no_type_check
def _update(added, removed, truth_of, pixel_of, before, truth_at, seen, came_from, queue, rows, disc, searches):
    gained = 0
    freed = np.empty(removed.size, np.int32)
    orphans = 0
    for pixel in removed:
        truth = truth_of[pixel]
        truth_of[pixel] = _ABSENT
        if truth == _FREE:
            continue
        pixel_of[truth] = _FREE
        gained -= 1
        if seen[truth] == _DEAD:
            freed[orphans] = truth
            orphans += 1
    for i in range(added.size):
        truth_of[added[i]] = _FREE
        search = searches + i + 1
        gained += _match_predicted(added[i], search, truth_of, pixel_of, before, seen, came_from, queue, rows, disc)
    for i in range(orphans):
        gained += _match_true(freed[i], truth_of, pixel_of, truth_at, seen, came_from, queue, disc)
    return gained


@jit(nogil=True)
@no_type_check
def _match_predicted(start, search, truth_of, pixel_of, before, seen, came_from, queue, rows, disc):
    """Search a path from a predicted pixel to a free true pixel that is not dead; what it saw dies if none is."""
    for offset in disc:
        truth = before[start + offset]
        if before[start + offset + 1] > truth and pixel_of[truth] == _FREE and seen[truth] != _DEAD:
            truth_of[start] = truth
            pixel_of[truth] = start
            return 1
    queue[0] = start
    head, tail = 0, 1
    while head < tail:
        pixel = queue[head]
        head += 1
        for row in range(len(rows)):
            for truth in range(before[pixel + rows[row, 0]], before[pixel + rows[row, 1] + 1]):
                if seen[truth] >= search:  # by this search, or dead
                    continue
                seen[truth] = search
                came_from[truth] = pixel
                if pixel_of[truth] == _FREE:
                    _flip_to_start(truth, start, truth_of, pixel_of, came_from)
                    return 1
                queue[tail] = pixel_of[truth]
                tail += 1
    for i in range(1, tail):
        seen[truth_of[queue[i]]] = _DEAD
    return 0


@jit(nogil=True)
@no_type_check
def _flip_to_start(truth, start, truth_of, pixel_of, came_from):
    pixel = came_from[truth]
    while pixel != start:
        left = truth_of[pixel]
        truth_of[pixel], pixel_of[truth] = truth, pixel
        truth = left
        pixel = came_from[truth]
    truth_of[pixel], pixel_of[truth] = truth, pixel


@jit(nogil=True)
@no_type_check
def _match_true(start, truth_of, pixel_of, truth_at, seen, came_from, queue, disc):
    """Search a path from a freed, dead true pixel back to a free predicted one; revive what it saw if none is.

    Only dead true pixels can lie on such a path, because all that a free predicted pixel reaches is dead.
    """
    queue[0] = start
    seen[start] = 0
    head, tail = 0, 1
    while head < tail:
        truth = queue[head]
        head += 1
        for offset in disc:
            pixel = truth_at[truth] + offset
            other = truth_of[pixel]
            if other == _FREE:
                _flip_to_freed(pixel, truth, truth_of, pixel_of, came_from)
                for i in range(tail):
                    seen[queue[i]] = _DEAD
                return 1
            if other != _ABSENT and seen[other] == _DEAD:
                seen[other] = 0
                came_from[other] = truth
                queue[tail] = other
                tail += 1
    return 0


@jit(nogil=True)
@no_type_check
def _flip_to_freed(pixel, truth, truth_of, pixel_of, came_from):
    while pixel_of[truth] != _FREE:
        left = pixel_of[truth]
        truth_of[pixel], pixel_of[truth] = truth, pixel
        pixel = left
        truth = came_from[truth]
    truth_of[pixel], pixel_of[truth] = truth, pixel
