"""Walls, floor, ceiling, windows, doors and things on walls. Frame: x along the wall, y into the room, z up; [m]."""

from __future__ import annotations

import numpy as np

from atrc_rooms.materials import Material, Style, faded, picture
from atrc_rooms.meshes import Number, box, boxes, cylinder, ellipsoid, frame, lathe, rounded_box, sheet, tube
from atrc_rooms.things import Pane, Thing, Top

_SLAB = 0.1  # thickness of walls, floor and ceiling [m]


def wall(width: Number, height: Number, paper: Material, skirting: Material) -> Thing:
    """Wall with a skirting board, its middle at x = 0."""
    thing = Thing("wall")
    thing.add(box(width + 2 * _SLAB, _SLAB, height), paper, (0, -_SLAB / 2, height / 2))
    thing.add(box(width, 0.015, 0.09), skirting, (0, 0.0075, 0.045))
    return thing


def ground(width: Number, depth: Number, cover: Material) -> Thing:
    """Floor around the origin, its surface at z = 0."""
    thing = Thing("floor")
    thing.add(box(width + 2 * _SLAB, depth + 2 * _SLAB, _SLAB), cover, (0, 0, -_SLAB / 2))
    return thing


def ceiling(width: Number, depth: Number) -> Thing:
    """Ceiling around the origin, its surface at z = 0."""
    thing, paint = Thing("ceiling"), Material("plaster", (0.94, 0.94, 0.92), (0.92, 0.92, 0.9), 0.3)
    thing.add(box(width + 2 * _SLAB, depth + 2 * _SLAB, _SLAB), paint, (0, 0, _SLAB / 2))
    return thing


def window(style: Style, width: Number, height: Number, daylight: Number) -> Thing:
    """Window with one to three casements and a sill; without daylight its view is dark."""
    random, thing, white = style.random, Thing("window"), style.white()
    view = picture(random, "outside", width, height, glow=0.15 + 2.2 * daylight)
    thing.add(box(width, 0.01, height), view, (0, 0.006, height / 2))
    thing.add(frame(width + 0.1, 0.07, height + 0.1, 0.06), white, (0, 0.035, height / 2))
    casements = 1 if width < 0.8 else int(random.integers(2, 4))
    for i in range(casements):
        x = (i - (casements - 1) / 2) * width / casements
        thing.add(frame(width / casements, 0.04, height, 0.045), white, (x, 0.02, height / 2))
    if random.random() < 0.35:
        bars = np.linspace(0.33, 0.67, 2) * height
        thing.add(
            boxes(np.stack([0 * bars, 0 * bars, bars], 1), np.tile([width, 0.025, 0.025], (2, 1))), white, (0, 0.016, 0)
        )
    thing.add(rounded_box(width + 0.2, 0.16, 0.03, 0.01), white, (0, 0.08, -0.06))
    thing.panes.append(Pane(0, 0.1, height / 2, width, height, 6.0 * daylight))
    return thing


def curtains(style: Style, width: Number, height: Number) -> Thing:
    """Two drawn-back curtains on a rod above an opening of the given width; the floor at z = 0."""
    random, thing, cloth = style.random, Thing("curtain"), faded(style.cover(), 1.1)
    share, rail = random.uniform(0.16, 0.3), height
    for side in (-1, 1):
        wide = width * share
        folds = np.linspace(0, 1, 41)
        depth = 0.21 + 0.035 * np.sin(folds * 2 * np.pi * round(wide / 0.1)) + 0.01 * np.sin(folds * 23)
        flare = np.linspace(0.92, 1.0, 5)[:, None]
        points = np.empty((5, 41, 3))
        points[..., 0] = side * (width / 2 + 0.12 - wide * flare * folds)
        points[..., 1] = depth
        points[..., 2] = np.linspace(rail - 0.02, 0.03, 5)[:, None]
        thing.add(sheet(points), cloth)
    rod = cylinder(0.014, width + 0.44, sides=10).moved(roll=90)
    thing.add(rod, style.metal, (-(width + 0.44) / 2, 0.21, rail))
    return thing


def blinds(style: Style, width: Number, height: Number) -> Thing:
    """Slatted blind, `height` long below z = 0."""
    thing, tone = Thing("blinds"), style.random.choice([0, 0, 1])
    slat = style.white() if tone == 0 else style.wood()
    rows = max(4, round(height / 0.055)) * 2 + 1
    points = np.empty((rows, 2, 3))
    points[..., 0] = np.array([-0.5, 0.5]) * width
    points[..., 1] = np.where(np.arange(rows) % 2 == 0, 0.085, 0.115)[:, None]
    points[..., 2] = np.linspace(-0.04, -height, rows)[:, None]
    thing.add(sheet(points), slat)
    thing.add(box(width + 0.02, 0.06, 0.05), slat, (0, 0.1, -0.025))
    return thing


def door(style: Style, width: Number, height: Number) -> Thing:
    """Closed door in its frame, with a handle and raised or sunk panels."""
    random, thing, white = style.random, Thing("door"), style.white()
    leaf = white if random.random() < 0.55 else style.woods[0]
    thing.add(box(width, 0.03, height), leaf, (0, 0.015, height / 2))
    jamb = white if random.random() < 0.7 else leaf
    thing.add(
        boxes(np.array([[-1, 0, 0], [1, 0, 0]]) * (width / 2 + 0.04), np.tile([0.08, 0.05, height], (2, 1))),
        jamb,
        (0, 0.025, height / 2),
    )
    thing.add(box(width + 0.16, 0.05, 0.08), jamb, (0, 0.025, height + 0.04))
    rows = int(random.integers(0, 4))
    for i in range(rows):
        tall = (height - 0.3) / rows
        thing.add(box(width - 0.26, 0.014, tall - 0.1), faded(leaf, 0.86), (0, 0.03, 0.15 + (i + 0.5) * tall))
    side = random.choice([-1, 1])
    thing.add(cylinder(0.025, 0.03, sides=12), style.metal, (side * (width / 2 - 0.07), 0.06, 1.03), pitch=90)
    thing.add(rounded_box(0.13, 0.02, 0.022, 0.009), style.metal, (side * (width / 2 - 0.12), 0.075, 1.03))
    return thing


def painting(style: Style, width: Number, height: Number) -> Thing:
    """Framed picture around z = 0, sometimes with a mount."""
    random, thing = style.random, Thing("picture")
    rim = Material("plain", (0.1, 0.1, 0.1), gloss=0.3) if random.random() < 0.35 else style.wood()
    bar, mount = random.uniform(0.018, 0.05), random.uniform(0.03, 0.09) if random.random() < 0.5 else 0.0
    thing.add(frame(width, 0.035, height, bar), rim, (0, 0.018, 0))
    thing.add(box(width - bar, 0.01, height - bar), Material("plain", (0.93, 0.92, 0.89)), (0, 0.008, 0))
    wide, tall = width - 2 * bar - 2 * mount, height - 2 * bar - 2 * mount
    thing.add(box(wide, 0.004, tall), picture(random, "painting", wide, tall), (0, 0.0145, 0))
    return thing


def mirror(style: Style, width: Number, height: Number) -> Thing:
    """Framed mirror around z = 0."""
    thing, bar = Thing("mirror"), style.random.uniform(0.025, 0.05)
    rim = style.wood() if style.random.random() < 0.6 else style.metal
    thing.add(frame(width, 0.035, height, bar), rim, (0, 0.018, 0))
    thing.add(box(width - bar, 0.012, height - bar), Material("mirror", (0.9, 0.92, 0.92)), (0, 0.009, 0))
    return thing


def clock(style: Style) -> Thing:
    """Round clock with two hands."""
    thing, dark = Thing("otherprop"), Material("plain", (0.1, 0.1, 0.1))
    radius = style.random.uniform(0.12, 0.18)
    face = lathe([(0, 0), (radius, 0), (radius, 0.03), (radius * 0.92, 0.035)], sides=28)
    thing.add(face, style.bright(), pitch=-90)
    thing.add(cylinder(radius * 0.93, 0.028, sides=28), Material("plain", (0.95, 0.94, 0.9)), pitch=-90)
    for length, turn in ((0.55, style.random.uniform(0, 360)), (0.8, style.random.uniform(0, 360))):
        hand = box(0.012, 0.004, radius * length).moved((0, 0, radius * length / 2))
        thing.add(hand, dark, (0, 0.032, 0), roll=turn)
    return thing


def wall_shelf(style: Style) -> Thing:
    """Board on brackets, for books and small things."""
    thing, width = Thing("bookshelf"), style.random.uniform(0.7, 1.2)
    thing.add(box(width, 0.22, 0.028), style.wood(), (0, 0.11, 0))
    brackets = np.array([[-width * 0.38, 0.06, -0.05], [width * 0.38, 0.06, -0.05]])
    thing.add(boxes(brackets, np.tile([0.02, 0.12, 0.08], (2, 1))), style.metal)
    thing.tops.append(Top(0, 0.115, 0.016, width - 0.08, 0.2, 0.45))
    return thing


def rug(style: Style, width: Number, depth: Number) -> Thing:
    """Rug on the floor, round when as deep as wide."""
    thing, cloth = Thing("floor mat"), style.cover()
    weave = Material("rug", cloth.colour, cloth.second, 0.25, extent=(width / 2, depth / 2), variant=style.variant())
    if width == depth:
        thing.add(lathe([(0, 0), (width / 2, 0), (width / 2, 0.012), (0, 0.012)], sides=40), weave)
    else:
        thing.add(box(width, depth, 0.012), weave, (0, 0, 0.006))
    return thing


def radiator(style: Style, width: Number) -> Thing:
    """Panel radiator below a window."""
    thing, white = Thing("otherprop"), style.white()
    ribs = np.arange(-width / 2 + 0.03, width / 2 - 0.02, 0.06)
    centres = np.stack([ribs, 0 * ribs + 0.08, 0 * ribs + 0.38], 1)
    thing.add(boxes(centres, np.tile([0.045, 0.05, 0.5], (len(ribs), 1))), white)
    thing.add(box(width, 0.04, 0.03), white, (0, 0.07, 0.15))
    thing.add(box(width, 0.04, 0.03), white, (0, 0.07, 0.6))
    return thing


def coat_hooks(style: Style) -> Thing:
    """Rail of hooks with a coat on it."""
    thing = Thing("otherprop")
    thing.add(rounded_box(0.5, 0.02, 0.09, 0.008), style.wood(), (0, 0.01, 0))
    for x in (-0.18, 0, 0.18):
        thing.add(ellipsoid(0.025, 0.06, 0.025, steps=5), style.metal, (x, 0.04, 0.005))
    share = np.linspace(0, 1, 7)
    centres = np.stack([0 * share, 0.07 + 0 * share, -share * 0.75], 1)
    wide = np.array([0.03, 0.13, 0.17, 0.17, 0.18, 0.19, 0.2])
    cloth = style.cover()
    thing.add(tube(centres, np.stack([wide, 0.25 * wide + 0.01], 1), sides=14), cloth, (-0.09, 0, 0))
    return thing
