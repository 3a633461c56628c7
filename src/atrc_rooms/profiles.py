"""The profiles: their classes and tasks, and the human parts."""

from __future__ import annotations


class RoomsError(ValueError):
    """Something that cannot be rendered or written; the message names it and the cure."""


_INDOOR = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "blinds",
    "desk", "curtain", "dresser", "pillow", "mirror", "floor mat", "ceiling", "books", "television", "box",
    "night stand", "lamp", "plant", "otherprop",
)  # fmt: skip

_PEOPLE = (*_INDOOR, "person")
CLASSES: dict[str, tuple[str, ...]] = {
    "indoor": _INDOOR, "people": _PEOPLE, "varied": _INDOOR, "varied_people": _PEOPLE,
}  # fmt: skip
"""Class names by profile, NYU-40 names where they fit; the index of a name is its label."""

_NYUD, _PASCAL = ("semseg", "depth", "normals", "edge"), ("semseg", "human_parts", "sal", "normals", "edge")
PROFILES: dict[str, tuple[str, ...]] = {
    "indoor": _NYUD, "people": _PASCAL, "varied": _NYUD, "varied_people": _PASCAL,
}  # fmt: skip
"""Tasks by profile: those of NYUD_MT, or those of PASCAL_MT and people in the rooms."""

VARIED = frozenset({"varied", "varied_people"})
"""Profiles with the colours, lights, views and cameras of `variety`."""

HUMAN_PARTS = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")
"""Part names; the index of a name is its label. The neck is torso, hands and feet are lower limbs."""

BODY_PARTS = (
    "", "head", "hair", "neck", "torso", "luarm", "ruarm", "llarm", "rlarm", "lhand", "rhand", "luleg", "ruleg",
    "llleg", "rlleg", "lfoot", "rfoot",
)  # fmt: skip
"""The parts of PASCAL-Part, by number; 0 is no part."""

BODY_GROUPS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 6, 6)
"""The `HUMAN_PARTS` label of each of `BODY_PARTS`."""

STUFF = frozenset({"wall", "floor", "ceiling", "door", "window", "blinds", "curtain", "floor mat", "mirror"})
"""Background: never salient."""
