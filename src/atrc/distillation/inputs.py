"""What goes into a distillation module, checked."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from atrc.errors import UserError


def in_order(features: Mapping[str, Tensor], tasks: Sequence[str]) -> list[Tensor]:
    """Return the features of the tasks, in their order.

    Raises:
        UserError: Features of a task are missing.
    """
    for task in tasks:
        if task not in features:
            raise UserError(f"no features of task '{task}'; got {', '.join(features)}")
    return [features[task] for task in tasks]
