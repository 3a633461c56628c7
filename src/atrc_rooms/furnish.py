"""Bedrooms, living rooms, dining rooms and offices, furnished at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from atrc_rooms import fixtures, furniture, lamps, objects, plants, seating
from atrc_rooms.dress import dress, extras, hang, populate
from atrc_rooms.layout import Plan
from atrc_rooms.materials import Style
from atrc_rooms.shell import shell
from atrc_rooms.things import Thing


def furnish(random: Generator, with_people: bool, clutter: int = 1) -> Plan:
    """Furnish a room; small things are added `clutter` times."""
    kind = str(random.choice(["bedroom", "living room", "dining room", "office"], p=[0.33, 0.3, 0.2, 0.17]))
    width, depth = random.uniform(3.1, 5.2), random.uniform(3.0, 4.8)
    plan, style = Plan(random, (width, depth, random.uniform(2.4, 2.9))), Style(random)
    walls = shell(plan, style)
    {"bedroom": _bedroom, "living room": _living_room, "dining room": _dining_room, "office": _office}[kind](
        plan, style
    )
    _fill(plan, style, kind)
    hang(plan, style, walls)
    for _ in range(clutter):
        extras(plan, style)
        dress(plan, style)
    if with_people:
        populate(plan)
    return plan


def _bedroom(plan: Plan, style: Style) -> None:
    random = plan.random
    double = random.random() < 0.7
    bed = seating.bed(style, double)
    if plan.at_wall(bed, front=0.5, side=0.55, tries=20) or plan.at_wall(bed, front=0.4, tries=20):
        low, high = bed.bounds()
        width, high_stand = random.uniform(0.4, 0.52), random.uniform(0.45, 0.6)
        for side in (-1, 1):
            stand = furniture.drawers(style, "night stand", width, 0.4, high_stand, 2)
            x = side * ((high[0] - low[0]) / 2 + width / 2 + 0.06)
            if random.random() < 0.9 and plan.next_to(stand, bed, x, low[1] + 0.24) and random.random() < 0.85:
                plan.on_top(lamps.table_lamp(style), stand, stand.tops[0], y=-0.05)
        _pillows(plan, style, bed)
        rug = fixtures.rug(style, random.uniform(1.8, 2.6), random.uniform(1.3, 1.8))
        plan.pose_on(rug, bed, 0, 0.7, 0, 0)
        if random.random() < 0.6 and _inside(plan, rug):
            plan.put(rug, solid=False)
    plan.at_wall(furniture.wardrobe(style), front=0.6)
    if random.random() < 0.75:
        chest = _chest(style)
        if plan.at_wall(chest, front=0.6):
            if random.random() < 0.5:
                plan.above(fixtures.mirror(style, random.uniform(0.6, 0.9), random.uniform(0.6, 0.9)), chest, 1.45)
            elif random.random() < 0.6:
                plan.on_top(objects.television(style, random.uniform(0.7, 0.9)), chest, chest.tops[0], 0, -0.05)
    if random.random() < 0.55:
        _work_place(plan, style)
    if random.random() < 0.4:
        plan.at_wall(furniture.bookshelf(style))
    if random.random() < 0.3:
        plan.at_wall(seating.sofa(style, 1), front=0.5)


def _fill(plan: Plan, style: Style, kind: str) -> None:
    """Add furniture along the walls until a typical share of the floor is covered."""
    random, target = plan.random, plan.random.uniform(0.26, 0.42)
    makers: dict[str, list[Callable[[], Thing]]] = {
        "bedroom": [lambda: _chest(style), lambda: seating.sofa(style, 1), lambda: seating.chair(style)],
        "living room": [lambda: seating.sofa(style, 1), lambda: seating.sofa(style, 2), lambda: _sideboard(style)],
        "dining room": [lambda: _sideboard(style), lambda: seating.sofa(style, 2), lambda: seating.chair(style)],
        "office": [
            lambda: _sideboard(style),
            lambda: furniture.wardrobe(style),
            lambda: furniture.table(style, 1.2, 0.6, 0.73),
        ],
    }
    anywhere: list[Callable[[], Thing]] = [
        lambda: furniture.bookshelf(style),
        lambda: _chest(style),
        lambda: plants.plant(style, random.uniform(0.8, 1.6)),
        lambda: furniture.table(style, random.uniform(0.5, 0.9), 0.42, random.uniform(0.6, 0.78)),
    ]
    for _ in range(9):
        if plan.covered() > target:
            return
        choices = makers[kind] if random.random() < 0.55 else anywhere
        plan.at_wall(choices[random.integers(len(choices))](), front=0.4, tries=8)


def _chest(style: Style) -> Thing:
    random = style.random
    wide = random.random() < 0.6
    width = random.uniform(0.9, 1.3) if wide else random.uniform(0.45, 0.7)
    rows = int(random.integers(3, 5))
    return furniture.drawers(style, "dresser", width, 0.46, random.uniform(0.75, 1.15), rows, 2 if wide else 1)


def _pillows(plan: Plan, style: Style, bed: Thing) -> None:
    top = bed.tops[0]
    places = [-0.25, 0.25] if top.width > 1.2 else [0.0]
    width = min(0.68, top.width / len(places) - 0.05)
    for place in places:
        plan.on_top(objects.pillow(style, width, 0.42), bed, top, place * top.width, 0.0)
    if plan.random.random() < 0.5:
        cushion = objects.cushion(style)
        plan.pose_on(cushion, bed, plan.random.uniform(-0.2, 0.2), top.y + 0.36, top.z + 0.04)
        plan.try_put(cushion, touching=(bed,))


def _living_room(plan: Plan, style: Style) -> None:
    random = plan.random
    sofa = seating.sofa(style, int(random.choice([2, 3, 3])))
    if not plan.at_wall(sofa, front=1.1, tries=30):
        return
    wall = round(sofa.yaw / 90) % 4
    _facing_screen(plan, style, sofa, (wall + 2) % 4)
    low = furniture.table(style, *_coffee_table(random), random.uniform(0.38, 0.46))
    near = sofa.bounds()[1, 1] + random.uniform(0.32, 0.5) - low.bounds()[0, 1]
    rug = fixtures.rug(style, random.uniform(2.0, 3.0), random.uniform(1.5, 2.0))
    plan.pose_on(rug, sofa, 0, near, 0)
    if random.random() < 0.75 and _inside(plan, rug):
        plan.put(rug, solid=False)
    plan.next_to(low, sofa, random.uniform(-0.2, 0.2), near)
    for side in random.permutation([-1, 1]):
        x = side * (sofa.bounds()[1, 0] + random.uniform(0.15, 0.3))
        choice = random.random()
        if choice < 0.35:
            plan.next_to(lamps.floor_lamp(style), sofa, x + side * 0.12, -0.15)
        elif choice < 0.65:
            side_table = furniture.table(style, 0.45, 0.45, random.uniform(0.48, 0.58))
            if plan.next_to(side_table, sofa, x + side * 0.14, -0.1) and random.random() < 0.7:
                plan.on_top(lamps.table_lamp(style), side_table, side_table.tops[0])
        else:
            plan.next_to(plants.plant(style, random.uniform(0.8, 1.5)), sofa, x + side * 0.2, -0.1)
    if random.random() < 0.65:
        chair, side = seating.sofa(style, 1), random.choice([-1, 1])
        x = side * (sofa.bounds()[1, 0] + 0.75)
        plan.next_to(chair, sofa, x, near + 0.2, yaw=side * random.uniform(60, 95))
    _cushions(plan, style, sofa)
    if random.random() < 0.7:
        plan.at_wall(furniture.bookshelf(style))
    if random.random() < 0.4:
        plan.at_wall(_sideboard(style))
    if random.random() < 0.3:
        _dining_group(plan, style, 0.85, 2)


def _coffee_table(random: Generator) -> tuple[float, float]:
    if random.random() < 0.35:
        wide = random.uniform(0.7, 0.95)
        return wide, wide
    return random.uniform(0.9, 1.25), random.uniform(0.5, 0.65)


def _cushions(plan: Plan, style: Style, sofa: Thing) -> None:
    for seat in sofa.seats:
        if plan.random.random() < 0.55:
            cushion = objects.cushion(style)
            plan.pose_on(cushion, sofa, seat.x + plan.random.uniform(-0.1, 0.1), -0.06, seat.z)
            plan.try_put(cushion, touching=(sofa,))


def _sideboard(style: Style) -> Thing:
    random = style.random
    return furniture.drawers(
        style, "cabinet", random.uniform(1.1, 1.7), 0.42, random.uniform(0.7, 0.9), int(random.integers(1, 4)), 3
    )


def _facing_screen(plan: Plan, style: Style, sofa: Thing, wall: int) -> None:
    """Television opposite the sofa, on a low cabinet or on the wall above it."""
    random = plan.random
    stand = furniture.drawers(style, "cabinet", random.uniform(1.2, 1.8), 0.4, random.uniform(0.42, 0.58), 1, 3)
    seen = plan.box(sofa).mean(0) - np.asarray(plan.size) / 2
    along = float(seen[wall % 2]) * (1 if wall in (0, 1) else -1)
    for place in (along, None):
        if plan.at_wall(stand, wall, place, front=0.5):
            break
    else:
        return
    width = random.uniform(0.95, 1.35)
    if random.random() < 0.3:
        plan.above(objects.television(style, width, on_wall=True), stand, 1.0)
    else:
        plan.on_top(objects.television(style, width), stand, stand.tops[0], 0, 0.0)


def _dining_room(plan: Plan, style: Style) -> None:
    random = plan.random
    _dining_group(plan, style, random.uniform(0.85, 1.0), 6)
    for _ in range(2):
        if random.random() < 0.75:
            plan.at_wall(_sideboard(style))
    if random.random() < 0.6:
        plan.at_wall(furniture.wardrobe(style) if random.random() < 0.3 else furniture.bookshelf(style))
    if random.random() < 0.35:
        plan.at_wall(seating.sofa(style, 2), front=0.5)


def _dining_group(plan: Plan, style: Style, depth: float, most: int) -> None:
    """A table with chairs around it and, sometimes, a rug under it."""
    random, (width, length, _) = plan.random, plan.size
    round_one = random.random() < 0.3
    long = depth + 0.15 if round_one else random.uniform(1.3, 1.9) if most > 4 else depth
    group = furniture.table(style, long, long if round_one else depth, random.uniform(0.72, 0.76))
    for _ in range(24):
        reach = (width / 2, length / 2)
        group.at = (reach[0] * random.uniform(0.6, 1.4), reach[1] * random.uniform(0.6, 1.4), 0.0)
        group.yaw = 90.0 * random.integers(2) + random.normal(0, 2)
        if plan.try_put(group, front=0.4):
            break
    else:
        return
    if random.random() < 0.45:
        rug = fixtures.rug(style, long + 1.2, long + 1.2 if round_one else depth + 1.1)
        plan.pose_on(rug, group, 0, 0, 0)
        if _inside(plan, rug):
            plan.put(rug, solid=False)
    state = random.bit_generator.state
    for x, y, yaw in _places(long, long if round_one else depth, most, round_one):
        # The chairs of a table are alike: they are drawn from the same state.
        after = random.bit_generator.state
        random.bit_generator.state = state
        seat = seating.chair(style)
        random.bit_generator.state = after
        pull = random.uniform(0.0, 0.14) if random.random() < 0.8 else random.uniform(0.2, 0.4)
        front = seat.bounds()[1, 1] - 0.16
        turn = np.radians(yaw)
        out = pull + front
        plan.next_to(seat, group, x + np.sin(turn) * out, y - np.cos(turn) * out, yaw + random.normal(0, 5), touch=True)


def _places(width: float, depth: float, most: int, round_one: bool) -> list[tuple[float, float, float]]:
    """Return the places around a table: a point of its edge and the yaw of a person there."""
    if round_one:
        count = min(most, 4)
        turns = np.arange(count) * 360 / count
        return [(np.sin(np.radians(t)) * width / 2, -np.cos(np.radians(t)) * width / 2, t) for t in turns]
    columns = [0.0] if width < 1.2 else [-0.25 * width, 0.25 * width]
    places = [(x, -depth / 2, 0.0) for x in columns] + [(x, depth / 2, 180.0) for x in columns]
    if most > 4:
        places += [(width / 2, 0.0, 90.0), (-width / 2, 0.0, -90.0)]
    return places


def _office(plan: Plan, style: Style) -> None:
    random = plan.random
    for _ in range(random.integers(1, 4)):
        _work_place(plan, style)
    plan.at_wall(furniture.bookshelf(style))
    if random.random() < 0.6:
        plan.at_wall(furniture.bookshelf(style))
    if random.random() < 0.6:
        plan.at_wall(furniture.wardrobe(style) if random.random() < 0.4 else _sideboard(style))
    if random.random() < 0.35:
        _dining_group(plan, style, random.uniform(0.8, 1.0), 4)
    if random.random() < 0.35:
        plan.at_wall(seating.sofa(style, int(random.integers(1, 3))), front=0.5)


def _work_place(plan: Plan, style: Style) -> None:
    """Desk at a wall with a screen, a keyboard, a lamp and a chair in front."""
    random, desk = plan.random, furniture.desk(style)
    if not plan.at_wall(desk, front=0.8):
        return
    top, x = desk.tops[0], random.uniform(-0.15, 0.15)
    if random.random() < 0.7:
        plan.on_top(objects.television(style, random.uniform(0.5, 0.68)), desk, top, x, -top.depth / 2 + 0.14)
        plan.on_top(objects.keyboard(style), desk, top, x - 0.05, top.depth / 2 - 0.12)
    else:
        plan.on_top(objects.laptop(style), desk, top, x, 0.0)
    if random.random() < 0.6:
        side = random.choice([-1, 1])
        lamp = lamps.desk_lamp(style) if random.random() < 0.6 else lamps.table_lamp(style)
        plan.on_top(lamp, desk, top, side * (top.width / 2 - 0.16), -top.depth / 2 + 0.2)
    seat = seating.office_chair(style) if random.random() < 0.6 else seating.chair(style)
    out = desk.bounds()[1, 1] + random.uniform(0.0, 0.3)
    plan.next_to(seat, desk, x, out, 180 + random.normal(0, 14), touch=True)


def _inside(plan: Plan, rug: Thing) -> bool:
    box = plan.box(rug)
    return bool((box[0, :2] > 0.02).all() and (box[1, :2] < np.asarray(plan.size[:2]) - 0.02).all())
