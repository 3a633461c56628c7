"""Everything that a boundary score depends on besides the images, under the names that the field uses."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from atrc.errors import UserError

Mode = Literal["exact", "nested", "unthinned"]
Annotators = Literal["one", "first", "all"]
Scoring = Literal["seism", "bsds"]


@dataclass(frozen=True)
class BoundaryProtocol:
    """How predicted boundaries are turned into lines, matched with true ones and scored.

    Attributes:
        name: The protocol that this one is, or began as.
        max_dist: Largest distance of a match, as a fraction of the image diagonal.
        filter_radius: Radius of a triangle filter that smooths the prediction first [px]; 0 for no filter.
        suppression: Whether to keep only strengths that are maximal across their boundary.
        mode: How the mask over a threshold becomes lines. `exact` thins the mask of every threshold, `nested` thins
            the mask of the lowest one and thresholds its lines, `unthinned` takes the masks as they are.
        thresholds: Thresholds in (0, 1), in ascending order.
        inclusive: Whether a strength equal to the threshold counts as predicted.
        annotators: `all` matches the prediction with each annotation separately: a predicted pixel is correct if it
            has a match in any of them, recall is over the pixels of all. `first` takes the first annotation, `one`
            refuses images with more.
        scoring: `seism` takes F at the thresholds; precision is 1 where nothing is predicted, recall 1 where nothing
            is true. `bsds` also looks for the best F between thresholds, on straight lines of precision and recall;
            both are 0 there.
    """

    name: str
    max_dist: float
    filter_radius: int
    suppression: bool
    mode: Mode
    thresholds: tuple[float, ...]
    inclusive: bool
    annotators: Annotators
    scoring: Scoring

    def __post_init__(self) -> None:
        if not 0 < self.max_dist < 1:
            raise UserError(f"max_dist is a fraction of the image diagonal, between 0 and 1; got {self.max_dist}")
        if not 0 <= self.filter_radius <= 50:
            raise UserError(f"filter_radius is 0 to 50 pixels; got {self.filter_radius}")
        ascending = all(a < b for a, b in zip((0.0, *self.thresholds), (*self.thresholds, 1.0), strict=True))
        if not self.thresholds or not ascending:
            raise UserError("thresholds lie between 0 and 1, in ascending order; give at least one")

    @classmethod
    def named(cls, name: str, **changes: Any) -> BoundaryProtocol:
        """Return a protocol by name, with some fields changed.

        Args:
            name: A key of `PROTOCOLS`.
            changes: Fields to change; None leaves the protocol's own value. `thresholds` may be a number n, for
                k / (n + 1).

        >>> BoundaryProtocol.named("bsds").max_dist
        0.0075
        >>> str(BoundaryProtocol.named("bsds", suppression=True, filter_radius=1))
        'bsds, max_dist 0.0075, filter_radius 1, suppression True'

        Raises:
            UserError: The protocol does not exist, has no tolerance of its own and none is given, or a value is
                invalid.
        """
        if name not in PROTOCOLS:
            raise UserError(f"protocol {name!r} does not exist; choose from: {', '.join(PROTOCOLS)}")
        given = {key: value for key, value in changes.items() if value is not None}
        if isinstance(given.get("thresholds"), int):
            given["thresholds"] = evenly_spaced(given["thresholds"])
        values = {"name": name, **PROTOCOLS[name], **given}
        for key, kind in (("mode", Mode), ("annotators", Annotators), ("scoring", Scoring)):
            if values[key] not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise UserError(f"{key} {values[key]!r} does not exist; choose from: {choices}")
        if "max_dist" not in values:
            raise UserError(
                f"protocol {name!r} has no tolerance of its own: give max_dist, "
                "0.011 for NYUD-v2, 0.0075 for PASCAL-Context"
            )
        return cls(**values)

    def __str__(self) -> str:
        """Return the name, the tolerance, and what differs from the protocol of that name."""
        own = replace(self, **PROTOCOLS[self.name])
        changed = [
            f.name for f in fields(self) if f.name != "max_dist" and getattr(self, f.name) != getattr(own, f.name)
        ]
        shown = {key: getattr(self, key) for key in ("max_dist", *changed)}
        if "thresholds" in shown:
            shown["thresholds"] = len(self.thresholds)
        return ", ".join([self.name, *(f"{key} {value}" for key, value in shown.items())])


def evenly_spaced(number: int) -> tuple[float, ...]:
    """Return k / (number + 1), for 99 as in the BSDS code: 0.01, 0.02 .. 0.99."""
    return tuple(k / (number + 1) for k in range(1, number + 1))


_BSDS: dict[str, Any] = {
    "max_dist": 0.0075,
    "filter_radius": 0,
    "suppression": False,
    "mode": "exact",
    "thresholds": evenly_spaced(99),
    "inclusive": True,
    "annotators": "all",
    "scoring": "bsds",
}

PROTOCOLS: dict[str, dict[str, Any]] = {
    # NYUD-v2 and PASCAL-Context in multi-task learning. Source: Pont-Tuset and Marques, 2016.
    "seism": {
        "filter_radius": 0,
        "suppression": True,
        "mode": "exact",
        "thresholds": (0.001, *evenly_spaced(99), 0.999),
        "inclusive": False,
        "annotators": "one",
        "scoring": "seism",
    },
    # BSDS500, of predictions that are thin already. Source: Arbelaez et al., 2011.
    "bsds": _BSDS,
    # Edge detection since HED: suppression after a triangle filter. Source: Xie and Tu, 2015; Dollár and Zitnick, 2015.
    "nyud": {**_BSDS, "max_dist": 0.011, "filter_radius": 1, "suppression": True},
}
