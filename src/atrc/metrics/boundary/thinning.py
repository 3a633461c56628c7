"""MATLAB's ``bwmorph(mask, 'thin', Inf)``, kept up to date while the mask grows. Imports numba."""

from typing import no_type_check

import numpy as np
from jaxtyping import Int32, UInt8
from numpy import ndarray

from atrc.jit import jit

_SURVIVES = np.int32(2**30)


class Skeleton:
    """The thinned form of a mask that only gains pixels, on a flat map with at least one pixel of margin.

    Thinning alternates two kinds of passes that delete pixels by their eight neighbours alone. So after a
    few pixels were switched on, only pixels next to a difference from the previous run have to be decided
    again, pass by pass; all others were deleted in the pass in which they were deleted before.

    Source: Guo and Hall, "Parallel Thinning with Two-Subiteration Algorithms", 1989, in the variant of
    Lam, Lee and Suen, "Thinning Methodologies", 1992 (Sec. VI.A), that MATLAB documents.

    Args:
        size: Number of pixels of the map, margins included.
        width: Length of a row, margins included.
    """

    def __init__(self, size: int, width: int) -> None:
        # The number of the pass after which a pixel is gone; 0 where the mask is off.
        self._gone_after = np.zeros(size, np.int32)
        self._before = np.zeros(size, np.int32)
        self._stamp = np.zeros(size, np.int32)
        self._touched = np.empty(size, np.int32)
        self._active = np.empty(size, np.int32)
        self._neighbours = np.array([1, 1 - width, -width, -1 - width, -1, width - 1, width, width + 1])
        self._passes = 0
        self._updates = 0

    def switch_on(self, pixels: Int32[ndarray, " new"]) -> tuple[Int32[ndarray, " added"], Int32[ndarray, " removed"]]:
        """Switch flat indices of the mask on; return which pixels the skeleton gained and lost."""
        self._updates += 1
        planes = (self._gone_after, self._before, self._stamp, self._touched, self._active)
        count, self._passes = _rethin(pixels, *planes, self._neighbours, _TABLES, self._updates, self._passes)
        touched = self._touched[:count]
        survived = self._before[touched] == _SURVIVES
        survives = self._gone_after[touched] == _SURVIVES
        return touched[survives & ~survived], touched[survived & ~survives]


def _deletable(code: int, second: bool) -> bool:
    """Whether a pass deletes a pixel whose neighbours, from east counter-clockwise, are the bits of code."""
    x = [bool(code >> i & 1) for i in range(8)]
    crossings = sum(not x[i] and (x[i + 1] or x[(i + 2) % 8]) for i in range(0, 8, 2))
    pairs = min(sum(x[i] or x[i + 1] for i in range(0, 8, 2)), sum(x[i + 1] or x[(i + 2) % 8] for i in range(0, 8, 2)))
    x = x[4:] + x[:4] if second else x
    return crossings == 1 and 2 <= pairs <= 3 and not ((x[1] or x[2] or not x[7]) and x[0])


_TABLES: UInt8[ndarray, "2 256"] = np.array(
    [[_deletable(code, second) for code in range(256)] for second in (False, True)], np.uint8
)


@jit(nogil=True)
@no_type_check
def _rethin(pixels, gone_after, before, stamp, touched, active, neighbours, tables, update, passes):
    """Decide touched pixels again, pass by pass; return how many were touched and the passes needed.

    A pixel exists in pass k exactly where ``gone_after > k``, so deleting it in pass k (k + 1 is written)
    leaves it visible to its neighbours until the pass is over.
    """
    for i in range(pixels.size):
        before[pixels[i]] = 0
        stamp[pixels[i]] = update
        gone_after[pixels[i]] = _SURVIVES
        touched[i] = pixels[i]
    count = pixels.size
    for i in range(pixels.size):
        count = _touch_around(pixels[i], 0, gone_after, before, stamp, touched, neighbours, update, count)
    active[:count] = touched[:count]
    alive, step, quiet = count, 0, 0
    while step < passes or quiet < 2:
        table = tables[step % 2]
        known, kept, quiet = count, 0, quiet + 1
        for i in range(alive):
            pixel = active[i]
            code = 0
            for bit in range(8):
                code |= (gone_after[pixel + neighbours[bit]] > step) << bit
            if table[code]:
                gone_after[pixel] = step + 1
                quiet = 0
                differs = before[pixel] > step + 1
            else:
                active[kept] = pixel
                kept += 1
                differs = before[pixel] == step + 1
            if differs:
                count = _touch_around(pixel, step + 1, gone_after, before, stamp, touched, neighbours, update, count)
        active[kept : kept + count - known] = touched[known:count]
        alive = kept + count - known
        step += 1
        if quiet == 0:
            passes = max(passes, step)
    return count, passes


@jit(nogil=True)
@no_type_check
def _touch_around(pixel, step, gone_after, before, stamp, touched, neighbours, update, count):
    """Have the neighbours that exist in pass ``step`` decided again from there on."""
    for bit in range(8):
        other = pixel + neighbours[bit]
        if stamp[other] != update and gone_after[other] > step:
            stamp[other] = update
            before[other] = gone_after[other]
            gone_after[other] = _SURVIVES
            touched[count] = other
            count += 1
    return count
