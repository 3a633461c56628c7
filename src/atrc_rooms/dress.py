"""Pictures, books, plants, small things and people in a furnished room."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from atrc_rooms import fixtures, furniture, lamps, objects, people, plants, poses, seating
from atrc_rooms.layout import Plan
from atrc_rooms.materials import Style
from atrc_rooms.things import Seat, Thing, Top


def hang(plan: Plan, style: Style, walls: list[int]) -> None:
    """Hang pictures above furniture, and pictures, mirrors, shelves and clocks on bare walls."""
    random = plan.random
    for thing in [t for t in plan.things if t.name in ("bed", "sofa", "dresser", "cabinet", "desk")]:
        if random.random() < 0.6 and thing.bounds()[1, 2] < 1.25:
            picture = fixtures.painting(style, random.uniform(0.5, 1.1), random.uniform(0.4, 0.7))
            plan.above(picture, thing, random.uniform(1.5, 1.65) + 0.1)
    for wall in walls:
        for _ in range(random.integers(0, 3)):
            width, height = random.uniform(0.3, 0.9), random.uniform(0.35, 0.75)
            plan.at_wall(
                fixtures.painting(style, width, height), wall, z=random.uniform(1.5, 1.7), gap=0.0, front=0.0, tries=4
            )
    if random.random() < 0.65:
        width, height = random.uniform(0.4, 0.6), random.uniform(1.2, 1.7)
        plan.at_wall(fixtures.mirror(style, width, height), z=height / 2 + 0.25, gap=0.0, front=0.3)
    if random.random() < 0.4:
        plan.at_wall(fixtures.wall_shelf(style), z=random.uniform(1.3, 1.7), gap=0.0, front=0.0)
    if random.random() < 0.3:
        plan.at_wall(fixtures.clock(style), z=random.uniform(1.8, 2.0), gap=0.0, front=0.0)
    if random.random() < 0.25:
        plan.at_wall(fixtures.coat_hooks(style), z=1.65, gap=0.0, front=0.0)


def extras(plan: Plan, style: Style) -> None:
    """Put plants, boxes, bags, bins, a ball, a floor lamp or a spare chair on the floor."""
    random = plan.random
    if random.random() < 0.6:
        plan.at_wall(plants.plant(style, random.uniform(0.6, 1.5)), front=0.0, gap=0.08)
    if random.random() < 0.3:
        plan.at_wall(lamps.floor_lamp(style), front=0.0, gap=0.08)
    for _ in range(random.integers(0, 3)):
        plan.at_wall(furniture.carton(style), front=0.0)
    if random.random() < 0.3:
        plan.scatter(furniture.carton(style))
    for make in (objects.bag, objects.bin_, objects.ball):
        if random.random() < 0.3:
            plan.at_wall(make(style), front=0.0, gap=0.06)
    if random.random() < 0.25:
        plan.scatter(seating.stool(style))
    if random.random() < 0.2:
        plan.at_wall(seating.chair(style), front=0.3)


def dress(plan: Plan, style: Style) -> None:
    """Put books and small things on all tops."""
    random = plan.random
    for thing in list(plan.things):
        if thing.name == "bookshelf":
            for top in thing.tops:
                _fill_shelf(plan, style, thing, top)
        elif thing.name in ("table", "desk", "cabinet", "dresser", "night stand"):
            _scatter_small(plan, style, thing)
        elif thing.name == "box" and random.random() < 0.3:
            plan.on_top(objects.low_box(style), thing, thing.tops[0])


def _fill_shelf(plan: Plan, style: Style, shelf: Thing, top: Top) -> None:
    random = plan.random
    kind = random.random()
    if kind < 0.62:
        length = top.width * random.uniform(0.4, 1.0)
        row = objects.book_row(style, min(length, top.width), min(top.headroom, 0.34))
        plan.on_top(row, shelf, top, x=None, y=top.depth / 2 - 0.12)
    elif kind < 0.75:
        plan.on_top(objects.book_pile(style), shelf, top)
    for make in (objects.low_box, objects.vase, objects.book_pile, objects.ball):
        if random.random() < 0.28:
            plan.on_top(make(style), shelf, top)


def _scatter_small(plan: Plan, style: Style, thing: Thing) -> None:
    random, top = plan.random, thing.tops[0]
    if thing.name == "cabinet" and top.z > 1.7:
        if random.random() < 0.4:
            plan.on_top(furniture.carton(style), thing, top)
        return
    makers: list[Callable[[Style], Thing]] = [
        objects.book_pile,
        objects.cup,
        objects.vase,
        objects.low_box,
        objects.bowl,
        partial(plants.plant, height=0.34),
    ]
    if thing.name == "table" and top.z > 0.65:
        makers += [objects.plate, objects.plate, objects.cup, objects.bowl]
    if thing.name in ("dresser", "cabinet"):
        makers += [lamps.table_lamp, objects.low_box]
    if thing.name == "desk":
        makers += [objects.book_pile, lambda s: objects.book_row(s, 0.3, 0.4)]
    area = top.width * top.depth
    for _ in range(random.integers(0, 2 + round(4 * area))):
        made = makers[random.integers(len(makers))](style)
        plan.on_top(made, thing, top, yaw=float(random.uniform(0, 360)) if made.name != "lamp" else 0.0)


def populate(plan: Plan) -> None:
    """Add up to four people who sit, stand or walk."""
    random = plan.random
    wanted = int(random.choice([0, 1, 2, 3, 4], p=[0.05, 0.2, 0.33, 0.26, 0.16]))
    seats = [(thing, seat) for thing in plan.things for seat in thing.seats]
    for _ in range(3 * wanted):
        if sum(t.name == "person" for t in plan.things) == wanted:
            return
        if seats and random.random() < 0.5:
            thing, seat = seats.pop(int(random.integers(len(seats))))
            _sit(plan, thing, seat)
            continue
        pose = poses.walking(random) if random.random() < 0.3 else poses.standing(random)
        plan.scatter(people.person(random, pose), margin=0.0, tries=24)


def _sit(plan: Plan, thing: Thing, seat: Seat) -> None:
    """Seat a person, who may touch the seat and the table in front."""
    at_table = any(t.name in ("table", "desk") and _near(plan, t, thing) for t in plan.things)
    body = people.person(plan.random, poses.sitting(plan.random, at_table and thing.name == "chair"), seat)
    plan.pose_on(body, thing, seat.x, seat.y, 0.0, seat.yaw)
    touched = [t for t in plan.things if t.name in ("table", "desk") and _near(plan, t, thing)]
    plan.try_put(body, touching=(thing, *touched))


def _near(plan: Plan, one: Thing, other: Thing) -> bool:
    """Return whether the boxes of two things overlap on the floor."""
    a, b = plan.box(one), plan.box(other)
    return bool((a[0, :2] < b[1, :2]).all() and (a[1, :2] > b[0, :2]).all())
