"""Procedural textures: the colour of a material at a point, compiled. Colours are linear RGB."""

from __future__ import annotations

import math
from typing import no_type_check

from atrc_rooms.jit import jit

TEXTURES = (
    "plain", "wood", "planks", "tiles", "plaster", "weave", "stripes", "carpet", "bricks", "painting",
    "screen", "marble", "checks", "wallpaper", "outside", "leaf", "rug", "spines", "paper", "mirror",
    "mottled",
)  # fmt: skip
PLAIN, WOOD, PLANKS, TILES, PLASTER, WEAVE, STRIPES, CARPET, BRICKS, PAINTING = range(10)
SCREEN, MARBLE, CHECKS, WALLPAPER, OUTSIDE, LEAF, RUG, SPINES, PAPER, MIRROR, MOTTLED = range(10, 21)


@jit
@no_type_check
def hashed(i, j, k):
    """Hash three integers to a uniform number in 0..1."""
    h = (i * 374761393 + j * 668265263 + k * 2147483647 + 1013904223) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF) / 16777216.0


@jit
@no_type_check
def noise(x, y, k):
    """Return smooth noise in 0..1 with bumps about one unit wide."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = int(i), int(j)
    low = hashed(i, j, k) * (1 - u) + hashed(i + 1, j, k) * u
    high = hashed(i, j + 1, k) * (1 - u) + hashed(i + 1, j + 1, k) * u
    return low * (1 - v) + high * v


@jit
@no_type_check
def _grain(x, y, scale, k):
    """Return the share of dark grain of a board along x."""
    warp = noise(x * 1.3, y / scale * 0.7, k)
    rings = y / scale + 2.2 * warp
    ring = abs(2 * (rings - math.floor(rings)) - 1)
    fibre = noise(x * 9, y * 260, k + 1)
    return 0.55 * ring * ring + 0.3 * fibre + 0.15 * warp


@jit
@no_type_check
def _planks(x, y, width, k):
    """Return the share of the second colour of floor boards along x."""
    row = math.floor(y / width)
    length = width * 8
    shift = hashed(int(row), 7, k) * length
    column = math.floor((x + shift) / length)
    tone = hashed(int(row), int(column), k)
    u, v = (x + shift) / length - column, y / width - row
    if v < 0.025 or v > 0.975 or u < 0.004:
        return 1.6
    return 0.55 * tone + 0.5 * _grain(x + 13 * tone, y + 5 * tone, width * 0.35, k + 3)


@jit
@no_type_check
def _tiles(x, y, scale, k):
    i, j = math.floor(x / scale), math.floor(y / scale)
    u, v = x / scale - i, y / scale - j
    joint = 0.006 / scale
    if u < joint or v < joint:
        return 1.5
    return 0.35 * hashed(int(i), int(j), k) + 0.4 * noise(x * 14, y * 14, k + int(i * 5 + j)) * 0.7


@jit
@no_type_check
def _bricks(x, y, width, k):
    """Return the tone of a brick, or -1 in the mortar."""
    high = width * 0.34
    row = math.floor(y / high)
    shifted = x / width + 0.5 * (row % 2)
    column = math.floor(shifted)
    u, v = shifted - column, y / high - row
    if u < 0.045 or v < 0.13:
        return -1.0
    return 0.6 + 0.3 * hashed(int(row), int(column), k) + 0.25 * noise(x * 60, y * 60, k)


@jit
@no_type_check
def _hue(h):
    """Return a muted colour of a hue in 0..1."""
    red = 0.56 + 0.24 * math.cos(6.2832 * h)
    green = 0.5 + 0.2 * math.cos(6.2832 * (h - 0.3))
    blue = 0.46 + 0.24 * math.cos(6.2832 * (h - 0.6))
    return red * red, green * green, blue * blue


@jit
@no_type_check
def _painting(u, v, k):
    """Paint an image over -1..1: a landscape, fields of colour, circles, or a portrait."""
    kind = int(hashed(k, 1, 5) * 5)
    hue = hashed(k, 2, 5)
    stroke = 0.8 + 0.4 * noise(u * 14, v * 9, k)
    if kind == 0 or kind == 4:
        ridge = 0.55 * noise(u * 2, 0.5, k) + 0.2 * noise(u * 7, 1.5, k) - 0.35
        if v > ridge + 0.25:
            sky = 0.55 + 0.25 * v
            r, g, b = 0.75 * sky + 0.1 * hue, 0.72 * sky, 0.85 * sky
        elif v > ridge - 0.25:
            r, g, b = 0.16 + 0.2 * hue, 0.22, 0.24
        else:
            r, g, b = 0.24 + 0.2 * hue, 0.3, 0.1
    elif kind == 1:
        i, j = math.floor(u * 2 + hashed(k, 3, 5)), math.floor(v * 2.5 + hashed(k, 4, 5))
        r, g, b = _hue(hue + 0.25 * hashed(int(i), int(j), k))
    elif kind == 2:
        r, g, b = 0.78, 0.75, 0.68
        for i in range(5):
            cx, cy = 1.6 * hashed(i, 5, k) - 0.8, 1.6 * hashed(i, 6, k) - 0.8
            if (u - cx) ** 2 + (v - cy) ** 2 < (0.15 + 0.35 * hashed(i, 7, k)) ** 2:
                r, g, b = _hue(hue + 0.4 * hashed(i, 8, k))
    else:
        r, g, b = _hue(hue)
        r, g, b = 0.35 * r, 0.35 * g, 0.35 * b
        if u * u + ((v + 1.0) * 0.8) ** 2 < 0.42:
            r, g, b = _hue(hue + 0.45)
        if (u / 0.3) ** 2 + ((v - 0.15) / 0.4) ** 2 < 1:
            r, g, b = 0.6, 0.38, 0.26
        if (u / 0.34) ** 2 + ((v - 0.38) / 0.26) ** 2 < 1:
            r, g, b = 0.08, 0.05, 0.03
    return r * stroke, g * stroke, b * stroke


@jit
@no_type_check
def _screen(u, v, k):
    """Paint a screen over -1..1: a window with lines of text, or an image."""
    if hashed(k, 1, 6) < 0.5:
        r, g, b = _painting(u, v, k + 7)
        return r, g, b
    left = -0.9 + 0.5 * hashed(k, 2, 6)
    r, g, b = _hue(hashed(k, 3, 6))
    r, g, b = 0.25 * r, 0.25 * g, 0.3 * b
    if left < u < left + 1.3 and -0.75 < v < 0.8:
        r, g, b = 0.85, 0.86, 0.88
        if v > 0.68:
            r, g, b = 0.3, 0.32, 0.36
        else:
            line = math.floor(v * 11)
            inside = (u - left) / 1.3
            if v * 11 - line < 0.45 and 0.08 < inside < 0.3 + 0.6 * hashed(int(line), 4, k):
                r, g, b = 0.2, 0.22, 0.3
    return r, g, b


@jit
@no_type_check
def _outside(u, v, k):
    """Paint the view from a window over -1..1: sky over trees or over houses."""
    cloud = noise(u * 2 + 9, v * 4, k) * noise(u * 5, v * 8, k + 1)
    r, g, b = 0.62 + 0.5 * cloud, 0.75 + 0.35 * cloud, 0.95
    if hashed(k, 1, 7) < 0.6:
        crown = -0.3 + 0.7 * noise(u * 2.3, 0.5, k) + 0.2 * noise(u * 11, v * 8, k)
        if v < crown:
            tone = 0.4 + 0.8 * noise(u * 16, v * 16, k)
            r, g, b = 0.14 * tone, 0.26 * tone, 0.09 * tone
    else:
        i = math.floor(u * 2.5)
        roof = -0.3 + 0.7 * hashed(int(i), 2, k)
        if v < roof:
            tone = 0.35 + 0.3 * hashed(int(i), 3, k)
            r, g, b = tone, tone * 0.9, tone * 0.8
            x, y = u * 7.5 - math.floor(u * 7.5), v * 4 - math.floor(v * 4)
            if 0.3 < x < 0.75 and 0.25 < y < 0.75:
                r, g, b = 0.12, 0.14, 0.17
    return r, g, b


@jit
@no_type_check
def _rug(u, v, x, y, scale, k):
    """Return the share of the second colour of a rug with a border; u, v in -1..1, x, y in [m]."""
    edge = max(abs(u), abs(v))
    kind = int(hashed(k, 1, 8) * 4)
    if 0.8 < edge < 0.88:
        return 1.0
    if kind == 0:
        s = abs(2 * (x / scale - math.floor(x / scale)) - 1) + abs(2 * (y / scale - math.floor(y / scale)) - 1)
        return 1.0 if s < 0.7 else 0.0
    if kind == 1:
        return 0.5 + 0.5 * math.sin(6.2832 * (v * 5)) if edge < 0.8 else 0.2
    if kind == 2:
        d = math.sqrt(u * u + v * v) * 4
        return 1.0 if d - math.floor(d) < 0.4 and edge < 0.8 else 0.0
    return 0.25 * noise(x * 8, y * 8, k)


@jit
@no_type_check
def _share(texture, x, y, scale, k, u, v):
    """Return the share of the second colour of textures that mix two."""
    if texture == WOOD:
        return _grain(x, y, scale, k)
    if texture == PLANKS:
        return _planks(x, y, scale, k)
    if texture == TILES:
        return _tiles(x, y, scale, k)
    if texture == PLASTER:
        return 0.3 * noise(x / scale, y / scale, k) + 0.25 * noise(x * 90, y * 90, k + 1)
    if texture == WEAVE:
        over = math.sin(6.2832 * x / scale) * math.sin(6.2832 * y / scale)
        return 0.35 + 0.3 * over + 0.35 * noise(x * 25, y * 25, k)
    if texture == STRIPES:
        s = x / scale + 0.15
        s -= math.floor(s)
        wide = 0.25 + 0.35 * hashed(k, 1, 9)
        return 1.0 if s < wide else 0.0
    if texture == CARPET:
        return 0.7 * noise(x * 140, y * 140, k) + 0.3 * noise(x * 6, y * 6, k + 1)
    if texture == MARBLE:
        vein = abs(math.sin(4 * x + 5 * noise(x * 4, y * 4, k)))
        return math.exp(-9 * vein)
    if texture == CHECKS:
        i, j = math.floor(x / scale), math.floor(y / scale)
        return 0.5 * (int(i) % 2) + 0.5 * (int(j) % 2)
    if texture == WALLPAPER:
        if hashed(k, 1, 10) < 0.4:
            s = x / scale
            return 1.0 if s - math.floor(s) < 0.5 else 0.0
        i, j = math.floor(x / scale), math.floor(y / scale)
        a, b = x / scale - i - 0.5, y / scale - j - 0.5
        r = math.sqrt(a * a + b * b)
        petals = 0.24 + 0.1 * math.cos(5 * math.atan2(b, a))
        return 1.0 if r < petals and (int(i) + int(j)) % 2 == 0 else 0.0
    if texture == LEAF:
        return noise(x * 30, y * 30, k)
    if texture == RUG:
        return 0.85 * _rug(u, v, x, y, scale, k) + 0.15 * noise(x * 120, y * 120, k)
    if texture == SPINES:
        s = y / max(scale, 0.05)
        return 0.75 if 0.16 < s < 0.22 or (-0.3 < s < -0.1 and hashed(k, 1, 11) < 0.5) else 0.0
    if texture == PAPER:
        return 0.5 * noise(x * 40, y * 40, k) + 0.15 * math.sin(x * 500)
    if texture == MOTTLED:
        x, y = x / scale, y / scale
        rough = 0.55 * noise(x, y, k) + 0.3 * noise(2.7 * x, 2.7 * y, k + 1) + 0.15 * noise(7 * x, 7 * y, k + 2)
        return min(max(3 * rough - 1, 0.0), 1.0)
    return 0.0


@jit
@no_type_check
def albedo(materials, p, x, y, z, nx, ny, nz):
    """Return the colour of a material at a point with a normal, both in the material's frame.

    The texture is projected along the axis nearest to the normal.
    """
    texture, k = int(materials[p, 0]), int(materials[p, 12])
    ax, ay, az = abs(nx), abs(ny), abs(nz)
    if az >= ax and az >= ay:
        a, b = x, y
    elif ay >= ax:
        a, b = x, z
    else:
        a, b = y, z
    u, v = a / max(materials[p, 10], 1e-3), b / max(materials[p, 11], 1e-3)
    if texture in (PLAIN, MIRROR):
        return materials[p, 1], materials[p, 2], materials[p, 3]
    if texture == PAINTING:
        return _painting(u, v, k)
    if texture == SCREEN:
        return _screen(u, v, k)
    if texture == OUTSIDE:
        return _outside(u, v, k)
    if texture == BRICKS:
        tone = _bricks(a, b, materials[p, 7], k)
        if tone < 0:
            return materials[p, 4], materials[p, 5], materials[p, 6]
        return materials[p, 1] * tone, materials[p, 2] * tone, materials[p, 3] * tone
    s = min(max(_share(texture, a, b, materials[p, 7], k, u, v), 0.0), 1.6)
    t = 1 - s
    return (
        max(materials[p, 1] * t + materials[p, 4] * s, 0.0),
        max(materials[p, 2] * t + materials[p, 5] * s, 0.0),
        max(materials[p, 3] * t + materials[p, 6] * s, 0.0),
    )
