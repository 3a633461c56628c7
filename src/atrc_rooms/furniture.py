"""Tables, cabinets, shelves and boxes. Every function builds one thing; lengths in [m], fronts towards +y."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from atrc_rooms.materials import Material, Style, faded
from atrc_rooms.meshes import Mesh, Number, box, boxes, cylinder, ellipsoid, lathe, limb, merge, rounded_box
from atrc_rooms.things import Thing, Top


def four_legs(width: Number, depth: Number, height: Number, thick: Number, kind: str) -> Mesh:
    """Four legs on the floor under a top of the given size."""
    x, y = width / 2 - thick, depth / 2 - thick
    feet = [(sx * x, sy * y) for sx in (-1, 1) for sy in (-1, 1)]
    if kind == "square":
        centres = np.array([[fx, fy, height / 2] for fx, fy in feet])
        return boxes(centres, np.tile([thick, thick, height], (4, 1)))
    if kind == "splayed":
        return merge(
            *(
                limb((fx * 1.02, fy * 1.02, 0.01), (fx * 0.85, fy * 0.85, height), [thick * 0.35, thick * 0.55])
                for fx, fy in feet
            )
        )
    return merge(*(cylinder(thick * 0.35, height, thick * 0.55, sides=10).moved((fx, fy, 0)) for fx, fy in feet))


def leg_kind(random: Generator) -> str:
    return str(random.choice(["square", "round", "splayed"]))


def _handles(random: Generator, centres: list[tuple[Number, Number, Number]], upright: bool = False) -> Mesh:
    if random.random() < 0.5:
        size = [0.014, 0.022, 0.12] if upright else [0.12, 0.022, 0.014]
        return boxes(np.array(centres), np.tile(size, (len(centres), 1)))
    return merge(*(ellipsoid(0.032, 0.032, 0.032, steps=4).moved(c) for c in centres))


def table(style: Style, width: Number, depth: Number, height: Number) -> Thing:
    """Table on four legs, a trestle or a column; round when as deep as wide."""
    random, thing = style.random, Thing("table")
    wood, thick = style.wood(), random.uniform(0.025, 0.045)
    if width == depth and random.random() < 0.7:
        rim = width / 2
        top = lathe([(0, -thick), (rim - 0.01, -thick), (rim, -thick / 2), (rim - 0.008, 0), (0, 0)], sides=32)
        thing.add(top, wood, (0, 0, height))
        if random.random() < 0.6:
            thing.add(cylinder(0.05, height - thick), style.metal if random.random() < 0.5 else wood)
            thing.add(cylinder(rim * 0.55, 0.03, rim * 0.5, sides=24), style.metal)
        else:
            thing.add(four_legs(width * 0.72, depth * 0.72, height - thick, 0.06, "splayed"), wood)
        thing.tops.append(Top(0, 0, height + 0.002, width * 0.68, depth * 0.68))
        return thing
    thing.add(rounded_box(width, depth, thick, 0.008), wood, (0, 0, height - thick / 2))
    legs = style.metal if random.random() < 0.25 else wood
    thing.add(
        four_legs(width - 0.03, depth - 0.03, height - thick, random.uniform(0.045, 0.08), leg_kind(random)), legs
    )
    if random.random() < 0.6:
        apron = boxes(
            np.array([[0, -depth / 2 + 0.06, 0], [0, depth / 2 - 0.06, 0]]), np.tile([width - 0.16, 0.02, 0.08], (2, 1))
        )
        thing.add(apron, wood, (0, 0, height - thick - 0.04))
    if height < 0.6 and random.random() < 0.5:
        thing.add(box(width - 0.14, depth - 0.14, 0.02), wood, (0, 0, height * 0.35))
    thing.tops.append(Top(0, 0, height + 0.002, width - 0.06, depth - 0.06))
    return thing


def desk(style: Style) -> Thing:
    """Writing desk: top with legs on one side and drawers on the other, or legs on both."""
    random, thing = style.random, Thing("desk")
    width, depth, height = random.uniform(1.1, 1.6), random.uniform(0.6, 0.75), random.uniform(0.72, 0.76)
    wood = style.wood()
    thing.add(rounded_box(width, depth, 0.03, 0.006), wood, (0, 0, height - 0.015))
    side = random.choice([-1, 1])
    drawers = random.random() < 0.65
    if drawers:
        x = side * (width / 2 - 0.22)
        thing.add(box(0.4, depth - 0.06, height - 0.08), wood, (x, 0, (height - 0.03) / 2 + 0.025))
        _drawers(thing, random, faded(wood, 1.08), (x, depth / 2 - 0.03, 0.06), (0.4, height - 0.11), 3, 1)
        x = -side * (width / 2 - 0.03)
        thing.add(box(0.03, depth - 0.04, height - 0.03), wood, (x, 0, (height - 0.03) / 2))
    else:
        legs = style.metal if random.random() < 0.4 else wood
        thing.add(four_legs(width - 0.02, depth - 0.02, height - 0.03, 0.05, "square"), legs)
    thing.add(box(width - 0.1, 0.02, 0.3), wood, (0, -depth / 2 + 0.05, height - 0.18))
    thing.tops.append(Top(0, 0, height + 0.002, width - 0.06, depth - 0.06))
    return thing


def _drawers(
    thing: Thing,
    random: Generator,
    material: Material,
    at: tuple[Number, Number, Number],
    size: tuple[Number, Number],
    rows: int,
    columns: int,
) -> None:
    """Add a grid of fronts with handles to a face towards +y; `at` is the middle of its lower edge."""
    wide, high = size[0] / columns, size[1] / rows
    grid = [
        (at[0] + (c - (columns - 1) / 2) * wide, at[1], at[2] + (r + 0.5) * high)
        for r in range(rows)
        for c in range(columns)
    ]
    for x, y, z in grid:
        thing.add(rounded_box(wide - 0.012, 0.024, high - 0.012, 0.005, steps=1), material, (x, y + 0.006, z))
    metal = Material("plain", (0.5, 0.5, 0.52) if random.random() < 0.6 else (0.15, 0.14, 0.13), gloss=0.7)
    thing.add(_handles(random, [(x, y + 0.03, z + high * 0.1) for x, y, z in grid]), metal)


def drawers(
    style: Style, name: str, width: Number, depth: Number, height: Number, rows: int, columns: int = 1
) -> Thing:
    """Chest of drawers: the dresser, the night stand, the sideboard."""
    random, thing, wood = style.random, Thing(name), style.wood()
    leg = float(random.choice([0.04, 0.12]))
    thing.add(four_legs(width - 0.02, depth - 0.02, leg + 0.01, 0.045, leg_kind(random)), wood)
    thing.add(box(width - 0.02, depth - 0.02, height - leg - 0.02), wood, (0, 0, (height + leg) / 2 - 0.01))
    thing.add(rounded_box(width, depth, 0.025, 0.006), wood, (0, 0.005, height - 0.0125))
    front = faded(wood, float(random.choice([0.85, 1.12]))) if random.random() < 0.7 else style.lacquer
    _drawers(thing, random, front, (0, depth / 2 - 0.012, leg), (width - 0.04, height - leg - 0.03), rows, columns)
    thing.tops.append(Top(0, 0, height + 0.002, width - 0.06, depth - 0.06))
    return thing


def wardrobe(style: Style) -> Thing:
    """Tall cabinet with two or three doors of wood or lacquer."""
    random, thing, wood = style.random, Thing("cabinet"), style.wood()
    doors = int(random.integers(2, 4))
    width, depth, height = doors * random.uniform(0.42, 0.52), random.uniform(0.52, 0.6), random.uniform(1.85, 2.15)
    thing.add(box(width, depth - 0.03, height), wood, (0, -0.015, height / 2))
    thing.add(rounded_box(width + 0.04, depth + 0.01, 0.04, 0.01), wood, (0, 0, height))
    front = faded(wood, 1.1) if random.random() < 0.6 else style.lacquer
    each = (width - 0.02) / doors
    handles = []
    for i in range(doors):
        x = (i - (doors - 1) / 2) * each
        thing.add(
            rounded_box(each - 0.008, 0.025, height - 0.14, 0.006), front, (x, depth / 2 - 0.02, height / 2 + 0.02)
        )
        if random.random() < 0.6:
            for z, tall in ((height * 0.3, height * 0.38), (height * 0.74, height * 0.36)):
                thing.add(box(each - 0.14, 0.012, tall), faded(front, 0.9), (x, depth / 2 - 0.008, z))
        handles.append((x + (each / 2 - 0.04) * (1 if i % 2 == 0 else -1), depth / 2 + 0.005, 1.0))
    thing.add(_handles(random, handles, upright=True), style.metal)
    thing.tops.append(Top(0, 0, height + 0.022, width - 0.1, depth - 0.1))
    return thing


def bookshelf(style: Style) -> Thing:
    """Open shelves; every board is a top."""
    random, thing, wood = style.random, Thing("bookshelf"), style.wood()
    width, depth = random.uniform(0.7, 1.25), random.uniform(0.27, 0.36)
    shelves = int(random.integers(3, 7))
    pitch = random.uniform(0.31, 0.37)
    height, board = shelves * pitch + 0.1, 0.022
    for side in (-1, 1):
        thing.add(box(board, depth, height), wood, (side * (width - board) / 2, 0, height / 2))
    if random.random() < 0.7:
        thing.add(box(width, 0.01, height - 0.05), faded(wood, 0.85), (0, -depth / 2 + 0.006, height / 2))
    for i in range(shelves + 1):
        z = 0.06 + i * pitch
        thing.add(box(width - 2 * board, depth - 0.01, board), wood, (0, 0.002, z))
        if i < shelves:
            thing.tops.append(Top(0, 0.01, z + board / 2, width - 2 * board - 0.03, depth - 0.03, pitch - board))
    thing.add(box(width - 2 * board, 0.02, 0.05), wood, (0, depth / 2 - 0.03, 0.025))
    thing.tops.append(Top(0, 0, height - 0.04 + board / 2 + 0.002, width - 0.1, depth - 0.04))
    return thing


def carton(style: Style) -> Thing:
    """Cardboard box, or plastic box with a lid."""
    random, thing = style.random, Thing("box")
    width, depth, height = random.uniform(0.25, 0.55), random.uniform(0.22, 0.42), random.uniform(0.18, 0.42)
    if random.random() < 0.65:
        card = Material("paper", (0.68, 0.52, 0.36), (0.6, 0.45, 0.3), 0.05, variant=style.variant())
        thing.add(box(width, depth, height), card, (0, 0, height / 2))
        tape = Material("plain", (0.78, 0.66, 0.48), gloss=0.3)
        thing.add(box(0.05, depth + 0.004, 0.002), tape, (0, 0, height))
        thing.add(
            boxes(np.array([[0, -depth / 2, 0], [0, depth / 2, 0]]), np.tile([0.05, 0.002, 0.08], (2, 1))),
            tape,
            (0, 0, height - 0.04),
        )
    else:
        tone = style.bright()
        thing.add(rounded_box(width, depth, height - 0.03, 0.02), tone, (0, 0, (height - 0.03) / 2))
        thing.add(rounded_box(width + 0.02, depth + 0.02, 0.035, 0.012), faded(tone, 0.8), (0, 0, height - 0.02))
    thing.tops.append(Top(0, 0, height + 0.003, width - 0.06, depth - 0.06))
    return thing
