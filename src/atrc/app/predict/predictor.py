"""A network on a device: images in, outputs of every task on the CPU out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Shaped, UInt8

from atrc.app.predict.settings import Precision
from atrc.network import MultiTaskNetwork
from atrc.network.inference import WHOLE, Inference
from atrc.network.predict import Logits, run, side_for
from atrc.tasks import Task
from atrc.training.resources import find_device

# h w image

_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class Predictor:
    """A network in evaluation mode on a device.

    Attributes:
        side: Side that larger images are to be shrunk to [px]; None to keep them as they are.
    """

    def __init__(
        self,
        network: MultiTaskNetwork,
        device: str = "auto",
        precision: Precision = "32",
        max_side: int | None = None,
        inference: Inference = WHOLE,
    ) -> None:
        """Move a network to a device.

        Args:
            network: The network.
            device: See `find_device`.
            precision: "32", or mixed precision: "bf16" or "16".
            max_side: As in `side_for`.
            inference: How images are predicted.

        Raises:
            UserError: This machine does not have the device.
        """
        self.device = find_device(device)
        self.network = network.eval().to(self.device)
        self.tasks, self.dtype, self.inference = network.tasks, _DTYPES.get(precision), inference
        self.side = side_for(network.size, max_side, inference)

    def __call__(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[Logits]:
        """Predict RGB images of one size."""
        return run(self.network, images, self.inference, self.dtype)


def non_finite(outputs: Logits) -> dict[str, float]:
    """Return, for the tasks that have any, the share of pixels that are NaN or infinite in some channel.

    >>> non_finite({"depth": torch.tensor([[[1.0, torch.nan]]]), "edge": torch.zeros(1, 1, 2)})
    {'depth': 0.5}
    """
    shares = {name: (~output.isfinite()).any(0).double().mean().item() for name, output in outputs.items()}
    return {name: share for name, share in shares.items() if share}


def decode(tasks: Sequence[Task], outputs: Logits) -> dict[str, Shaped[np.ndarray, "*_ h w"]]:
    """Decode outputs at the size of the network's input."""
    return {task.name: task.decode(outputs[task.name][None])[0].numpy() for task in tasks}
