"""A network on a device: images in, outputs of every task on the CPU out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from atrc.app.predict.settings import Precision
from atrc.network import MultiTaskNetwork
from atrc.tasks import Task
from atrc.training.resources import find_device

# b batch, c channels of the prediction, h w image

Outputs = Mapping[str, Float[Tensor, "c h w"]]  # by task
_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class Predictor:
    """A network in evaluation mode on a device."""

    def __init__(self, network: MultiTaskNetwork, device: str = "auto", precision: Precision = "32") -> None:
        """Move a network to a device.

        Args:
            network: The network.
            device: See `find_device`.
            precision: "32", or mixed precision: "bf16" or "16".

        Raises:
            UserError: This machine does not have the device.
        """
        self.device = find_device(device)
        self.network = network.eval().to(self.device)
        self.tasks, self.dtype, self.size = network.tasks, _DTYPES.get(precision), network.size

    @torch.inference_mode()
    def __call__(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[Outputs]:
        """Predict RGB images of one size."""
        stacked = torch.from_numpy(np.stack(images)).to(self.device)
        batch: Float[Tensor, "b 3 h w"] = stacked.permute(0, 3, 1, 2).float() / 255
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            predictions = self.network(batch).predictions
        outputs = {task.name: predictions[task.name].float().cpu() for task in self.tasks}
        return [{name: output[i] for name, output in outputs.items()} for i in range(len(images))]


def non_finite(outputs: Outputs) -> dict[str, float]:
    """Return, for the tasks that have any, the share of pixels that are NaN or infinite in some channel.

    >>> non_finite({"depth": torch.tensor([[[1.0, torch.nan]]]), "edge": torch.zeros(1, 1, 2)})
    {'depth': 0.5}
    """
    shares = {name: (~output.isfinite()).any(0).double().mean().item() for name, output in outputs.items()}
    return {name: share for name, share in shares.items() if share}


def decode(tasks: Sequence[Task], outputs: Outputs) -> dict[str, Shaped[np.ndarray, "*_ h w"]]:
    """Decode outputs at the size of the network's input."""
    return {task.name: task.decode(outputs[task.name][None])[0].numpy() for task in tasks}
