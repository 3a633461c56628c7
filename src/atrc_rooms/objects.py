"""Small things: books, screens, cushions, cups. Lengths in [m]."""

from __future__ import annotations

import numpy as np

from atrc_rooms.materials import Material, Style, faded, pick, picture
from atrc_rooms.meshes import Number, box, boxes, cylinder, ellipsoid, lathe, limb, merge, rounded_box, tube
from atrc_rooms.things import Thing, Top

_SPINES = (
    (0.55, 0.12, 0.12), (0.12, 0.2, 0.38), (0.85, 0.82, 0.74), (0.15, 0.32, 0.24), (0.82, 0.6, 0.2), (0.2, 0.2, 0.22),
    (0.6, 0.35, 0.2), (0.4, 0.5, 0.6), (0.88, 0.88, 0.86), (0.5, 0.25, 0.4),
)  # fmt: skip


def book_row(style: Style, length: Number, headroom: Number) -> Thing:
    """Row of upright books; the last ones may lean."""
    random, thing = style.random, Thing("books")
    thick = random.uniform(0.015, 0.05, size=max(2, int(length / 0.03)))
    thick = thick[np.cumsum(thick) < length]
    if not len(thick):
        thick = np.array([min(length, 0.03)])
    tall = np.minimum(random.uniform(0.17, 0.3) * random.uniform(0.8, 1.1, len(thick)), headroom - 0.02)
    deep = random.uniform(0.13, 0.2, len(thick))
    left = np.cumsum(thick) - thick - thick.sum() / 2
    tones = random.integers(0, len(_SPINES), len(thick))
    centres = np.stack([left + thick / 2, 0.09 - deep / 2, tall / 2], 1)
    sizes = np.stack([thick - 0.002, deep, tall], 1)
    for tone in np.unique(tones):
        chosen = tones == tone
        colour = pick(random, [_SPINES[tone]])
        spine = Material("spines", colour, (0.9, 0.85, 0.7), float(tall.mean()), gloss=0.1, variant=style.variant())
        thing.add(boxes(centres[chosen], sizes[chosen]), spine)
    return thing


def book_pile(style: Style) -> Thing:
    """A few books lying on each other."""
    random, thing = style.random, Thing("books")
    z = 0.0
    for _ in range(random.integers(1, 6)):
        thick, wide, deep = random.uniform(0.015, 0.045), random.uniform(0.14, 0.22), random.uniform(0.2, 0.29)
        cover = Material("plain", pick(random, _SPINES), gloss=0.2)
        turn = random.uniform(-14, 14)
        pages = Material("plain", (0.9, 0.88, 0.8))
        thing.add(box(deep, wide, thick), cover, (0, 0, z + thick / 2), yaw=turn)
        thing.add(box(deep - 0.006, wide + 0.001, thick - 0.006), pages, (0.0025, 0.004, z + thick / 2), yaw=turn)
        z += thick + 0.001
    return thing


def television(style: Style, width: Number, on_wall: bool = False) -> Thing:
    """Flat screen, on or off, on a foot or on a wall."""
    random, thing = style.random, Thing("television")
    height, dark = width * 0.57, Material("plain", (0.05, 0.05, 0.055), gloss=0.5)
    lift = 0.0 if on_wall else 0.07
    thing.add(rounded_box(width, 0.045, height, 0.008), dark, (0, 0, lift + height / 2))
    showing = random.random() < 0.6
    screen = picture(random, "screen", width - 0.03, height - 0.03, glow=1.1)
    blank = Material("plain", (0.045, 0.047, 0.055), gloss=0.9)
    thing.add(box(width - 0.03, 0.006, height - 0.03), screen if showing else blank, (0, 0.022, lift + height / 2))
    if not on_wall:
        thing.add(cylinder(0.02, 0.12, sides=8), dark, (0, -0.01, 0))
        thing.add(rounded_box(width * 0.35, 0.18, 0.015, 0.006), dark, (0, -0.01, 0.008))
    return thing


def laptop(style: Style) -> Thing:
    """Open laptop; its screen counts as a television, as monitors do."""
    random, thing = style.random, Thing("television")
    grey = float(random.choice([0.12, 0.6, 0.72]))
    case = Material("plain", (grey, grey, grey), gloss=0.4)
    thing.add(rounded_box(0.34, 0.23, 0.018, 0.006), case, (0, 0.06, 0.009))
    thing.add(box(0.28, 0.1, 0.002), Material("checks", (0.1, 0.1, 0.1), (0.2, 0.2, 0.2), 0.018), (0, 0.02, 0.0185))
    thing.add(rounded_box(0.34, 0.01, 0.22, 0.004), case, (0, -0.085, 0.122), pitch=16)
    shown = picture(random, "screen", 0.32, 0.195, glow=1.2)
    thing.add(box(0.32, 0.004, 0.195), shown, (0, -0.079, 0.124), pitch=16)
    return thing


def keyboard(style: Style) -> Thing:
    """Keyboard and mouse."""
    thing, dark = Thing("otherprop"), style.random.random() < 0.6
    tone = (0.1, 0.1, 0.11) if dark else (0.85, 0.85, 0.84)
    thing.add(rounded_box(0.43, 0.13, 0.018, 0.006), Material("plain", tone), (0, 0, 0.01))
    keys = Material("checks", tone, tuple(0.3 + 0.5 * c for c in tone), 0.019)  # type: ignore[arg-type]
    thing.add(box(0.4, 0.1, 0.008), keys, (0, 0, 0.018))
    thing.add(ellipsoid(0.06, 0.1, 0.035, 0.2, steps=6), Material("plain", tone, gloss=0.3), (0.3, 0, 0.015))
    return thing


def pillow(style: Style, width: Number, depth: Number) -> Thing:
    """Cushion lying flat; thin at its rim."""
    thing, cover = Thing("pillow"), style.cover()
    thing.add(ellipsoid(width, depth, style.random.uniform(0.11, 0.16), 0.75, steps=14), cover, (0, 0, 0.065))
    return thing


def cushion(style: Style) -> Thing:
    """Square cushion leaning back."""
    thing, side = Thing("pillow"), style.random.uniform(0.36, 0.46)
    turn = style.random.uniform(-12, 12)
    thing.add(ellipsoid(side, side, 0.15, 0.75, steps=14), style.cover(), (0, 0, side * 0.47), pitch=-68, roll=turn)
    return thing


def cup(style: Style) -> Thing:
    """Mug or glass."""
    thing = Thing("otherprop")
    high, wide = style.random.uniform(0.08, 0.11), style.random.uniform(0.035, 0.045)
    clay = style.bright()
    thing.add(lathe([(0, 0), (wide, 0), (wide, high), (wide - 0.005, high), (wide - 0.005, 0.012), (0, 0.012)]), clay)
    turn = np.linspace(-1.3, 1.3, 7)
    ring = np.stack([wide + 0.026 * np.cos(turn), 0 * turn, high / 2 + 0.03 * np.sin(turn)], 1)
    thing.add(tube(ring, np.full((7, 2), 0.005), side=(0, 1, 0), sides=6), clay)
    return thing


def plate(style: Style) -> Thing:
    """Dinner plate."""
    thing = Thing("otherprop")
    china = Material("plain", (0.92, 0.92, 0.9), gloss=0.5)
    line = [(0, 0), (0.08, 0), (0.125, 0.018), (0.12, 0.02), (0.075, 0.008), (0, 0.008)]
    thing.add(lathe(line, sides=24), china)
    return thing


def bowl(style: Style) -> Thing:
    """Bowl of fruit."""
    random, thing = style.random, Thing("otherprop")
    line = [(0, 0), (0.05, 0), (0.1, 0.03), (0.14, 0.085), (0.13, 0.085), (0.09, 0.035), (0, 0.02)]
    thing.add(lathe(line, sides=24), style.wood() if random.random() < 0.5 else style.bright())
    fruit = [(0.8, 0.2, 0.12), (0.9, 0.55, 0.12), (0.85, 0.75, 0.2), (0.45, 0.65, 0.2)]
    for i in range(5):
        turn = np.radians(72 * i)
        at = (0.062 * np.cos(turn), 0.062 * np.sin(turn), 0.085) if i else (0, 0, 0.1)
        thing.add(ellipsoid(0.075, 0.075, 0.07, steps=7), Material("plain", pick(random, fruit), gloss=0.3), at)
    return thing


def vase(style: Style) -> Thing:
    """Vase; flowers in it make it a plant."""
    random = style.random
    flowers = random.random() < 0.6
    thing = Thing("plant" if flowers else "otherprop")
    high, wide = random.uniform(0.16, 0.3), random.uniform(0.045, 0.08)
    line = [
        (0, 0),
        (wide * 0.6, 0),
        (wide, high * 0.4),
        (wide * 0.45, high * 0.8),
        (wide * 0.6, high),
        (wide * 0.5, high),
    ]
    thing.add(lathe(line, smooth=True, sides=18), style.bright())
    if flowers:
        bloom = style.bright()
        heads, stems = [], []
        for i in range(7):
            turn, reach = np.radians(51 * i), random.uniform(0.02, 0.11)
            tip = (reach * np.cos(turn), reach * np.sin(turn), high + random.uniform(0.12, 0.24))
            stems.append(limb((0, 0, high * 0.6), tip, [0.004, 0.004], sides=5))
            heads.append(ellipsoid(0.06, 0.06, 0.045, steps=6).moved(tip))
        thing.add(merge(*stems), Material("plain", (0.2, 0.42, 0.18)))
        thing.add(merge(*heads), bloom)
    return thing


def ball(style: Style) -> Thing:
    """Toy ball."""
    thing, radius = Thing("otherprop"), style.random.uniform(0.09, 0.13)
    stripes = Material("stripes", style.bright().colour, (0.92, 0.9, 0.86), radius, variant=style.variant())
    thing.add(ellipsoid(2 * radius, 2 * radius, 2 * radius, steps=12), stripes, (0, 0, radius), pitch=30, roll=20)
    return thing


def bag(style: Style) -> Thing:
    """Backpack or handbag on the floor."""
    thing, cloth = Thing("otherprop"), faded(style.cover(), 0.8)
    thing.add(rounded_box(0.32, 0.18, 0.42, 0.075, steps=3), cloth, (0, 0, 0.21), pitch=-6)
    thing.add(rounded_box(0.25, 0.1, 0.2, 0.045, steps=3), faded(cloth, 0.8), (0, 0.1, 0.14))
    turn = np.linspace(0, np.pi, 8)
    strap = np.stack([0.05 * np.cos(turn), 0.02 + 0 * turn, 0.415 + 0.05 * np.sin(turn)], 1)
    thing.add(tube(strap, np.full((8, 2), 0.008), side=(0, 1, 0), sides=6), faded(cloth, 0.6))
    return thing


def bin_(style: Style) -> Thing:
    """Waste-paper bin."""
    thing = Thing("otherprop")
    thing.add(
        lathe([(0, 0), (0.11, 0), (0.15, 0.32), (0.142, 0.32), (0.105, 0.01), (0, 0.01)], sides=20), style.bright()
    )
    return thing


def low_box(style: Style) -> Thing:
    """Small box for shelves and table tops."""
    random, thing = style.random, Thing("box")
    width, depth, height = random.uniform(0.14, 0.28), random.uniform(0.12, 0.22), random.uniform(0.07, 0.17)
    tone = Material("paper", (0.68, 0.52, 0.36), (0.6, 0.45, 0.3), 0.05) if random.random() < 0.4 else style.cover()
    thing.add(rounded_box(width, depth, height, 0.006), tone, (0, 0, height / 2))
    thing.add(rounded_box(width + 0.008, depth + 0.008, 0.03, 0.006), faded(tone, 0.82), (0, 0, height - 0.008))
    thing.tops.append(Top(0, 0, height + 0.008, 0.01, 0.01))
    return thing
