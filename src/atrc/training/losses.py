"""The training loss: every task's loss and auxiliary loss, weighed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from atrc.network import Output, resize
from atrc.tasks import Task
from atrc.tasks.base import Across, alone


def task_losses(
    output: Output,
    truth: dict[str, Tensor],
    valid: dict[str, Tensor],
    tasks: Sequence[Task],
    across: Across = alone,
) -> dict[str, Tensor]:
    """Return the unweighed losses: `task` for predictions, `task_aux` for auxiliary ones, at image size."""
    losses = {}
    for task in tasks:
        target, mask = truth[task.name], valid[task.name]
        prediction = at_least_float32(output.predictions[task.name])
        losses[task.name] = task.loss(prediction, target, mask, across)
        if task.name in output.auxiliary:
            regions = resize(at_least_float32(output.auxiliary[task.name]), prediction)
            losses[f"{task.name}_aux"] = task.auxiliary_loss(regions, target, mask, across)
    return losses


def total_loss(losses: dict[str, Tensor], tasks: Sequence[Task]) -> Tensor:
    """Add up; an auxiliary loss has its task's weight."""
    weights = {task.name: task.weight for task in tasks}
    return sum(
        (weights[name.removesuffix("_aux")] * loss for name, loss in losses.items()), next(iter(losses.values())) * 0
    )


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precisions: losses and metrics need the digits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
