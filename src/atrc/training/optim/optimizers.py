"""Optimisers and the learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from atrc.training.recipe import OptimConfig


def polynomial(config: OptimConfig, step: int) -> float:
    """Return the learning rate of a step (0-based): polynomial decay to 0 after an optional linear warm-up.

    >>> polynomial(OptimConfig(steps=10, lr=1.0, power=1.0), 5)
    0.5
    """
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    return config.lr * rise * (1 - step / config.steps) ** config.power


class Joint(Optimizer):
    """Several optimisers that step as one, so that gradient scaling and checkpoints see a single one."""

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        super().__init__([{**group} for group in groups], {})
        self.param_groups = groups  # the very groups of the members, so that a change of lr reaches them

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step every member."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the members' states."""
        return {"members": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the members' states."""
        for optimizer, state in zip(self.optimizers, state_dict["members"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


def sgd(parameters: list[torch.nn.Parameter], config: OptimConfig) -> torch.optim.SGD:
    """Return the paper's optimiser of the network's weights."""
    return torch.optim.SGD(parameters, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
