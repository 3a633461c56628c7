"""Light in a room, compiled: surfaces under rays, lamps with soft shadows, ambient light.

One shadow ray a pixel and light, spread over the light by the pixel's place in a 4x4 tile, then averaged
over neighbours on the same surface: soft shadows at the price of hard ones.
"""

# r rays or samples, h w image, l lights
from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from atrc.data.rooms import textures
from atrc.data.rooms.materials import GLOW

_GLOW = GLOW
_BRIGHTEST = 6.0  # lamps are cut off here, so that the rim of one is not jagged


@njit(cache=True)
@no_type_check
def surfaces(triangle, u, v, rays, vertices, normals, corners):
    """Unit normals that face the viewer, interpolated over each triangle."""
    out = np.empty((len(triangle), 3), np.float32)
    for i in range(len(triangle)):
        t = triangle[i]
        dx, dy, dz = rays[i, 0], rays[i, 1], rays[i, 2]
        if t < 0:
            out[i, 0], out[i, 1], out[i, 2] = -dx, -dy, -dz
            continue
        a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
        w = 1 - u[i] - v[i]
        x = w * normals[a, 0] + u[i] * normals[b, 0] + v[i] * normals[c, 0]
        y = w * normals[a, 1] + u[i] * normals[b, 1] + v[i] * normals[c, 1]
        z = w * normals[a, 2] + u[i] * normals[b, 2] + v[i] * normals[c, 2]
        gx, gy, gz = _across(vertices, a, b, c)
        if gx * x + gy * y + gz * z < 0:
            gx, gy, gz = -gx, -gy, -gz
        if gx * dx + gy * dy + gz * dz > 0:  # seen from behind: thin sheets have two sides
            x, y, z = -x, -y, -z
        facing = x * dx + y * dy + z * dz
        if facing > -0.03:  # smoothed over the rim of a round thing
            x, y, z = x - (facing + 0.03) * dx, y - (facing + 0.03) * dy, z - (facing + 0.03) * dz
        length = math.sqrt(x * x + y * y + z * z) + 1e-12
        out[i, 0], out[i, 1], out[i, 2] = x / length, y / length, z / length
    return out


@njit(cache=True)
@no_type_check
def _across(points, a, b, c):
    """Normal of a triangle, as long as twice its area."""
    ex, ey, ez = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    fx, fy, fz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    return ey * fz - ez * fy, ez * fx - ex * fz, ex * fy - ey * fx


@njit(cache=True)
@no_type_check
def _colour(t, u, v, texture, corners, materials, p):
    """Albedo of a part at a point of a triangle."""
    a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
    w = 1 - u - v
    x = w * texture[a, 0] + u * texture[b, 0] + v * texture[c, 0]
    y = w * texture[a, 1] + u * texture[b, 1] + v * texture[c, 1]
    z = w * texture[a, 2] + u * texture[b, 2] + v * texture[c, 2]
    nx, ny, nz = _across(texture, a, b, c)
    return textures.albedo(materials, p, x, y, z, nx, ny, nz)


@njit(cache=True)
@no_type_check
def colours(triangle, u, v, texture, corners, part, materials):
    """Albedo and part of every hit; black and part -1 where there is none."""
    colour = np.zeros((len(triangle), 3), np.float32)
    parts = np.full(len(triangle), -1, np.int32)
    for i in range(len(triangle)):
        t = triangle[i]
        if t >= 0:
            p = part[t]
            parts[i] = p
            colour[i, 0], colour[i, 1], colour[i, 2] = _colour(t, u[i], v[i], texture, corners, materials, p)
    return colour, parts


@njit(cache=True)
@no_type_check
def light_rays(points, normals, views, gloss, lights, width, most, seed):
    """Rays from every point to places on `most` lights, and the light that comes if nothing blocks them.

    With more lights than that a pixel takes those whose turn it is in its 4x4 tile, weighted up.
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


@njit(cache=True)
@no_type_check
def ambient_rays(normals, width, seed):
    """One cosine-weighted ray a pixel over the half space before its surface."""
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


@njit(cache=True)
@no_type_check
def gathered(light, blocked, clearance, reach, ambient, normals):
    """Sum up what arrives at every point: red, green, blue and highlight."""
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


@njit(cache=True)
@no_type_check
def smoothed(light, points, normals, parts, depth, height, width):
    """Average the light over the neighbours on the same surface.

    The window of 8 x 8 pixels holds every place of the 4x4 tiles equally often, so that no pattern is left.
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


@njit(cache=True)
@no_type_check
def uneven(parts, normals, height, width):
    """Pixels with another surface within one pixel: those that need more than one ray."""
    out = np.zeros(height * width, np.bool_)
    for row in range(height):
        for column in range(width):
            i = row * width + column
            for y in range(max(row - 1, 0), min(row + 2, height)):
                for x in range(max(column - 1, 0), min(column + 2, width)):
                    k = y * width + x
                    agree = 0.0
                    for c in range(3):
                        agree += normals[i, c] * normals[k, c]
                    if parts[k] != parts[i] or agree < 0.9:
                        out[i] = True
    return out


@njit(cache=True)
@no_type_check
def even_pixels(
    skip, triangle, light, eye, axes, scale, shifts, vertices, texture, corners, part, materials, height, width
):
    """Light that pixels within one surface send to the eye: its texture is sampled, no further ray is shot."""
    out = np.zeros((height * width, 3), np.float32)
    for i in range(height * width):
        t = triangle[i]
        if skip[i] or t < 0:
            continue
        a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
        ex, ey, ez = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        fx, fy, fz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        sx, sy, sz = eye[0] - vertices[a, 0], eye[1] - vertices[a, 1], eye[2] - vertices[a, 2]
        qx, qy, qz = sy * ez - sz * ey, sz * ex - sx * ez, sx * ey - sy * ex
        p = part[t]
        samples = 1 if materials[p, 0] == textures.PLAIN else len(shifts)
        for k in range(samples):
            right = (i % width + 0.5 + shifts[k, 1] - width / 2) / scale
            up = -(i // width + 0.5 + shifts[k, 0] - height / 2) / scale
            dx = right * axes[0, 0] + up * axes[1, 0] - axes[2, 0]
            dy = right * axes[0, 1] + up * axes[1, 1] - axes[2, 1]
            dz = right * axes[0, 2] + up * axes[1, 2] - axes[2, 2]
            hx, hy, hz = dy * fz - dz * fy, dz * fx - dx * fz, dx * fy - dy * fx
            area = ex * hx + ey * hy + ez * hz
            if area == 0:
                area = 1e-12
            u = (sx * hx + sy * hy + sz * hz) / area
            v = (dx * qx + dy * qy + dz * qz) / area
            red, green, blue = _colour(t, u, v, texture, corners, materials, p)
            out[i, 0] += red / samples
            out[i, 1] += green / samples
            out[i, 2] += blue / samples
        glow = materials[p, _GLOW]
        for c in range(3):
            out[i, c] = min(out[i, c] * (light[i, c] + glow) + light[i, 3], _BRIGHTEST)
    return out


@njit(cache=True)
@no_type_check
def lit(pixels, colour, parts, normals, points, light, around, materials, height, width):
    """Light that one sample of each of some pixels sends to the eye.

    A sample is lit like the one of the nine pixels about it whose surface is most like its own; `around` is
    the part, normal and point of every pixel.
    """
    pixel_parts, pixel_normals, pixel_points = around
    out = np.empty((len(pixels), 3), np.float32)
    for i in range(len(pixels)):
        row, column = pixels[i] // width, pixels[i] % width
        best, score = pixels[i], -1e9
        for y in range(max(row - 1, 0), min(row + 2, height)):
            for x in range(max(column - 1, 0), min(column + 2, width)):
                k = y * width + x
                off, agree = 0.0, 0.0
                for c in range(3):
                    off += abs(points[i, c] - pixel_points[k, c])
                    agree += normals[i, c] * pixel_normals[k, c]
                worth = agree - 2 * off
                if pixel_parts[k] == parts[i]:
                    worth += 0.5
                if k == pixels[i]:
                    worth += 0.01
                if worth > score:
                    best, score = k, worth
        p = parts[i]
        glow = materials[p, _GLOW] if p >= 0 else 0.0
        for c in range(3):
            out[i, c] = min(colour[i, c] * (light[best, c] + glow) + light[best, 3], _BRIGHTEST)
    return out
