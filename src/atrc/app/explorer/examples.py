"""Photographs to begin with: rendered rooms, or a folder's pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from atrc.app.predict.inputs import find_inputs
from atrc.errors import UserError
from atrc.images import read_image
from atrc.tasks import HumanParts, Saliency, Task

# h w photograph

SIZE = (480, 640)  # of a rendered room [px]
SEED = 8760  # of no data set that anybody trains on
ROOMS = {"indoor": (13, 15, 6, 3, 9, 11), "people": (13, 15, 0, 8, 18, 16)}
MOST = 24  # pictures of a folder that are offered

Photograph = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Example:
    """A photograph that is made when it is first asked for."""

    title: str
    load: Callable[[], Photograph]


def rooms(tasks: Sequence[Task]) -> list[Example]:
    """Return rendered rooms, with people if a task asks for them."""
    profile = "people" if any(isinstance(task, HumanParts | Saliency) for task in tasks) else "indoor"
    return [Example(f"Room {i}", partial(_render, profile, room)) for i, room in enumerate(ROOMS[profile], 1)]


def from_folder(folder: str, max_side: int, max_pixels: int) -> list[Example]:
    """Return a folder's pictures.

    Args:
        folder: The folder, with all below it.
        max_side: Larger ones are shrunk to this [px].
        max_pixels: Larger ones are refused.

    Raises:
        UserError: There are none.
    """
    if not Path(folder).is_dir():
        raise UserError(f"--examples {folder}: no such folder")
    photos = [one for one in find_inputs([folder], Path(folder) / "predictions")[0] if not one.is_video][:MOST]
    if not photos:
        raise UserError(f"--examples {folder}: no pictures in it")

    def load(path: Path, name: str) -> Photograph:
        return read_image(path, max_side=max_side, max_pixels=max_pixels, name=name).pixels

    return [Example(one.name, partial(load, one.path, one.name)) for one in photos]


@cache
def _render(profile: str, room: int) -> Photograph:
    from atrc_rooms import render_room  # brings in the ray tracer

    return render_room(profile, (SEED, room), SIZE).image
