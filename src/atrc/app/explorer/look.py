"""The results of a network for one image: coloured predictions, and the attention of any pixel."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from atrc.app.explorer.limits import MissingError
from atrc.contexts import get_context
from atrc.errors import UserError
from atrc.studies.attention.figures import describe_range
from atrc.studies.attention.inspection import ContextMap, Inspection, region_task
from atrc.tasks import Task
from atrc.tasks.legends import describe_value, present, to_bytes, to_css

# h w image, y x feature grid

REGIONS = 6  # number of label regions that are named, those with the most attention


class Look:
    """Predictions and attention of one image.

    Attributes:
        coloured: Coloured predictions by task, PNG.
        size: Height and width of the image [px].
        bytes: Size in memory.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        decoded: Mapping[str, Shaped[np.ndarray, "*_ h w"]],
        inspection: Inspection | None,
    ) -> None:
        """Colour predictions.

        Args:
            tasks: The network's tasks, by name.
            decoded: Their decoded predictions, by name.
            inspection: The attention of the network; None if it has no context pooling.
        """
        self.tasks, self.inspection = tasks, inspection
        self.size: tuple[int, int] = next(iter(decoded.values())).shape[-2:]
        coloured = {name: tasks[name].colour(np.nan_to_num(values)) for name, values in decoded.items()}
        self.coloured = {name: to_bytes(pixels, compress_level=4) for name, pixels in coloured.items()}
        self.present = {name: present(tasks[name], values) for name, values in decoded.items()}
        self.decoded = {name: _compact(values) for name, values in decoded.items()}
        self.bytes = sum(map(len, self.coloured.values())) + sum(values.nbytes for values in self.decoded.values())
        if inspection:
            self.bytes += _bytes(inspection.features) + _bytes(inspection.densities)

    def describe(self) -> dict[str, Any]:
        """Describe the classes that occur and the context of every pair, in plain values."""
        return {"size": list(self.size), "present": self.present, "contexts": self._contexts()}

    def prediction(self, task: str) -> bytes:
        """Return a coloured prediction.

        Raises:
            MissingError: There is no such task.
        """
        if task not in self.coloured:
            raise MissingError(f"no task '{task}'; the network has {', '.join(self.coloured)}")
        return self.coloured[task]

    def at(self, row: int, column: int, target: str | None = None) -> dict[str, Any]:
        """Describe the predictions at a pixel, and what a target attends to from there, in plain values.

        Args:
            row: The pixel's row in the image [px].
            column: The pixel's column [px].
            target: The task that attends; None for the predictions only.

        Raises:
            UserError: The pixel is outside the image, or there is no such target.
        """
        h, w = self.size
        if not (0 <= row < h and 0 <= column < w):
            raise UserError(f"pixel [{row},{column}] is not in the image of {h}x{w}; rows and columns count from 0")
        decoded = {name: values[..., row, column] for name, values in self.decoded.items()}
        values = {name: describe_value(self.tasks[name], value) for name, value in decoded.items()}
        found: dict[str, Any] = {"pixel": [row, column], "values": values}
        if self.inspection and target:
            sources = self._sources(target, row, column)
            found |= {"grid": list(self.inspection.grid), "target": target, "sources": sources}
        return found

    def region(self, task: str, number: int) -> dict[str, Any]:
        """Describe the place of one label region in plain values.

        Raises:
            MissingError: There is no such region.
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
        """Return the context of every pair; a network may choose it by the image."""
        if not self.inspection:
            return None
        rows = {target: self.inspection.maps(target, 0, 0) for target in self.inspection.targets}
        return {
            target: {source: found.context if found else "none" for source, found in row.items()}
            for target, row in rows.items()
        }


def levels(weights: Float[np.ndarray, "y x"]) -> str:
    """Write a map as bytes in base64, 0 for the least weight and 255 for the greatest.

    >>> base64.b64decode(levels(np.array([[0.1, 0.2, 0.3]]))).hex(" ")
    '00 80 ff'
    """
    low, high = float(weights.min()), float(weights.max())
    shares = (weights - low) / max(high - low, 1e-30)
    return base64.b64encode((255 * shares).round().astype(np.uint8).tobytes()).decode()


def _regions(task: Task, weights: Float[np.ndarray, " r"]) -> dict[str, Any]:
    order = np.argsort(-weights, kind="stable")[:REGIONS].tolist()
    colours = to_css(task.region_colours)
    named = [
        {"number": r, "name": task.region_names[r], "colour": colours[r], "share": round(float(weights[r]), 4)}
        for r in order
    ]
    rest = max(0.0, 1 - float(weights[order].sum()))
    return {"regions": named, "others": {"count": len(weights) - len(order), "share": round(rest, 4)}}


def _compact(values: Shaped[np.ndarray, "*_ h w"]) -> Shaped[np.ndarray, "*_ h w"]:
    """Halve the size of the values: they are only shown as text, at one pixel."""
    if values.dtype.kind != "f":
        return values.astype(np.int16)
    most = np.finfo(np.float16).max
    return values.clip(-most, most).astype(np.float16)


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
