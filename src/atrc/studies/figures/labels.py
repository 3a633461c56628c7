"""Labels beside the points of a figure, placed where they cover nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# p points, b boxes, four edges of a box: left, bottom, right, top [pt]

Boxes = Float[np.ndarray, "b 4"]
MARKER = 3.0  # half the side of a marker, with some air [pt]
# The first ones win where others are as good.
ANGLES = [math.radians(a) for a in (35, 145, -35, -145, 90, -90, 0, 180, 60, 120, -60, -120, 15, 165, -15, -165)]
DISTANCES = (6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 31.0, 38.0)  # of a label's centre from its point [pt]
NEAR = 10.0  # up to here a label needs no line to its point [pt]


def place_labels(
    axes: Axes,
    points: Float[np.ndarray, "p 2"],
    spreads: Float[np.ndarray, "p 2"],
    texts: Sequence[str],
) -> None:
    """Write a label near every point, clear of all points, error bars and other labels where there is room.

    Call it once the axes have their final limits and size.

    Args:
        axes: Where.
        points: The points, in data coordinates.
        spreads: Half the length of their error bars along x and y, in data coordinates.
        texts: The labels.
    """
    figure = axes.get_figure()
    scale = 72 / figure.dpi  # type: ignore[union-attr]
    centres = axes.transData.transform(points) * scale
    reach = np.abs(axes.transData.transform(points + spreads) * scale - centres)
    drafts = [axes.text(0, 0, text) for text in texts]
    boxes = [draft.get_window_extent() for draft in drafts]
    sizes = np.array([(box.width * scale, box.height * scale) for box in boxes]).reshape(-1, 2)
    for draft in drafts:
        draft.remove()
    frame = np.array(axes.get_window_extent().extents) * scale
    offsets = find_offsets(centres, reach, sizes, frame)
    for point, offset, text in zip(points, offsets, texts, strict=True):
        far = math.hypot(*offset) > NEAR
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 2}
        note = axes.annotate(
            text, tuple(point), tuple(offset), textcoords="offset points", ha="center", va="center_baseline",
            arrowprops=line if far else None, annotation_clip=False,
        )  # fmt: skip
        note.set_in_layout(False)


def find_offsets(
    centres: Float[np.ndarray, "p 2"],
    reach: Float[np.ndarray, "p 2"],
    sizes: Float[np.ndarray, "p 2"],
    frame: Float[np.ndarray, " 4"],
) -> Float[np.ndarray, "p 2"]:
    """Return the offset of every label's centre from its point: the nearest that covers least.

    Args:
        centres: The points [pt].
        reach: Half the lengths of their error bars [pt].
        sizes: Width and height of the labels [pt].
        frame: The edges that labels stay within [pt].
    """
    marks = [np.full_like(reach, MARKER)]
    marks += [np.stack([reach[:, 0], np.ones(len(reach))], 1), np.stack([np.ones(len(reach)), reach[:, 1]], 1)]
    obstacles = np.concatenate([_boxes(centres, half) for half in marks])
    directions = np.array([(math.cos(angle), math.sin(angle)) for angle in ANGLES])
    offsets = np.zeros_like(centres)
    for _ in range(3):  # the first ones know nothing of the later ones: they choose again
        for i, (centre, half) in enumerate(zip(centres, sizes / 2, strict=True)):
            others = np.delete(_boxes(centres + offsets, sizes / 2), i, 0)
            blocked = np.concatenate([obstacles, others])
            # A label is wider than high: it keeps its distance from the point in either direction.
            stretch = np.maximum(half - half.min(), 0)
            tried = np.concatenate([directions * d + np.sign(directions.round(6)) * stretch for d in DISTANCES])
            boxes = _boxes(centre + tried, np.broadcast_to(half, tried.shape))
            outside = np.prod(2 * half) - _overlap(boxes, frame[None])[:, 0]
            # Nearer to another point, a label would be read as that one's.
            away = np.linalg.norm(centre + tried - np.delete(centres, i, 0)[:, None], axis=-1).min(0, initial=math.inf)
            own = np.linalg.norm(tried, axis=-1)
            doubt = np.clip(own + 1.5 - away, 0, 5)
            cost = 4 * _overlap(boxes, blocked).sum(1) + 8 * outside + 0.05 * own + 0.5 * doubt
            offsets[i] = tried[cost.argmin()]
    return offsets


def _boxes(centres: Float[np.ndarray, "b 2"], half: Float[np.ndarray, "b 2"]) -> Boxes:
    return np.concatenate([centres - half, centres + half], 1)


def _overlap(one: Float[np.ndarray, "a 4"], other: Float[np.ndarray, "b 4"]) -> Float[np.ndarray, "a b"]:
    """Return the area that every two boxes share."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=-1)
