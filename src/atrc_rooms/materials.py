"""Materials: a texture, two colours and a gloss; and the style that the things of a room share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from atrc_rooms.meshes import Number
from atrc_rooms.textures import TEXTURES

Colour = tuple[Number, Number, Number]


@dataclass(frozen=True)
class Material:
    """Appearance of a surface.

    Attributes:
        texture: One of `textures.TEXTURES`.
        colour: Main colour, sRGB in 0..1.
        second: Second colour, sRGB in 0..1 (joints, stripes, grain).
        scale: Size of the pattern [m].
        gloss: Strength of the highlight, 0..1.
        glow: Emitted light, as a multiple of its colour.
        extent: Half width and half height of the image on it [m].
        variant: Seed of the texture.
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
        """Return the numbers that the kernels read, with linear colours."""
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


GLOSS, GLOW = 8, 9  # their places in `Material.row`

_WOODS: tuple[Colour, ...] = (
    (0.72, 0.53, 0.34), (0.55, 0.36, 0.21), (0.38, 0.24, 0.15), (0.82, 0.68, 0.49), (0.62, 0.44, 0.26),
    (0.28, 0.19, 0.14), (0.75, 0.62, 0.47),
)  # fmt: skip
_PAINTS: tuple[Colour, ...] = (
    (0.92, 0.91, 0.88), (0.93, 0.92, 0.86), (0.86, 0.87, 0.88), (0.9, 0.85, 0.74), (0.78, 0.84, 0.86),
    (0.8, 0.85, 0.76), (0.88, 0.8, 0.76), (0.73, 0.76, 0.8), (0.86, 0.78, 0.6), (0.62, 0.7, 0.68), (0.56, 0.62, 0.72),
    (0.74, 0.6, 0.54),
)  # fmt: skip
_FABRICS: tuple[Colour, ...] = (
    (0.3, 0.34, 0.4), (0.62, 0.6, 0.56), (0.78, 0.73, 0.64), (0.5, 0.22, 0.2), (0.22, 0.34, 0.46), (0.32, 0.42, 0.32),
    (0.72, 0.58, 0.3), (0.4, 0.3, 0.26), (0.2, 0.2, 0.22), (0.6, 0.36, 0.3), (0.46, 0.42, 0.54), (0.25, 0.46, 0.48),
    (0.85, 0.83, 0.8), (0.76, 0.5, 0.44),
)  # fmt: skip
_BRIGHT: tuple[Colour, ...] = (
    (0.75, 0.2, 0.17), (0.9, 0.68, 0.2), (0.2, 0.4, 0.65), (0.25, 0.5, 0.3), (0.85, 0.45, 0.25), (0.55, 0.3, 0.5),
    (0.9, 0.88, 0.82), (0.15, 0.16, 0.2), (0.4, 0.65, 0.7),
)  # fmt: skip


def pick(random: np.random.Generator, choices: Sequence[Colour], spread: Number = 0.03) -> Colour:
    """Draw one of the colours and vary it slightly."""
    colour = np.asarray(choices[int(random.integers(len(choices)))]) + random.normal(0, spread / 2, 3)
    red, green, blue = np.clip(colour + random.normal(0, spread), 0.04, 0.96)
    return float(red), float(green), float(blue)


def shade(colour: Colour, factor: Number) -> Colour:
    """Make a colour darker (factor < 1) or lighter (> 1)."""
    red, green, blue = (min(c * factor, 0.97) for c in colour)
    return red, green, blue


@dataclass
class Style:
    """The few woods, fabrics and colours of a room."""

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
        """Draw the seed of a texture."""
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
        """Draw the room's first wood most often, its second wood, or lacquer."""
        return (self.woods[0], self.woods[1], self.lacquer)[self.random.choice(3, p=[0.55, 0.25, 0.2])]

    def fabric(self) -> Material:
        """Draw one of the room's fabrics."""
        return self.fabrics[self.random.integers(len(self.fabrics))]

    def cover(self) -> Material:
        """Draw a fabric for bed covers and cushions, often patterned or bright."""
        colour = pick(self.random, _FABRICS + _BRIGHT)
        texture = str(self.random.choice(["weave", "stripes", "checks", "plain", "wallpaper"]))
        second = pick(self.random, (*_FABRICS, (0.9, 0.9, 0.88)))
        return Material(texture, colour, second, self.random.uniform(0.04, 0.15), variant=self.variant())

    def bright(self) -> Material:
        """Draw a bright colour for small things: a cup, a vase, a toy."""
        return Material("plain", pick(self.random, _BRIGHT), gloss=0.3)

    def white(self) -> Material:
        """Return the white paint of frames, skirtings and doors."""
        return Material("plain", (0.93, 0.93, 0.91), gloss=0.15)

    def wall(self) -> Material:
        """Draw the surface of a wall: paint most often, wallpaper or bricks."""
        texture = str(self.random.choice(["plaster", "wallpaper", "bricks"], p=[0.74, 0.18, 0.08]))
        colour = pick(self.random, _PAINTS)
        if texture == "bricks":
            colour = pick(self.random, [(0.62, 0.36, 0.27), (0.85, 0.83, 0.8), (0.55, 0.42, 0.36)])
            return Material("bricks", colour, (0.75, 0.73, 0.7), 0.22, variant=self.variant())
        second = shade(colour, self.random.choice([0.84, 0.92, 1.05]))
        return Material(texture, colour, second, self.random.uniform(0.1, 0.3), variant=self.variant())

    def floor(self) -> Material:
        """Draw the surface of the floor: planks, tiles or carpet."""
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
    """Draw a painting, the content of a screen, or the view from a window."""
    first, second = pick(random, _BRIGHT), pick(random, _BRIGHT + _FABRICS)
    half = (width / 2, height / 2)
    return Material(texture, first, second, glow=glow, gloss=0.1, extent=half, variant=int(random.integers(1, 1000)))


def rows(materials: Sequence[Material]) -> Float[np.ndarray, "p 13"]:
    """Return one row of numbers for every material."""
    return np.array([m.row() for m in materials], np.float32)


def faded(material: Material, factor: Number) -> Material:
    """Make a material darker or lighter."""
    return replace(material, colour=shade(material.colour, factor), second=shade(material.second, factor))
