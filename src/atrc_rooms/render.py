"""Render a room: the image and all labels."""

# h w image, r rays
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from numpy.random import Generator

from atrc_rooms import labels, lighting, shading, variety
from atrc_rooms.camera import Camera, Views, place
from atrc_rooms.furnish import furnish
from atrc_rooms.materials import GLOSS
from atrc_rooms.profiles import BODY_GROUPS, CLASSES, PROFILES, VARIED, RoomsError
from atrc_rooms.scene import Hits, Scene, build
from atrc_rooms.textures import MIRROR, OUTSIDE

_SHADOW_LIGHTS = 3  # shadow rays a pixel
_AMBIENT_REACH = 0.9  # corners within this distance darken each other [m]
_OFFSET = 2e-3  # secondary rays start this far off the surface [m]
_SAMPLES = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))


@dataclass(frozen=True)
class View:
    """An image with all labels. Labels come from the rays through the middles of the pixels.

    Attributes:
        semseg: Index into `CLASSES` of the profile.
        human_parts: Index into `profiles.HUMAN_PARTS`.
        body: Index into `profiles.BODY_PARTS`, the finer parts of PASCAL-Part.
        sal: Salient things, see `labels.salient`.
        depth: Along the optical axis [m].
        normals: Unit vectors that face the camera; x right, y up, z towards the viewer.
        edge: Boundaries between instances, one pixel thin.
        instances: Number of the instance; every wall, the floor and the ceiling is one.
        names: Class name of every instance number.
    """

    image: UInt8[ndarray, "h w 3"]
    semseg: UInt8[ndarray, "h w"]
    human_parts: UInt8[ndarray, "h w"]
    body: UInt8[ndarray, "h w"]
    sal: Bool[ndarray, "h w"]
    depth: Float[ndarray, "h w"]
    normals: Float[ndarray, "h w 3"]
    edge: Bool[ndarray, "h w"]
    instances: Int[ndarray, "h w"]
    names: tuple[str, ...]
    camera: Camera


def render_room(profile: str, seed: int | tuple[int, ...], size: tuple[int, int] = (240, 320)) -> View:
    """Render a random room; equal arguments give equal arrays.

    Args:
        profile: A key of `PROFILES`.
        seed: One or several non-negative integers.
        size: Height and width [px].
    """
    if profile not in PROFILES:
        raise RoomsError(f"unknown Rooms profile {profile!r}; choose from {', '.join(PROFILES)}")
    layout, viewpoint, light, look = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
    varied, with_people = profile in VARIED, "person" in CLASSES[profile]
    plan = furnish(layout, with_people, clutter=int(look.integers(2, 5)) if varied else 1)
    scene = build(plan)
    if varied:
        scene = variety.relit(variety.redecorated(scene, look), look)
    camera = place(viewpoint, plan, scene, size, variety.VIEWS if varied else Views())
    return _view(profile, scene, camera, light, size)


def _view(profile: str, scene: Scene, camera: Camera, random: Generator, size: tuple[int, int]) -> View:
    develop = variety.photographed if profile in VARIED else _developed
    rays = camera.rays(size)
    hits = _trace(scene, camera, rays)
    normals = shading.surfaces(hits.triangle, hits.u, hits.v, rays, scene.vertices, scene.normals, scene.corners)
    part = scene.part[hits.triangle]
    instances = scene.instance[part].reshape(size)
    body = scene.body[part].reshape(size)
    classes = np.array([CLASSES[profile].index(name) for name in scene.names], np.uint8)
    depth = (hits.distance * -(rays @ camera.axes[2].astype(np.float32))).reshape(size)
    return View(
        image=develop(_radiance(scene, camera, rays, hits, normals, random, size), random),
        semseg=classes[instances],
        human_parts=np.array(BODY_GROUPS, np.uint8)[body],
        body=body,
        sal=labels.salient(instances, scene.names, depth),
        depth=depth,
        normals=np.stack([normals @ axis for axis in camera.axes.astype(np.float32)], -1).reshape(*size, 3),
        edge=labels.boundaries(instances),
        instances=instances,
        names=scene.names,
        camera=camera,
    )


def _trace(scene: Scene, camera: Camera, rays: ndarray) -> Hits:
    return scene.trace(np.broadcast_to(camera.eye.astype(np.float32), rays.shape).copy(), rays)


@dataclass
class _Surface:
    """The surfaces that rays see, through mirrors."""

    points: ndarray
    normals: ndarray
    views: ndarray
    colour: ndarray
    part: ndarray


def _seen(scene: Scene, camera: Camera, rays: ndarray, hits: Hits, normals: ndarray | None = None) -> _Surface:
    if normals is None:
        normals = shading.surfaces(hits.triangle, hits.u, hits.v, rays, scene.vertices, scene.normals, scene.corners)
    colour, part = shading.colours(
        hits.triangle, hits.u, hits.v, scene.texture, scene.corners, scene.part, scene.materials
    )
    points = camera.eye.astype(np.float32) + rays * hits.distance[:, None]
    surface = _Surface(points, normals.copy(), rays.copy(), colour, part)
    glass = np.flatnonzero((part >= 0) & (scene.materials[part, 0] == MIRROR))
    if len(glass):
        _reflect(scene, surface, glass)
    return surface


def _reflect(scene: Scene, surface: _Surface, glass: ndarray) -> None:
    """Replace mirrors by what they reflect."""
    normals, views = surface.normals[glass], surface.views[glass]
    rays = views - 2 * (views * normals).sum(1, keepdims=True) * normals
    rays = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)
    origins = surface.points[glass] + normals * _OFFSET
    hits = scene.trace(origins, rays)
    tint = surface.colour[glass]
    colour, part = shading.colours(
        hits.triangle, hits.u, hits.v, scene.texture, scene.corners, scene.part, scene.materials
    )
    surface.colour[glass], surface.part[glass], surface.views[glass] = colour * tint, part, rays
    surface.normals[glass] = shading.surfaces(
        hits.triangle, hits.u, hits.v, rays, scene.vertices, scene.normals, scene.corners
    )
    surface.points[glass] = origins + rays * hits.distance[:, None]


def _radiance(
    scene: Scene,
    camera: Camera,
    rays: ndarray,
    hits: Hits,
    normals: ndarray,
    random: Generator,
    size: tuple[int, int],
) -> Float[ndarray, "h w 3"]:
    """Return the light that reaches the camera, with four samples a pixel at edges and on textures."""
    middle = _seen(scene, camera, rays, hits, normals)
    light = _light(scene, middle, hits.distance, int(random.integers(1 << 20)), size)
    uneven = shading.uneven(middle.part, middle.normals, *size) | (middle.part != scene.part[hits.triangle])
    radiance = shading.even_pixels(
        uneven,
        hits.triangle,
        light,
        camera.eye,
        camera.axes,
        camera.scale(size),
        np.array(_SAMPLES),
        scene.vertices,
        scene.texture,
        scene.corners,
        scene.part,
        scene.materials,
        *size,
    )
    pixels = np.flatnonzero(uneven)
    around = (middle.part, middle.normals, middle.points)
    for shift in _SAMPLES:
        rays = camera.rays(size, shift, pixels)
        sample = _seen(scene, camera, rays, _trace(scene, camera, rays))
        radiance[pixels] += shading.lit(
            pixels, sample.colour, sample.part, sample.normals, sample.points, light, around, scene.materials, *size
        ) / len(_SAMPLES)
    return radiance.reshape(*size, 3)


def _light(scene: Scene, surface: _Surface, depth: ndarray, seed: int, size: tuple[int, int]) -> ndarray:
    """Return the red, green, blue and highlight at the surface of every pixel."""
    origins = surface.points + surface.normals * _OFFSET
    gloss = scene.materials[surface.part, GLOSS]
    rays, reach, light = lighting.light_rays(
        origins, surface.normals, surface.views, gloss, scene.lights, size[1], _SHADOW_LIGHTS, seed
    )
    count = len(rays) // len(origins)
    blocked = scene.blocked(np.repeat(origins, count, axis=0), rays, reach)
    around = lighting.ambient_rays(surface.normals, size[1], seed)
    clearance = scene.clearance(origins, around, np.full(len(origins), _AMBIENT_REACH, np.float32))
    gathered = lighting.gathered(light, blocked, clearance, _AMBIENT_REACH, _ambient(scene), surface.normals)
    if scene.sun is not None:
        gathered[:, :3] += _sunshine(scene, origins, surface.normals)[:, None] * scene.sunlight
    return lighting.smoothed(gathered, surface.points, surface.normals, surface.part, depth, *size)


def _sunshine(scene: Scene, origins: ndarray, normals: ndarray) -> Float[ndarray, " r"]:
    """Return the cosine between normal and sun; 0 unless the ray towards the sun leaves through a window."""
    sun = np.asarray(scene.sun, np.float32)
    cosine = normals @ sun
    facing = np.flatnonzero(cosine > 0)
    hits = scene.trace(origins[facing], np.broadcast_to(sun, (len(facing), 3)).copy())
    part = scene.part[hits.triangle]
    cosine[facing] *= (hits.triangle >= 0) & (scene.materials[part, 0] == OUTSIDE)
    return np.maximum(cosine, 0)


def _ambient(scene: Scene) -> Float[ndarray, " 3"]:
    """Estimate the indirect light: the flux of all lamps over the surface of the room, half of it absorbed."""
    width, depth, height = scene.size
    surface = 2 * (width * depth + width * height + depth * height)
    total = np.full(3, 0.06)
    for lamp in scene.lights:
        across, up = np.linalg.norm(lamp[7:10]), np.linalg.norm(lamp[10:13])
        flux = 4 * np.pi if across == 0 else 4 * np.pi * across * up
        total += flux * lamp[4:7] / surface
    warm = np.array([1.04, 1.0, 0.95])  # walls and floors absorb blue
    return (scene.ambient * total * warm).astype(np.float32)


def _developed(radiance: Float[ndarray, "h w 3"], random: Generator) -> UInt8[ndarray, "h w 3"]:
    """Develop the image: white balance, exposure, tone curve, noise."""
    height, width, _ = radiance.shape
    mean = radiance.reshape(-1, 3).mean(0)
    balance = (mean.mean() / np.maximum(mean, 1e-4)) ** random.uniform(0.3, 0.75) * (1 + random.normal(0, 0.02, 3))
    radiance = radiance * balance.astype(np.float32)
    luminance = radiance @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    key = np.exp(np.log(luminance + 1e-3).mean())
    exposure = min(random.uniform(0.24, 0.4) / key, random.uniform(0.55, 1.5) / np.quantile(luminance[::4, ::4], 0.85))
    exposed = radiance * np.float32(exposure * np.exp(np.clip(random.normal(0, 0.3), -0.6, 0.5)))
    row, column = (np.arange(height) / height - 0.5)[:, None], (np.arange(width) / width - 0.5)[None]
    exposed *= (1 - random.uniform(0.1, 0.4) * (row**2 + column**2)).astype(np.float32)[..., None]
    white = np.float32(random.uniform(2.5, 4.0))
    toned = exposed * (1 + exposed / white**2) / (1 + exposed)
    toned = np.clip(toned * 1.25, 0, 1) ** np.float32(1 / 2.2)
    grain = random.standard_normal(toned.shape, dtype=np.float32) * np.float32(random.uniform(0.002, 0.012))
    return np.clip((toned + grain) * 255 + 0.5, 0, 255).astype(np.uint8)
