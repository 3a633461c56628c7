"""What the `varied` profiles change: materials, lights, views and the camera. Geometry and labels stay the same."""

# h w image, p materials
from __future__ import annotations

import colorsys
import io
from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from numpy.random import Generator
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter1d

from atrc_rooms.camera import Views
from atrc_rooms.materials import GLOSS, GLOW
from atrc_rooms.profiles import BODY_PARTS
from atrc_rooms.scene import Scene
from atrc_rooms.shell import sun_through
from atrc_rooms.textures import LEAF, MIRROR, OUTSIDE, PAINTING, SCREEN, TEXTURES

VIEWS = Views(height=(0.5, 2.1), pitch=(-11, 11), roll=4, angle=(38, 92), candidates=5)

_SIZES = {  # smallest pattern [m]; the largest is ten times that
    "plain": 0.1, "wood": 0.02, "planks": 0.05, "tiles": 0.06, "plaster": 0.05, "weave": 0.006, "stripes": 0.02,
    "carpet": 0.01, "bricks": 0.07, "marble": 0.1, "checks": 0.02, "wallpaper": 0.04, "paper": 0.05, "mottled": 0.05,
}  # fmt: skip
_SURFACES = {
    "wall": ("plain", "plaster", "plaster", "mottled", "wallpaper", "stripes", "bricks", "tiles", "planks", "marble"),
    "floor": ("planks", "planks", "tiles", "carpet", "mottled", "marble", "checks", "plain", "wood"),
    "ceiling": ("plain", "plaster", "plaster", "planks"),
}
_KEPT = (LEAF, MIRROR, OUTSIDE, PAINTING, SCREEN)
_SKIN = [BODY_PARTS.index(name) for name in ("head", "hair", "neck", "lhand", "rhand")]


def redecorated(scene: Scene, random: Generator) -> Scene:
    """Give materials of a scene other colours, textures and gloss; people keep their skin and hair."""
    rows, first, which = np.unique(scene.materials, axis=0, return_index=True, return_inverse=True)
    which = which.ravel()
    kept = np.logical_or(np.isin(rows[:, 0], _KEPT), rows[:, GLOW] > 0)
    kept[which[np.isin(scene.body, _SKIN)]] = True
    share = random.uniform(0.2, 1.0)
    for k in np.flatnonzero(~kept):
        if random.random() < share:
            rows[k] = _repainted(rows[k], scene.names[scene.instance[first[k]]], random)
    return replace(scene, materials=rows[which])


def _repainted(row: ndarray, name: str, random: Generator) -> ndarray:
    texture, new = TEXTURES[int(row[0])], row.copy()
    if name in _SURFACES or (texture in _SIZES and random.random() < 0.4):
        texture = str(random.choice(_SURFACES.get(name, tuple(_SIZES))))
        new[0], new[7] = TEXTURES.index(texture), _SIZES[texture] * 10 ** random.uniform(0, 1)
    new[1:4] = _colour(random, name)
    new[4:7] = _colour(random, name) if random.random() < 0.4 else new[1:4] * random.uniform(0.4, 1.3)
    new[GLOSS] = random.uniform(0, 0.6) if random.random() < 0.4 else 0
    new[12] = random.integers(1, 1000)
    return new


def _colour(random: Generator, name: str) -> Float[ndarray, " 3"]:
    """Draw a linear colour, pale for ceilings and most walls."""
    pale = name == "ceiling" or (name == "wall" and random.random() < 0.6)
    saturation, value = (random.beta(1, 6), random.uniform(0.6, 1)) if pale else random.beta([1.2, 2], [2, 1.4])
    return np.array(colorsys.hsv_to_rgb(random.random(), saturation, value)) ** 2.2


def relit(scene: Scene, random: Generator) -> Scene:
    """Light a scene by day, by its lamps or by both, in warm or cold colours, with weak or strong shadows."""
    lights, rows = scene.lights.copy(), scene.materials.copy()
    panes = np.abs(lights[:, 7:]).max(1) > 0
    mode = str(random.choice(["both", "day", "lamps"], p=[0.4, 0.35, 0.25])) if panes.any() else "lamps"
    day = 0.03 if mode == "lamps" else 10 ** random.uniform(-0.2, 0.7)
    lamps = 0.03 if mode == "day" else 1.0
    tints = np.where(panes[:, None], _tint(random, -0.5, 0.4), _tint(random, -0.3, 0.8))
    lights[:, 4:7] *= tints * (np.where(panes, day, lamps) * random.lognormal(0, 0.4, len(lights)))[:, None]
    outside, screen = rows[:, 0] == OUTSIDE, rows[:, 0] == SCREEN
    rows[:, GLOW] *= np.where(outside, day * 10 ** random.uniform(0, 0.8), np.where(screen, 1.0, lamps))
    sun = None
    if mode != "lamps" and random.random() < 0.7:
        across = lights[random.choice(np.flatnonzero(panes)), 7:9]
        sun = sun_through(random, round(np.degrees(np.arctan2(across[1], across[0])) / 90))
    sunlight = scene.sunlight * 10 ** random.uniform(0, 1) * _tint(random, -0.1, 0.5)
    ambient = 10 ** random.uniform(-0.9, -0.1)
    return replace(scene, lights=lights, materials=rows, sun=sun, sunlight=sunlight, ambient=ambient)


def _tint(random: Generator, coldest: float, warmest: float) -> Float[ndarray, " 3"]:
    warmth = random.uniform(coldest, warmest)
    return np.array([1 + 0.5 * warmth, 1, 1 - 0.6 * warmth], np.float32)


def photographed(radiance: Float[ndarray, "h w 3"], random: Generator) -> UInt8[ndarray, "h w 3"]:
    """Develop the image of a cheap or a good camera.

    Lens: glare, vignetting, blur. Sensor: white balance, exposure, noise. File: tone, saturation, JPEG.
    """
    exposed = _sensed(_through_lens(radiance, random), random)
    image = _toned(exposed, random)
    strength = 10 ** random.uniform(-2.8, -1.6)
    grain = random.standard_normal(image.shape, dtype=np.float32)
    if random.random() < 0.5:  # of a sensor whose image was scaled or denoised
        grain = 1.8 * gaussian_filter(grain, (0.6, 0.6, 0))
    image += strength * (0.4 + 0.6 * np.sqrt(image)) * grain
    return _compressed(np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8), int(random.integers(35, 97)))


def _through_lens(radiance: ndarray, random: Generator) -> ndarray:
    height, width, _ = radiance.shape
    glare = 0.2 * random.random() ** 2
    wide = random.uniform(0.02, 0.1) * width
    radiance = (1 - glare) * radiance + glare * gaussian_filter(radiance, (wide, wide, 0))
    down, right = (np.arange(height) / height - 0.5)[:, None], (np.arange(width) / width - 0.5)[None]
    radiance = radiance * (1 - random.uniform(0, 0.9) * (down**2 + right**2))[..., None]
    blur = random.uniform(0, 0.9) * width / 256 if random.random() < 0.5 else 0.0
    if random.random() < 0.12:
        radiance = uniform_filter1d(radiance, round(random.uniform(0.01, 0.02) * width) + 1, axis=random.integers(2))
    return gaussian_filter(radiance, (blur, blur, 0)).astype(np.float32)


def _sensed(radiance: ndarray, random: Generator) -> ndarray:
    mean = radiance.mean((0, 1)) + 1e-4
    radiance = radiance * (mean.mean() / mean) ** random.uniform(0.2, 0.9) * np.exp(random.normal(0, 0.05, 3))
    luminance = radiance.mean(-1)
    middle, bright = np.exp(np.log(luminance + 1e-3).mean()), np.quantile(luminance, 0.8) + 1e-3
    exposure = min(0.3 / middle, 1 / bright) * 2 ** np.clip(random.normal(-0.2, 0.6), -1.6, 1)
    return (radiance * exposure).astype(np.float32)


def _toned(exposed: ndarray, random: Generator) -> ndarray:
    """Compress or clip the highlights, then change contrast and saturation."""
    white = random.uniform(1.0, 4.0)
    soft = exposed * (1 + exposed / white**2) / (1 + exposed) * 1.3
    share = random.random()
    image = np.clip(share * soft + (1 - share) * exposed, 0, 1) ** (1 / random.uniform(1.9, 2.5))
    contrast = random.uniform(-0.25, 0.5)
    image += contrast * (image * image * (3 - 2 * image) - image)
    grey = image.mean(-1, keepdims=True)
    return np.clip(grey + random.uniform(0.5, 1.4) * (image - grey), 0, 1).astype(np.float32)


def _compressed(image: UInt8[ndarray, "h w 3"], quality: int) -> UInt8[ndarray, "h w 3"]:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
