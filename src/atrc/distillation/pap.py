"""PAP: the affinities of all pairs of pixels, mixed between tasks, spread each task's features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atrc.distillation.base import projection
from atrc.distillation.diffusion import STEPS, Diffusion

# b batch, c feature channels, d reduced channels, s sources, t targets, l pixels, n some of them, h w feature grid

PAIRS = 2**24  # affinities that exist at a time: 64 MB in single precision


class PAP(Diffusion):
    """Pattern-affinitive propagation.

    1. Affinities. The pattern X of a task is a 1x1 conv - BN - ReLU (c -> d = c // 8) of its features; its affinities
       are the softmax over all pixels j of x_i . x_j / sqrt(d).
    2. Between tasks. A target's affinities are a mean of all tasks', with learned weights that sum to 1 (a softmax)
       and start equal.
    3. Within a task. Values (1x1 conv - BN - ReLU, c -> d) become the means of all pixels' values by these
       affinities, twice.
    4. [F_T, diffused values] -> 1x1 conv - BN - ReLU (c + d -> c).

    The affinities of one task are (h w)² numbers, 224 million at 425x560. They are computed for some target pixels at
    a time and recomputed for the second step and for the backward pass.

    Source: Zhang et al., Pattern-Affinitive Propagation, CVPR 2019: affinities as inner products, normalised; a
    weighted sum of them over tasks; iterated diffusion, blended with the features. Table 1 does not say with which
    layers. The widths, the two steps, and the join instead of the blend are ours and come closest to its cost for 4
    tasks of 67 channels (d = 8). Per step and target every pair of pixels costs d for its affinity, 4 for the mix and
    d for the diffusion: 2 x 4 x (8 + 4 + 8) = 160 multiply-adds a pair. The network has 4.54 M parameters, as in the
    paper, and 53.74 G (paper: 53.04 G, which counts BN and ReLU).
    """

    def __init__(self, tasks: Sequence[str], channels: int) -> None:
        d = max(1, channels // 8)
        super().__init__(tasks, channels, lambda: nn.Sequential(*projection(channels, d)), d)
        self.mixing = nn.Parameter(torch.zeros(len(self.tasks), len(self.tasks)))

    def diffuse(
        self, patterns: Float[Tensor, "b t d h w"], values: Float[Tensor, "b t d h w"]
    ) -> Float[Tensor, "b t d h w"]:
        pixels, spread = patterns.flatten(3).mT, values.flatten(3).mT
        for _ in range(STEPS):
            spread = diffuse(pixels, spread, self.mixing.softmax(1))
        return spread.mT.unflatten(3, values.shape[3:])


def diffuse(
    patterns: Float[Tensor, "b s l d"],
    values: Float[Tensor, "b t l d"],
    mixing: Float[Tensor, "t s"],
    pairs: int = PAIRS,
) -> Float[Tensor, "b t l d"]:
    """Replace every value by the mean of all pixels' values, weighted by the target's mixed affinities.

    Args:
        patterns: What the affinities compare.
        values: What is diffused.
        mixing: Weights of the sources' affinities, by target.
        pairs: How many affinities may exist at a time; at least those of one target pixel do.
    """
    if torch.compiler.is_exporting():  # a loop of unknown length cannot be exported
        return _diffuse_some(patterns, patterns, values, mixing)
    b, s, pixels, _ = patterns.shape
    chunks = patterns.split(max(1, pairs // (b * s * pixels)), 2)
    recompute = len(chunks) > 1 and torch.is_grad_enabled()
    return torch.cat(
        [(_recomputed if recompute else _diffuse_some)(some, patterns, values, mixing) for some in chunks], 2
    )


def _recomputed(*arguments: Tensor) -> Tensor:
    """Run `_diffuse_some`, recomputed in the backward pass."""
    return checkpoint(_diffuse_some, *arguments, use_reentrant=False, preserve_rng_state=False)


def _diffuse_some(
    some: Float[Tensor, "b s n d"],
    patterns: Float[Tensor, "b s l d"],
    values: Float[Tensor, "b t l d"],
    mixing: Float[Tensor, "t s"],
) -> Float[Tensor, "b t n d"]:
    """Diffuse to some target pixels."""
    affinities = ((some / math.sqrt(some.shape[-1])) @ patterns.mT).softmax(3)
    mixed = (mixing @ affinities.flatten(2)).view_as(affinities)
    return mixed @ values
