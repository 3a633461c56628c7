"""Incoming light of surfaces, compiled: lamps and windows with soft shadows, ambient light.

Every pixel traces one shadow ray for each light, to a point of the light that depends on the pixel's place in a 4x4
tile. The mean over neighbours on the same surface makes shadows soft.
"""

# r rays or samples, h w image, l lights
from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from atrc_rooms import textures
from atrc_rooms.jit import jit


@jit
@no_type_check
def light_rays(points, normals, views, gloss, lights, width, most, seed):
    """Return rays from every point to points of `most` lights, and their light if nothing blocks them.

    With more lights, the pixels of a 4x4 tile take turns, and their light is scaled up.
    """
    n, chosen = len(points), min(most, len(lights))
    rays = np.zeros((n * chosen, 3), np.float32)
    reach = np.zeros(n * chosen, np.float32)
    light = np.zeros((n * chosen, 4), np.float32)
    for i in range(n):
        row, column = i // width, i % width
        tile = (row % 4) * 4 + column % 4
        for j in range(chosen):
            o = i * chosen + j
            which = (tile * chosen + j) % len(lights)
            turns = (16 * chosen - which + len(lights) - 1) // len(lights)
            lamp = lights[which]
            cell = (tile * 7 + 3 * j) % 16
            s = (cell % 4 + textures.hashed(i, j, seed)) / 4 * 2 - 1
            t = (cell // 4 + textures.hashed(i, j + 9, seed)) / 4 * 2 - 1
            pane = lamp[7] != 0 or lamp[8] != 0
            if pane:
                x = lamp[0] + s * lamp[7] + t * lamp[10] - points[i, 0]
                y = lamp[1] + s * lamp[8] + t * lamp[11] - points[i, 1]
                z = lamp[2] + s * lamp[9] + t * lamp[12] - points[i, 2]
            else:
                # A disc of the lamp's radius, upright enough for every direction.
                spread = 0.75 * lamp[3]
                x = lamp[0] + s * spread - points[i, 0]
                y = lamp[1] + t * spread - points[i, 1]
                z = lamp[2] + s * t * spread - points[i, 2]
            distance = math.sqrt(x * x + y * y + z * z) + 1e-6
            x, y, z = x / distance, y / distance, z / distance
            cosine = x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]
            rays[o, 0], rays[o, 1], rays[o, 2] = x, y, z
            reach[o] = max(distance - lamp[3] - 0.02, 0.0)
            if cosine <= 0:
                reach[o] = 0.0
                continue
            falloff = 1 / max(distance * distance, 0.2)
            if pane:
                ax, ay = lamp[8], -lamp[7]  # the pane's normal times its half width; it is upright
                half = math.sqrt(lamp[10] ** 2 + lamp[11] ** 2 + lamp[12] ** 2)
                falloff *= abs(ax * x + ay * y) * half * 4 / math.pi
            falloff *= 16 / turns
            hx, hy, hz = x - views[i, 0], y - views[i, 1], z - views[i, 2]
            long = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6
            shine = max((hx * normals[i, 0] + hy * normals[i, 1] + hz * normals[i, 2]) / long, 0.0)
            light[o, 0], light[o, 1], light[o, 2] = lamp[4] * falloff, lamp[5] * falloff, lamp[6] * falloff
            power = (lamp[4] + lamp[5] + lamp[6]) / 3 * falloff
            light[o, 3] = gloss[i] * shine**40 * power * (0.5 + cosine)
            for c in range(3):
                light[o, c] *= cosine
    return rays, reach, light


@jit
@no_type_check
def ambient_rays(normals, width, seed):
    """Return one cosine-weighted ray for every pixel."""
    rays = np.empty_like(normals)
    for i in range(len(normals)):
        row, column = i // width, i % width
        cell = ((row % 4) * 4 + column % 4) * 5 % 16
        s = (cell % 4 + textures.hashed(i, 21, seed)) / 4
        t = (cell // 4 + textures.hashed(i, 22, seed)) / 4
        radius, turn = math.sqrt(s), 2 * math.pi * t
        nx, ny, nz = normals[i]
        # A point on the unit sphere around the tip of the normal is cosine-weighted.
        up, flat = 1 - 2 * s, 2 * radius * math.sqrt(1 - s)
        x, y, z = nx + flat * math.cos(turn) * 0.999, ny + flat * math.sin(turn) * 0.999, nz + up * 0.999
        length = math.sqrt(x * x + y * y + z * z) + 1e-9
        rays[i, 0], rays[i, 1], rays[i, 2] = x / length, y / length, z / length
    return rays


@jit
@no_type_check
def gathered(light, blocked, clearance, reach, ambient, normals):
    """Return the sum of the light at every point: red, green, blue and highlight."""
    n = len(clearance)
    chosen = len(blocked) // n
    out = np.zeros((n, 4), np.float32)
    for i in range(n):
        for j in range(chosen):
            if not blocked[i * chosen + j]:
                out[i] += light[i * chosen + j]
        openness = 0.15 + 0.85 * math.sqrt(min(clearance[i] / reach, 1.0))
        openness *= 0.9 + 0.1 * normals[i, 2]
        for c in range(3):
            out[i, c] += ambient[c] * openness
    return out


@jit
@no_type_check
def smoothed(light, points, normals, parts, depth, height, width):
    """Return the mean light over the neighbours on the same surface.

    The window of 8x8 pixels holds every place of the 4x4 tiles equally often, so no pattern is left.
    """
    out = np.empty_like(light)
    for row in range(height):
        for column in range(width):
            i = row * width + column
            total, r, g, b, s = 0.0, 0.0, 0.0, 0.0, 0.0
            near = 0.012 * depth[i] + 0.004
            for y in range(max(row - 4, 0), min(row + 4, height)):
                for x in range(max(column - 4, 0), min(column + 4, width)):
                    k = y * width + x
                    if parts[k] != parts[i]:
                        continue
                    agree = (
                        normals[i, 0] * normals[k, 0] + normals[i, 1] * normals[k, 1] + normals[i, 2] * normals[k, 2]
                    )
                    if agree < 0.8:
                        continue
                    off = (
                        normals[i, 0] * (points[k, 0] - points[i, 0])
                        + normals[i, 1] * (points[k, 1] - points[i, 1])
                        + normals[i, 2] * (points[k, 2] - points[i, 2])
                    )
                    if abs(off) > near:
                        continue
                    total += 1.0
                    r += light[k, 0]
                    g += light[k, 1]
                    b += light[k, 2]
                    s += light[k, 3]
            out[i, 0], out[i, 1], out[i, 2], out[i, 3] = r / total, g / total, b / total, s / total
    return out
