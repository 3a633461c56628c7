"""A relaxed context pooling block: a mixture of candidates that the search narrows down to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts import ContextPooling
from atrc.search.gumbel import gumbel_softmax

# b batch, c feature channels, d attention channels, t / s target / source label regions, h w grid,
# k candidates


class Choice(nn.Module):
    """The architecture parameters alpha of one pair: a distribution over its candidates, narrowed down to one.

    Source: Sec. 3.3, Eq. 7.
    """

    fixed: Tensor

    def __init__(self, contexts: Sequence[str]) -> None:
        """Start undecided between the candidates."""
        super().__init__()
        self.contexts = tuple(contexts)
        self.alpha = nn.Parameter(torch.zeros(len(self.contexts)))
        self.register_buffer("fixed", torch.tensor(False))
        self.decided: str | None = None  # what it is fixed to: reading `fixed` would wait for a GPU in every step
        self.register_load_state_dict_post_hook(_recall)
        self.weights: Float[Tensor, " k"] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the graph of the step's weights: it cannot be copied."""
        return {**self.__dict__, "weights": None if self.weights is None else self.weights.detach()}

    @property
    def best(self) -> str:
        """The most probable candidate."""
        return self.decided or self.contexts[int(self.alpha.argmax())]

    def probabilities(self) -> Float[Tensor, " k"]:
        """Return p_alpha over the candidates."""
        return self.alpha.softmax(0)

    def entropy(self) -> Float[Tensor, ""]:
        """Return the entropy of p_alpha [nat]; a fixed choice's is constant."""
        alpha = self.alpha.detach() if self.decided else self.alpha
        return torch.distributions.Categorical(logits=alpha, validate_args=False).entropy()

    def sample(self, noise: Float[Tensor, " k"], temperature: float) -> None:
        """Set the weights of the coming step from standard Gumbel noise. Source: Eq. 7."""
        self.weights = gumbel_softmax(self.alpha, noise, temperature)

    def fix_if_decided(self, lead: float) -> bool:
        """Fix the choice for good once the best probability leads the second by `lead`; True if it was now."""
        if self.decided:
            return False
        first, second = self.probabilities().detach().topk(2).values.tolist()
        if first - second < lead:
            return False
        self.decided = self.best
        self.fixed.fill_(True)
        self.alpha.grad = None
        return True


def _recall(choice: Choice, _: object) -> None:
    """Note what a loaded choice is fixed to."""
    choice.decided = None
    choice.decided = choice.best if choice.fixed else None


class Mixture(nn.Module):
    """All candidates of one pair, weighed by a Gumbel-softmax sample of its choice.

    While training, `Choice.sample` draws the weights of a step. In evaluation, and for good once the choice is
    fixed, the most probable candidate runs alone. Source: Sec. 3.3, Eq. 6.
    """

    def __init__(self, choice: Choice, channels: int, attention_channels: int) -> None:
        """Make one block per candidate.

        Args:
            choice: The candidates and their weights; "none" contributes zeros. Blocks at several levels share it.
            channels: Channels c of the features.
            attention_channels: Channels d inside the blocks.
        """
        super().__init__()
        self.choice = choice
        self.attention_channels = attention_channels
        self.candidates = nn.ModuleDict(
            {
                context: ContextPooling(context, channels, attention_channels, affine_value=False)
                for context in choice.contexts
                if context != "none"
            }
        )

    def forward(
        self,
        target: Float[Tensor, "b c h w"],
        source: Float[Tensor, "b c h w"],
        target_regions: Float[Tensor, "b t h w"] | None = None,
        source_regions: Float[Tensor, "b s h w"] | None = None,
    ) -> Float[Tensor, "b d h w"]:
        """Return the weighed contexts; see `ContextPooling`."""
        features = target, source, target_regions, source_regions
        nothing = target.new_zeros(target.shape[0], self.attention_channels, *target.shape[2:])
        parts = (block(*features) if weight is None else weight * block(*features) for block, weight in self.terms())
        return sum(parts, nothing)

    def terms(self) -> list[tuple[ContextPooling, Tensor | None]]:
        """Return the candidates that run, with their weights; None weighs 1."""
        choice = self.choice
        if choice.decided or not self.training or choice.weights is None:
            return [] if choice.best == "none" else [(self.candidates[choice.best], None)]  # type: ignore[list-item]
        weighed = zip(choice.contexts, choice.weights, strict=True)
        return [(self.candidates[context], weight) for context, weight in weighed if context != "none"]  # type: ignore[misc]
