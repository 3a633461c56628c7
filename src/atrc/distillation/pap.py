"""PAP: the affinities of all pairs of pixels, mixed between tasks, spread each task's features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atrc.distillation.base import Distillation, in_order, projection

# b batch, c feature channels, d reduced channels, s sources, t targets, l pixels, n some of them, h w feature grid

STEPS = 2
PAIRS = 2**24  # affinities that exist at a time: 64 MB in single precision


class PAP(Distillation):
    """Pattern-affinitive propagation.

    1. Affinities. The pattern X of a task is a 1x1 conv - BN - ReLU (c -> d = c // 8) of its features; its affinities
       are the softmax over all pixels j of x_i . x_j / sqrt(d).
    2. Between tasks. A target's affinities are a mean of all tasks', with learned weights that sum to 1 (a softmax)
       and start equal.
    3. Within a task. Values (1x1 conv - BN - ReLU, c -> d) become the means of all pixels' values by these
       affinities, twice.
    4. [F_T, diffused values] -> 1x1 conv - BN - ReLU (c + d -> c).

    The affinities of one task are (h w)² numbers, 224 million at 425x560. They are computed for some target pixels at
    a time, forgotten, and computed again for the second step and for the backward pass.

    Source: Zhang et al., Pattern-Affinitive Propagation, CVPR 2019: affinities as inner products, normalised; a
    weighted sum of them over tasks; iterated diffusion, blended with the features. Table 1 does not say with which
    layers. The widths, the two steps, and the join in place of the blend are ours and come closest to its cost for 4
    tasks of 67 channels (d = 8). Per step and target every pair of pixels costs d for its affinity, 4 for the mix and
    d for the diffusion: 2 x 4 x (8 + 4 + 8) = 160 multiply-adds a pair. The network has 4.54 M parameters, as in the
    paper, and 53.74 G (paper: 53.04 G, which counts BN and ReLU).
    """

    def __init__(self, tasks: Sequence[str], channels: int) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        c, d = channels, max(1, channels // 8)
        self.patterns = nn.ModuleDict({task: nn.Sequential(*projection(c, d)) for task in tasks})
        self.values = nn.ModuleDict({task: nn.Sequential(*projection(c, d)) for task in tasks})
        self.mixing = nn.Parameter(torch.zeros(len(self.tasks), len(self.tasks)))
        self.joins = nn.ModuleDict({task: nn.Sequential(*projection(c + d, c)) for task in tasks})

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        auxiliary: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        height, width = in_order(features, self.tasks)[0].shape[2:]
        patterns, values = self._pixels(self.patterns, features), self._pixels(self.values, features)
        for _ in range(STEPS):
            values = diffuse(patterns, values, self.mixing.softmax(1))
        maps = values.mT.unflatten(3, (height, width)).unbind(1)
        return {
            task: self.joins[task](torch.cat([features[task], diffused], 1))
            for task, diffused in zip(self.tasks, maps, strict=True)
        }

    def _pixels(self, layers: nn.ModuleDict, features: Mapping[str, Tensor]) -> Float[Tensor, "b s l d"]:
        return torch.stack([layers[task](features[task]).flatten(2).mT for task in self.tasks], 1)


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
    forget = len(chunks) > 1 and torch.is_grad_enabled()
    return torch.cat([(_forgetful if forget else _diffuse_some)(some, patterns, values, mixing) for some in chunks], 2)


def _forgetful(*arguments: Tensor) -> Tensor:
    """`_diffuse_some`, computed again for the backward pass."""
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
