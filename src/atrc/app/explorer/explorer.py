"""The explorer without the web: images in, predictions and attention out. It runs in one thread."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from atrc.app.explorer.examples import Example
from atrc.app.explorer.limits import Limits, LRUCache, MissingError
from atrc.app.explorer.look import Look
from atrc.app.explorer.model import Model
from atrc.contexts import CONTEXTS, get_context
from atrc.images import read_image
from atrc.studies.attention.figures import COLOURS
from atrc.studies.figures.style import ink
from atrc.tasks.legends import to_bytes

# h w image

VIEW = 640  # longest side of the images on the page [px]
EXAMPLE = "example-"
LONG = 2.0  # time of a forward pass of a large image on a small machine [s]


@dataclass(frozen=True)
class Shown:
    """An image on the page.

    Attributes:
        pixels: The image, shrunk for the page.
        size: Height and width of the image in the file [px].
        note: A remark if the file holds more than an image.
        jpeg: The pixels, encoded.
        bytes: Size in memory.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    size: tuple[int, int]
    note: str
    jpeg: bytes

    @classmethod
    def encode(cls, pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], note: str = "") -> Shown:
        """Make one from pixels."""
        return cls(pixels, size, note, to_bytes(pixels, "JPEG", quality=92, subsampling=0))

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.pixels.nbytes + len(self.jpeg)


class Explorer:
    """Some networks, some examples, and the images of visitors.

    The name of an image cannot be guessed and only its visitor gets it: there is no list of images.
    """

    def __init__(self, models: Sequence[Model], examples: Sequence[Example], limits: Limits) -> None:
        """Start without images.

        Args:
            models: The networks.
            examples: Images to start with.
            limits: Limits of the memory.
        """
        self.models, self.examples, self.limits = list(models), list(examples), limits
        self.side, self.version = view_side(models), secrets.token_urlsafe(6)
        self._images = LRUCache[str, Shown](limits.images)
        self._looks = LRUCache[tuple[str, int], Look](limits.looks)

    def describe(self) -> dict[str, Any]:
        """Describe networks, examples and contexts in plain values."""
        return {
            "models": [model.describe() for model in self.models],
            "examples": [{"id": f"{EXAMPLE}{i}", "title": one.title} for i, one in enumerate(self.examples)],
            "contexts": {name: _context(name) for name in CONTEXTS},
            "upload": self.limits.upload,
            "version": self.version,
            "heat": _heat(),
        }

    def add(self, content: bytes) -> dict[str, Any]:
        """Add an image; return its name, its size and a remark.

        Raises:
            UserError: It cannot be read, or is too large.
        """
        image = read_image(content, max_side=self.side, max_pixels=self.limits.pixels, name="this file")
        name = secrets.token_urlsafe(16)
        self._put(name, Shown.encode(image.pixels, image.size, image.note))
        return self.image(name)

    def image(self, name: str) -> dict[str, Any]:
        """Describe an image in plain values."""
        image = self._image(name)
        return {"id": name, "size": list(image.pixels.shape[:2]), "original": list(image.size), "note": image.note}

    def jpeg(self, name: str) -> bytes:
        """Return an image for the page."""
        return self._image(name).jpeg

    def patience(self, name: str, model: int) -> float:
        """Return how long [s] later, quicker requests may overtake a request for a look."""
        return 0.0 if (name, model) in self._looks else LONG

    def look(self, name: str, model: int) -> Look:
        """Return the results of a network for an image; the network runs unless the look is still in memory.

        Raises:
            MissingError: There is no such image or network.
        """
        if not 0 <= model < len(self.models):
            raise MissingError(f"no model {model}; there are {len(self.models)}")
        look = self._looks.get((name, model))
        if look is None:
            look = self.models[model].look(self._image(name).pixels)
            self._looks.put((name, model), look, look.bytes)
        return look

    def _put(self, name: str, image: Shown) -> Shown:
        self._images.put(name, image, image.bytes)
        return image

    def _image(self, name: str) -> Shown:
        image = self._images.get(name)
        if image is None and name.startswith(EXAMPLE):
            image = self._put(name, self._example(name.removeprefix(EXAMPLE)))
        if image is None:
            raise MissingError("this image is no longer on the server; open it again")
        return image

    def _example(self, number: str) -> Shown:
        if number not in map(str, range(len(self.examples))):
            raise MissingError(f"no example {number}; there are {len(self.examples)}")
        pixels = self.examples[int(number)].load()
        return Shown.encode(pixels, (pixels.shape[0], pixels.shape[1]))


def view_side(models: Sequence[Model]) -> int:
    """Return the longest side of images [px] that is enough for the page and for every network."""
    return max(VIEW, *(model.side for model in models))


def _context(name: str) -> dict[str, str]:
    found = get_context(name)
    shown = {"name": found.title, "letter": found.letter, "meaning": found.meaning}
    return {**shown, "colour": found.colour, "ink": ink(found.colour)}


def _heat() -> str:
    """Return the 256 colours of attention from the least to the greatest, 3 bytes each, in base64."""
    from matplotlib import colormaps

    colours = (255 * colormaps[COLOURS](np.arange(256))[:, :3]).round().astype(np.uint8)
    return base64.b64encode(colours.tobytes()).decode()
