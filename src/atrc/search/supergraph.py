"""The supergraph: an ATRC module whose blocks are mixtures, and the steps of its search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.distillation import ATRC, Mixture
from atrc.genotype import Genotype, SearchSpace
from atrc.search.choice import Choice
from atrc.search.gumbel import gumbel_noise


def supergraph(tasks: Sequence[str], attention_channels: int | None = None) -> Callable[[int], ATRC]:
    """Return a factory, channels -> ATRC, whose every block is a mixture; dropout is off while searching.

    Modules from one factory, at several levels, share their choices: a pair has one context.
    """
    space = SearchSpace(tuple(tasks))
    choices = {(t, s): Choice(space.candidates(t, s)) for t in tasks for s in tasks}

    def make(channels: int) -> ATRC:
        d = attention_channels or max(1, channels // 2)

        def make_block(target: str, source: str) -> Mixture:
            return Mixture(space.candidates(target, source), channels, d, choices[target, source])

        return ATRC(space, channels, d, make_block=make_block, dropout=0.0)

    return make


class Supergraph:
    """The choices of a network, one per pair, and the operations of a search on them."""

    def __init__(self, network: nn.Module) -> None:
        """Collect the choices of a network."""
        self.choices: dict[tuple[str, str], Choice] = {
            pair: block.gate
            for module in network.modules()
            if isinstance(module, ATRC)
            for pair, block in module.blocks()
            if isinstance(block, Mixture) and isinstance(block.gate, Choice)
        }

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.choices.values())

    def alphas(self) -> list[nn.Parameter]:
        """Return the architecture parameters."""
        return [choice.alpha for choice in self]

    def sample(self, temperature: float, seed: int) -> None:
        """Draw the weights of one step; the same seed draws the same noise on every device and process."""
        generator = torch.Generator().manual_seed(seed)
        for choice in self:
            choice.sample(gumbel_noise(choice.alpha, generator), temperature)

    def entropy(self) -> Float[Tensor, ""]:
        """Return the mean entropy over all blocks [nat]."""
        return torch.stack([choice.entropy() for choice in self]).mean()

    def fix(self, margin: float) -> list[tuple[str, str, str]]:
        """Fix the blocks that have decided; return them as (target, source, context)."""
        return [(*pair, choice.best) for pair, choice in self.choices.items() if choice.fix_if_decided(margin)]

    def genotype(self, step: int = 0) -> Genotype:
        """Return the most probable context of every pair."""
        contexts: dict[str, dict[str, str]] = {}
        for (target, source), choice in self.choices.items():
            contexts.setdefault(target, {})[source] = choice.best
        return Genotype(contexts, step)

    def probabilities(self) -> dict[str, float]:
        """Return p_alpha of every candidate, named `target/source/context`."""
        return {
            f"{target}/{source}/{context}": probability
            for (target, source), choice in self.choices.items()
            for context, probability in zip(choice.contexts, choice.probabilities().tolist(), strict=True)
        }
