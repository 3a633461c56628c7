"""Things: meshes with materials in a frame of their own, and a pose in the room.

The frame of a thing: y towards its front, x to the right when looking along y, z up; it stands on z = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from atrc_rooms.materials import Material
from atrc_rooms.meshes import Mesh, Number, rotation


class Part(NamedTuple):
    """A mesh in the frame of its thing.

    Attributes:
        texture: The points of the mesh in the frame of its material.
        body: One of `profiles.BODY_PARTS`.
    """

    mesh: Mesh
    texture: Float[ndarray, "n 3"]
    material: Material
    body: str


class Top(NamedTuple):
    """A level rectangle for small things, in the frame of its thing."""

    x: Number
    y: Number
    z: Number
    width: Number
    depth: Number
    headroom: Number = 1.5


class Seat(NamedTuple):
    """A place for a person to sit, facing the front of the thing turned by `yaw` [deg]."""

    x: Number
    y: Number
    z: Number
    yaw: Number = 0.0


class Glow(NamedTuple):
    """A small ball of light."""

    x: Number
    y: Number
    z: Number
    radius: Number
    power: Number
    warmth: Number = 0.5


class Pane(NamedTuple):
    """An upright rectangle that emits daylight towards +y."""

    x: Number
    y: Number
    z: Number
    width: Number
    height: Number
    power: Number


@dataclass(eq=False)
class Thing:
    """One instance of a class."""

    name: str
    parts: list[Part] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)
    glows: list[Glow] = field(default_factory=list)
    panes: list[Pane] = field(default_factory=list)
    at: tuple[Number, Number, Number] = (0.0, 0.0, 0.0)
    yaw: Number = 0.0
    _bounds: tuple[int, ndarray] | None = field(default=None, repr=False)

    def add(
        self,
        mesh: Mesh,
        material: Material,
        at: Sequence[Number] = (0, 0, 0),
        yaw: Number = 0,
        pitch: Number = 0,
        roll: Number = 0,
        body: str = "",
    ) -> None:
        """Add a part; wood grain runs along its longest side."""
        texture = mesh.vertices
        if material.texture == "wood":
            texture = texture[:, np.argsort(-np.ptp(texture, axis=0), kind="stable")]
        if material.texture in ("wood", "marble", "planks"):
            # Every part shows another piece of the texture.
            texture = texture + 1.7 * len(self.parts)
        self.parts.append(Part(mesh.moved(at, yaw, pitch, roll), texture, material, body))

    def bounds(self) -> Float[ndarray, "2 3"]:
        """Return the lowest and the highest corner in the frame of the thing."""
        if self._bounds is None or self._bounds[0] != len(self.parts):
            lows = [part.mesh.vertices.min(0) for part in self.parts]
            highs = [part.mesh.vertices.max(0) for part in self.parts]
            self._bounds = (len(self.parts), np.stack([np.min(lows, axis=0), np.max(highs, axis=0)]))
        return self._bounds[1]

    def to_room(self, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
        """Transform points of the thing's frame to the room."""
        return points @ rotation(self.yaw).T + np.asarray(self.at)
