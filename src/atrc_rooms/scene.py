"""A furnished room as arrays, for ray tracing."""

# n vertices, m triangles, p parts, i instances, r rays
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from atrc_rooms import materials
from atrc_rooms.layout import Plan
from atrc_rooms.meshes import Number, rotation
from atrc_rooms.profiles import BODY_PARTS
from atrc_rooms.things import Thing


class Hits(NamedTuple):
    """First hits of rays; `triangle` is -1 for a miss."""

    triangle: Int[ndarray, " r"]
    u: Float[ndarray, " r"]
    v: Float[ndarray, " r"]
    distance: Float[ndarray, " r"]


@dataclass(frozen=True)
class Scene:
    """Triangles of all things, with their parts and instances.

    Attributes:
        corners: Vertex indices of every triangle.
        part: Part of every triangle.
        materials: One row a part, see `Material.row`.
        body: Number in `profiles.BODY_PARTS` of every part.
        instance: Instance of every part.
        names: Class name of every instance.
        lights: One row a light: its middle, its radius, colour times power, then the two half edges of
            a pane (zero for a ball).
        sun: Direction towards the sun, if it shines in.
        sunlight: Its colour times power.
        ambient: Share of the light that bounces off surfaces.
    """

    vertices: Float[ndarray, "n 3"]
    normals: Float[ndarray, "n 3"]
    texture: Float[ndarray, "n 3"]
    corners: Int[ndarray, "m 3"]
    part: Int[ndarray, " m"]
    materials: Float[ndarray, "p 13"]
    body: UInt8[ndarray, " p"]
    instance: Int[ndarray, " p"]
    names: tuple[str, ...]
    lights: Float[ndarray, "l 13"]
    sun: tuple[float, float, float] | None
    size: tuple[float, float, float]
    tracer: EmbreeScene
    sunlight: Float[ndarray, " 3"]
    ambient: Number = 0.5

    def trace(self, origins: Float[ndarray, "r 3"], directions: Float[ndarray, "r 3"]) -> Hits:
        """Return the first hits of rays with unit directions."""
        hit = self.tracer.run(origins, directions, output=1)
        return Hits(hit["primID"], hit["u"], hit["v"], hit["tfar"])

    def blocked(
        self, origins: Float[ndarray, "r 3"], directions: Float[ndarray, "r 3"], reach: Float[ndarray, " r"]
    ) -> Bool[ndarray, " r"]:
        """Return whether rays hit anything nearer than their reach [m]."""
        return self.tracer.run(origins, directions, reach, query="OCCLUDED") != -1

    def clearance(
        self, origins: Float[ndarray, "r 3"], directions: Float[ndarray, "r 3"], reach: Float[ndarray, " r"]
    ) -> Float[ndarray, " r"]:
        """Return the distance to the first hit, at most the reach [m]."""
        return self.tracer.run(origins, directions, reach, query="DISTANCE")


def build(plan: Plan) -> Scene:
    """Build the scene of all things of a plan."""
    parts = [(i, part) for i, thing in enumerate(plan.things) for part in thing.parts]
    counts = [len(part.mesh.vertices) for _, part in parts]
    starts = np.concatenate([[0], np.cumsum(counts[:-1])])
    vertices, normals = _posed(plan.things)
    corners = np.concatenate([part.mesh.faces + start for (_, part), start in zip(parts, starts, strict=True)])
    corners = np.ascontiguousarray(corners, np.int32)
    tracer = EmbreeScene()
    TriangleMesh(tracer, vertices, corners)
    return Scene(
        vertices=vertices,
        normals=normals,
        texture=np.concatenate([part.texture for _, part in parts]).astype(np.float32),
        corners=corners,
        part=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.mesh.faces) for _, part in parts]),
        materials=materials.rows([part.material for _, part in parts]),
        body=np.array([BODY_PARTS.index(part.body) for _, part in parts], np.uint8),
        instance=np.array([i for i, _ in parts], np.int32),
        names=tuple(thing.name for thing in plan.things),
        lights=_lights(plan.things),
        sun=plan.sun,
        size=plan.size,
        tracer=tracer,
        sunlight=np.array([3.4, 3.0, 2.4], np.float32),
    )


def _posed(things: list[Thing]) -> tuple[ndarray, ndarray]:
    vertices, normals = [], []
    for thing in things:
        turn = rotation(thing.yaw).T
        vertices.append(np.concatenate([part.mesh.vertices for part in thing.parts]) @ turn + np.asarray(thing.at))
        normals.append(np.concatenate([part.mesh.normals for part in thing.parts]) @ turn)
    return np.concatenate(vertices).astype(np.float32), np.concatenate(normals).astype(np.float32)


_WARM, _NEUTRAL, _SKY = np.array([1.0, 0.72, 0.42]), np.array([1.0, 0.96, 0.9]), np.array([0.86, 0.94, 1.0])


def _lights(things: list[Thing]) -> ndarray:
    rows = []
    for thing in things:
        turn = rotation(thing.yaw)
        for glow in thing.glows:
            middle = thing.to_room(np.array([[glow.x, glow.y, glow.z]], np.float64))[0]
            colour = glow.power * (glow.warmth * _WARM + (1 - glow.warmth) * _NEUTRAL)
            rows.append([*middle, glow.radius, *colour, 0, 0, 0, 0, 0, 0])
        for pane in thing.panes:
            if pane.power > 0:
                middle = thing.to_room(np.array([[pane.x, pane.y, pane.z]], np.float64))[0]
                across, up = turn @ [pane.width / 2, 0, 0], [0, 0, pane.height / 2]
                rows.append([*middle, 0.0, *(pane.power * _SKY), *across, *up])
    return np.array(rows, np.float32).reshape(-1, 13)
