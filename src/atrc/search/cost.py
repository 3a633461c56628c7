"""The cost of genotypes: expected multiply-adds of a search's choices, differentiable in alpha.

Beyond the paper, which searches for accuracy alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts import get_context
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.search.choice import Choice
from atrc.search.supergraph import Supergraph

# k candidates

Pair = tuple[str, str]


class Cost(nn.Module):
    """Multiply-adds of everything in a network that depends on its genotype.

    Some of it is shared: the join of a target is wider once one of its blocks is kept, and a task needs its auxiliary
    head once one block uses its label regions. Choices are independent, so the expectation is exact: what is shared
    costs its multiply-adds times 1 - prod(1 - p) over the candidates that need it.

    Attributes:
        blocks: By pair and context: the CP block with its part of the fuse; 0 for "none" [multiply-adds].
        joins: By target [multiply-adds].
        heads: By task [multiply-adds].
        most: The most expensive context of every pair and all that is shared: an upper bound [multiply-adds].
    """

    _blocks: Tensor
    _joins: Tensor
    _heads: Tensor
    _none: Tensor
    _users: Tensor

    def __init__(
        self, blocks: Mapping[Pair, Mapping[str, int]], joins: Mapping[str, int], heads: Mapping[str, int]
    ) -> None:
        """Take the counts; `count_cost` counts them for a network."""
        super().__init__()
        self.blocks, self.joins, self.heads = blocks, joins, heads
        self.most = sum(max(costs.values()) for costs in blocks.values()) + sum(joins.values()) + sum(heads.values())
        entries = [(pair, context) for pair, costs in blocks.items() for context in costs]
        none = [[pair[0] == target and context == "none" for pair, context in entries] for target in joins]
        users = [[label_task(*entry) == task for entry in entries] for task in heads]
        self.register_buffer("_blocks", self._share([blocks[pair][context] for pair, context in entries]))
        self.register_buffer("_joins", self._share(list(joins.values())))
        self.register_buffer("_heads", self._share(list(heads.values())))
        self.register_buffer("_none", torch.tensor(none))
        self.register_buffer("_users", torch.tensor(users))

    def _share(self, multiply_adds: list[int]) -> Float[Tensor, " _"]:
        return torch.tensor([count / self.most for count in multiply_adds])

    def of(self, genotype: Genotype) -> int:
        """Return what a genotype costs more than "none" everywhere [multiply-adds]."""
        kept = {target for (target, _), context in genotype.items() if context != "none"}
        return (
            sum(self.blocks[pair][_candidate(self.blocks[pair], context)] for pair, context in genotype.items())
            + sum(self.joins[target] for target in kept)
            + sum(self.heads[task] for task in genotype.label_tasks)
        )

    def forward(self, probabilities: Mapping[Pair, Float[Tensor, " _"]]) -> Float[Tensor, ""]:
        """Return the expected cost of a genotype drawn from every pair's probabilities, as a share of `most`."""
        p = torch.cat([probabilities[pair] for pair in self.blocks])
        kept = 1 - p.where(self._none, 1).prod(1)
        needed = 1 - (1 - p.where(self._users, 0)).prod(1)
        return (p * self._blocks).sum() + (kept * self._joins).sum() + (needed * self._heads).sum()

    def expected(self, supergraph: Supergraph) -> Float[Tensor, ""]:
        """Return the expected share under p_alpha; a fixed choice costs its context."""
        probabilities = {pair: _probabilities(choice) for pair, choice in supergraph.choices.items()}
        return self.to(next(iter(probabilities.values())).device)(probabilities)


def count_cost(network: MultiTaskNetwork, size: tuple[int, int]) -> Cost:
    """Count every candidate of a supergraph for one image. The network evaluates it once and is not changed.

    Args:
        network: Its ATRC modules, at any number of levels, consist of mixtures of choices.
        size: Height and width [px].
    """
    choices = Supergraph(network).choices
    blocks = {pair: dict.fromkeys(choice.contexts, 0) for pair, choice in choices.items()}
    joins = {target: 0 for target, _ in choices}
    features, auxiliary = _encode(network, size)
    for module, own, regions in network.distillation.by_level(features, auxiliary):
        pixels = next(iter(own.values()))[0, 0].numel()
        for pair, mixture in module.blocks():
            fuse = pixels * mixture.attention_channels * module.channels
            for context in set(mixture.contexts) - {"none"}:
                region_count = regions[task].shape[1] if (task := label_task(pair, context)) else 0
                block = block_multiply_adds(context, pixels, region_count, module.channels, mixture.attention_channels)
                blocks[pair][context] += block + fuse
        for target in joins:  # the half of the join that reads the fused contexts
            joins[target] += pixels * module.channels**2
    heads = {
        task: logits[0, 0].numel() * sum(conv.weight.numel() for conv in _convolutions(network.auxiliary[task]))
        for task, logits in auxiliary.items()
    }
    return Cost(blocks, joins, heads)


def block_multiply_adds(context: str, pixels: int, region_count: int, channels: int, attention_channels: int) -> int:
    """Return the multiply-adds of a CP block for one image: projections and attention.

    Args:
        context: Its context.
        pixels: Size h w of the feature grid [px].
        region_count: Label regions of the task that the context attends to, if it does.
        channels: Channels c of the features.
        attention_channels: Channels d inside the block.
    """
    c, d, kind = channels, attention_channels, get_context(context)
    attended = region_count if kind.regions else pixels
    projections = pixels * (c * d + d * d) + attended * (c * d + d * d + c * d)
    return projections + kind.multiply_adds(pixels, region_count, c, d)


def label_task(pair: Pair, context: str) -> str | None:
    """Return the task whose label regions a context of a (target, source) pair attends to, if it does."""
    return dict(zip(("target", "source"), pair, strict=True)).get(get_context(context).regions or "")


def _encode(network: MultiTaskNetwork, size: tuple[int, int]) -> tuple[dict, dict]:
    training = network.training
    try:
        with torch.inference_mode():
            features, auxiliary, _ = network.eval().encode(next(network.parameters()).new_zeros(1, 3, *size))
    finally:
        network.train(training)
    return features, auxiliary


def _convolutions(head: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)]


def _candidate(costs: Mapping[str, int], context: str) -> str:
    """Return the candidate that a context equals: on the diagonal S-label is T-label, and a search has one of them."""
    return context if context in costs else next(c for c in costs if get_context(c).regions)


def _probabilities(choice: Choice) -> Float[Tensor, " k"]:
    if choice.decided:
        return torch.zeros_like(choice.alpha).index_fill(0, choice.alpha.argmax(), 1.0)
    return choice.probabilities()
