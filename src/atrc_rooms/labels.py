"""Labels computed from the instances in view: boundaries and saliency."""

# h w image
from __future__ import annotations

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from atrc_rooms.jit import jit
from atrc_rooms.profiles import STUFF

_SMALLEST = 0.004  # a smaller share of the image is never salient
_PROMINENT = 0.012  # least prominence of a salient thing


def boundaries(instances: Int[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """Return the pixels whose right or lower neighbour is another instance, thinned to one pixel."""
    edge = np.zeros(instances.shape, bool)
    edge[:, :-1] |= instances[:, 1:] != instances[:, :-1]
    edge[:-1] |= instances[1:] != instances[:-1]
    return _thinned(edge)


@jit
@no_type_check
def _thinned(edge):
    """Remove the pixels that a line one pixel wide does not need, from each of four sides in turn."""
    height, width = edge.shape
    ring = np.zeros(9, np.bool_)
    changed = True
    while changed:
        changed = False
        for side in range(0, 8, 2):
            gone = []
            for y in range(height):
                for x in range(width):
                    if not edge[y, x]:
                        continue
                    # Neighbours clockwise from above; outside the image they are empty.
                    for i in range(8):
                        dy = -1 if i in (7, 0, 1) else (1 if i in (3, 4, 5) else 0)
                        dx = 1 if i in (1, 2, 3) else (-1 if i in (5, 6, 7) else 0)
                        inside = 0 <= y + dy < height and 0 <= x + dx < width
                        ring[i] = inside and edge[y + dy, x + dx]
                    ring[8] = ring[0]
                    if ring[side]:
                        continue
                    # Hilditch's crossing number: how many separate runs of neighbours there are.
                    runs, count = 0, 0
                    for i in range(8):
                        count += ring[i]
                    for i in range(0, 8, 2):
                        if not ring[i] and (ring[i + 1] or ring[i + 2]):
                            runs += 1
                    if count >= 2 and runs == 1:
                        gone.append((y, x))
            for y, x in gone:
                edge[y, x] = False
                changed = True
    return edge


def salient(instances: Int[ndarray, "h w"], names: Sequence[str], depth: Float[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """Return the salient pixels.

    Salient are all persons that cover at least 0.4 % of the image, and the most prominent other thing if its
    prominence is large enough. Background (`profiles.STUFF`) is never salient. Prominence is the share of the image,
    times a Gaussian of the mean position, times 2 m / depth (at most 1).
    """
    height, width = instances.shape
    flat = instances.ravel()
    count = np.bincount(flat, minlength=len(names))
    share = count / flat.size
    some = np.maximum(count, 1)
    rows, columns = np.divmod(np.arange(flat.size), width)
    row = np.bincount(flat, rows, len(names)) / some / height - 0.5
    column = np.bincount(flat, columns, len(names)) / some / width - 0.5
    distance = np.bincount(flat, depth.ravel(), len(names)) / some
    central = np.exp(-(row**2 + column**2) / (2 * 0.22**2))
    prominence = share * central * np.minimum(1, 2 / np.maximum(distance, 1e-3))
    person = np.array([name == "person" for name in names])
    stuff = np.array([name in STUFF for name in names])
    chosen = person & (share >= _SMALLEST)
    prominence[person | stuff | (share < _SMALLEST)] = 0
    if prominence.max(initial=0) > _PROMINENT:
        chosen[prominence.argmax()] = True
    return chosen[instances]
