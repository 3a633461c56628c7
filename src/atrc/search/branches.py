"""The search for a branched backbone (BMTAS): every task picks an operator in every layer."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from atrc.backbones import Backbone
from atrc.backbones.branched import TaskBackbone
from atrc.branching import Branching
from atrc.errors import UserError
from atrc.search.gumbel import gumbel_noise, gumbel_softmax

# b batch, h w image, l layers (stages after the first), t tasks, o operators of a layer (as many), p partitions


class BranchSupergraph(TaskBackbone):
    """A backbone whose later stages (layers) have one copy of the stage (operator) per task.

    Every task goes through the layers on its own. While alpha is searched, it mixes the operators of a layer by a
    Gumbel-softmax sample; in evaluation it uses the most probable one, in the warm-up its own. In the tree that is
    found, tasks share a layer if they picked the same operators in it and in all layers before it: from the stem
    upward, groups of tasks only split.

    Source: Bruggemann et al., BMVC 2020, Sec. 3.1 to 3.3 (BMTAS).
    """

    def __init__(self, backbone: Backbone, tasks: Sequence[str]) -> None:
        """Copy the stages and start undecided.

        Args:
            backbone: Any backbone made of stages.
            tasks: The tasks; every layer gets one operator for each.

        Raises:
            UserError: The backbone has no stages to branch.
        """
        super().__init__(backbone)
        first, *later = backbone.stages()
        if not later:
            raise UserError(f"the backbone {type(backbone).__name__} has one stage only, so it cannot branch")
        self.tasks = tuple(tasks)
        self.first = first
        self.later = nn.ModuleList(nn.ModuleList(copy.deepcopy(stage) for _ in tasks) for stage in later)
        # operator_alpha[i, j] are the logits of the operators that task j picks from in layer i.
        self.operator_alpha = nn.Parameter(torch.zeros(len(later), len(self.tasks), len(self.tasks)))
        self.weights: Float[Tensor, "l t o"] | None = None  # None in the warm-up

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the graph of the step's weights: it cannot be copied."""
        return {**self.__dict__, "weights": None if self.weights is None else self.weights.detach()}

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> dict[str, list[Float[Tensor, "b _ _ _"]]]:
        stem = self.first([image])
        return {task: self._path(stem, j) for j, task in enumerate(self.tasks)}

    def _path(self, state: list[Tensor], j: int) -> list[Tensor]:
        layers: Any = self.later
        picks = [j] * len(layers) if self.training else self.operator_alpha[:, j].argmax(-1).tolist()
        for i, (operators, pick) in enumerate(zip(layers, picks, strict=True)):
            if self.training and self.weights is not None:
                weights = self.weights[i, j].to(state[-1].dtype)
                outputs = zip(*(operator(state) for operator in operators), strict=True)
                state = [sum(w * x for w, x in zip(weights, level, strict=True)) for level in outputs]
            else:
                state = operators[pick](state)
        return state

    def alphas(self) -> list[nn.Parameter]:
        """Return the architecture parameters."""
        return [self.operator_alpha]

    def sample(self, temperature: float | None, seed: int) -> None:
        """Draw the weights of one step, or none in the warm-up; a seed draws the same noise on all devices."""
        if temperature is None:
            self.weights = None
            return
        alpha, generator = self.operator_alpha, torch.Generator().manual_seed(seed)
        self.weights = gumbel_softmax(alpha, gumbel_noise(alpha, generator), temperature)

    def entropy(self) -> Float[Tensor, ""]:
        """Return the mean entropy of the picks' distributions [nat]."""
        return torch.distributions.Categorical(logits=self.operator_alpha).entropy().mean()

    def expected_nodes(self) -> Float[Tensor, " l"]:
        """Return the expected number of operators in use in every layer, as in the paper's code."""
        return expected_nodes(self.operator_alpha.softmax(-1))

    @torch.no_grad()
    def count_gflops(self, size: tuple[int, int]) -> Float[Tensor, " l"]:
        """Return the operations of one operator of every layer for one image [GFLOP]; a multiply-add is two."""
        stages = [self.first, *(operators[0] for operators in self.later)]  # type: ignore[index]
        state, counts = [torch.zeros(1, 3, *size, device="meta")], []
        for stage in stages:
            with FlopCounterMode(display=False) as counter:
                state = copy.deepcopy(stage).to("meta").eval()(state)
            counts.append(counter.get_total_flops() / 1e9)
        return torch.tensor(counts[1:])

    def reset_statistics(self) -> None:
        """Forget the statistics of the operators' batch norms: they belong to other mixtures."""
        for module in self.later.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()

    def probabilities(self) -> dict[str, float]:
        """Return the probabilities of the picks, named `stage/task/operator`; an operator has the name of a task."""
        return {
            f"{i + 2}/{task}/{operator}": p
            for i, rows in enumerate(self.operator_alpha.softmax(-1).tolist())
            for task, row in zip(self.tasks, rows, strict=True)
            for operator, p in zip(self.tasks, row, strict=True)
        }

    def branching(self) -> Branching:
        """Return the most probable tree."""
        paths = [tuple(path) for path in self.operator_alpha.argmax(-1).T.tolist()]
        stages = []
        for depth in range(1, len(self.later) + 1):
            groups: dict[tuple[int, ...], list[str]] = {}
            for task, path in zip(self.tasks, paths, strict=True):
                groups.setdefault(path[:depth], []).append(task)
            stages.append(tuple(map(tuple, groups.values())))
        return Branching(tuple(stages))


def expected_nodes(picks: Float[Tensor, "l t o"]) -> Float[Tensor, " l"]:
    """Return the expected number of operators in use in every layer, as the paper's code estimates it.

    It carries the distribution over partitions of the tasks into groups from layer to layer. A partition comes about
    if the picks of a layer make exactly this partition and the layers before make one that it refines; all other cases
    count as fully split. That is exact for two tasks and too high for more: 10.53 instead of 10.28 operators for four
    tasks in three layers with uniform probabilities (2.4 %).

    Args:
        picks: picks[i, j] are the probabilities of the operators that task j picks from in layer i.

    Source: Bruggemann et al., BMVC 2020, Sec. 3.3 (expected resources).
    """
    choices, partition, refines, groups = _partitions(picks.shape[1])
    choices, partition, groups = (x.to(picks.device) for x in (choices, partition, groups))
    refines, counts = refines.to(picks), []
    current = (groups == 1).to(picks)  # all tasks share the stem
    for layer in picks:
        chances = layer[torch.arange(len(layer), device=layer.device), choices].prod(1)
        current = torch.zeros_like(current).index_add(0, partition, chances) * (refines @ current)
        current = torch.where(groups < len(layer), current, 0)
        current = torch.where(groups < len(layer), current, 1 - current.sum())
        counts.append((current * groups).sum())
    return torch.stack(counts)


@functools.cache
def _partitions(
    tasks: int,
) -> tuple[Int[Tensor, "_ t"], Int[Tensor, " _"], Bool[Tensor, "p p"], Int[Tensor, " p"]]:
    """Return all choices of operators, the partition that each makes, which refines which, and their groups."""
    choices = list(itertools.product(range(tasks), repeat=tasks))
    labels = [_in_order(choice) for choice in choices]
    partitions = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    known = torch.tensor(list(partitions))
    together = known[:, :, None] == known[:, None]  # of every pair of tasks
    refines = (~together[:, None] | together[None]).flatten(2).all(-1)
    return torch.tensor(choices), torch.tensor([partitions[x] for x in labels]), refines, known.max(1).values + 1


def _in_order(choice: Sequence[int]) -> tuple[int, ...]:
    """Number the groups of a choice in the order of their first tasks: (2, 0, 2) becomes (0, 1, 0)."""
    first: dict[int, int] = {}
    return tuple(first.setdefault(operator, len(first)) for operator in choice)
