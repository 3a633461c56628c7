"""Mannequins: posed skeletons with smooth limbs, clothes, hair and the six human parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from atrc_rooms.materials import Colour, Material, faded, pick, shade
from atrc_rooms.meshes import Mesh, Number, ellipsoid, limb, merge, rotation, tube
from atrc_rooms.poses import Angles, Pose
from atrc_rooms.things import Seat, Thing

# Lengths of a person of 1.75 m [m].
_THIGH, _SHANK, _ANKLE = 0.43, 0.42, 0.085
_UPPER_ARM, _FOREARM, _HAND = 0.29, 0.25, 0.17
_SHOULDER, _HIP, _SPINE = 0.174, 0.09, 0.5

_SKINS: tuple[Colour, ...] = (
    (0.9, 0.72, 0.6), (0.82, 0.62, 0.48), (0.65, 0.45, 0.33), (0.42, 0.28, 0.2), (0.94, 0.78, 0.68),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (0.1, 0.08, 0.07), (0.25, 0.16, 0.1), (0.45, 0.3, 0.16), (0.72, 0.58, 0.34), (0.6, 0.6, 0.6),
)  # fmt: skip
_CLOTHES: tuple[Colour, ...] = (
    (0.85, 0.85, 0.84), (0.16, 0.2, 0.32), (0.7, 0.18, 0.17), (0.2, 0.42, 0.35), (0.25, 0.26, 0.28),
    (0.85, 0.65, 0.25), (0.45, 0.58, 0.72), (0.55, 0.35, 0.5), (0.8, 0.5, 0.4),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = (
    (0.18, 0.24, 0.38), (0.12, 0.12, 0.14), (0.62, 0.54, 0.42), (0.35, 0.36, 0.38), (0.3, 0.2, 0.16),
)  # fmt: skip


def _direction(angles: Angles, side: int) -> ndarray:
    flex, out = np.radians(angles)
    return np.array([side * np.sin(out), np.sin(flex) * np.cos(out), -np.cos(flex) * np.cos(out)])


def _fit_to_seat(pose: Pose, seat: Number, scale: Number) -> Pose:
    """Turn thighs and shanks so that the feet reach the floor below a seat of height `seat` [m]."""
    hip, thigh, shank = seat + 0.1 * scale, _THIGH * scale, _SHANK * scale
    knee = min(hip - thigh * np.cos(np.radians(88)), shank + _ANKLE * scale + 0.01)
    flex = float(np.degrees(np.arccos(np.clip((hip - knee) / thigh, -0.2, 1))))
    bend = float(np.degrees(np.arccos(np.clip((knee - _ANKLE * scale) / shank, -1, 1))))
    thighs = tuple((flex, out) for _, out in pose.thighs)
    # Short shanks reach forward when the seat is low.
    shanks = tuple((bend if i else bend * 0.9, out) for i, (_, out) in enumerate(pose.shanks))
    return Pose(thighs, shanks, pose.arms, pose.forearms, pose.lean, pose.tilt, pose.turn, pose.nod)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Outfit:
    skin: Material
    hair: Material
    shirt: Material
    trousers: Material
    shoes: Material
    long_sleeves: bool
    long_legs: bool
    long_hair: bool


def _outfit(random: Generator) -> _Outfit:
    texture = str(random.choice(["plain", "weave", "stripes", "checks"], p=[0.4, 0.25, 0.2, 0.15]))
    shirt = Material(texture, pick(random, _CLOTHES), pick(random, _CLOTHES), 0.02 if texture == "weave" else 0.06)
    trousers = pick(random, _TROUSERS)
    return _Outfit(
        skin=Material("plain", pick(random, _SKINS, 0.02), gloss=0.08),
        hair=Material("plain", pick(random, _HAIRS, 0.02), gloss=0.15),
        shirt=shirt,
        trousers=Material("weave", trousers, shade(trousers, 0.85), 0.008),
        shoes=Material("plain", pick(random, [(0.1, 0.1, 0.1), (0.9, 0.9, 0.88), (0.4, 0.25, 0.15)]), gloss=0.25),
        long_sleeves=random.random() < 0.5,
        long_legs=random.random() < 0.75,
        long_hair=random.random() < 0.45,
    )


def person(random: Generator, pose: Pose, seat: Seat | None = None) -> Thing:
    """A mannequin in a pose with its feet on z = 0, or on a seat."""
    thing, outfit = Thing("person"), _outfit(random)
    scale = float(np.clip(random.normal(0.975, 0.05), 0.86, 1.08))
    build = float(np.clip(random.normal(1.0, 0.07), 0.88, 1.2))
    if seat is not None:
        pose = _fit_to_seat(pose, seat.z, scale)
    body = _Body(thing, outfit, pose, scale, build)
    body.legs()
    body.trunk_and_arms()
    low = seat.z + 0.1 * scale if seat is not None else -thing.bounds()[0, 2]
    posed = Thing("person")
    posed.parts = [part._replace(mesh=part.mesh.moved((0, 0, low))) for part in thing.parts]
    return posed


@dataclass(frozen=True)
class _Body:
    """Adds the meshes of a body, with the middle of the hips as origin."""

    thing: Thing
    outfit: _Outfit
    pose: Pose
    scale: Number
    build: Number

    def _limb(self, start: ndarray, end: ndarray, radii: list[Number]) -> Mesh:
        return limb(tuple(start), tuple(end), [r * self.scale * self.build for r in radii])

    def legs(self) -> None:
        """Add both legs."""
        scale, outfit = self.scale, self.outfit
        for i, side in enumerate((-1, 1)):
            hip = np.array([side * _HIP * scale, 0, 0])
            knee = hip + _THIGH * scale * _direction(self.pose.thighs[i], side)
            shank = _direction(self.pose.shanks[i], side)
            ankle = knee + _SHANK * scale * shank
            cloth = outfit.trousers
            thigh = self._limb(hip, knee, [0.088, 0.085, 0.074, 0.06])
            self.thing.add(thigh, cloth, body="lr"[i] + "uleg")
            calf = [0.06, 0.062, 0.056, 0.05] if outfit.long_legs else [0.054, 0.058, 0.046, 0.036]
            self.thing.add(
                self._limb(knee, ankle, calf), cloth if outfit.long_legs else outfit.skin, body="lr"[i] + "lleg"
            )
            self._foot(ankle, shank, side, "lr"[i] + "foot")

    def _foot(self, ankle: ndarray, shank: ndarray, side: int, name: str) -> None:
        # The sole is level unless the shank leans back far: then the heel lifts.
        lift = np.clip(-np.degrees(np.arctan2(shank[1], -shank[2])) - 8, 0, 60) * 0.8
        length, scale = 0.26 * self.scale, self.scale
        share = np.array([-0.3, -0.27, -0.1, 0.2, 0.45, 0.64, 0.7])
        rise = np.array([-0.045, -0.04, -0.02, -0.035, -0.052, -0.06, -0.066]) * scale
        centres = np.stack([0 * share, share * length, rise], 1)
        radii = np.stack(
            [[0.02, 0.036, 0.04, 0.042, 0.045, 0.034, 0.012], [0.025, 0.042, 0.055, 0.046, 0.03, 0.022, 0.012]], 1
        )
        shoe = tube(centres, radii * scale, sides=12).moved(tuple(ankle), yaw=-side * 9, pitch=-lift)
        self.thing.add(shoe, self.outfit.shoes, body=name)

    def trunk_and_arms(self) -> None:
        """Add the trunk, the head and the arms."""
        scale, build, outfit = self.scale, self.build, self.outfit
        turn = rotation(pitch=-self.pose.lean, roll=self.pose.tilt)
        hips = np.array([[-0.085, 0.085, 0.085], [-0.05, 0.15, 0.105], [0.02, 0.168, 0.118], [0.1, 0.152, 0.105]])
        chest = np.array(
            [
                [0.05, 0.164, 0.118],
                [0.16, 0.145, 0.104],
                [0.28, 0.158, 0.115],
                [0.38, 0.178, 0.122],
                [0.44, 0.182, 0.108],
                [0.48, 0.158, 0.09],
                [0.505, 0.11, 0.078],
                [0.525, 0.07, 0.066],
            ]
        )
        for line, cloth in ((hips, outfit.trousers), (chest, outfit.shirt)):
            centres = np.stack([0 * line[:, 0], 0.012 * np.sin(line[:, 0] * 6), line[:, 0]], 1) * scale
            mesh = tube(centres @ turn.T, line[:, 1:] * scale * build, side=tuple(turn[:, 0]), sides=18)
            self.thing.add(mesh, cloth, body="torso")
        self._head(turn)
        for i, side in enumerate((-1, 1)):
            self._arm(turn, i, side)

    def _head(self, turn: ndarray) -> None:
        scale, outfit, pose = self.scale, self.outfit, self.pose
        base = turn @ np.array([0, -0.005, _SPINE - 0.02]) * scale
        neck = turn @ np.array([0, 0.02, _SPINE + 0.11]) * scale
        self.thing.add(limb(tuple(base), tuple(neck), [0.062 * scale, 0.054 * scale]), outfit.skin, body="neck")
        look = turn @ rotation(yaw=-pose.turn, pitch=pose.nod)
        centre = neck + look @ np.array([0, 0.02, 0.085]) * scale
        eyes = Material("plain", (0.12, 0.1, 0.1), gloss=0.4)
        lips = faded(outfit.skin, 0.72)
        features: list[tuple[Mesh, Material, tuple[Number, Number, Number]]] = [
            (ellipsoid(0.155, 0.195, 0.235), outfit.skin, (0, 0, 0)),
            (ellipsoid(0.12, 0.13, 0.13), outfit.skin, (0, 0.028, -0.055)),
            (ellipsoid(0.026, 0.04, 0.05, steps=6), outfit.skin, (0, 0.1, -0.015)),
            (
                merge(*(ellipsoid(0.02, 0.035, 0.055, steps=5).moved((x, 0, -0.01)) for x in (-0.078, 0.078))),
                outfit.skin,
                (0, 0, 0),
            ),
            (
                merge(*(ellipsoid(0.026, 0.016, 0.014, steps=5).moved((x, 0, 0)) for x in (-0.032, 0.032))),
                eyes,
                (0, 0.086, 0.02),
            ),
            (ellipsoid(0.05, 0.014, 0.014, steps=5), lips, (0, 0.09, -0.065)),
            (ellipsoid(0.17, 0.2, 0.2, 0.05), outfit.hair, (0, -0.018, 0.035)),
        ]
        if outfit.long_hair:
            line = np.array(
                [
                    [-0.03, 0.06, 0.086],
                    [-0.06, -0.02, 0.088],
                    [-0.07, -0.1, 0.085],
                    [-0.065, -0.18, 0.075],
                    [-0.06, -0.22, 0.05],
                ]
            )
            centres = np.stack([0 * line[:, 0], line[:, 0], line[:, 1]], 1)
            radii = np.stack([line[:, 2], [0.07, 0.055, 0.045, 0.035, 0.02]], 1)
            features.append((tube(centres, radii), outfit.hair, (0, 0, 0)))
        for mesh, material, at in features:
            points = (mesh.vertices + at) * scale
            moved = Mesh(points @ look.T + centre, mesh.normals @ look.T, mesh.faces)
            self.thing.add(moved, material, body="hair" if material is outfit.hair else "head")

    def _arm(self, turn: ndarray, i: int, side: int) -> None:
        scale, outfit = self.scale, self.outfit
        shoulder = turn @ np.array([side * _SHOULDER * (0.6 + 0.4 * self.build), 0, _SPINE - 0.058]) * scale
        elbow = shoulder + turn @ _direction(self.pose.arms[i], side) * _UPPER_ARM * scale
        along = turn @ _direction(self.pose.forearms[i], side)
        wrist = elbow + along * _FOREARM * scale
        self.thing.add(self._limb(shoulder, elbow, [0.048, 0.051, 0.047, 0.042]), outfit.shirt, body="lr"[i] + "uarm")
        sleeve = outfit.shirt if outfit.long_sleeves else outfit.skin
        radii = [0.043, 0.043, 0.037, 0.034] if outfit.long_sleeves else [0.04, 0.041, 0.034, 0.026]
        self.thing.add(self._limb(elbow, wrist, radii), sleeve, body="lr"[i] + "larm")
        share = np.array([-0.05, 0.15, 0.45, 0.75, 0.95, 1.02])
        wide = np.array([[0.026, 0.02], [0.032, 0.02], [0.04, 0.018], [0.036, 0.014], [0.026, 0.011], [0.01, 0.006]])
        # Palms face the body when the arms hang, and down when the forearms are level.
        across = np.array([0, 1.0, 0.0]) if abs(along[2]) > 0.6 else np.array([1.0, 0, 0])
        palm = tube(wrist + share[:, None] * along * _HAND * scale, wide * scale, side=tuple(across), sides=10)
        thumb = wrist + along * 0.035 * scale + 0.03 * scale * (across - (across @ along) * along)
        tip = thumb + (along * 0.05 + 0.012 * across) * scale
        self.thing.add(merge(palm, self._limb(thumb, tip, [0.012, 0.01])), outfit.skin, body="lr"[i] + "hand")
