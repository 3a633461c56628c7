"""Materials of a room: a texture, two colours and how it shines; and the style that a room's things share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from atrc_rooms.meshes import Number

Colour = tuple[Number, Number, Number]

TEXTURES = (
    "plain",
    "wood",
    "planks",
    "tiles",
    "plaster",
    "weave",
    "stripes",
    "carpet",
    "bricks",
    "painting",
    "screen",
    "marble",
    "checks",
    "wallpaper",
    "outside",
    "leaf",
    "rug",
    "spines",
    "paper",
    "mirror",
)
"""Names of the procedural textures; the index of a name selects the branch in `textures.albedo`."""


@dataclass(frozen=True)
class Material:
    """What a surface looks like.

    Attributes:
        texture: One of `TEXTURES`.
        colour: Main colour, sRGB in 0..1.
        second: Second colour, sRGB in 0..1 (joints, stripes, grain).
        scale: Size of the pattern [m].
        gloss: Strength of the highlight, 0..1.
        glow: Light that it gives off by itself, as a multiple of its colour.
        extent: Half width and half height of the picture that it shows [m].
        variant: Which of the many looks of the texture.
    """

    texture: str = "plain"
    colour: Colour = (0.8, 0.8, 0.8)
    second: Colour = (0.6, 0.6, 0.6)
    scale: Number = 0.1
    gloss: Number = 0.0
    glow: Number = 0.0
    extent: tuple[Number, Number] = (0.5, 0.5)
    variant: int = 0

    def row(self) -> list[Number]:
        """The numbers that the texture kernel reads; colours are linear there."""
        colours = np.power(np.clip([*self.colour, *self.second], 0, 1), 2.2)
        return [
            TEXTURES.index(self.texture),
            *colours,
            self.scale,
            self.gloss,
            self.glow,
            *self.extent,
            self.variant,
        ]


COLOUR, SECOND, SCALE, GLOSS, GLOW, EXTENT, VARIANT = slice(1, 4), slice(4, 7), 7, 8, 9, slice(10, 12), 12
"""Where `Material.row` keeps what."""

_WOODS: tuple[Colour, ...] = (
    (0.72, 0.53, 0.34),
    (0.55, 0.36, 0.21),
    (0.38, 0.24, 0.15),
    (0.82, 0.68, 0.49),
    (0.62, 0.44, 0.26),
    (0.28, 0.19, 0.14),
    (0.75, 0.62, 0.47),
)
_PAINTS: tuple[Colour, ...] = (
    (0.92, 0.91, 0.88),
    (0.93, 0.92, 0.86),
    (0.86, 0.87, 0.88),
    (0.9, 0.85, 0.74),
    (0.78, 0.84, 0.86),
    (0.8, 0.85, 0.76),
    (0.88, 0.8, 0.76),
    (0.73, 0.76, 0.8),
    (0.86, 0.78, 0.6),
    (0.62, 0.7, 0.68),
    (0.56, 0.62, 0.72),
    (0.74, 0.6, 0.54),
)
_FABRICS: tuple[Colour, ...] = (
    (0.3, 0.34, 0.4),
    (0.62, 0.6, 0.56),
    (0.78, 0.73, 0.64),
    (0.5, 0.22, 0.2),
    (0.22, 0.34, 0.46),
    (0.32, 0.42, 0.32),
    (0.72, 0.58, 0.3),
    (0.4, 0.3, 0.26),
    (0.2, 0.2, 0.22),
    (0.6, 0.36, 0.3),
    (0.46, 0.42, 0.54),
    (0.25, 0.46, 0.48),
    (0.85, 0.83, 0.8),
    (0.76, 0.5, 0.44),
)
_BRIGHT: tuple[Colour, ...] = (
    (0.75, 0.2, 0.17),
    (0.9, 0.68, 0.2),
    (0.2, 0.4, 0.65),
    (0.25, 0.5, 0.3),
    (0.85, 0.45, 0.25),
    (0.55, 0.3, 0.5),
    (0.9, 0.88, 0.82),
    (0.15, 0.16, 0.2),
    (0.4, 0.65, 0.7),
)


def pick(random: np.random.Generator, choices: Sequence[Colour], spread: Number = 0.03) -> Colour:
    """One of the colours, slightly varied."""
    colour = np.asarray(choices[int(random.integers(len(choices)))]) + random.normal(0, spread / 2, 3)
    red, green, blue = np.clip(colour + random.normal(0, spread), 0.04, 0.96)
    return float(red), float(green), float(blue)


def shade(colour: Colour, factor: Number) -> Colour:
    """The colour made darker (< 1) or lighter (> 1)."""
    red, green, blue = (min(c * factor, 0.97) for c in colour)
    return red, green, blue


@dataclass
class Style:
    """Taste of whoever furnished the room: the same few woods, fabrics and colours come again."""

    random: np.random.Generator
    woods: list[Material] = field(init=False)
    fabrics: list[Material] = field(init=False)
    lacquer: Material = field(init=False)
    metal: Material = field(init=False)

    def __post_init__(self) -> None:
        self.woods = [self._wood(pick(self.random, _WOODS)) for _ in range(2)]
        self.fabrics = [self._fabric() for _ in range(3)]
        tone = pick(self.random, [(0.93, 0.93, 0.91), (0.93, 0.93, 0.91), (0.25, 0.26, 0.28), (0.7, 0.74, 0.72)])
        self.lacquer = Material("plain", tone, gloss=0.25)
        grey = self.random.choice([0.12, 0.45, 0.65])
        self.metal = Material("plain", (grey, grey, grey * 1.03), gloss=0.6)

    def variant(self) -> int:
        """A fresh look for a texture."""
        return int(self.random.integers(1, 1000))

    def _wood(self, colour: Colour) -> Material:
        scale = self.random.uniform(0.03, 0.07)
        return Material("wood", colour, shade(colour, 0.66), scale, gloss=0.2, variant=self.variant())

    def _fabric(self) -> Material:
        colour = pick(self.random, _FABRICS)
        texture = str(self.random.choice(["weave", "weave", "weave", "stripes", "checks"]))
        second = shade(colour, 0.72) if texture == "weave" else pick(self.random, _FABRICS)
        scale = self.random.uniform(0.008, 0.014) if texture == "weave" else self.random.uniform(0.05, 0.12)
        return Material(texture, colour, second, scale, variant=self.variant())

    def wood(self) -> Material:
        """The room's first wood mostly, else its second, else lacquer."""
        return (self.woods[0], self.woods[1], self.lacquer)[self.random.choice(3, p=[0.55, 0.25, 0.2])]

    def fabric(self) -> Material:
        """One of the room's fabrics."""
        return self.fabrics[self.random.integers(len(self.fabrics))]

    def cover(self) -> Material:
        """A fabric for bed covers and cushions: more often patterned, more often bright."""
        colour = pick(self.random, _FABRICS + _BRIGHT)
        texture = str(self.random.choice(["weave", "stripes", "checks", "plain", "wallpaper"]))
        second = pick(self.random, (*_FABRICS, (0.9, 0.9, 0.88)))
        return Material(texture, colour, second, self.random.uniform(0.04, 0.15), variant=self.variant())

    def bright(self) -> Material:
        """Something small and colourful: a cup, a vase, a toy."""
        return Material("plain", pick(self.random, _BRIGHT), gloss=0.3)

    def white(self) -> Material:
        """Painted wood of frames, skirtings and doors."""
        return Material("plain", (0.93, 0.93, 0.91), gloss=0.15)

    def wall(self) -> Material:
        """What is on the walls: paint mostly, else paper, else bricks."""
        texture = str(self.random.choice(["plaster", "wallpaper", "bricks"], p=[0.74, 0.18, 0.08]))
        colour = pick(self.random, _PAINTS)
        if texture == "bricks":
            colour = pick(self.random, [(0.62, 0.36, 0.27), (0.85, 0.83, 0.8), (0.55, 0.42, 0.36)])
            return Material("bricks", colour, (0.75, 0.73, 0.7), 0.22, variant=self.variant())
        second = shade(colour, self.random.choice([0.84, 0.92, 1.05]))
        return Material(texture, colour, second, self.random.uniform(0.1, 0.3), variant=self.variant())

    def floor(self) -> Material:
        """What is on the floor: planks, tiles or carpet."""
        texture = str(self.random.choice(["planks", "tiles", "carpet"], p=[0.55, 0.2, 0.25]))
        if texture == "planks":
            colour = pick(self.random, _WOODS)
            return Material("planks", colour, shade(colour, 0.7), 0.12, gloss=0.3, variant=self.variant())
        if texture == "tiles":
            colour = pick(self.random, [(0.8, 0.77, 0.72), (0.62, 0.55, 0.48), (0.7, 0.7, 0.7), (0.72, 0.5, 0.38)])
            scale = self.random.uniform(0.25, 0.5)
            return Material("tiles", colour, shade(colour, 0.72), scale, gloss=0.4, variant=self.variant())
        colour = pick(self.random, [(0.6, 0.55, 0.48), (0.45, 0.46, 0.5), (0.7, 0.66, 0.58), (0.4, 0.32, 0.3)])
        return Material("carpet", colour, shade(colour, 0.8), 0.01, variant=self.variant())


def picture(random: np.random.Generator, texture: str, width: Number, height: Number, glow: Number = 0) -> Material:
    """Something to look at: a painting, a screen, the view from a window."""
    first, second = pick(random, _BRIGHT), pick(random, _BRIGHT + _FABRICS)
    half = (width / 2, height / 2)
    return Material(texture, first, second, glow=glow, gloss=0.1, extent=half, variant=int(random.integers(1, 1000)))


def rows(materials: Sequence[Material]) -> Float[np.ndarray, "p 13"]:
    """One row of numbers for every material."""
    return np.array([m.row() for m in materials], np.float32)


def faded(material: Material, factor: Number) -> Material:
    """The material in a darker or lighter tone."""
    return replace(material, colour=shade(material.colour, factor), second=shade(material.second, factor))
