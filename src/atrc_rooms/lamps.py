"""Lamps, lit or not. Lengths in [m]."""

from __future__ import annotations

import numpy as np

from atrc_rooms.materials import Material, Style, pick
from atrc_rooms.meshes import Number, box, cylinder, ellipsoid, lathe, limb
from atrc_rooms.things import Glow, Thing

_SHADES = ((0.95, 0.9, 0.78), (0.95, 0.93, 0.88), (0.9, 0.8, 0.6), (0.75, 0.35, 0.25), (0.5, 0.65, 0.68))


def _shade(style: Style, glow: Number) -> Material:
    return Material("plain", pick(style.random, _SHADES), glow=glow)


def table_lamp(style: Style) -> Thing:
    """Lamp with a turned base and a fabric shade."""
    random, thing = style.random, Thing("lamp")
    high, wide, lit = random.uniform(0.38, 0.6), random.uniform(0.11, 0.17), random.random() < 0.75
    body = style.bright() if random.random() < 0.5 else style.wood()
    foot = high * 0.62
    if random.random() < 0.5:
        belly = wide * random.uniform(0.45, 0.7)
        line = [
            (0, 0),
            (belly * 0.7, 0),
            (belly, foot * 0.35),
            (belly * 0.5, foot * 0.7),
            (0.012, foot * 0.85),
            (0.012, foot + 0.05),
        ]
        thing.add(lathe(line, smooth=True, sides=20), body)
    else:
        thing.add(cylinder(wide * 0.6, 0.02, sides=20), body)
        thing.add(cylinder(0.012, foot + 0.05, sides=8), style.metal)
    low = high - foot
    shade_mesh = lathe([(wide, 0), (wide * random.uniform(0.55, 0.95), low)], sides=24)
    thing.add(shade_mesh, _shade(style, 1.4 if lit else 0.0), (0, 0, foot))
    if lit:
        thing.glows.append(Glow(0, 0, foot + low / 2, wide + 0.03, random.uniform(0.25, 0.6), 0.8))
    return thing


def desk_lamp(style: Style) -> Thing:
    """Jointed lamp that leans over the desk."""
    random, thing = style.random, Thing("lamp")
    metal = style.metal if random.random() < 0.5 else style.bright()
    thing.add(cylinder(0.085, 0.02, sides=20), metal)
    thing.add(limb((0, 0, 0.02), (0, -0.1, 0.28), [0.008, 0.008], sides=6), metal)
    thing.add(limb((0, -0.1, 0.28), (0, 0.12, 0.45), [0.008, 0.008], sides=6), metal)
    head = lathe([(0.075, -0.1), (0.03, 0), (0, 0.01)], sides=16)
    thing.add(head, metal, (0, 0.13, 0.46), pitch=20)
    if random.random() < 0.6:
        bulb = Material("plain", (1, 0.92, 0.75), glow=2.5)
        thing.add(ellipsoid(0.06, 0.06, 0.05, steps=6), bulb, (0, 0.155, 0.385))
        thing.glows.append(Glow(0, 0.16, 0.34, 0.05, 0.3, 0.7))
    return thing


def floor_lamp(style: Style) -> Thing:
    """Standing lamp: a shade on a pole, or an arc."""
    random, thing = style.random, Thing("lamp")
    high, wide, lit = random.uniform(1.45, 1.75), random.uniform(0.18, 0.25), random.random() < 0.75
    stem = style.metal if random.random() < 0.6 else style.woods[0]
    if random.random() < 0.7:
        thing.add(cylinder(0.15, 0.025, sides=24), stem)
        thing.add(cylinder(0.013, high - 0.1, sides=8), stem)
    else:
        for turn in (90, 210, 330):
            x, y = 0.24 * np.cos(np.radians(turn)), 0.24 * np.sin(np.radians(turn))
            thing.add(limb((x, y, 0.01), (0, 0, high - 0.25), [0.012, 0.014], sides=8), stem)
    tall = random.uniform(0.22, 0.32)
    shade_mesh = lathe([(wide, 0), (wide * random.uniform(0.6, 0.95), tall)], sides=28)
    thing.add(shade_mesh, _shade(style, 1.5 if lit else 0.0), (0, 0, high - tall))
    if lit:
        thing.glows.append(Glow(0, 0, high - tall / 2, wide + 0.04, random.uniform(0.5, 1.0), 0.8))
    return thing


def ceiling_lamp(style: Style, drop: Number) -> Thing:
    """Lamp that hangs `drop` below the ceiling (z = 0 is the ceiling); flush when it hardly drops."""
    random, thing = style.random, Thing("lamp")
    power, warmth = random.uniform(1.6, 2.6), random.uniform(0.25, 0.75)
    bright = Material("plain", (1, 0.97, 0.9), glow=2.2)
    if drop < 0.25:
        wide = random.uniform(0.18, 0.28)
        if random.random() < 0.6:
            bowl = lathe([(0, -0.1), (wide * 0.6, -0.085), (wide, -0.03), (wide, 0)], smooth=True, sides=24)
            thing.add(bowl, bright)
        else:
            thing.add(box(wide * 4, wide * 1.2, 0.05), bright, (0, 0, -0.028))
        thing.glows.append(Glow(0, 0, -0.16, 0.16, power, warmth))
        return thing
    thing.add(cylinder(0.05, 0.03), style.metal, (0, 0, -0.03))
    thing.add(cylinder(0.005, drop, sides=6), Material("plain", (0.08, 0.08, 0.08)), (0, 0, -drop))
    wide, tall = random.uniform(0.16, 0.26), random.uniform(0.16, 0.26)
    kind = random.choice(["globe", "drum", "cone"])
    if kind == "globe":
        thing.add(ellipsoid(wide * 1.4, wide * 1.4, wide * 1.4, steps=10), bright, (0, 0, -drop - wide * 0.6))
    else:
        line = [(wide, 0), (wide, tall)] if kind == "drum" else [(wide, 0), (wide * 0.7, tall * 0.6), (0.03, tall)]
        thing.add(lathe(line, sides=28), _shade(style, 1.3), (0, 0, -drop - tall * 0.8))
        thing.add(ellipsoid(0.1, 0.1, 0.1, steps=6), bright, (0, 0, -drop - tall * 0.45))
    thing.glows.append(Glow(0, 0, -drop - wide * 0.6, wide + 0.06, power, warmth))
    return thing
