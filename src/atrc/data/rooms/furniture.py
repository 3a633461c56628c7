"""Furniture that stands on the floor. Every function builds one thing; lengths in [m], fronts towards +y."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from atrc.data.rooms.materials import Material, Style, faded
from atrc.data.rooms.meshes import Mesh, Number, box, boxes, cylinder, ellipsoid, lathe, limb, merge, rounded_box, tube
from atrc.data.rooms.things import Seat, Thing, Top


def _legs(width: Number, depth: Number, height: Number, thick: Number, kind: str) -> Mesh:
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


def _leg_kind(random: Generator) -> str:
    return str(random.choice(["square", "round", "splayed"]))


def _handles(random: Generator, centres: list[tuple[Number, Number, Number]], upright: bool = False) -> Mesh:
    if random.random() < 0.5:
        size = [0.014, 0.022, 0.12] if upright else [0.12, 0.022, 0.014]
        return boxes(np.array(centres), np.tile(size, (len(centres), 1)))
    return merge(*(ellipsoid(0.032, 0.032, 0.032, steps=4).moved(c) for c in centres))


def chair(style: Style) -> Thing:
    """Dining chair: seat, four legs, a back of slats, a board or padding."""
    random, thing = style.random, Thing("chair")
    width, depth, seat, back = (
        random.uniform(0.42, 0.47),
        random.uniform(0.42, 0.46),
        random.uniform(0.44, 0.47),
        random.uniform(0.38, 0.5),
    )
    wood = style.wood()
    thing.add(_legs(width, depth, seat - 0.02, 0.04, _leg_kind(random)), wood)
    thing.add(rounded_box(width, depth, 0.03, 0.012), wood, (0, 0, seat - 0.02))
    if random.random() < 0.6:
        thing.add(rounded_box(width * 0.94, depth * 0.94, 0.045, 0.02), style.fabric(), (0, 0, seat + 0.015))
    lean, rear = random.uniform(6, 12), -depth / 2 + 0.025
    posts = boxes(np.array([[-1, 0, 0], [1, 0, 0]]) * (width / 2 - 0.02), np.tile([0.034, 0.03, back], (2, 1)))
    pieces = [(posts, wood)]
    kind = random.choice(["ladder", "spindles", "board", "padded"])
    if kind == "ladder":
        heights = np.linspace(-0.25, 0.42, 3) * back
        slats = boxes(np.stack([0 * heights, 0 * heights, heights], 1), np.tile([width - 0.05, 0.018, 0.06], (3, 1)))
        pieces.append((slats, wood))
    elif kind == "spindles":
        across = np.linspace(-0.36, 0.36, 6) * width
        bars = boxes(np.stack([across, 0 * across, 0 * across], 1), np.tile([0.014, 0.014, back], (6, 1)))
        pieces += [(bars, wood), (rounded_box(width, 0.03, 0.07, 0.014).moved((0, 0, back / 2 - 0.02)), wood)]
    else:
        board = rounded_box(width - 0.05, 0.025, back * 0.7, 0.012).moved((0, 0, back * 0.13))
        pieces.append((board, wood if kind == "board" else style.fabric()))
    for mesh, material in pieces:
        thing.add(mesh.moved((0, 0, back / 2)), material, (0, rear, seat - 0.02), pitch=lean)
    thing.seats.append(Seat(0, 0.0, seat + 0.03))
    return thing


def office_chair(style: Style) -> Thing:
    """Swivel chair on five castors, padded, with or without arms."""
    random, thing = style.random, Thing("chair")
    seat, fabric, dark = random.uniform(0.44, 0.5), style.fabric(), Material("plain", (0.1, 0.1, 0.11), gloss=0.4)
    for angle in np.arange(5) * 72 + random.uniform(0, 72):
        x, y = 0.29 * np.cos(np.radians(angle)), 0.29 * np.sin(np.radians(angle))
        thing.add(limb((0, 0, 0.11), (x, y, 0.075), [0.024, 0.016], side=(0, 0, 1), sides=8), dark)
        thing.add(ellipsoid(0.05, 0.05, 0.06, steps=5), dark, (x, y, 0.03))
    thing.add(cylinder(0.028, seat - 0.14), style.metal, (0, 0, 0.1))
    thing.add(rounded_box(0.49, 0.47, 0.085, 0.035), fabric, (0, 0, seat))
    thing.add(rounded_box(0.05, 0.03, 0.28, 0.012), dark, (0, -0.235, seat + 0.11), pitch=8)
    thing.add(rounded_box(0.45, 0.07, random.uniform(0.45, 0.6), 0.034), fabric, (0, -0.25, seat + 0.4), pitch=8)
    if random.random() < 0.6:
        for side in (-1, 1):
            thing.add(box(0.03, 0.04, 0.2), dark, (side * 0.265, -0.03, seat + 0.1))
            thing.add(rounded_box(0.055, 0.27, 0.03, 0.014), dark, (side * 0.265, 0, seat + 0.21))
    thing.seats.append(Seat(0, 0.01, seat + 0.04))
    return thing


def stool(style: Style) -> Thing:
    """Round stool."""
    thing, height = Thing("chair"), style.random.uniform(0.44, 0.6)
    wood = style.wood()
    thing.add(_legs(0.3, 0.3, height - 0.03, 0.035, "splayed"), wood)
    thing.add(
        lathe([(0, 0), (0.17, 0), (0.175, 0.02), (0.165, 0.04), (0, 0.04)], sides=20), wood, (0, 0, height - 0.04)
    )
    thing.seats.append(Seat(0, 0, height))
    return thing


def sofa(style: Style, places: int) -> Thing:
    """Sofa, or an armchair when it has one place: base, seat and back cushions, arms."""
    random, thing, fabric = style.random, Thing("sofa"), style.fabric()
    each, arm, depth, seat = (
        random.uniform(0.62, 0.74),
        random.uniform(0.12, 0.24),
        random.uniform(0.84, 0.95),
        random.uniform(0.41, 0.46),
    )
    width, back, leg = places * each + 2 * arm, random.uniform(0.78, 0.92), random.choice([0.05, 0.13])
    high_arm, puffy = random.uniform(0.56, 0.66), random.uniform(0.03, 0.07)
    thing.add(_legs(width - 0.06, depth - 0.06, leg + 0.02, 0.06, "round"), style.woods[0])
    thing.add(rounded_box(width - 0.02, depth - 0.04, seat - 0.15 - leg, 0.02), fabric, (0, 0, (seat - 0.15 + leg) / 2))
    thing.add(
        rounded_box(width - 0.02, 0.17, back - leg - 0.06, 0.06),
        fabric,
        (0, -depth / 2 + 0.1, (back + leg - 0.06) / 2),
    )
    for side in (-1, 1):
        arm_mesh = rounded_box(arm, depth, high_arm - leg, min(arm / 2.1, 0.09), steps=3)
        thing.add(arm_mesh, fabric, (side * (width - arm) / 2, 0, (high_arm + leg) / 2))
    for i in range(places):
        x = (i - (places - 1) / 2) * each
        seat_mesh = rounded_box(each - 0.008, depth - 0.22, 0.17, puffy, steps=3)
        thing.add(seat_mesh, fabric, (x, 0.09, seat - 0.075))
        cushion = rounded_box(each - 0.02, 0.19, back - seat + 0.05, puffy + 0.02, steps=3)
        thing.add(cushion, fabric, (x, -depth / 2 + 0.24, (back + seat) / 2 + 0.02), pitch=11)
        thing.seats.append(Seat(x, 0.06, seat))
    thing.tops.append(Top(0, 0.08, seat + 0.005, places * each - 0.1, 0.45))
    return thing


def bed(style: Style, double: bool) -> Thing:
    """Bed with its head at the wall: frame, mattress, blanket hanging over, pillows come as things."""
    random, thing = style.random, Thing("bed")
    width = random.uniform(1.4, 1.8) if double else random.uniform(0.9, 1.05)
    length, low, high = 2.05, random.uniform(0.24, 0.32), random.uniform(0.46, 0.56)
    wood, cover = style.wood(), style.cover()
    padded = random.random() < 0.35
    head = style.fabric() if padded else wood
    head_high = random.uniform(0.85, 1.2)
    thing.add(_legs(width - 0.02, length - 0.06, low - 0.1, 0.06, "square"), wood)
    thing.add(rounded_box(width, length, 0.18, 0.015), wood, (0, 0, low - 0.05))
    radius = 0.035 if padded else 0.015
    thing.add(rounded_box(width + 0.04, 0.07, head_high, radius), head, (0, -length / 2 + 0.01, head_high / 2))
    if random.random() < 0.4:
        foot_high = random.uniform(0.5, 0.7)
        thing.add(rounded_box(width + 0.02, 0.05, foot_high, 0.015), wood, (0, length / 2, foot_high / 2))
    sheet = Material("weave", (0.88, 0.87, 0.85), (0.84, 0.83, 0.82), 0.01)
    thing.add(rounded_box(width - 0.04, length - 0.06, high - low, 0.06, steps=3), sheet, (0, 0, (low + high) / 2))
    reach = random.uniform(0.62, 0.76) * length
    blanket = rounded_box(width + 0.03, reach, high - low + 0.07, 0.05, steps=3)
    thing.add(blanket, cover, (0, length / 2 - reach / 2 + 0.01, (low + high) / 2 + 0.01))
    fold = rounded_box(width + 0.04, random.uniform(0.18, 0.3), 0.09, 0.04, steps=3)
    thing.add(fold, faded(cover, 1.25), (0, length / 2 - reach, high + 0.012))
    thing.tops.append(Top(0, -length / 2 + 0.3, high + 0.005, width - 0.1, 0.42))
    thing.tops.append(Top(0, 0.3, high + 0.045, width - 0.5, 0.9))
    for side in (-1, 1):
        thing.seats.append(Seat(side * (width / 2 - 0.16), 0.2, high + 0.04, yaw=-90 * side))
    return thing


def table(style: Style, width: Number, depth: Number, height: Number, name: str = "table") -> Thing:
    """Table on four legs, a trestle or a column; round when as deep as wide."""
    random, thing = style.random, Thing(name)
    wood, thick = style.wood(), random.uniform(0.025, 0.045)
    if width == depth and random.random() < 0.7:
        rim = width / 2
        top = lathe([(0, -thick), (rim - 0.01, -thick), (rim, -thick / 2), (rim - 0.008, 0), (0, 0)], sides=32)
        thing.add(top, wood, (0, 0, height))
        if random.random() < 0.6:
            thing.add(cylinder(0.05, height - thick), style.metal if random.random() < 0.5 else wood)
            thing.add(cylinder(rim * 0.55, 0.03, rim * 0.5, sides=24), style.metal)
        else:
            thing.add(_legs(width * 0.72, depth * 0.72, height - thick, 0.06, "splayed"), wood)
        thing.tops.append(Top(0, 0, height + 0.002, width * 0.68, depth * 0.68))
        return thing
    thing.add(rounded_box(width, depth, thick, 0.008), wood, (0, 0, height - thick / 2))
    legs = style.metal if random.random() < 0.25 else wood
    thing.add(_legs(width - 0.03, depth - 0.03, height - thick, random.uniform(0.045, 0.08), _leg_kind(random)), legs)
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
        thing.add(_legs(width - 0.02, depth - 0.02, height - 0.03, 0.05, "square"), legs)
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
    """Fronts with handles in a grid over a face that looks to +y; `at` is the middle of its lower edge."""
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
    thing.add(_legs(width - 0.02, depth - 0.02, leg + 0.01, 0.045, _leg_kind(random)), wood)
    thing.add(box(width - 0.02, depth - 0.02, height - leg - 0.02), wood, (0, 0, (height + leg) / 2 - 0.01))
    thing.add(rounded_box(width, depth, 0.025, 0.006), wood, (0, 0.005, height - 0.0125))
    front = faded(wood, float(random.choice([0.85, 1.12]))) if random.random() < 0.7 else style.lacquer
    _drawers(thing, random, front, (0, depth / 2 - 0.012, leg), (width - 0.04, height - leg - 0.03), rows, columns)
    thing.tops.append(Top(0, 0, height + 0.002, width - 0.06, depth - 0.06))
    return thing


def wardrobe(style: Style) -> Thing:
    """Tall cabinet with two or three doors, sometimes one of them a mirror's width of glass-like lacquer."""
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
    """Open shelves; every board is a top to be filled with books."""
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


def carton(style: Style) -> Thing:
    """Cardboard or plastic box, with or without a lid, standing around."""
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
