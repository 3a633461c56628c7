"""A network in the explorer: its description, and its results for an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from atrc.app.explorer.look import Look
from atrc.app.predict.predictor import Predictor
from atrc.errors import UserError
from atrc.images import shrunk
from atrc.network import MultiTaskNetwork, Output
from atrc.network.predict import Logits, decode
from atrc.studies.attention.inspection import Inspection
from atrc.tasks import Task
from atrc.tasks.legends import ball, describe_legend, to_bytes

# h w image, y x network's input

BALL = 96  # width of the ball of directions [px]
ALONE = "This network does not attend from task to task, so there are predictions only."


class Model:
    """A network that is ready to predict images."""

    def __init__(self, name: str, network: MultiTaskNetwork, device: str = "auto", max_side: int | None = None) -> None:
        """Move a network to a device.

        Args:
            name: Its name on the page.
            network: The network.
            device: See `Predictor`.
            max_side: Larger images are shrunk to this side [px]; by default to the training size.
        """
        if max_side is not None and max_side < 1:
            raise UserError(f"--max-side is {max_side}; it has to be 1 or more")
        self.name = name
        self.predictor = Predictor(network, device, max_side=max_side)
        self.network, self.device = self.predictor.network, self.predictor.device
        self.tasks: dict[str, Task] = {task.name: task for task in network.tasks}
        assert self.predictor.side is not None  # which only windows leave open
        self.side = self.predictor.side
        self.attends = network.genotype is not None

    def describe(self) -> dict[str, Any]:
        """Describe the network in plain values."""
        parameters = sum(weights.numel() for weights in self.network.parameters())
        tasks = self.tasks.values()
        return {
            "name": self.name,
            "parameters": parameters,
            "side": self.side,
            "tasks": [{"name": task.name, "title": task.title, "legend": describe_legend(task)} for task in tasks],
            "message": "" if self.attends else ALONE,
        }

    def ball(self, task: str) -> bytes:
        """Draw the legend of a task with directions: a PNG."""
        found = self.tasks.get(task)
        if found is None or found.legend != "directions":
            raise UserError(f"no ball of directions for task '{task}'")
        return to_bytes(ball(found, BALL))

    def look(self, image: UInt8[np.ndarray, "h w 3"]) -> Look:
        """Run the network once; predictions have the size of the image."""
        h, w = image.shape[:2]
        y, x = shrunk((h, w), self.side)
        if (y, x) != (h, w):
            image = np.asarray(Image.fromarray(image).resize((x, y), Image.Resampling.LANCZOS))
        inspection, outputs = self._run(image)
        decoded = {name: decode(task, outputs[name], (h, w)) for name, task in self.tasks.items()}
        return Look(self.tasks, decoded, inspection)

    def _run(self, image: UInt8[np.ndarray, "y x 3"]) -> tuple[Inspection | None, Logits]:
        if not self.attends:
            return None, self.predictor([image])[0]
        tensor = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(self.device).float() / 255
        inspection = Inspection(self.network, tensor)
        outputs = {name: output[0].float().cpu() for name, output in inspection.output.predictions.items()}
        inspection.output = Output({}, {}, {}, {})  # it is large, and maps do not need it
        return inspection, outputs


def short_names(places: Sequence[str]) -> list[str]:
    """Return names for networks: the last two parts of each path, or as many as make them unique.

    >>> short_names(["runs/rooms/atrc/seed0/train", "owner/name"])
    ['atrc/seed0', 'owner/name']
    >>> short_names(["one/atrc/seed0", "other/atrc/seed0"])
    ['one/atrc/seed0', 'other/atrc/seed0']
    """
    parts = [_parts(place) for place in places]
    names = ["/".join(part[-2:]) for part in parts]
    for count in range(3, max(map(len, parts)) + 1):
        if len(set(names)) == len(names):
            break
        names = ["/".join(part[-count:]) for part in parts]
    return names


def _parts(place: str) -> list[str]:
    parts = list(Path(place).resolve().parts[1:] if Path(place).exists() else Path(place).parts)
    return parts[:-1] if len(parts) > 2 and parts[-1] == "train" else parts  # the run of a cell in a study
