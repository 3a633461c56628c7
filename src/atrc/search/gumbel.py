"""Gumbel-softmax samples, which a search runs instead of a hard choice. Source: Sec. 3.3, Eq. 7."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# k candidates, in the last dimension


def gumbel_noise(alpha: Float[Tensor, "*_ k"], generator: torch.Generator) -> Float[Tensor, "*_ k"]:
    """Draw standard Gumbel noise; drawn on the CPU, it is the same wherever alpha is."""
    uniform = torch.rand(alpha.shape, generator=generator).clamp(1e-9, 1 - 1e-7)
    return -(-uniform.log()).log().to(alpha)


def gumbel_softmax(
    alpha: Float[Tensor, "*_ k"], noise: Float[Tensor, "*_ k"], temperature: float
) -> Float[Tensor, "*_ k"]:
    """Return weights that sum to 1: near a hard choice at low temperatures, differentiable in alpha.

    >>> gumbel_softmax(torch.zeros(2), torch.tensor([0.0, 1.0]), temperature=1.0)
    tensor([0.2689, 0.7311])
    """
    return ((alpha.log_softmax(-1) + noise) / temperature).softmax(-1)
