"""The plan of a room: poses of things that do not intersect.

Room frame: x to the east, y to the north, z up [m]; the floor spans [0, width] x [0, depth].
Things with their backs to wall i have the yaw 90 * i: 0 south, 1 east, 2 north, 3 west.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from atrc_rooms.meshes import Number
from atrc_rooms.things import Thing, Top

_SLACK = 0.004  # things may touch [m]


class Plan:
    """A room being furnished."""

    def __init__(self, random: Generator, size: tuple[Number, Number, Number]) -> None:
        self.random = random
        self.size = size
        self.things: list[Thing] = []
        self.sun: tuple[Number, Number, Number] | None = None  # direction towards it
        self._taken: Float[ndarray, "n 2 3"] = np.empty((64, 2, 3))  # rows are used up to len(_owners)
        self._owners: list[Thing | None] = []

    def length(self, wall: int) -> float:
        """Return the length of a wall [m]."""
        return self.size[wall % 2]

    def stand(self, thing: Thing, wall: int, along: Number, out: Number = 0.0, z: Number = 0.0) -> Thing:
        """Pose a thing `out` in front of a wall and `along` it from its middle [m], its back to the wall."""
        width, depth, _ = self.size
        x, y = ((width / 2, 0.0), (width, depth / 2), (width / 2, depth), (0.0, depth / 2))[wall]
        turn = np.radians(90 * wall)
        thing.at = (x + np.cos(turn) * along - np.sin(turn) * out, y + np.sin(turn) * along + np.cos(turn) * out, z)
        thing.yaw = 90.0 * wall
        return thing

    @staticmethod
    def box(thing: Thing, front: Number = 0.0, side: Number = 0.0) -> Float[ndarray, "2 3"]:
        """Return the bounding box of a posed thing, with space in front and on both sides [m]."""
        low, high = thing.bounds()
        x, y = np.array([low[0] - side, high[0] + side]), np.array([low[1], high[1] + front])
        turn = math.radians(thing.yaw)
        across, along = math.cos(turn), math.sin(turn)
        east, north = across * x[:, None] - along * y, along * x[:, None] + across * y
        at = thing.at
        return np.array(
            [
                [at[0] + east.min(), at[1] + north.min(), at[2] + low[2]],
                [at[0] + east.max(), at[1] + north.max(), at[2] + high[2]],
            ]
        )

    def free(self, box: Float[ndarray, "2 3"], touching: tuple[Thing, ...] = ()) -> bool:
        """Return whether a box lies in the room and intersects no things but those of `touching`."""
        if (box[0] < -_SLACK).any() or (box[1] > np.asarray(self.size) + _SLACK).any():
            return False
        taken = self._taken[: len(self._owners)]
        met = ((box[0] < taken[:, 1] - _SLACK) & (box[1] > taken[:, 0] + _SLACK)).all(1)
        return all(self._owners[i] in touching for i in np.flatnonzero(met))

    def reserve(self, box: Float[ndarray, "2 3"], owner: Thing | None = None) -> None:
        """Keep a box free: a door needs space to swing."""
        count = len(self._owners)
        if count == len(self._taken):
            self._taken = np.concatenate([self._taken, np.empty_like(self._taken)])
        self._taken[count] = box
        self._owners.append(owner)

    def put(self, thing: Thing, solid: bool = True) -> Thing:
        """Add a posed thing."""
        self.things.append(thing)
        if solid:
            self.reserve(self.box(thing), thing)
        return thing

    def try_put(
        self, thing: Thing, front: Number = 0.0, side: Number = 0.0, touching: tuple[Thing, ...] = ()
    ) -> Thing | None:
        """Add a posed thing if there is space for it, with space in front and on both sides [m]."""
        return self.put(thing) if self.free(self.box(thing, front, side), touching) else None

    def at_wall(
        self,
        thing: Thing,
        wall: int | None = None,
        along: Number | None = None,
        z: Number = 0.0,
        front: Number = 0.45,
        side: Number = 0.0,
        gap: Number = 0.03,
        tries: int = 14,
    ) -> Thing | None:
        """Put a thing with its back to a wall, at a random wall and place unless they are given."""
        low, high = thing.bounds()
        for _ in range(tries if wall is None or along is None else 1):
            where = int(self.random.integers(4)) if wall is None else wall
            room = self.length(where) / 2 - max(-low[0], high[0]) - side - 0.04
            if room < 0:
                continue
            place = self.random.uniform(-room, room) if along is None else along
            if along is None and side == z == 0 and self.random.random() < 0.4:
                place = room * np.sign(place)  # people push furniture into corners
            if self.try_put(self.stand(thing, where, place, gap - low[1], z), front, side):
                return thing
        return None

    def above(self, thing: Thing, other: Thing, z: Number) -> Thing | None:
        """Hang a thing above a piece of furniture at a wall."""
        wall = round(other.yaw / 90) % 4
        middle = self.box(other).mean(0) - np.asarray(self.size) / 2
        along = float(middle[wall % 2]) * (1 if wall in (0, 1) else -1)
        return self.at_wall(thing, wall, along, z=z, gap=0.0, front=0.0)

    def covered(self) -> float:
        """Return the share of the floor under furniture."""
        boxes = [self.box(t) for t in self.things if t.name not in ("wall", "floor", "ceiling", "floor mat")]
        areas = [float(np.prod((b[1] - b[0])[:2])) for b in boxes if b[0, 2] < 0.2 and b[1, 2] - b[0, 2] > 0.1]
        return sum(areas) / (self.size[0] * self.size[1])

    def scatter(self, thing: Thing, margin: Number = 0.1, tries: int = 16) -> Thing | None:
        """Put a thing anywhere on the floor, at a random yaw."""
        reach = float(np.abs(thing.bounds()[:, :2]).max()) + margin
        width, depth, _ = self.size
        if min(width, depth) < 2 * reach:
            return None
        for _ in range(tries):
            thing.at = (self.random.uniform(reach, width - reach), self.random.uniform(reach, depth - reach), 0.0)
            thing.yaw = float(self.random.uniform(0, 360))
            if self.try_put(thing):
                return thing
        return None

    def next_to(
        self, thing: Thing, other: Thing, x: Number, y: Number, yaw: Number = 0.0, touch: bool = False
    ) -> Thing | None:
        """Put a thing on the floor at a place of another thing's frame; `touch` lets their boxes overlap."""
        self.pose_on(thing, other, x, y, 0.0, yaw)
        thing.at = (thing.at[0], thing.at[1], 0.0)
        return self.try_put(thing, touching=(other,) if touch else ())

    @staticmethod
    def pose_on(thing: Thing, other: Thing, x: Number, y: Number, z: Number, yaw: Number = 0.0) -> Thing:
        """Pose a thing in another thing's frame."""
        thing.at = tuple(other.to_room(np.array([[x, y, z]], np.float64))[0].tolist())
        thing.yaw = other.yaw + yaw
        return thing

    def on_top(
        self,
        thing: Thing,
        other: Thing,
        top: Top,
        x: Number | None = None,
        y: Number | None = None,
        yaw: Number = 0.0,
    ) -> Thing | None:
        """Put a thing on a top of another, at random unless `x` or `y` [m from its middle] is given."""
        low, high = thing.bounds()
        room_x = top.width / 2 - max(-low[0], high[0])
        room_y = top.depth / 2 - max(-low[1], high[1])
        if min(room_x, room_y) < -0.03 or high[2] > top.headroom:
            return None
        for _ in range(6):
            dx = self.random.uniform(-1, 1) * max(room_x, 0) if x is None else x
            dy = self.random.uniform(-1, 1) * max(room_y, 0) if y is None else y
            self.pose_on(thing, other, top.x + dx, top.y + dy, top.z, yaw)
            if self.try_put(thing, touching=(other,)):
                return thing
        return None
