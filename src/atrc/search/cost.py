"""What genotypes cost: the expected multiply-adds of a search's choices, differentiable in alpha.

Beyond the paper, which searches for accuracy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from atrc.distillation import ATRC, MultiScale
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.search.mixture import Choice, Mixture
from atrc.search.supergraph import Supergraph

# k candidates

Pair = tuple[str, str]


class Cost(nn.Module):
    """Multiply-adds of everything in a network that depends on its genotype.

    Some of it is shared: a target's join is wider as soon as one of its blocks is kept, and a task needs its auxiliary
    head as soon as one block uses its label regions, whose prototypes in its own features serve all targets. Choices
    are independent, so the expectation is exact: what is shared costs its multiply-adds times 1 - prod(1 - p) over the
    candidates that call for it.

    Attributes:
        blocks: By pair and context: the CP block with its part of the fuse; 0 for "none" [multiply-adds].
        joins: By target [multiply-adds].
        heads: By task [multiply-adds].
        pools: By task, the prototypes of its own label regions in its own features [multiply-adds].
        most: Every pair's dearest context and all that is shared; no genotype costs more [multiply-adds].
    """

    _blocks: Tensor
    _joins: Tensor
    _heads: Tensor
    _none: Tensor
    _users: Tensor
    _pools: Tensor
    _readers: Tensor

    def __init__(
        self,
        blocks: Mapping[Pair, Mapping[str, int]],
        joins: Mapping[str, int],
        heads: Mapping[str, int],
        pools: Mapping[str, int],
    ) -> None:
        """Take what was counted; `count_cost` counts it for a network."""
        super().__init__()
        self.blocks, self.joins, self.heads, self.pools = blocks, joins, heads, pools
        shared = sum(sum(costs.values()) for costs in (joins, heads, pools))
        self.most = sum(max(costs.values()) for costs in blocks.values()) + shared
        entries = [(pair, context) for pair, costs in blocks.items() for context in costs]
        none = [[t == target and context == "none" for (t, _), context in entries] for target in joins]
        users = [[_labels(*entry) == task for entry in entries] for task in heads]
        readers = [[i for i, entry in enumerate(entries) if _pool(*entry) == task] for task in pools]
        self.register_buffer("_blocks", self._share([blocks[pair][context] for pair, context in entries]))
        self.register_buffer("_joins", self._share(list(joins.values())))
        self.register_buffer("_heads", self._share(list(heads.values())))
        self.register_buffer("_none", torch.tensor(none))
        self.register_buffer("_users", torch.tensor(users))
        self.register_buffer("_pools", self._share(list(pools.values())))
        self.register_buffer("_readers", torch.tensor(readers, dtype=torch.long).view(len(pools), -1 if pools else 0))

    def _share(self, multiply_adds: list[int]) -> Float[Tensor, " _"]:
        return torch.tensor([count / self.most for count in multiply_adds])

    def of(self, genotype: Genotype) -> int:
        """Return what a genotype costs more than one of "none" alone [multiply-adds]."""
        kept = {target for (target, _), context in genotype.items() if context != "none"}
        pooled = {task for entry in genotype.items() if (task := _pool(*entry)) is not None}
        return (
            sum(self.blocks[pair][_candidate(pair, context)] for pair, context in genotype.items())
            + sum(self.joins[target] for target in kept)
            + sum(self.heads[task] for task in genotype.label_tasks)
            + sum(self.pools[task] for task in pooled)
        )

    def forward(self, probabilities: Mapping[Pair, Float[Tensor, " _"]]) -> Float[Tensor, ""]:
        """Return the expected cost of a genotype drawn from every pair's probabilities, as a share of `most`."""
        p = torch.cat([probabilities[pair] for pair in self.blocks])
        kept = 1 - p.where(self._none, 1).prod(1)
        needed = 1 - (1 - p.where(self._users, 0)).prod(1)
        read = 1 - (1 - p[self._readers]).prod(1)
        own = (p * self._blocks).sum()
        return own + (kept * self._joins).sum() + (needed * self._heads).sum() + (read * self._pools).sum()

    def expected(self, supergraph: Supergraph) -> Float[Tensor, ""]:
        """Return the expected share under p_alpha; what is fixed costs what it was fixed to."""
        probabilities = {pair: _probabilities(choice) for pair, choice in supergraph.choices.items()}
        return self.to(next(iter(probabilities.values())).device)(probabilities)


def count_cost(network: nn.Module, size: tuple[int, int]) -> Cost:
    """Count every candidate of a supergraph once, while it evaluates one image; nothing of it changes.

    Args:
        network: Called with an image (1 3 h w); its ATRC modules, at any number of levels, consist of mixtures.
        size: Height and width [px].
    """
    choices = Supergraph(network).choices
    blocks = {pair: dict.fromkeys(choice.contexts, 0) for pair, choice in choices.items()}
    joins = {target: 0 for target, _ in choices}
    heads = {task: 0 for _, task in choices}
    pools = {task: 0 for _, task in choices}

    def count_module(module: nn.Module, inputs: tuple[Mapping[str, Tensor], Mapping[str, Tensor]]) -> None:
        own = _count_pools(module, *inputs)  # type: ignore[arg-type]
        for task, multiply_adds in own.items():
            pools[task] += multiply_adds
        for pair, context, multiply_adds in _count_blocks(module, *inputs):  # type: ignore[arg-type]
            blocks[pair][context] += multiply_adds - own.get(_pool(pair, context) or "", 0)
        for target, multiply_adds in _count_joins(module, inputs[0]):  # type: ignore[arg-type]
            joins[target] += multiply_adds

    def count_head(task: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def count(head: nn.Module, inputs: tuple[Tensor]) -> None:
            heads[task] += _count(head.forward, *inputs)

        return count

    hooks = [m.register_forward_pre_hook(count_module) for m in network.modules() if isinstance(m, ATRC)]
    for module in network.modules():
        if isinstance(module, MultiTaskNetwork | MultiScale):
            hooks += [head.register_forward_pre_hook(count_head(task)) for task, head in module.auxiliary.items()]
    _evaluate(network, size, hooks)
    return Cost(blocks, joins, heads, pools)


def _evaluate(network: nn.Module, size: tuple[int, int], hooks: list[RemovableHandle]) -> None:
    parameter, training = next(network.parameters()), network.training
    try:
        with torch.inference_mode():
            network.eval()(parameter.new_zeros(1, 3, *size))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()


def _count_blocks(
    module: ATRC, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]
) -> list[tuple[Pair, str, int]]:
    counts = []
    for (target, source), mixture in module.blocks():
        if not isinstance(mixture, Mixture):
            continue
        row, own = module.rows[target], features[target]
        fuse = _weights(row.fuse[0]) // len(row.blocks) * own[0, 0].numel()
        for context, block in mixture.candidates.items():
            attended = _count(block, own, features[source], regions.get(target), regions.get(source))
            counts.append(((target, source), context, attended + fuse))
    return counts


def _count_pools(module: ATRC, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> dict[str, int]:
    """Count the means of every task's features over its own label regions."""
    return {task: regions[task].shape[1] * features[task][0].numel() for task in module.genotype.sources}


def _count_joins(module: ATRC, features: Mapping[str, Tensor]) -> list[tuple[str, int]]:
    """Count one half of every join: a target whose sources are all "none" has no fused features to read."""
    return [
        (target, _weights(row.join[0]) // 2 * features[target][0, 0].numel()) for target, row in module.rows.items()
    ]


def _weights(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _count(function: Callable[..., Tensor], *inputs: Tensor | None) -> int:
    with FlopCounterMode(display=False) as counter:
        function(*inputs)
    return counter.get_total_flops() // 2


def _labels(pair: Pair, context: str) -> str | None:
    """Return the task whose label regions a block of this context uses."""
    return {"t_label": pair[0], "s_label": pair[1]}.get(context)


def _pool(pair: Pair, context: str) -> str | None:
    """Return the task whose own regions in its own features a block of this context attends to."""
    return pair[1] if context == "s_label" or (context == "t_label" and pair[0] == pair[1]) else None


def _candidate(pair: Pair, context: str) -> str:
    """Name S-label T-label on the diagonal, where they are equal and a search has one of them."""
    return "t_label" if context == "s_label" and pair[0] == pair[1] else context


def _probabilities(choice: Choice) -> Float[Tensor, " k"]:
    if choice.decided:
        return torch.zeros_like(choice.alpha).index_fill(0, choice.alpha.argmax(), 1.0)
    return choice.probabilities()
