"""What every distillation module provides."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from atrc.errors import UserError
from atrc.genotype import Genotype, SearchSpace

# b batch, c feature channels, h w feature grid


class Distillation(nn.Module, abc.ABC):
    """Multi-modal distillation: features of all tasks in, refined features out.

    Attributes:
        label_tasks: The tasks whose auxiliary predictions A_n the module reads.
        genotype: The contexts of ATRC, or what its search chooses from; None for other modules.
    """

    label_tasks: tuple[str, ...] = ()
    genotype: Genotype | SearchSpace | None = None

    @abc.abstractmethod
    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        auxiliary: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        """Return refined features of the same shapes, by task.

        Args:
            features: F_n of every task.
            auxiliary: A_n of the tasks in `label_tasks`: logits over their label regions.
        """

    def parts(self) -> Iterator[nn.Module]:
        """Yield the modules that recomputation treats one by one."""
        yield self

    def by_level(self, features: Mapping[str, Any], auxiliary: Mapping[str, Tensor]) -> list[tuple[Any, Any, Any]]:
        """Return (module, its features, its auxiliary) for every level, finest first."""
        return [(self, features, auxiliary)]


class NoDistillation(Distillation):
    """Every task keeps its own features: the single-task and multi-task baselines."""

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        auxiliary: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        return dict(features)


def in_order(features: Mapping[str, Tensor], tasks: Sequence[str]) -> list[Tensor]:
    """Return the features of the tasks, in their order.

    Raises:
        UserError: Features of a task are missing.
    """
    for task in tasks:
        if task not in features:
            raise UserError(f"no features of task '{task}'; got {', '.join(features)}")
    return [features[task] for task in tasks]


def projection(
    inputs: int, outputs: int, activation: type[nn.Module] = nn.ReLU, *, affine: bool = True
) -> tuple[nn.Module, ...]:
    """Return 1x1 conv - BN - activation, initialised Xavier-uniform."""
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    return conv, nn.BatchNorm2d(outputs, affine=affine), activation()
