"""Triangle meshes of primitive shapes. Lengths in [m]."""

# n vertices, m triangles, k rings or boxes, s vertices of a ring
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from atrc_rooms.jit import jit

Number = float | int  # for beartype, an int is not a float


class Mesh(NamedTuple):
    """Vertices with their normals, and the triangles between them."""

    vertices: Float[ndarray, "n 3"]
    normals: Float[ndarray, "n 3"]
    faces: Int[ndarray, "m 3"]

    def moved(self, at: Sequence[Number] = (0, 0, 0), yaw: Number = 0, pitch: Number = 0, roll: Number = 0) -> Mesh:
        """Turn about y (`roll`), x (`pitch`), then z (`yaw`) [deg], then shift by `at`."""
        if not (yaw or pitch or roll):
            return self._replace(vertices=self.vertices + np.asarray(at, np.float64))
        turn = rotation(yaw, pitch, roll).T
        return Mesh(self.vertices @ turn + np.asarray(at, np.float64), self.normals @ turn, self.faces)


def rotation(yaw: Number = 0, pitch: Number = 0, roll: Number = 0) -> Float[ndarray, "3 3"]:
    """Rotation about y (`roll`), then x (`pitch`), then z (`yaw`) [deg]."""
    z, x, y = math.radians(yaw), math.radians(pitch), math.radians(roll)
    cz, cx, cy, sz, sx, sy = math.cos(z), math.cos(x), math.cos(y), math.sin(z), math.sin(x), math.sin(y)
    return np.array(
        [
            [cz * cy - sz * sx * sy, -sz * cx, cz * sy + sz * sx * cy],
            [sz * cy + cz * sx * sy, cz * cx, sz * sy - cz * sx * cy],
            [-cx * sy, sx, cx * cy],
        ]
    )


def merge(*meshes: Mesh) -> Mesh:
    """Merge meshes."""
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=True)]),
    )


def box(width: Number, depth: Number, height: Number) -> Mesh:
    """Sharp box around the origin."""
    unit = _unit_box()
    return unit._replace(vertices=unit.vertices * np.array([width, depth, height]))


def boxes(centres: Float[ndarray, "k 3"], sizes: Float[ndarray, "k 3"]) -> Mesh:
    """Many sharp boxes as one mesh."""
    unit, k = _unit_box(), len(centres)
    vertices = unit.vertices[None] * sizes[:, None] + centres[:, None]
    faces = unit.faces[None] + 24 * np.arange(k)[:, None, None]
    return Mesh(vertices.reshape(-1, 3), np.tile(unit.normals, (k, 1)), faces.reshape(-1, 3))


def frame(width: Number, depth: Number, height: Number, bar: Number) -> Mesh:
    """Upright rectangular frame around the origin with bars `bar` wide, by its outer size."""
    x, z = (width - bar) / 2, (height - bar) / 2
    centres = np.array([[-x, 0, 0], [x, 0, 0], [0, 0, -z], [0, 0, z]])
    sizes = np.array([[bar, depth, height]] * 2 + [[width - 2 * bar, depth, bar]] * 2)
    return boxes(centres, sizes)


def rounded_box(width: Number, depth: Number, height: Number, radius: Number, steps: int = 2) -> Mesh:
    """Box around the origin whose edges are rounded with `radius`."""
    directions, signs, flat = _rounded_directions(steps)
    half = np.array([width, depth, height]) / 2
    radius = min(radius, *half)
    return _grid(signs * (half - radius) * ~flat + radius * directions, directions)


def ellipsoid(width: Number, depth: Number, height: Number, squareness: Number = 0, steps: int = 12) -> Mesh:
    """Ellipsoid around the origin; `squareness` towards 1 makes it a pillow: square and thin at its rim."""
    directions, outline = _ball(steps, squareness)
    half = np.array([width, depth, height]) / 2
    return _grid(directions * outline * half, _unit(directions / half))


def lathe(profile: Sequence[tuple[Number, Number]], smooth: bool = False, sides: int = 16) -> Mesh:
    """Surface of revolution about z through points (radius, height) from the bottom up."""
    line = np.asarray(profile, np.float64)
    slopes = _unit(np.stack([np.diff(line[:, 1]), -np.diff(line[:, 0])], 1))
    around = _circle(sides)
    if smooth:
        joined = _unit(np.concatenate([slopes[:1], slopes[1:] + slopes[:-1], slopes[-1:]]))
        return _grid(_turned(line, around), _turned(joined, around))
    twice = np.repeat(line, 2, axis=0)[1:-1]  # a ring for either side of every crease
    points, normals = _turned(twice, around), _turned(np.repeat(slopes, 2, axis=0), around)
    return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), _band_faces(len(slopes), sides + 1))


def cylinder(radius: Number, height: Number, top: Number | None = None, sides: int = 16) -> Mesh:
    """Closed cylinder on the origin; a cone if the radius at the `top` differs."""
    top = radius if top is None else top
    return lathe([(0, 0), (radius, 0), (top, height), (0, height)], sides=sides)


def tube(
    centres: Float[ndarray, "k 3"],
    radii: Float[ndarray, "k 2"],
    side: Sequence[Number] = (1, 0, 0),
    sides: int = 12,
) -> Mesh:
    """Closed smooth tube with elliptic rings.

    Args:
        centres: Middles of the rings, in order.
        radii: Half axes of every ring, the first along `side`.
        side: Direction of the first half axis, projected across the tube.
        sides: Vertices around a ring.
    """
    points, normals = _tube(
        np.asarray(centres, np.float64), np.asarray(radii, np.float64), np.asarray(side, np.float64), _circle(sides)
    )
    return Mesh(points, normals, _tube_faces(len(centres), sides))


def limb(
    start: Sequence[Number],
    end: Sequence[Number],
    radii: Sequence[Number | tuple[Number, Number]],
    side: Sequence[Number] = (1, 0, 0),
    sides: int = 12,
) -> Mesh:
    """Tube between two joints with rounded ends; `radii` are spread evenly from start to end."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    inner = np.array([r if isinstance(r, tuple) else (r, r) for r in radii], np.float64)
    share = np.linspace(0, 1, len(inner))
    length = max(float(np.linalg.norm(b - a)), 1e-6)
    shrink = np.array([0.35, 0.8])
    reach = np.sqrt(1 - shrink**2)
    share = np.concatenate([-reach * inner[0].mean() / length, share, 1 + reach[::-1] * inner[-1].mean() / length])
    inner = np.concatenate([inner[:1] * shrink[:, None], inner, inner[-1:] * shrink[::-1, None]])
    return tube(a + share[:, None] * (b - a), inner, side, sides)


def sheet(points: Float[ndarray, "k s 3"]) -> Mesh:
    """A curved sheet through a grid of points."""
    return _grid(points, _unit(np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))))


def _unit(vectors: ndarray) -> ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _turned(line: ndarray, around: ndarray) -> ndarray:
    """Points (radius, height) -> rings about z."""
    rings = np.empty((len(line), len(around), 3))
    rings[..., :2] = line[:, None, :1] * around
    rings[..., 2] = line[:, 1:]
    return rings


def _sphere(latitude: ndarray, longitude: ndarray) -> ndarray:
    ring = np.stack([np.cos(latitude), np.sin(latitude)], 1)
    return _turned(ring, np.stack([np.cos(longitude), np.sin(longitude)], -1))


def _grid(points: ndarray, normals: ndarray) -> Mesh:
    return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), _grid_faces(*points.shape[:2]))


@jit
@no_type_check
def _tube(centres, radii, side, circle):
    """Return the points and normals of all rings, then of both ends with a middle point each."""
    k, s = len(centres), len(circle)
    points, normals = np.empty((k * s + 2 * (s + 1), 3)), np.empty((k * s + 2 * (s + 1), 3))
    for i in range(k):
        before, after = max(i - 1, 0), min(i + 1, k - 1)
        along = centres[after] - centres[before]
        length = math.sqrt((along**2).sum()) + 1e-9
        along = along / length
        first = side - (side * along).sum() * along
        first = first / (math.sqrt((first**2).sum()) + 1e-9)
        second = np.cross(along, first)
        # Normals lean back where a tube widens, and forward where it tapers.
        lean = -(radii[after].mean() - radii[before].mean()) / length
        lean = min(max(lean, -8.0), 8.0)
        for j in range(s):
            cos, sin = circle[j]
            points[i * s + j] = centres[i] + cos * radii[i, 0] * first + sin * radii[i, 1] * second
            outward = cos * radii[i, 1] * first + sin * radii[i, 0] * second
            outward = outward / (math.sqrt((outward**2).sum()) + 1e-12) + lean * along
            normals[i * s + j] = outward / (math.sqrt((outward**2).sum()) + 1e-12)
        if i == 0 or i == k - 1:
            start = k * s + (0 if i == 0 else s + 1)
            points[start : start + s] = points[i * s : i * s + s]
            points[start + s] = centres[i]
            normals[start : start + s + 1] = along if i else -along
    return points, normals


@lru_cache(maxsize=64)
def _tube_faces(rings: int, sides: int) -> ndarray:
    fans = []
    for end in range(2):
        start = rings * (sides + 1) + end * (sides + 2)
        index = start + np.arange(sides)
        fans.append(np.stack([index, index + 1, np.full_like(index, start + sides + 1)], 1))
    return np.concatenate([_grid_faces(rings, sides + 1), *fans])


@lru_cache(maxsize=64)
def _band_faces(bands: int, columns: int) -> ndarray:
    """Faces of separate bands of two rings each."""
    faces = _grid_faces(2, columns)[None] + 2 * columns * np.arange(bands)[:, None, None]
    return faces.reshape(-1, 3)


@lru_cache(maxsize=64)
def _circle(sides: int) -> ndarray:
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    return np.stack([np.cos(angle), np.sin(angle)], -1)


@lru_cache(maxsize=64)
def _ball(steps: int, squareness: Number) -> tuple[ndarray, ndarray]:
    """Return directions on a sphere, and the factors that make the outline seen from above square."""
    directions = _sphere(np.linspace(-np.pi / 2, np.pi / 2, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps + 1))
    flat = np.abs(directions[..., :2])
    norm = np.linalg.norm(flat, axis=-1, keepdims=True)
    outline = np.ones_like(directions)
    outline[..., :2] = (norm / np.maximum(flat.max(-1, keepdims=True), 1e-9)) ** squareness
    return directions, outline


def _split(quads: ndarray) -> ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


@lru_cache(maxsize=64)
def _grid_faces(rows: int, columns: int) -> ndarray:
    index = np.arange(rows * columns).reshape(rows, columns)
    corners = [index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]]
    return _split(np.stack([c.ravel() for c in corners], 1))


@lru_cache(maxsize=1)
def _unit_box() -> Mesh:
    corners, normals = [], []
    for axis in range(3):
        for sign in (-1, 1):
            for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                corner = np.zeros(3)
                corner[[axis, (axis + 1) % 3, (axis + 2) % 3]] = sign, u, v
                corners.append(corner / 2)
                normals.append(np.eye(3)[axis] * sign)
    return Mesh(np.array(corners), np.array(normals), _split(np.arange(24).reshape(6, 4)))


@lru_cache(maxsize=4)
def _rounded_directions(steps: int) -> tuple[ndarray, ndarray, ndarray]:
    """Return the normals of a rounded box on a grid, their corners, and the centres of top and bottom.

    Every quadrant has its own first and last column, so the faces between two corners are flat.
    """
    quarter = np.linspace(0, np.pi / 2, steps + 1)
    latitude = np.concatenate([quarter[:1] - np.pi / 2, quarter - np.pi / 2, quarter, quarter[-1:]])
    longitude = np.concatenate([quarter + q * np.pi / 2 for q in range(4)] + [[2 * np.pi]])
    middle = np.concatenate([np.full(steps + 1, (q + 0.5) * np.pi / 2) for q in range(4)] + [[np.pi / 4]])
    rows = np.repeat([-np.pi / 4, np.pi / 4], steps + 2)
    signs = np.sign(_sphere(rows, middle))
    flat = np.zeros(signs.shape, bool)
    flat[[0, -1], :, :2] = True
    return _sphere(latitude, longitude), signs, flat
