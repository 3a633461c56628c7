"""Images to start with: rendered rooms, or those of a folder."""

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

# h w image

SIZE = (480, 640)  # of a rendered room [px]
SEED = 8760  # not the seed of a training set
ROOMS = {"indoor": (13, 15, 6, 3, 9, 11), "people": (13, 15, 0, 8, 18, 16)}
MOST = 24  # images of a folder that are offered

Pixels = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Example:
    """An image that is made when it is first requested."""

    title: str
    load: Callable[[], Pixels]


def rooms(tasks: Sequence[Task]) -> list[Example]:
    """Return rendered rooms, with people if a task needs them."""
    profile = "people" if any(isinstance(task, HumanParts | Saliency) for task in tasks) else "indoor"
    return [Example(f"Room {i}", partial(_render, profile, room)) for i, room in enumerate(ROOMS[profile], 1)]


def from_folder(folder: str, max_side: int, max_pixels: int) -> list[Example]:
    """Return the images of a folder and of the folders below it.

    Args:
        folder: The folder.
        max_side: Larger images are shrunk to this side [px].
        max_pixels: Larger images are refused.

    Raises:
        UserError: There are none.
    """
    if not Path(folder).is_dir():
        raise UserError(f"--examples {folder}: no such folder")
    images = [one for one in find_inputs([folder], Path(folder) / "predictions")[0] if not one.is_video][:MOST]
    if not images:
        raise UserError(f"--examples {folder}: no images in it")

    def load(path: Path, name: str) -> Pixels:
        return read_image(path, max_side=max_side, max_pixels=max_pixels, name=name).pixels

    return [Example(one.name, partial(load, one.path, one.name)) for one in images]


@cache
def _render(profile: str, room: int) -> Pixels:
    from atrc_rooms import render_room  # imports the ray tracer

    return render_room(profile, (SEED, room), SIZE).image
