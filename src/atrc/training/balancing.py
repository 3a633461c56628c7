"""Loss balancing: how the losses of several tasks become one gradient."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.errors import UserError, needs_extra
from atrc.tasks import Task
from atrc.tasks.base import Across
from atrc.training.losses import sum_by_task, total_loss
from atrc.training.recipe import Recipe

Backward = Callable[..., None]  # like Tensor.backward, called with the loss first


class Balancing(nn.Module, abc.ABC):
    """From the unweighed losses of a step to the gradients of the weights.

    Its own parameters, if it has some, are trained with the weights.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @abc.abstractmethod
    def total(self, losses: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Return the loss of the step."""

    def backward(self, total: Tensor, losses: dict[str, Tensor], backward: Backward, across: Across) -> None:
        """Leave a gradient in every parameter.

        Args:
            total: The loss of the step, with what a search adds to it.
            losses: The losses that it was made of.
            backward: Runs the backward pass of a loss in the precision of the run.
            across: Averages over the processes of a distributed run.
        """
        backward(total)

    def weights(self) -> dict[str, float]:
        """Return the weights that it has found, by task."""
        return {}


class FixedWeights(Balancing):
    """The sum, each task with its own constant weight. Source: Sec. A."""

    def total(self, losses: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Return the weighed sum."""
        return total_loss(losses, self.tasks)


class Uncertainty(Balancing):
    """Learned weights: the sum over the tasks of `exp(-s) * loss + s`, where s is the log variance of a task.

    This is twice the form for regression, so that no factor 1/2 is left beside the loss. Classification has the same
    form here; in the source it has s / 2, and so twice the weight for a loss of the same size. A constant loss comes
    to rest at s = log(loss). Auxiliary and initial losses count as their task's. s starts at minus the log of the
    task's fixed weight, so that training begins where fixed weights do.

    Source: Kendall et al., CVPR 2018, Eq. 7 and 10.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks)
        for task in tasks:
            if task.weight <= 0:
                raise UserError(
                    f"optim.balancing uncertainty starts from the weights of the tasks, but that of {task.name} is "
                    f"{task.weight}; leave the task out, or take optim.balancing fixed"
                )
        self.log_variance = nn.Parameter(-torch.tensor([task.weight for task in tasks]).log())

    def total(self, losses: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Return the sum over the tasks."""
        by_task = torch.stack(list(sum_by_task(losses, self.tasks).values()))
        return (torch.exp(-self.log_variance) * by_task + self.log_variance).sum()

    def backward(self, total: Tensor, losses: dict[str, Tensor], backward: Backward, across: Across) -> None:
        """Leave a gradient in every parameter, its own included.

        A task of which no process has a valid pixel, and so no loss, has no say: its own would be 1, whatever s is.
        """
        backward(total)
        if (gradient := self.log_variance.grad) is not None:  # DDP averages only those of the network
            by_task = torch.stack(list(sum_by_task(losses, self.tasks).values())).detach()
            present = across((by_task != 0).to(gradient)) > 0
            self.log_variance.grad = torch.where(present, across(gradient), 0)

    def weights(self) -> dict[str, float]:
        """Return exp(-s) of every task."""
        found = torch.exp(-self.log_variance.detach()).tolist()
        return {task.name: weight for task, weight in zip(self.tasks, found, strict=True)}


class Aggregated(Balancing):
    """The gradients of the tasks, not their losses, are made one: by an aggregator of TorchJD.

    A row of the Jacobian is the gradient of one task's loss times its fixed weight. A parameter that only one task's
    loss reaches keeps that plain gradient; the others share one Jacobian, which takes twice tasks times parameters of
    memory. The backward pass runs once per task.

    Source: Quinton and Rey, arXiv 2406.16232; the aggregator's own for its rule.
    """

    def __init__(self, tasks: Sequence[Task], parameters: Sequence[nn.Parameter], aggregator: nn.Module) -> None:
        super().__init__(tasks)
        self.trained = list(parameters)
        self.aggregator = aggregator
        self.found: list[float] = []

    def total(self, losses: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Return the sum with fixed weights, to be logged."""
        return total_loss(losses, self.tasks)

    def backward(self, total: Tensor, losses: dict[str, Tensor], backward: Backward, across: Across) -> None:
        """Leave the aggregated gradient in the shared parameters and the plain one in the others."""
        columns = self._jacobian(losses, backward)
        shared = [p for p, column in zip(self.trained, columns, strict=True) if _is_shared(p, column)]
        if shared:
            found = import_module("torchjd.autojac").jac_to_grad(shared, self.aggregator)
            self.found = [] if found is None else found.tolist()

    def _jacobian(self, losses: dict[str, Tensor], backward: Backward) -> list[list[Tensor | None]]:
        """Return each parameter's gradient of every task, None where the task does not reach it.

        Not by `torchjd.autojac.backward`: mixed precision has to see every backward pass.
        """
        columns: list[list[Tensor | None]] = [[] for _ in self.trained]
        by_task = sum_by_task(losses, self.tasks)
        for i, task in enumerate(self.tasks, 1):
            backward(task.weight * by_task[task.name], retain_graph=i < len(self.tasks))
            for parameter, column in zip(self.trained, columns, strict=True):
                column.append(parameter.grad)
                parameter.grad = None
        return columns

    def weights(self) -> dict[str, float]:
        """Return the weights of the last step, for the aggregators that have some."""
        return {task.name: task.weight * found for task, found in zip(self.tasks, self.found, strict=False)}


def _is_shared(parameter: nn.Parameter, column: list[Tensor | None]) -> bool:
    """Move a column into `.jac` if several tasks reach the parameter, else into `.grad`."""
    reached = [row for row in column if row is not None]
    if len(reached) > 1:
        rows = [torch.zeros_like(parameter) if row is None else row for row in column]
        parameter.jac = torch.stack(rows)  # type: ignore[attr-defined]  # where TorchJD looks for it
    elif reached:
        parameter.grad = reached[0]
    column.clear()
    return len(reached) > 1


BALANCINGS: dict[str, type[Balancing]] = {"fixed": FixedWeights, "uncertainty": Uncertainty}
TORCHJD = "torchjd:"


def build_balancing(name: str, tasks: Sequence[Task], parameters: Sequence[nn.Parameter]) -> Balancing:
    """Make a balancing: "fixed", "uncertainty" or "torchjd:AGGREGATOR".

    Args:
        name: Which one.
        tasks: The tasks to balance.
        parameters: The weights of the network.

    Raises:
        UserError: Nothing of that name, or TorchJD is not installed.
    """
    if name.startswith(TORCHJD):
        return Aggregated(tasks, parameters, _aggregator(name.removeprefix(TORCHJD)))
    if name not in BALANCINGS:
        raise UserError(f"no optim.balancing '{name}'; choose {', '.join(BALANCINGS)} or torchjd:AGGREGATOR")
    return BALANCINGS[name](tasks)


def require_balancing(recipe: Recipe, search: bool, processes: int) -> None:
    """Refuse what an aggregator of gradients cannot be combined with, before anything starts.

    Raises:
        UserError: A search, several processes, or precision 16.
    """
    name, instead = recipe.optim.balancing, "or take optim.balancing fixed or uncertainty"
    if not name.startswith(TORCHJD):
        return
    if search:
        raise UserError(
            f"optim.balancing {name} cannot search: what a search adds to the loss is of no task; train, {instead}"
        )
    if processes > 1:
        raise UserError(f"optim.balancing {name} runs in one process, not in {processes}; set devices 1, {instead}")
    if recipe.precision == "16":
        raise UserError(
            f"optim.balancing {name} does not go with precision 16, whose scaled gradients can overflow; "
            f"set bf16 or 32, {instead}"
        )


def _aggregator(name: str) -> nn.Module:
    with needs_extra("balancing", f"optim.balancing torchjd:{name}"):  # TorchJD, and what this aggregator needs
        found = _aggregators()
        if name in found:
            return found[name]()
    raise UserError(f"no aggregator '{name}' in TorchJD that can be used here; choose {', '.join(sorted(found))}")


def _aggregators() -> dict[str, type[nn.Module]]:
    """Name TorchJD's aggregators, but those that need arguments or have a state, which checkpoints could not keep."""
    package, aggregation = import_module("torchjd"), import_module("torchjd.aggregation")
    kinds = {name: getattr(aggregation, name) for name in aggregation.__all__}
    return {
        name: kind
        for name, kind in kinds.items()
        if issubclass(kind, aggregation.Aggregator)
        and not inspect.isabstract(kind)
        and not issubclass(kind, package.Stateful)
        and all(p.default is not p.empty for p in inspect.signature(kind).parameters.values())
    }
