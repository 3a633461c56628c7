"""Chairs, sofas and beds. Every function builds one thing; lengths in [m], fronts towards +y."""

from __future__ import annotations

import numpy as np

from atrc_rooms.furniture import four_legs, leg_kind
from atrc_rooms.materials import Material, Style, faded
from atrc_rooms.meshes import box, boxes, cylinder, ellipsoid, lathe, limb, rounded_box
from atrc_rooms.things import Seat, Thing, Top


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
    thing.add(four_legs(width, depth, seat - 0.02, 0.04, leg_kind(random)), wood)
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
    thing.add(four_legs(0.3, 0.3, height - 0.03, 0.035, "splayed"), wood)
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
    thing.add(four_legs(width - 0.06, depth - 0.06, leg + 0.02, 0.06, "round"), style.woods[0])
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
    """Bed with its head at the wall: frame, mattress and blanket; pillows are things of their own."""
    random, thing = style.random, Thing("bed")
    width = random.uniform(1.4, 1.8) if double else random.uniform(0.9, 1.05)
    length, low, high = 2.05, random.uniform(0.24, 0.32), random.uniform(0.46, 0.56)
    wood, cover = style.wood(), style.cover()
    padded = random.random() < 0.35
    head = style.fabric() if padded else wood
    head_high = random.uniform(0.85, 1.2)
    thing.add(four_legs(width - 0.02, length - 0.06, low - 0.1, 0.06, "square"), wood)
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
