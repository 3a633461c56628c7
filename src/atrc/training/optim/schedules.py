"""Learning-rate schedules, from timm: functions of the step, so that there is no state to resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.scheduler import CosineLRScheduler, PolyLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer

from atrc.errors import UserError
from atrc.training.recipe import OptimConfig


def _polynomial(optimizer: Optimizer, steps: int, config: OptimConfig, **warmup: Any) -> Scheduler:
    return PolyLRScheduler(optimizer, steps, power=config.power, **warmup)


def _cosine(optimizer: Optimizer, steps: int, config: OptimConfig, **warmup: Any) -> Scheduler:
    return CosineLRScheduler(optimizer, steps, **warmup)


def _constant(optimizer: Optimizer, steps: int, config: OptimConfig, **warmup: Any) -> Scheduler:
    return StepLRScheduler(optimizer, decay_t=steps, decay_rate=1.0, **warmup)


SCHEDULES: dict[str, Callable[..., Scheduler]] = {
    "polynomial": _polynomial,  # lr * (1 - step / steps) ** power: the paper's
    "cosine": _cosine,
    "constant": _constant,
}


def build_schedule(optimizer: Optimizer, config: OptimConfig) -> Callable[[int], None]:
    """Return what sets the learning rate of a step, counted from 0.

    After a linear warm-up to `config.lr` the schedule runs over the remaining steps. The factor `lr_scale` of a
    parameter group multiplies its learning rate.

    >>> import torch
    >>> sgd = torch.optim.SGD([torch.zeros(1)], 1.0)
    >>> set_lr = build_schedule(sgd, OptimConfig(steps=10, lr=1.0, power=1.0))
    >>> set_lr(5)
    >>> sgd.param_groups[0]["lr"]
    0.5

    Raises:
        UserError: The schedule is unknown.
    """
    if config.schedule not in SCHEDULES:
        raise UserError(f"optim.schedule is '{config.schedule}'; choose from {', '.join(SCHEDULES)}")
    remaining = max(config.steps - config.warmup, 2)  # timm warns of 1, where the first step is the last
    scheduler = SCHEDULES[config.schedule](
        optimizer,
        remaining,
        config,
        warmup_t=config.warmup,
        warmup_lr_init=config.lr / (config.warmup + 1),
        warmup_prefix=True,
        t_in_epochs=False,
    )
    return scheduler.step_update
