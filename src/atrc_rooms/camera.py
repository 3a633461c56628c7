"""The camera, and poses in which a person would hold it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator

from atrc_rooms.jit import jit
from atrc_rooms.layout import Plan
from atrc_rooms.meshes import Number
from atrc_rooms.scene import Scene

_NEAREST = 0.3  # free space around the camera [m]
_SHELL = frozenset({"wall", "floor", "ceiling"})


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        eye: Its position in the room [m].
        axes: Rows are its x (right), y (up) and z (backward) axes in the room's frame.
        focal: Focal length as a multiple of the image's longer side.
    """

    eye: Float[ndarray, " 3"]
    axes: Float[ndarray, "3 3"]
    focal: float

    def rays(
        self,
        size: tuple[int, int],
        shift: tuple[float, float] = (0.0, 0.0),
        pixels: Int[ndarray, " r"] | None = None,
    ) -> Float[ndarray, "r 3"]:
        """Return unit directions through the middles of some or all pixels, moved by `shift` (down, right) [px]."""
        pixels = np.arange(size[0] * size[1]) if pixels is None else pixels
        return _rays(pixels, self.axes, self.scale(size), *size, *shift)

    def scale(self, size: tuple[int, int]) -> float:
        """Return the focal length [px]."""
        return self.focal * max(size)


@dataclass(frozen=True)
class Views:
    """The distribution of camera poses.

    Attributes:
        height: Range [m].
        pitch: Mean and standard deviation [deg].
        roll: Standard deviation [deg].
        angle: Range of the angle of view along the longer side [deg].
        candidates: The best of so many poses is used.
    """

    height: tuple[Number, Number] = (1.2, 1.75)
    pitch: tuple[Number, Number] = (-11, 5)
    roll: Number = 1.2
    angle: tuple[Number, Number] = (56, 74)
    candidates: int = 12


@jit
@no_type_check
def _rays(pixels, axes, scale, height, width, down, right):
    out = np.empty((len(pixels), 3), np.float32)
    for i in range(len(pixels)):
        x = (pixels[i] % width + 0.5 + right - width / 2) / scale
        y = -(pixels[i] // width + 0.5 + down - height / 2) / scale
        length = math.sqrt(x * x + y * y + 1)
        for c in range(3):
            out[i, c] = (x * axes[0, c] + y * axes[1, c] - axes[2, c]) / length
    return out


def place(random: Generator, plan: Plan, scene: Scene, size: tuple[int, int], views: Views) -> Camera:
    """Return the best of some random views: many things and people, and nothing that fills the view."""
    best, score = None, -np.inf
    for _ in range(views.candidates):
        camera = _candidate(random, plan, views)
        worth = _worth(camera, scene, size)
        if worth > score:
            best, score = camera, worth
    assert best is not None
    return best


def _candidate(random: Generator, plan: Plan, views: Views) -> Camera:
    width, depth, _ = plan.size
    for _ in range(30):
        eye = np.array(
            [random.uniform(0.3, width - 0.3), random.uniform(0.3, depth - 0.3), random.uniform(*views.height)]
        )
        around = np.stack([eye - [_NEAREST, _NEAREST, 0], eye + [_NEAREST, _NEAREST, 0.2]])
        around[0, 2] = 0  # the person stands on the floor
        around = np.clip(around, 0, np.asarray(plan.size))
        # People stand with their backs to a wall or in a corner to see much of a room.
        middle = np.array([width, depth]) / 2
        if np.abs((eye[:2] - middle) / middle).max() > 0.55 and plan.free(around):
            break
    target = np.array([width, depth]) * random.uniform(0.3, 0.7, 2)
    yaw = np.arctan2(*(target - eye[:2])[::-1])
    pitch, roll = np.radians(random.normal(*views.pitch)), np.radians(random.normal(0, views.roll))
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0])
    up = np.cross(right, forward)
    right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    view = np.radians(random.uniform(*views.angle))
    return Camera(eye, np.stack([right, up, -forward]), float(0.5 / np.tan(view / 2)))


def _worth(camera: Camera, scene: Scene, size: tuple[int, int]) -> float:
    """Rate a view on a coarse image."""
    coarse = (round(24 * size[0] / max(size)), round(24 * size[1] / max(size)))
    rays = camera.rays(coarse)
    hits = scene.trace(np.broadcast_to(camera.eye.astype(np.float32), rays.shape).copy(), rays)
    instance = scene.instance[scene.part[hits.triangle]]
    seen, counts = np.unique(instance, return_counts=True)
    names = [scene.names[i] for i in seen]
    share = counts / counts.sum()
    filled = max((s for s, n in zip(share, names, strict=True) if n not in _SHELL), default=0.0)
    bare = max((s for s, n in zip(share, names, strict=True) if n in _SHELL), default=0.0)
    shell = sum(s for s, n in zip(share, names, strict=True) if n in _SHELL)
    kinds = len(set(names) - _SHELL)
    things = sum(n not in _SHELL for n in names)
    near = float((hits.distance < 0.9).mean())
    people = sum(s > 0.01 for s, n in zip(share, names, strict=True) if n == "person")
    # Something close to the camera spoils a view.
    return (
        kinds
        + 0.3 * things
        + 3 * people
        - 40 * near
        - 16 * max(filled - 0.22, 0)
        - 10 * max(bare - 0.4, 0)
        - 12 * max(shell - 0.6, 0)
    )
