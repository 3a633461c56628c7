"""What the two profiles label: their classes, their tasks, and the human parts."""

from __future__ import annotations


class RoomsError(ValueError):
    """Something that cannot be rendered or written; the message names it and the cure."""


_INDOOR = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "blinds",
    "desk",
    "curtain",
    "dresser",
    "pillow",
    "mirror",
    "floor mat",
    "ceiling",
    "books",
    "television",
    "box",
    "night stand",
    "lamp",
    "plant",
    "otherprop",
)

CLASSES: dict[str, tuple[str, ...]] = {"indoor": _INDOOR, "people": (*_INDOOR, "person")}
"""Class names by profile, NYU-40 names where they fit; the index of a name is its label."""

PROFILES: dict[str, tuple[str, ...]] = {
    "indoor": ("semseg", "depth", "normals", "edge"),
    "people": ("semseg", "human_parts", "sal", "normals", "edge"),
}
"""Tasks by profile: `indoor` has those of NYUD_MT, `people` those of PASCAL_MT."""

HUMAN_PARTS = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")
"""Part names; the index of a name is its label. The neck is torso, hands and feet are lower limbs."""

BODY_PARTS = (
    "",
    "head",
    "hair",
    "neck",
    "torso",
    "luarm",
    "ruarm",
    "llarm",
    "rlarm",
    "lhand",
    "rhand",
    "luleg",
    "ruleg",
    "llleg",
    "rlleg",
    "lfoot",
    "rfoot",
)
"""The finer parts of PASCAL-Part that mannequins consist of, by number; 0 is no part."""

BODY_GROUPS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 6, 6)
"""The `HUMAN_PARTS` label of every one of `BODY_PARTS`."""

STUFF = frozenset({"wall", "floor", "ceiling", "door", "window", "blinds", "curtain", "floor mat", "mirror"})
"""Background: never salient."""
