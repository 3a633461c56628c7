"""A block that combines contexts instead of using one: the mixture of a search, static and dynamic combinations.

They differ in what gates the contexts: a sampled choice (`atrc.search`), weights that are the same for every image, or
weights that depend on the image. Sec. 3.3 names the static and the dynamic combination and tries neither.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.distillation.atrc import ATRC, ContextPooling
from atrc.genotype import SearchSpace

# b batch, c feature channels, d attention channels, k candidates, t / s target / source label regions, h w grid


class Mixture(nn.Module):
    """The weighted sum of the contexts of one pair. "none" takes weight and contributes zeros.

    The BNs of the values have no weights: how much a context counts is up to the gate. Source: Sec. 3.3, Eq. 6.
    """

    def __init__(self, contexts: Sequence[str], channels: int, attention_channels: int, gate: nn.Module) -> None:
        """Make one block per candidate.

        Args:
            contexts: The candidates.
            channels: Channels c of the features.
            attention_channels: Channels d inside the blocks.
            gate: `(target, source) -> {context: weight}`; contexts that are left out do not run. Weights are numbers or
                tensors that broadcast to (b, 1, 1, 1).
        """
        super().__init__()
        self.contexts, self.attention_channels, self.gate = tuple(contexts), attention_channels, gate
        blocks = {  # "global" alone is a Python keyword, which torch.export cannot write as an attribute
            f"{context}_context": ContextPooling(context, channels, attention_channels, affine_value=False)
            for context in contexts
            if context != "none"
        }
        self.candidates: Mapping[str, ContextPooling] = nn.ModuleDict(blocks)  # type: ignore[assignment]

    def forward(
        self,
        target: Float[Tensor, "b c h w"],
        source: Float[Tensor, "b c h w"],
        target_densities: Float[Tensor, "b t h w"] | None = None,
        source_densities: Float[Tensor, "b s h w"] | None = None,
    ) -> Float[Tensor, "b d h w"]:
        """Return the weighted sum of the contexts; see `ContextPooling`."""
        parts = [
            weight * self.candidate(context)(target, source, target_densities, source_densities)
            for context, weight in self.gate(target, source).items()
            if context != "none"
        ]
        if not parts:
            return target.new_zeros(target.shape[0], self.attention_channels, *target.shape[2:])
        return functools.reduce(torch.add, parts)

    def candidate(self, context: str) -> ContextPooling:
        """Return the block of one context."""
        return self.candidates[f"{context}_context"]


class StaticGate(nn.Module):
    """The same weights for every image: a softmax, equal at the start. Source: Sec. 3.3, "static"."""

    def __init__(self, contexts: Sequence[str], channels: int) -> None:
        super().__init__()
        self.contexts = tuple(contexts)
        self.logits = nn.Parameter(torch.zeros(len(contexts)))

    def forward(self, target: Float[Tensor, "b c h w"], source: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        return dict(zip(self.contexts, self.logits.softmax(0).to(target.dtype), strict=True))


class DynamicGate(nn.Module):
    """Weights by the image: a linear layer reads the means of the target's and the source's features.

    Equal at the start. Source: Sec. 3.3, "dynamic"; the paper leaves open what the weights depend on.
    """

    def __init__(self, contexts: Sequence[str], channels: int) -> None:
        super().__init__()
        self.contexts = tuple(contexts)
        self.linear = nn.Linear(2 * channels, len(contexts))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, target: Float[Tensor, "b c h w"], source: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        means = torch.cat([target.mean((2, 3)), source.mean((2, 3))], 1)
        weights = self.linear(means).softmax(1).to(target.dtype)[..., None, None, None]
        return dict(zip(self.contexts, weights.unbind(1), strict=True))


GATES: dict[str, Callable[[Sequence[str], int], nn.Module]] = {"atrc_static": StaticGate, "atrc_dynamic": DynamicGate}


def combined_atrc(
    name: str, tasks: Sequence[str], channels: int, attention_channels: int | None = None, *, dropout: float = 0.05
) -> ATRC:
    """Return an ATRC module whose every block combines the candidates of a search.

    >>> module = combined_atrc("atrc_static", ["semseg", "depth"], channels=8)
    >>> [block.contexts for (target, source), block in module.blocks() if target == source == "depth"]
    [('none', 'global', 'local', 't_label')]

    Args:
        name: One of `GATES`.
        tasks: The tasks, as targets and as sources.
        channels: Channels c of the features of every task.
        attention_channels: Channels d inside the blocks; by default half of `channels`.
        dropout: Probability of Dropout2d on the refined features.
    """
    space, d = SearchSpace(tuple(tasks)), attention_channels or max(1, channels // 2)

    def make_block(target: str, source: str) -> nn.Module:
        contexts = space.candidates(target, source)
        return Mixture(contexts, channels, d, GATES[name](contexts, channels))

    return ATRC(space, channels, d, make_block=make_block, dropout=dropout)


def heaviest(
    block: nn.Module, target: Float[Tensor, "b c h w"], source: Float[Tensor, "b c h w"]
) -> ContextPooling | None:
    """Return the context pooling block that a pair's block is, or weights most for one image; None for "none" alone.

    Args:
        block: A `ContextPooling` or a `Mixture`.
        target: Features F_T of one image.
        source: Features F_S of the same image.
    """
    if isinstance(block, ContextPooling):
        return block
    assert isinstance(block, Mixture)
    weights = {context: float(weight) for context, weight in block.gate(target, source).items() if context != "none"}
    return block.candidate(max(weights, key=weights.__getitem__)) if weights else None
