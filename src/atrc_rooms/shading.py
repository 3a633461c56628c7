"""Normals, colours and outgoing light of surfaces, compiled."""

# r rays or samples, h w image, l lights
from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from atrc_rooms import textures
from atrc_rooms.jit import jit
from atrc_rooms.materials import GLOW

_BRIGHTEST = 6.0  # lamps are clipped here, so that their outlines are smooth


@jit
@no_type_check
def surfaces(triangle, u, v, rays, vertices, normals, corners):
    """Return unit normals that face the viewer, interpolated over each triangle."""
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
        if gx * dx + gy * dy + gz * dz > 0:  # a back face: thin sheets have two sides
            x, y, z = -x, -y, -z
        facing = x * dx + y * dy + z * dz
        if facing > -0.03:  # at the outline of a round thing
            x, y, z = x - (facing + 0.03) * dx, y - (facing + 0.03) * dy, z - (facing + 0.03) * dz
        length = math.sqrt(x * x + y * y + z * z) + 1e-12
        out[i, 0], out[i, 1], out[i, 2] = x / length, y / length, z / length
    return out


@jit
@no_type_check
def _across(points, a, b, c):
    """Return the normal of a triangle, as long as twice its area."""
    ex, ey, ez = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    fx, fy, fz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    return ey * fz - ez * fy, ez * fx - ex * fz, ex * fy - ey * fx


@jit
@no_type_check
def _colour(t, u, v, texture, corners, materials, p):
    """Return the albedo of a part at a point of a triangle."""
    a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
    w = 1 - u - v
    x = w * texture[a, 0] + u * texture[b, 0] + v * texture[c, 0]
    y = w * texture[a, 1] + u * texture[b, 1] + v * texture[c, 1]
    z = w * texture[a, 2] + u * texture[b, 2] + v * texture[c, 2]
    nx, ny, nz = _across(texture, a, b, c)
    return textures.albedo(materials, p, x, y, z, nx, ny, nz)


@jit
@no_type_check
def colours(triangle, u, v, texture, corners, part, materials):
    """Return albedo and part of every hit; black and -1 for a miss."""
    colour = np.zeros((len(triangle), 3), np.float32)
    parts = np.full(len(triangle), -1, np.int32)
    for i in range(len(triangle)):
        t = triangle[i]
        if t >= 0:
            p = part[t]
            parts[i] = p
            colour[i, 0], colour[i, 1], colour[i, 2] = _colour(t, u[i], v[i], texture, corners, materials, p)
    return colour, parts


@jit
@no_type_check
def uneven(parts, normals, height, width):
    """Return the pixels with another surface next to them, which need more than one ray."""
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


@jit
@no_type_check
def even_pixels(
    skip, triangle, light, eye, axes, scale, shifts, vertices, texture, corners, part, materials, height, width
):
    """Return the outgoing light of pixels within one surface: its texture is sampled without tracing more rays."""
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
        glow = materials[p, GLOW]
        for c in range(3):
            out[i, c] = min(out[i, c] * (light[i, c] + glow) + light[i, 3], _BRIGHTEST)
    return out


@jit
@no_type_check
def lit(pixels, colour, parts, normals, points, light, around, materials, height, width):
    """Return the outgoing light of one sample for each of some pixels.

    A sample takes the light of the most similar surface among its pixel and the eight around it; `around` is the
    part, normal and point of every pixel.
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
        glow = materials[p, GLOW] if p >= 0 else 0.0
        for c in range(3):
            out[i, c] = min(colour[i, c] * (light[best, c] + glow) + light[best, 3], _BRIGHTEST)
    return out
