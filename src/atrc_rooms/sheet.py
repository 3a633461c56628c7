"""Contact sheets: rendered rooms and their labels in colours that a person can read."""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from atrc_rooms.profiles import CLASSES, HUMAN_PARTS, PROFILES
from atrc_rooms.render import View, render_room

_GAP = 4  # between images [px]


def contact_sheet(
    profile: str,
    count: int = 6,
    size: tuple[int, int] = (240, 320),
    seed: int = 0,
    columns: int = 1,
    labels: bool = True,
) -> Image.Image:
    """Grid of scenes, each with its image and, unless switched off, its labels beside it.

    Args:
        profile: A key of `PROFILES`.
        count: How many scenes.
        size: Height and width of each image [px].
        seed: Scene i has the seed (seed, i).
        columns: How many scenes stand side by side.
        labels: Whether labels are shown.
    """
    rows = []
    strips = []
    for i in range(count):
        view = render_room(profile, (seed, i), size)
        strips.append(np.concatenate([_padded(p) for p in _pictures(view, profile, labels)], 1))
    blank = np.full_like(strips[0], 255)
    for i in range(0, count, columns):
        row = strips[i : i + columns]
        rows.append(np.concatenate(row + [blank] * (columns - len(row)), 1))
    return Image.fromarray(np.concatenate(rows, 0))


def _pictures(view: View, profile: str, labels: bool) -> list[UInt8[ndarray, "h w 3"]]:
    if not labels:
        return [view.image]
    painters = {
        "semseg": lambda: _palette(len(CLASSES[profile]))[view.semseg],
        "human_parts": lambda: _parts(view),
        "sal": lambda: np.where(view.sal[..., None], view.image, view.image // 4),
        "depth": lambda: _depth(view),
        "normals": lambda: ((view.normals + 1) * 127.5).astype(np.uint8),
        "edge": lambda: np.repeat((~view.edge * np.uint8(255))[..., None], 3, -1),
    }
    return [view.image, *(painters[task]() for task in PROFILES[profile])]


def _padded(picture: UInt8[ndarray, "h w 3"]) -> UInt8[ndarray, "h2 w2 3"]:
    return np.pad(picture, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _palette(count: int) -> UInt8[ndarray, "c 3"]:
    """Colours far apart: the golden angle around the hues, lightness in five steps."""
    steps = (0.45, 0.35, 0.75, 0.65, 0.55)
    colours = [colorsys.hls_to_rgb(i * 0.618 % 1, steps[i % 5], 0.65) for i in range(count)]
    return (np.array(colours) * 255).astype(np.uint8)


def _parts(view: View) -> UInt8[ndarray, "h w 3"]:
    palette = _palette(len(HUMAN_PARTS))
    return np.where((view.human_parts > 0)[..., None], palette[view.human_parts], view.image // 4)


def _depth(view: View) -> UInt8[ndarray, "h w 3"]:
    near = np.clip(1 - view.depth / 7, 0, 1)[..., None]
    return (255 * np.concatenate([near**0.8, near**1.5, 1 - near], -1)).astype(np.uint8)
