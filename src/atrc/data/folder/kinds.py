"""How each kind of task is described in `dataset.yaml`: which keys it has, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from atrc.data.folder.labels import (
    HIGHEST,
    LOWEST,
    ClassLabels,
    DepthLabels,
    LabelReader,
    MaskLabels,
    NormalLabels,
)
from atrc.data.folder.section import REQUIRED, Section, as_number, is_whole, nearest, show
from atrc.tasks import Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals, Task

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
OTHERS = "others"  # ignore whatever value is no class

Described = tuple[Task, LabelReader]


def describe_classes(kind: type[SemanticSegmentation], section: Section, common: dict[str, Any]) -> Described:
    """Classes by name: a list for 0, 1, 2 .., or a mapping to the values in the files."""
    classes = section.take("classes", list(kind.class_names) or REQUIRED)
    values = class_values(section, classes)
    names = tuple(dict.fromkeys(classes))
    ignored = ignored_values(section, values)
    task = kind(
        **common,
        num_classes=len(names),
        class_names=names,
        class_colours=class_colours(section, names),
        class_weights=class_weights(section, names),
        label_smoothing=section.number("label_smoothing", 0.0, high=1.0),
    )
    return task, ClassLabels(section.key, values, ignored, names)


def class_weights(section: Section, names: tuple[str, ...]) -> tuple[float, ...] | Literal["median_frequency"]:
    """Return the weights of the classes in the loss."""
    given = section.take("class_weights", [])
    if given == "median_frequency":
        return "median_frequency"
    weights = [as_number(weight) for weight in given] if isinstance(given, list) else [None]
    if len(weights) not in (0, len(names)) or not all(weight is not None and weight >= 0 for weight in weights):
        section.fail("class_weights", f"is {show(given)}; give {len(names)} numbers of 0 or more, or median_frequency")
    return tuple(weight for weight in weights if weight is not None)


def class_values(section: Section, classes: Any) -> dict[int, int]:
    """Return value in the files -> class."""
    if not isinstance(classes, list | dict) or not classes:
        section.fail("classes", f"is {show(classes)}; give the names of the classes, as [floor, wall]")
    for name in classes:
        if not isinstance(name, str) or not name:
            section.fail("classes", f"holds {show(name)}; the name of a class is text, in quotes if need be")
    if twice := [name for name in classes if list(classes).count(name) > 1]:
        section.fail("classes", f"holds {show(twice[0])} twice")
    given = classes if isinstance(classes, dict) else dict(zip(classes, range(len(classes)), strict=True))
    values: dict[int, int] = {}
    for index, (name, held) in enumerate(given.items()):
        for value in held if isinstance(held, list) and held else [held]:
            if not is_whole(value) or not LOWEST <= value <= HIGHEST:
                section.fail(
                    f"classes.{name}", f"is {show(held)}; give the value of the class in the files, or several"
                )
            if value in values:
                section.fail(f"classes.{name}", f"has the value {value} of {list(given)[values[value]]} too")
            values[value] = index
    return values


def ignored_values(section: Section, values: dict[int, int]) -> tuple[int, ...] | None:
    """Return the values to ignore; None means all that are no class."""
    ignored = section.several("ignore", ())
    if ignored == [OTHERS]:
        return None
    for value in ignored:
        if not is_whole(value) or not LOWEST <= value <= HIGHEST:
            section.fail("ignore", f"holds {show(value)}; give values of the label files, or `{OTHERS}`")
        if value in values:
            section.fail("ignore", f"holds {value}, which is the value of a class; leave it out of one of them")
    return tuple(ignored)


def class_colours(section: Section, names: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """Return a colour for every class; those that are not given keep the colour of the palette."""
    if "colours" not in section.content:
        section.taken.add("colours")
        return ()
    given = section.section("colours")
    default = SemanticSegmentation(num_classes=len(names)).colours.tolist()
    for name in given:
        if name not in names:
            section.fail("colours", f"names {show(name)}, which is no class; {nearest(name, names)}")
        colour = given.take(name)
        if not isinstance(colour, list) or len(colour) != 3 or not all(is_whole(c) and 0 <= c <= 255 for c in colour):
            given.fail(name, f"is {show(colour)}; give red, green and blue from 0 to 255, as [255, 128, 0]")
        default[names.index(name)] = colour
    return tuple((r, g, b) for r, g, b in default)


def describe_depth(kind: type[Depth], section: Section, common: dict[str, Any]) -> Described:
    """Depth in a unit, with the range of its label regions."""
    unit = section.take("unit", "m")
    scale = UNITS.get(unit) if isinstance(unit, str) else None
    if scale is None and (not (scale := as_number(unit)) or not 0 < scale < math.inf):
        section.fail("unit", f"is {show(unit)}; choose from {', '.join(UNITS)}, or give the metres of one file value")
    invalid = [as_number(value) for value in section.several("invalid", (0,))]
    if None in invalid:
        section.fail("invalid", f"is {show(section.content['invalid'])}; give numbers, nan or inf")
    nearest_m = section.number("nearest", kind.nearest, low=0.0)
    farthest_m = section.number("farthest", kind.farthest, low=nearest_m)
    task = kind(**common, bins=section.whole("bins", kind.bins, 2), nearest=nearest_m, farthest=farthest_m)
    values = tuple(value for value in invalid if value is not None)
    return task, DepthLabels(section.key, float(scale), values)


def describe_normals(kind: type[SurfaceNormals], section: Section, common: dict[str, Any]) -> Described:
    """Normals, with the axes whose sign is the other one."""
    flipped = section.several("flip", ())
    for axis in flipped:
        if axis not in ("x", "y", "z"):
            section.fail("flip", f"holds {show(axis)}; choose from x, y, z")
    x, y, z = (-1.0 if axis in flipped else 1.0 for axis in "xyz")
    return kind(**common), NormalLabels((x, y, z))


def describe_boundaries(kind: type[Boundaries], section: Section, common: dict[str, Any]) -> Described:
    """Boundaries, with the weight of their pixels and the tolerance of their score."""
    task = kind(
        **common,
        positive_weight=section.number("positive_weight", kind.positive_weight, 0.0, 1.0),
        max_dist=section.number("max_dist", kind.max_dist, 0.0, 1.0),
    )
    return task, describe_mask(section)


def describe_saliency(kind: type[Saliency], section: Section, common: dict[str, Any]) -> Described:
    """Saliency: a mask."""
    return kind(**common), describe_mask(section)


def describe_mask(section: Section) -> MaskLabels:
    """Return how a mask is read."""
    given = "threshold" in section.content
    threshold = section.number("threshold", 0.0) if given else None
    section.taken.add("threshold")
    ignored = section.several("ignore", ())
    if not all(map(is_whole, ignored)) or 0 in ignored:
        section.fail("ignore", f"is {show(section.content['ignore'])}; give whole numbers, not 0")
    return MaskLabels(section.key, threshold, tuple(ignored))


# Which kinds of task a folder may label, and how each is described.
KINDS: dict[str, tuple[type[Task], Callable[..., Described]]] = {
    "semseg": (SemanticSegmentation, describe_classes),
    "human_parts": (HumanParts, describe_classes),
    "sal": (Saliency, describe_saliency),
    "normals": (SurfaceNormals, describe_normals),
    "edge": (Boundaries, describe_boundaries),
    "depth": (Depth, describe_depth),
}
