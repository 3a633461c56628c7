"""ATRC whose blocks combine all contexts instead of choosing one.

Sec. 3.3 names both combinations, static and dynamic, and tries neither. They need no search: the weights of the
contexts are trained with the rest of the network, and every candidate runs, in training and afterwards.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts import ContextPooling
from atrc.distillation.atrc import ATRC
from atrc.genotype import SearchSpace

# b batch, c feature channels, d attention channels, k candidates, t / s target / source label regions, h w grid


class Combination(nn.Module, abc.ABC):
    """The contexts of one pair, weighed by a softmax; "none" takes weight and contributes zeros.

    As in a search, the value's BN does not scale, so that the weights alone say how much a context counts.
    """

    def __init__(self, contexts: Sequence[str], channels: int, attention_channels: int) -> None:
        """Make one block per candidate; a row of `weights` is in the order of `contexts`."""
        super().__init__()
        self.contexts = tuple(contexts)
        blocks = {  # "global" alone is a Python keyword, which torch.export cannot write as an attribute
            f"{context}_context": ContextPooling(context, channels, attention_channels, affine_value=False)
            for context in contexts
            if context != "none"
        }
        self.candidates: Mapping[str, ContextPooling] = nn.ModuleDict(blocks)  # type: ignore[assignment]

    @abc.abstractmethod
    def weights(self, target: Float[Tensor, "b c h w"], source: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Return the weights of the contexts for every image."""

    def forward(
        self,
        target: Float[Tensor, "b c h w"],
        source: Float[Tensor, "b c h w"],
        target_regions: Float[Tensor, "b t h w"] | None = None,
        source_regions: Float[Tensor, "b s h w"] | None = None,
    ) -> Float[Tensor, "b d h w"]:
        """Return the weighed contexts; see `ContextPooling`."""
        weights = dict(zip(self.contexts, self.weights(target, source).to(target.dtype).unbind(1), strict=True))
        parts = [
            weights[block.context][:, None, None, None] * block(target, source, target_regions, source_regions)
            for block in self.candidates.values()
        ]
        return functools.reduce(torch.add, parts)


class StaticCombination(Combination):
    """The same weights for every image. Source: Sec. 3.3, "static"."""

    def __init__(self, contexts: Sequence[str], channels: int, attention_channels: int) -> None:
        """Start with equal weights."""
        super().__init__(contexts, channels, attention_channels)
        self.logits = nn.Parameter(torch.zeros(len(self.contexts)))

    def weights(self, target: Float[Tensor, "b c h w"], source: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        return self.logits.softmax(0).expand(target.shape[0], -1)


class DynamicCombination(Combination):
    """Weights by the image: a linear layer reads the means of the target's and the source's features.

    Source: Sec. 3.3, "dynamic". The paper leaves open what the weights depend on.
    """

    def __init__(self, contexts: Sequence[str], channels: int, attention_channels: int) -> None:
        """Start with equal weights for every image."""
        super().__init__(contexts, channels, attention_channels)
        self.gate = nn.Linear(2 * channels, len(self.contexts))
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def weights(self, target: Float[Tensor, "b c h w"], source: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        pooled = torch.cat([target.mean((2, 3)), source.mean((2, 3))], 1)
        return self.gate(pooled).softmax(1)


COMBINATIONS: dict[str, type[Combination]] = {"atrc_static": StaticCombination, "atrc_dynamic": DynamicCombination}


def combined_atrc(
    name: str,
    tasks: Sequence[str],
    channels: int,
    attention_channels: int | None = None,
    *,
    dropout: float = 0.05,
) -> ATRC:
    """Return an ATRC module whose every block combines the candidates of a search.

    >>> module = combined_atrc("atrc_static", ["semseg", "depth"], channels=8)
    >>> [block.contexts for (target, source), block in module.blocks() if target == source == "depth"]
    [('none', 'global', 'local', 't_label')]

    Args:
        name: One of `COMBINATIONS`.
        tasks: The tasks, targets and sources alike.
        channels: Channels c of every task's features.
        attention_channels: Channels d inside the blocks; half of `channels` if not given.
        dropout: Probability of Dropout2d on the refined features.
    """
    space, d = SearchSpace(tuple(tasks)), attention_channels or channels // 2

    def make_block(target: str, source: str) -> nn.Module:
        return COMBINATIONS[name](space.candidates(target, source), channels, d)

    return ATRC(space, channels, d, make_block=make_block, dropout=dropout)
