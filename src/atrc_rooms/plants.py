"""Potted plants. Lengths in [m]."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from atrc_rooms.materials import Material, Style
from atrc_rooms.meshes import Mesh, Number, lathe, limb, merge, tube
from atrc_rooms.things import Thing


def plant(style: Style, height: Number) -> Thing:
    """Potted plant: bushy, palm-like, or with big leaves on a stem."""
    random, thing = style.random, Thing("plant")
    pot = height * random.uniform(0.22, 0.3)
    rim = pot * random.uniform(0.42, 0.52)
    clay = Material(
        "plain", [(0.7, 0.42, 0.3), (0.9, 0.9, 0.88), (0.3, 0.32, 0.34), (0.35, 0.5, 0.55)][random.integers(4)]
    )
    thing.add(
        lathe([(0, 0), (rim * 0.72, 0), (rim, pot), (rim * 0.88, pot), (rim * 0.84, pot * 0.9), (0, pot * 0.9)]), clay
    )
    green = (random.uniform(0.12, 0.3), random.uniform(0.36, 0.55), random.uniform(0.1, 0.25))
    leaf = Material("leaf", green, (green[0] * 1.5, green[1] * 1.25, green[2]), 0.05, variant=style.variant())
    thing.add(_foliage(random, pot, height, str(random.choice(["bush", "palm", "stem"]))), leaf)
    return thing


def _foliage(random: Generator, pot: Number, height: Number, kind: str) -> Mesh:
    rise = height - pot
    leaves = []
    count = int({"bush": 34, "palm": 16, "stem": 22}[kind])
    for i in range(count):
        turn = np.radians(137.5 * i + random.uniform(-20, 20))
        out = np.array([np.cos(turn), np.sin(turn), 0])
        if kind == "palm":
            reach, lift = rise * random.uniform(0.35, 0.6), rise * random.uniform(0.6, 0.95)
            root, tip = np.array([0, 0, pot * 0.9]), out * reach + [0, 0, pot + lift * 0.75]
            bend = out * reach * 0.55 + [0, 0, pot + lift]
        else:
            level = pot + rise * (random.uniform(0.1, 0.9) if kind == "bush" else 0.25 + 0.6 * i / count)
            reach = rise * random.uniform(0.18, 0.34)
            root = out * reach * random.uniform(0.0, 0.4) + [0, 0, level]
            tip = root + out * reach + [0, 0, rise * random.uniform(-0.02, 0.14)]
            bend = (root + tip) / 2 + [0, 0, rise * 0.07]
        leaves.append(_leaf(root, bend, tip, rise * {"bush": 0.06, "palm": 0.035, "stem": 0.075}[kind]))
    stems = [limb((0, 0, pot * 0.85), (0, 0, pot + rise * 0.75), [rise * 0.016, rise * 0.01], sides=6)]
    return merge(*leaves, *(stems if kind != "palm" else []))


def _leaf(root: np.ndarray, bend: np.ndarray, tip: np.ndarray, half: Number) -> Mesh:
    share = np.linspace(0, 1, 5)[:, None]
    spine = (1 - share) ** 2 * root + 2 * share * (1 - share) * bend + share**2 * tip
    flat = half * np.sin(np.pi * np.clip(share * 0.92 + 0.06, 0, 1))
    across = np.cross(tip - root, [0, 0, 1.0])
    radii = np.concatenate([flat, np.full_like(flat, half * 0.05)], 1)
    return tube(spine, radii, side=tuple(across), sides=4)
