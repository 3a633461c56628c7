"""Poses of people: the directions of their limbs.

Angles [deg] of a limb are relative to an upright body: `flex` from straight down towards the front (90 is level), `out`
away from the middle of the body (negative: across it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from atrc_rooms.meshes import Number

Angles = tuple[Number, Number]


@dataclass(frozen=True)
class Pose:
    """Directions of the limbs, left then right, and of trunk and head [deg]."""

    thighs: tuple[Angles, Angles] = ((3, 4), (0, 4))
    shanks: tuple[Angles, Angles] = ((0, 2), (-3, 2))
    arms: tuple[Angles, Angles] = ((4, 9), (4, 9))
    forearms: tuple[Angles, Angles] = ((14, 5), (14, 5))
    lean: Number = 2.0
    tilt: Number = 0.0
    turn: Number = 0.0
    nod: Number = 0.0


_ARMS: Mapping[str, tuple[tuple[Angles, Angles], tuple[Angles, Angles]]] = {
    "hanging": (((4, 9), (4, 9)), ((14, 4), (14, 4))),
    "hips": (((-22, 42), (-22, 42)), ((22, -46), (22, -46))),
    "one hip": (((4, 9), (-22, 42)), ((14, 4), (22, -46))),
    "waving": (((4, 9), (60, 70)), ((14, 4), (165, 25))),
    "pointing": (((80, 12), (4, 9)), ((86, 4), (14, 4))),
    "folded": (((24, 12), (30, 10)), ((72, -68), (80, -64))),
    "phone": (((6, 9), (22, 9)), ((16, 2), (112, -22))),
    "calling": (((6, 9), (38, 22)), ((16, 2), (150, -48))),
    "holding": (((20, 9), (20, 9)), ((82, -12), (82, -12))),
    "stretching": (((150, 30), (155, 28)), ((170, -10), (172, -8))),
    "behind": (((-25, 14), (-25, 14)), ((-20, -40), (-20, -40))),
}


def standing(random: Generator) -> Pose:
    """Standing, the weight on one leg."""
    arms, forearms = _ARMS[str(random.choice(list(_ARMS)))]
    free, wide = random.uniform(0, 12), random.uniform(3, 9)
    pose = Pose(((0, wide), (free, wide)), ((0, wide), (-free * 0.6, wide)), arms, forearms)
    return _mirrored(random, _varied(random, pose))


def walking(random: Generator) -> Pose:
    """In the middle of a step."""
    step = random.uniform(18, 30)
    pose = Pose(
        thighs=((step, 1), (-step * 0.75, 1)),
        shanks=((step * 0.45, 1), (-step * 1.9, 1)),
        arms=((-step * 0.9, 8), (step * 0.9, 8)),
        forearms=((-step * 0.3, 4), (step * 1.9, 2)),
        lean=5,
    )
    return _mirrored(random, _varied(random, pose))


def sitting(random: Generator, at_table: bool) -> Pose:
    """Sitting; `person` fits the legs to the seat."""
    apart = random.uniform(3, 14)
    if at_table:
        arms, forearms = ((44, 12), (44, 12)), ((88, -18), (88, -18))
    else:
        choice = random.choice(["thighs", "lap", "wide", "phone", "folded"])
        arms, forearms = {
            "thighs": (((18, 8), (18, 8)), ((66, -2), (66, -2))),
            "lap": (((14, 12), (14, 12)), ((62, -38), (62, -38))),
            "wide": (((20, 50), (14, 10)), ((40, 60), (66, -4))),
            "phone": (((20, 8), (28, 10)), ((70, -6), (112, -22))),
            "folded": (((24, 12), (30, 10)), ((72, -68), (80, -64))),
        }[str(choice)]
    lean = random.uniform(4, 14) if at_table else random.uniform(-14, 2)
    pose = Pose(((85, apart), (85, apart)), ((0, 2), (0, 2)), arms, forearms, lean=lean)
    return _mirrored(random, _varied(random, pose))


def _varied(random: Generator, pose: Pose) -> Pose:
    """Vary a pose at random."""

    def jitter(pair: tuple[Angles, Angles], spread: Number) -> tuple[Angles, Angles]:
        left, right = (np.asarray(pair) + random.normal(0, spread, (2, 2))).tolist()
        return (left[0], left[1]), (right[0], right[1])

    return Pose(
        jitter(pose.thighs, 1.5),
        jitter(pose.shanks, 1.5),
        jitter(pose.arms, 4),
        jitter(pose.forearms, 5),
        pose.lean + random.normal(0, 2),
        random.normal(0, 2.5),
        random.normal(0, 22),
        random.normal(-4, 7),
    )


def _mirrored(random: Generator, pose: Pose) -> Pose:
    if random.random() < 0.5:
        return pose
    swapped = (pose.thighs[::-1], pose.shanks[::-1], pose.arms[::-1], pose.forearms[::-1])
    return Pose(*swapped, pose.lean, -pose.tilt, -pose.turn, pose.nod)
