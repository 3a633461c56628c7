"""The choice of one pair's context: a distribution over candidates that the search narrows down to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.search.gumbel import gumbel_softmax

# b batch, c feature channels, h w grid, k candidates


class Choice(nn.Module):
    """The architecture parameters alpha of one pair; gates a `Mixture`.

    While training, `sample` draws the weights of a step. In evaluation, and for good once the choice is fixed, the most
    probable candidate runs alone.

    Source: Sec. 3.3, Eq. 6 and 7.
    """

    fixed: Tensor

    def __init__(self, contexts: Sequence[str]) -> None:
        """Start undecided between the candidates."""
        super().__init__()
        self.contexts = tuple(contexts)
        self.alpha = nn.Parameter(torch.zeros(len(self.contexts)))
        self.register_buffer("fixed", torch.tensor(False))
        self.decided: str | None = None  # the candidate it is fixed to; reading `fixed` would wait for a GPU every step
        self.register_load_state_dict_post_hook(_restore_decision)
        self.weights: Float[Tensor, " k"] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the graph of the step's weights: it cannot be copied."""
        return {**self.__dict__, "weights": None if self.weights is None else self.weights.detach()}

    def forward(
        self, target: Float[Tensor, "b c h w"], source: Float[Tensor, "b c h w"]
    ) -> dict[str, Tensor] | dict[str, float]:
        """Return the weights of the candidates that run."""
        if self.decided or not self.training or self.weights is None:
            return {self.best: 1.0}
        return dict(zip(self.contexts, self.weights, strict=True))

    @property
    def best(self) -> str:
        """The most probable candidate."""
        return self.decided or self.contexts[int(self.alpha.argmax())]

    def probabilities(self) -> Float[Tensor, " k"]:
        """Return p_alpha over the candidates."""
        return self.alpha.softmax(0)

    def entropy(self) -> Float[Tensor, ""]:
        """Return the entropy of p_alpha [nat]; that of a fixed choice has no gradient."""
        alpha = self.alpha.detach() if self.decided else self.alpha
        return torch.distributions.Categorical(logits=alpha, validate_args=False).entropy()

    def sample(self, noise: Float[Tensor, " k"], temperature: float) -> None:
        """Set the weights of the coming step from standard Gumbel noise. Source: Eq. 7."""
        self.weights = gumbel_softmax(self.alpha, noise, temperature)

    def fix_if_decided(self, margin: float) -> bool:
        """Fix the choice for good once the best probability exceeds the second by `margin`; True if it happened now."""
        if self.decided:
            return False
        first, second = self.probabilities().detach().topk(2).values.tolist()
        if first - second < margin:
            return False
        self.decided = self.best
        self.fixed.fill_(True)
        self.alpha.grad = None
        return True


def _restore_decision(choice: Choice, _: object) -> None:
    """Set `decided` from loaded state."""
    choice.decided = None
    choice.decided = choice.best if choice.fixed else None
