"""Maximum one-to-one matching of boundary pixels, kept up to date while predictions change. Imports numba."""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8
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

    With several annotators it matters which predicted pixels are matched, not only how many. Matchings that share
    votes prefer near pairs, as the BSDS code does: a predicted pixel for which there is no path takes over the true
    pixel of a predicted one that is farther from it, where there is one.

    Args:
        truth: The true boundary, with a margin wider than the radius on each side.
        radius: Largest distance of a matched pair [px].
        votes: Of each pixel of the flat map, by how many matchings that share this array it is matched as predicted;
            at most 255 may share it.
    """

    def __init__(self, truth: Bool[ndarray, "h w"], radius: float, votes: UInt8[ndarray, " hw"] | None = None) -> None:
        width = truth.shape[1]
        flat = truth.ravel()
        self._truth_at = np.flatnonzero(flat).astype(np.int32)
        self._truths_before = np.concatenate([[0], np.cumsum(flat)]).astype(np.int32)
        self._truth_of = np.full(flat.size, _ABSENT, np.int32)
        self._shares_votes = votes is not None
        self._votes = np.zeros(flat.size, np.uint8) if votes is None else votes
        self._width = width
        total = self._truth_at.size
        self._pixel_of = np.full(total, _FREE, np.int32)
        self._seen = np.zeros(total, np.int32)
        self._came_from = np.empty(total, np.int32)
        self._queue = np.empty(total + 1, np.int32)
        self._rows, self._disc = _reach(radius, width)
        self._searches = 0
        self.size = 0

    def update(self, added: Int32[ndarray, " added"], removed: Int32[ndarray, " removed"]) -> int:
        """Let predicted pixels, given as flat indices, come and go; return how many more pixels have votes."""
        planes = (self._truth_of, self._pixel_of, self._truths_before, self._truth_at, self._votes)
        scratch = (self._seen, self._came_from, self._queue)
        width = self._width if self._shares_votes else 0
        gained, correct = _update(added, removed, *planes, *scratch, self._rows, self._disc, width, self._searches)
        self.size += gained
        self._searches += added.size
        return correct

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
def _update(
    added, removed, truth_of, pixel_of, before, truth_at, votes, seen, came_from, queue, rows, disc, width, searches
):
    """Return by how much the matching grew, and the number of pixels with votes."""
    gained, correct = 0, 0
    freed = np.empty(removed.size, np.int32)
    orphans = 0
    for pixel in removed:
        truth = truth_of[pixel]
        truth_of[pixel] = _ABSENT
        if truth == _FREE:
            continue
        pixel_of[truth] = _FREE
        gained -= 1
        votes[pixel] -= 1
        correct -= votes[pixel] == 0
        if seen[truth] == _DEAD:
            freed[orphans] = truth
            orphans += 1
    for i in range(added.size + orphans):
        if i < added.size:
            pixel = added[i]
            truth_of[pixel] = _FREE
            search = searches + i + 1
            found = _match_predicted(pixel, search, truth_of, pixel_of, before, seen, came_from, queue, rows, disc)
        else:
            pixel = _match_true(freed[i - added.size], truth_of, pixel_of, truth_at, seen, came_from, queue, disc)
            found = pixel >= 0
        gained += found
        if not found and width and i < added.size:
            left = _take_over(pixel, truth_of, pixel_of, before, truth_at, disc, width)
            found = left != pixel
            if found:
                votes[left] -= 1
                correct -= votes[left] == 0
        if found:
            votes[pixel] += 1
            correct += votes[pixel] == 1
    return gained, correct


@jit(nogil=True)
@no_type_check
def _match_predicted(start, search, truth_of, pixel_of, before, seen, came_from, queue, rows, disc):
    """Search a path from a predicted pixel to a free true pixel that is not dead; what it saw dies if none is."""
    for offset in disc:
        truth = before[start + offset]
        if before[start + offset + 1] > truth and pixel_of[truth] == _FREE and seen[truth] != _DEAD:
            truth_of[start] = truth
            pixel_of[truth] = start
            return True
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
                    return True
                queue[tail] = pixel_of[truth]
                tail += 1
    for i in range(1, tail):
        seen[truth_of[queue[i]]] = _DEAD
    return False


@jit(nogil=True)
@no_type_check
def _take_over(pixel, truth_of, pixel_of, before, truth_at, disc, width):
    """Let a free predicted pixel take a true pixel over if it is nearer, and so on; return the one that stays free."""
    while True:
        most, chosen = 1e-9, -1
        for offset in disc:
            truth = before[pixel + offset]
            if before[pixel + offset + 1] == truth or pixel_of[truth] == _FREE:
                continue
            gain = _distance(pixel_of[truth], truth_at[truth], width) - _distance(pixel, truth_at[truth], width)
            if gain > most:
                most, chosen = gain, truth
        if chosen < 0:
            return pixel
        other = pixel_of[chosen]
        pixel_of[chosen], truth_of[pixel], truth_of[other] = pixel, chosen, _FREE
        pixel = other


@jit(nogil=True)
@no_type_check
def _distance(pixel, other, width):
    return math.hypot(pixel // width - other // width, pixel % width - other % width)


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
    """Search a path from a freed, dead true pixel to a free predicted one; return that, or -1 and revive what it saw.

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
                return pixel
            if other != _ABSENT and seen[other] == _DEAD:
                seen[other] = 0
                came_from[other] = truth
                queue[tail] = other
                tail += 1
    return -1


@jit(nogil=True)
@no_type_check
def _flip_to_freed(pixel, truth, truth_of, pixel_of, came_from):
    while pixel_of[truth] != _FREE:
        left = pixel_of[truth]
        truth_of[pixel], pixel_of[truth] = truth, pixel
        pixel = left
        truth = came_from[truth]
    truth_of[pixel], pixel_of[truth] = truth, pixel
