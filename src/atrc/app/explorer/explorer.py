"""The explorer without the web: photographs come in, predictions and attention go out. Runs in one thread."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from atrc.app.explorer import legends
from atrc.app.explorer.examples import Example
from atrc.app.explorer.held import Held
from atrc.app.explorer.limits import Limits, MissingError
from atrc.app.explorer.look import Look
from atrc.app.explorer.model import Model
from atrc.contexts import CONTEXTS, get_context
from atrc.images import read_image
from atrc.studies.attention.figures import COLOURS
from atrc.studies.figures.style import ink

# h w photograph

VIEW = 640  # longer side of the photographs on the page, at most [px]
EXAMPLE = "example-"
LONG = 2.0  # a pass of the network, of a large photograph on a small machine [s]


@dataclass(frozen=True)
class Photo:
    """A photograph that somebody looks at.

    Attributes:
        pixels: Shrunk for the page.
        jpeg: The same, encoded.
        size: Height and width of the file's picture [px].
        note: What was made of a file that is more than a photograph.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    jpeg: bytes
    size: tuple[int, int]
    note: str

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.pixels.nbytes + len(self.jpeg)


class Explorer:
    """Some networks, some examples, and the photographs of those who look at them.

    A photograph is known by a name that cannot be guessed, and only to who brought it: there is no list of them.
    """

    def __init__(self, models: Sequence[Model], examples: Sequence[Example], limits: Limits) -> None:
        """Hold nothing yet.

        Args:
            models: The networks.
            examples: Photographs to begin with.
            limits: What is held at most.
        """
        self.models, self.examples, self.limits = list(models), list(examples), limits
        self.side, self.version = view_side(models), secrets.token_urlsafe(6)
        self._photos = Held[str, Photo](limits.images)
        self._looks = Held[tuple[str, int], Look](limits.looks)

    def describe(self) -> dict[str, Any]:
        """Say what there is, in plain values."""
        return {
            "models": [model.describe() for model in self.models],
            "examples": [{"id": f"{EXAMPLE}{i}", "title": one.title} for i, one in enumerate(self.examples)],
            "contexts": {name: _context(name) for name in CONTEXTS},
            "upload": self.limits.upload,
            "version": self.version,
            "heat": _heat(),
        }

    def add(self, content: bytes) -> dict[str, Any]:
        """Take a photograph; return its name, its size and what there is to say about it.

        Raises:
            UserError: It cannot be read, or is too large.
        """
        photo = read_image(content, max_side=self.side, max_pixels=self.limits.pixels, name="this file")
        name = secrets.token_urlsafe(16)
        self._put(name, Photo(photo.pixels, legends.to_jpeg(photo.pixels), photo.size, photo.note))
        return self.photo(name)

    def photo(self, name: str) -> dict[str, Any]:
        """Say what is known of a photograph."""
        photo = self._photo(name)
        return {"id": name, "size": list(photo.pixels.shape[:2]), "original": list(photo.size), "note": photo.note}

    def jpeg(self, name: str) -> bytes:
        """Return a photograph for the page."""
        return self._photo(name).jpeg

    def patience(self, name: str, model: int) -> float:
        """Return how long [s] a question about a look may let others go first: those that are quick may overtake."""
        return 0.0 if (name, model) in self._looks else LONG

    def look(self, name: str, model: int) -> Look:
        """Return what a model makes of a photograph; the network runs unless the latest look is still held.

        Raises:
            MissingError: No such photograph or model.
        """
        if not 0 <= model < len(self.models):
            raise MissingError(f"no model {model}; there are {len(self.models)}")
        look = self._looks.get((name, model))
        if look is None:
            look = self.models[model].look(self._photo(name).pixels)
            self._looks.put((name, model), look, look.bytes)
        return look

    def _put(self, name: str, photo: Photo) -> Photo:
        self._photos.put(name, photo, photo.bytes)
        return photo

    def _photo(self, name: str) -> Photo:
        photo = self._photos.get(name)
        if photo is None and name.startswith(EXAMPLE):
            photo = self._put(name, self._example(name.removeprefix(EXAMPLE)))
        if photo is None:
            raise MissingError("the server no longer holds this photograph; drop it once more")
        return photo

    def _example(self, number: str) -> Photo:
        if number not in map(str, range(len(self.examples))):
            raise MissingError(f"no example {number}; there are {len(self.examples)}")
        pixels = self.examples[int(number)].load()
        return Photo(pixels, legends.to_jpeg(pixels), (pixels.shape[0], pixels.shape[1]), "")


def view_side(models: Sequence[Model]) -> int:
    """Return the longer side of photographs [px] that is enough for the page and for every network."""
    return max(VIEW, *(model.side for model in models))


def _context(name: str) -> dict[str, str]:
    found = get_context(name)
    shown = {"name": found.title, "letter": found.letter, "meaning": found.meaning}
    return {**shown, "colour": found.colour, "ink": ink(found.colour)}


def _heat() -> str:
    """Return the colours of attention from least to greatest: 256 of 3 bytes, in base64."""
    from matplotlib import colormaps

    colours = (255 * colormaps[COLOURS](np.arange(256))[:, :3]).round().astype(np.uint8)
    return base64.b64encode(colours.tobytes()).decode()
