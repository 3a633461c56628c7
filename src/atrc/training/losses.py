"""The training loss: every task's loss and auxiliary loss, weighted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from atrc.data.dataset import MultiTaskDataset
from atrc.data.frequencies import with_class_weights
from atrc.errors import UserError
from atrc.necks import resize
from atrc.network import Output
from atrc.tasks import SemanticSegmentation, Task
from atrc.tasks.base import Across, alone
from atrc.training.recipe import LossConfig


def configure_losses(tasks: tuple[Task, ...], config: LossConfig, dataset: MultiTaskDataset) -> tuple[Task, ...]:
    """Return tasks with the losses of a recipe, which take precedence over those of the data set.

    Args:
        tasks: The data set's tasks.
        config: Losses by task.
        dataset: The training images, whose classes are counted for "median_frequency".

    Raises:
        UserError: A task is not there or has no classes, or a value is not possible.
    """
    changes: dict[str, dict[str, Any]] = {}
    for name, weights in config.class_weights.items():
        changes.setdefault(name, {})["class_weights"] = weights if isinstance(weights, str) else tuple(weights)
    for name, share in config.label_smoothing.items():
        changes.setdefault(name, {})["label_smoothing"] = share
    known = [task.name for task in tasks if isinstance(task, SemanticSegmentation)]
    for name, change in changes.items():
        if name not in known:
            choices = f"choose from {', '.join(known)}" if known else "no task here has classes"
            raise UserError(f"loss.{next(iter(change))} names {name}, which has no classes here; {choices}")
    return with_class_weights(tuple(replace(task, **changes.get(task.name, {})) for task in tasks), dataset)


def task_losses(
    output: Output,
    truth: dict[str, Tensor],
    valid: dict[str, Tensor],
    tasks: Sequence[Task],
    across: Across = alone,
) -> dict[str, Tensor]:
    """Return the unweighted losses, each at image size.

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
    """Add up each task's losses, auxiliary and initial ones included, unweighted."""
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
