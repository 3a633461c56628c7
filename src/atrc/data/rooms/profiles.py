"""What the two profiles label: their classes, their tasks, and the human parts."""

from __future__ import annotations

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

HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)

STUFF = frozenset({"wall", "floor", "ceiling", "door", "window", "blinds", "curtain", "floor mat", "mirror"})
"""Background: never salient."""
