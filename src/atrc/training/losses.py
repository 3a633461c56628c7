"""The training loss: every task's loss and auxiliary loss, weighed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from atrc.necks import resize
from atrc.network import Output
from atrc.tasks import Task
from atrc.tasks.base import Across, alone


def task_losses(
    output: Output,
    truth: dict[str, Tensor],
    valid: dict[str, Tensor],
    tasks: Sequence[Task],
    across: Across = alone,
) -> dict[str, Tensor]:
    """Return the unweighed losses, each at image size.

    `task` is that of the prediction, `task/auxiliary` that of A_n, `task/initial` the sum over the initial
    predictions of all levels, for the networks that have them.
    """
    losses = {}
    for task in tasks:
        name, target, mask = task.name, truth[task.name], valid[task.name]
        prediction = at_least_float32(output.predictions[name])
        losses[name] = task.loss(prediction, target, mask, across)
        if name in output.auxiliary:
            regions = at_least_float32(output.auxiliary[name])
            losses[f"{name}/auxiliary"] = task.auxiliary_loss(regions, target, mask, across)
        if name in output.initial:
            levels = (resize(at_least_float32(logits), prediction) for logits in output.initial[name])
            losses[f"{name}/initial"] = torch.stack([task.loss(x, target, mask, across) for x in levels]).sum()
    return losses


def sum_by_task(losses: dict[str, Tensor], tasks: Sequence[Task]) -> dict[str, Tensor]:
    """Add up each task's losses, auxiliary and initial ones included, unweighed."""
    of_task = {
        task.name: [loss for name, loss in losses.items() if name.partition("/")[0] == task.name] for task in tasks
    }
    return {name: torch.stack(own).sum() for name, own in of_task.items()}


def total_loss(losses: dict[str, Tensor], tasks: Sequence[Task]) -> Tensor:
    """Add up; auxiliary and initial losses have their task's weight."""
    weights = {task.name: task.weight for task in tasks}
    return torch.stack([weights[name.partition("/")[0]] * loss for name, loss in losses.items()]).sum()


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precisions: losses and metrics need the digits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
