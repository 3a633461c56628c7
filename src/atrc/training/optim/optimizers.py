"""Optimisers, from timm and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.optim import create_optimizer_v2
from torch import nn
from torch.optim import Optimizer

from atrc.errors import UserError

# Names in recipes -> names in timm. On a GPU the step runs over all tensors at once (`foreach`), PyTorch's default;
# fused kernels may round differently and are not used.
OPTIMIZERS = {
    "sgd": "momentum",  # with classical momentum: the paper's
    "nesterov": "sgd",
    "adam": "adam",
    "adamw": "adamw",
    "nadamw": "nadamw",
    "adan": "adan",
    "lamb": "lamb",
    "lion": "lion",
    "muon": "muon",
    "rmsprop": "rmsprop",
}


def build_optimizer(
    name: str,
    groups: list[nn.Parameter] | list[dict[str, Any]],
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Make an optimiser.

    Args:
        name: A key of `OPTIMIZERS`.
        groups: Parameters, or groups of them.
        lr: Learning rate.
        momentum: Momentum, for optimisers that have it.
        weight_decay: Weight decay of groups without their own.

    Raises:
        UserError: The name is unknown.
    """
    return create_optimizer_v2(groups, opt=timm_name(name), lr=lr, momentum=momentum, weight_decay=weight_decay)


def timm_name(name: str) -> str:
    """Return timm's name of an optimiser.

    Raises:
        UserError: The name is unknown.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"optim.optimizer is '{name}'; choose from {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


class Joint(Optimizer):
    """Several optimisers that step as one, so that gradient scaling and checkpoints see a single one.

    Attributes:
        active: Those that step; all, unless somebody selects some.
    """

    active: tuple[Optimizer, ...]

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = self.active = optimizers
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        super().__init__([{**group} for group in groups], {})
        self.param_groups = groups  # the members' own groups, so that a change of lr reaches them

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step the active members."""
        for optimizer in self.active:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the members' states."""
        return {"members": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the members' states."""
        for optimizer, state in zip(self.optimizers, state_dict["members"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
