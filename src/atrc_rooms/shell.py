"""The shell of a room: walls, floor, ceiling, doors, windows and ceiling lamps."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from atrc_rooms import fixtures, lamps, plants
from atrc_rooms.layout import Plan
from atrc_rooms.materials import Style

_WALLS = np.arange(4)


def shell(plan: Plan, style: Style) -> list[int]:
    """Add walls, floor, ceiling, doors, windows and lamps; return the walls in random order."""
    random, (width, depth, height) = plan.random, plan.size
    paper, accent, skirting = style.wall(), style.wall(), style.white()
    different = int(random.integers(4)) if random.random() < 0.25 else None
    for i in range(4):
        surface = fixtures.wall(plan.length(i), height, accent if i == different else paper, skirting)
        plan.put(plan.stand(surface, i, 0), solid=False)
    floor, top = fixtures.ground(width, depth, style.floor()), fixtures.ceiling(width, depth)
    floor.at, top.at = (width / 2, depth / 2, 0), (width / 2, depth / 2, height)
    plan.put(floor, solid=False)
    plan.put(top, solid=False)
    order = [int(w) for w in random.permutation(_WALLS)]
    _doors(plan, style, order)
    _windows(plan, style, order[1:])
    _ceiling_lamps(plan, style)
    return order


def _doors(plan: Plan, style: Style, order: list[int]) -> None:
    for wall in order[: 1 + (plan.random.random() < 0.3)]:
        door = fixtures.door(style, plan.random.uniform(0.8, 0.92), plan.random.uniform(2.0, 2.1))
        if plan.at_wall(door, wall, gap=0.0, front=0.85):
            plan.reserve(plan.box(door, 0.85), door)


def _windows(plan: Plan, style: Style, walls: list[int]) -> None:
    random = plan.random
    daylight = 0.0 if random.random() < 0.15 else random.uniform(0.35, 1.0)
    for wall in walls[: random.integers(1, 3)]:
        width = random.uniform(0.9, min(2.4, plan.length(wall) - 1.2))
        sill = random.uniform(0.75, 1.0) if random.random() < 0.8 else 0.15
        height = min(random.uniform(1.2, 1.5) if sill > 0.5 else 2.0, plan.size[2] - sill - 0.3)
        glass = fixtures.window(style, width, height, daylight)
        along = random.uniform(-0.5, 0.5) * (plan.length(wall) - width - 0.9)
        if not plan.at_wall(glass, wall, along, z=sill, gap=0.0, front=0.0):
            continue
        if daylight > 0.6 and random.random() < 0.6:
            plan.sun = sun_through(random, wall)
        if random.random() < 0.55:
            drapes = fixtures.curtains(style, width, min(sill + height + 0.15, plan.size[2] - 0.05))
            plan.stand(drapes, wall, along)
            if plan.free(plan.box(drapes), (glass,)):
                plan.put(drapes)
        elif random.random() < 0.75:
            cover = fixtures.blinds(style, width + 0.04, height * random.uniform(0.25, 0.8))
            plan.put(plan.stand(cover, wall, along, 0.0, sill + height + 0.06))
        if sill > 0.6 and random.random() < 0.4:
            plan.at_wall(fixtures.radiator(style, width * 0.8), wall, along, gap=0.0, front=0.0)
        if sill > 0.6 and random.random() < 0.35:
            pot = plants.plant(style, random.uniform(0.22, 0.35))
            plan.try_put(
                plan.stand(pot, wall, along + random.uniform(-0.3, 0.3) * width, 0.12, sill - 0.045), touching=(glass,)
            )


def sun_through(random: Generator, wall: int) -> tuple[float, float, float]:
    """Draw the direction towards a sun that shines through the windows of a wall."""
    azimuth = np.radians(90 * wall - 90 + random.uniform(-50, 50))
    rise = np.radians(random.uniform(18, 48))
    return float(np.cos(rise) * np.cos(azimuth)), float(np.cos(rise) * np.sin(azimuth)), float(np.sin(rise))


def _ceiling_lamps(plan: Plan, style: Style) -> None:
    random, (width, depth, height) = plan.random, plan.size
    drop = random.uniform(0.3, 0.6) if random.random() < 0.5 and height > 2.5 else 0.0
    spots = [(0.5, 0.5)] if max(width, depth) < 5.2 or drop else [(0.3, 0.5), (0.7, 0.5)]
    state = random.bit_generator.state
    for x, y in spots:
        # A room's ceiling lamps are of one kind.
        random.bit_generator.state = state
        lamp = lamps.ceiling_lamp(style, drop)
        lamp.at = (width * x, depth * y, height)
        plan.put(lamp)
