"""Triangle meshes of the primitive shapes that furniture and people are made of. Lengths in [m]."""

# n vertices, m triangles, k rings or boxes, s vertices of a ring
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


class Mesh(NamedTuple):
    """Vertices with their normals, and the triangles between them."""

    vertices: Float[ndarray, "n 3"]
    normals: Float[ndarray, "n 3"]
    faces: Int[ndarray, "m 3"]

    def moved(self, at: Sequence[float] = (0, 0, 0), yaw: float = 0, pitch: float = 0, roll: float = 0) -> Mesh:
        """Turn about y (`roll`), x (`pitch`), then z (`yaw`) [deg], then shift by `at`."""
        if not (yaw or pitch or roll):
            return self._replace(vertices=self.vertices + np.asarray(at, np.float64))
        turn = rotation(yaw, pitch, roll).T
        return Mesh(self.vertices @ turn + np.asarray(at, np.float64), self.normals @ turn, self.faces)


def rotation(yaw: float = 0, pitch: float = 0, roll: float = 0) -> Float[ndarray, "3 3"]:
    """Rotation about y (`roll`), then x (`pitch`), then z (`yaw`) [deg]."""
    (cz, cx, cy), (sz, sx, sy) = (f(np.radians([yaw, pitch, roll])) for f in (np.cos, np.sin))
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_z @ about_x @ about_y


def merge(*meshes: Mesh) -> Mesh:
    """Many meshes as one."""
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=True)]),
    )


def box(width: float, depth: float, height: float) -> Mesh:
    """Sharp box around the origin."""
    unit = _unit_box()
    return unit._replace(vertices=unit.vertices * np.array([width, depth, height]))


def boxes(centres: Float[ndarray, "k 3"], sizes: Float[ndarray, "k 3"]) -> Mesh:
    """Many sharp boxes as one mesh: slats, legs, keys, the spines of a row of books."""
    unit, k = _unit_box(), len(centres)
    vertices = unit.vertices[None] * sizes[:, None] + centres[:, None]
    faces = unit.faces[None] + 24 * np.arange(k)[:, None, None]
    return Mesh(vertices.reshape(-1, 3), np.tile(unit.normals, (k, 1)), faces.reshape(-1, 3))


def frame(width: float, depth: float, height: float, bar: float) -> Mesh:
    """Upright rectangular frame around the origin, of bars `bar` wide; its outside size is given."""
    x, z = (width - bar) / 2, (height - bar) / 2
    centres = np.array([[-x, 0, 0], [x, 0, 0], [0, 0, -z], [0, 0, z]])
    sizes = np.array([[bar, depth, height]] * 2 + [[width - 2 * bar, depth, bar]] * 2)
    return boxes(centres, sizes)


def rounded_box(width: float, depth: float, height: float, radius: float, steps: int = 2) -> Mesh:
    """Box around the origin whose edges are rounded with `radius`."""
    directions, signs, flat = _rounded_directions(steps)
    half = np.array([width, depth, height]) / 2
    radius = min(radius, *half)
    return _grid(signs * (half - radius) * ~flat + radius * directions, directions)


def ellipsoid(width: float, depth: float, height: float, squareness: float = 0, steps: int = 12) -> Mesh:
    """Ellipsoid around the origin; `squareness` towards 1 makes it a pillow, then a box."""
    power = 1 - squareness
    latitude, longitude = np.linspace(-np.pi / 2, np.pi / 2, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps + 1)
    directions = _sphere(latitude, longitude)
    half = np.array([width, depth, height]) / 2
    # Only the outline is squared: seen from the side a pillow stays thin at its rim.
    outline = np.ones_like(directions)
    largest = np.abs(directions[..., :2]).max(-1, keepdims=True)
    norm = np.linalg.norm(directions[..., :2], axis=-1, keepdims=True)
    outline[..., :2] = (norm / np.maximum(largest, 1e-9)) ** (1 - power)
    return _grid(directions * outline * half, _unit(directions / half))


def lathe(profile: Sequence[tuple[float, float]], smooth: bool = False, sides: int = 16) -> Mesh:
    """Surface of revolution about z through (radius, height) points, outside to the right of their way up."""
    line = np.asarray(profile, np.float64)
    slopes = _unit(np.stack([np.diff(line[:, 1]), -np.diff(line[:, 0])], 1))
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    around = np.stack([np.cos(angle), np.sin(angle)], -1)
    if smooth:
        joined = _unit(np.concatenate([slopes[:1], slopes[1:] + slopes[:-1], slopes[-1:]]))
        return _grid(_turned(line, around), _turned(joined, around))
    return merge(
        *(
            _grid(_turned(line[i : i + 2], around), _turned(np.stack([slope, slope]), around))
            for i, slope in enumerate(slopes)
            if np.ptp(line[i : i + 2], axis=0).any()
        )
    )


def cylinder(radius: float, height: float, top: float | None = None, sides: int = 16) -> Mesh:
    """Closed cylinder standing on the origin; a cone when the radius at the `top` differs."""
    top = radius if top is None else top
    return lathe([(0, 0), (radius, 0), (top, height), (0, height)], sides=sides)


def tube(
    centres: Float[ndarray, "k 3"],
    radii: Float[ndarray, "k 2"],
    side: Sequence[float] = (1, 0, 0),
    sides: int = 12,
) -> Mesh:
    """Closed smooth tube with elliptic rings: limbs, trunks, bent lamp stems.

    Args:
        centres: Where the rings sit, in order.
        radii: Half axes of every ring, the first along `side`.
        side: Direction that the first half axis keeps to, as far as the tube's own direction allows.
        sides: Vertices around a ring.
    """
    along = _unit(np.gradient(centres, axis=0))
    first = np.asarray(side, np.float64) - (along @ np.asarray(side, np.float64))[:, None] * along
    first = _unit(first)
    second = np.cross(along, first)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    cos, sin = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    rings = first[:, None] * cos * radii[:, None, :1] + second[:, None] * sin * radii[:, None, 1:]
    points = centres[:, None] + rings
    outward = first[:, None] * cos * radii[:, None, 1:] + second[:, None] * sin * radii[:, None, :1]
    # A tube that widens along its way leans its normals back, one that tapers leans them forward.
    length = np.linalg.norm(np.gradient(centres, axis=0), axis=1)
    lean = -np.gradient(radii.mean(1)) / np.maximum(length, 1e-9)
    normals = _unit(_unit(outward) + np.clip(lean, -8, 8)[:, None, None] * along[:, None])
    return merge(_grid(points, normals), *(_cap(points[i], s * along[i]) for i, s in ((0, -1), (-1, 1))))


def limb(
    start: Sequence[float],
    end: Sequence[float],
    radii: Sequence[float | tuple[float, float]],
    side: Sequence[float] = (1, 0, 0),
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
    """A curved sheet through a grid of points, its normals from its slopes."""
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


def _cap(ring: ndarray, normal: ndarray) -> Mesh:
    """Flat fan that closes the end of a tube."""
    points = np.concatenate([ring, ring.mean(0, keepdims=True)])
    index = np.arange(len(ring) - 1)
    faces = np.stack([index, index + 1, np.full_like(index, len(ring))], 1)
    return Mesh(points, np.broadcast_to(normal, points.shape), faces)


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
    """Normals of a rounded box on a grid, the corner each belongs to, and where the lids' centres are.

    Every quadrant has its own first and last column, so that the faces between two corners are flat.
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
