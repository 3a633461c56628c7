"""What a network made of one photograph: painted predictions, and the attention of any pixel."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from atrc.app.explorer import legends
from atrc.app.explorer.limits import MissingError
from atrc.contexts import get_context
from atrc.errors import UserError
from atrc.studies.attention.figures import describe_range
from atrc.studies.attention.inspection import ContextMap, Inspection, region_task
from atrc.tasks import Task

# h w photograph, y x feature grid

REGIONS = 6  # label regions that are named, the most attended


class Look:
    """Predictions and attention of one photograph.

    Attributes:
        pictures: Painted predictions by task, PNG.
        size: Height and width of the photograph [px].
        bytes: What it takes in memory.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        decoded: Mapping[str, Shaped[np.ndarray, "*_ h w"]],
        inspection: Inspection | None,
    ) -> None:
        """Paint predictions.

        Args:
            tasks: The network's tasks, by name.
            decoded: Their decoded predictions, by name.
            inspection: What the network attended to; None if it does not attend.
        """
        self.tasks, self.inspection = tasks, inspection
        self.size: tuple[int, int] = next(iter(decoded.values())).shape[-2:]
        painted = {name: tasks[name].colour(np.nan_to_num(values)) for name, values in decoded.items()}
        self.pictures = {name: legends.to_png(pixels) for name, pixels in painted.items()}
        self.present = {name: legends.present(tasks[name], values) for name, values in decoded.items()}
        self.decoded = {name: _compact(values) for name, values in decoded.items()}
        self.bytes = sum(map(len, self.pictures.values())) + sum(values.nbytes for values in self.decoded.values())
        if inspection:
            self.bytes += _bytes(inspection.features) + _bytes(inspection.densities)

    def describe(self) -> dict[str, Any]:
        """Say which classes occur, and which context every pair uses, in plain values."""
        return {"size": list(self.size), "present": self.present, "contexts": self._contexts()}

    def picture(self, task: str) -> bytes:
        """Return a painted prediction.

        Raises:
            MissingError: No such task.
        """
        if task not in self.pictures:
            raise MissingError(f"no task '{task}'; the network has {', '.join(self.pictures)}")
        return self.pictures[task]

    def at(self, row: int, column: int, target: str | None = None) -> dict[str, Any]:
        """Say what is predicted at a pixel, and what a target attends to from there, in plain values.

        Args:
            row: The pixel's row in the photograph [px].
            column: The pixel's column [px].
            target: The task that attends; None for the predictions only.

        Raises:
            UserError: The pixel is outside, or no such target.
        """
        h, w = self.size
        if not (0 <= row < h and 0 <= column < w):
            raise UserError(
                f"pixel [{row},{column}] is not in the photograph of {h}x{w}; rows and columns count from 0"
            )
        values = {name: legends.say(self.tasks[name], found[..., row, column]) for name, found in self.decoded.items()}
        found: dict[str, Any] = {"pixel": [row, column], "values": values}
        if self.inspection and target:
            found |= {
                "grid": list(self.inspection.grid),
                "target": target,
                "sources": self._sources(target, row, column),
            }
        return found

    def region(self, task: str, number: int) -> dict[str, Any]:
        """Say where one label region is, in plain values.

        Raises:
            MissingError: No such region.
        """
        found = self.inspection.densities.get(task) if self.inspection else None
        if found is None or not 0 <= number < len(found):
            raise MissingError(f"no label region {number} of task '{task}'")
        return {"grid": list(found.shape[1:]), "levels": levels(np.nan_to_num(found[number].float().cpu().numpy()))}

    def _sources(self, target: str, row: int, column: int) -> dict[str, Any]:
        assert self.inspection
        (h, w), (y, x) = self.size, self.inspection.image_size
        place = (2 * row + 1) * y // (2 * h), (2 * column + 1) * x // (2 * w)
        maps = self.inspection.maps(target, *place)
        return {source: self._describe(found, target, source) for source, found in maps.items()}

    def _describe(self, found: ContextMap | None, target: str, source: str) -> dict[str, Any]:
        if found is None:
            return {"context": "none"}
        weights = np.nan_to_num(found.pixels.float().numpy())
        local = get_context(found.context).window and weights.any()
        attended = weights[weights > 0][None] if local else weights
        shares = describe_range(attended).replace("even", "an even share of the window" if local else "an even share")
        described = {"context": found.context, "levels": levels(weights), "range": shares}
        if found.regions is not None:
            task = self.tasks[region_task(found, target, source)]
            described |= {"regions_of": task.name, **_regions(task, np.nan_to_num(found.regions.float().numpy()))}
        return described

    def _contexts(self) -> dict[str, dict[str, str]] | None:
        """Return the context of every pair; a network may choose them by the photograph."""
        if not self.inspection:
            return None
        return {
            target: {
                source: found.context if found else "none"
                for source, found in self.inspection.maps(target, 0, 0).items()
            }
            for target in self.inspection.targets
        }


def levels(weights: Float[np.ndarray, "y x"]) -> str:
    """Write a map as bytes in base64, 0 for its least weight and 255 for its greatest.

    >>> base64.b64decode(levels(np.array([[0.1, 0.2, 0.3]]))).hex(" ")
    '00 80 ff'
    """
    low, high = float(weights.min()), float(weights.max())
    shares = (weights - low) / max(high - low, 1e-30)
    return base64.b64encode((255 * shares).round().astype(np.uint8).tobytes()).decode()


def _regions(task: Task, weights: Float[np.ndarray, " r"]) -> dict[str, Any]:
    order = np.argsort(-weights, kind="stable")[:REGIONS].tolist()
    colours = legends.to_css(task.region_colours)
    named = [
        {"number": r, "name": task.region_names[r], "colour": colours[r], "share": round(float(weights[r]), 4)}
        for r in order
    ]
    rest = max(0.0, 1 - float(weights[order].sum()))
    return {"regions": named, "others": {"count": len(weights) - len(order), "share": round(rest, 4)}}


def _compact(values: Shaped[np.ndarray, "*_ h w"]) -> Shaped[np.ndarray, "*_ h w"]:
    """Halve what the values take: they are only told, at one pixel."""
    if values.dtype.kind != "f":
        return values.astype(np.int16)
    most = np.finfo(np.float16).max
    return values.clip(-most, most).astype(np.float16)


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
