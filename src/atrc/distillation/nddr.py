"""NDDR-CNN, which is also distillation module A of PAD-Net: concatenate all tasks, project back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.distillation.base import Distillation, in_order
from atrc.distillation.cross_stitch import mostly_own

# b batch, c feature channels, h w feature grid, s sources


class NDDR(Distillation):
    """Reduce the concatenated features of all tasks to each target's own, by a 1x1 conv - BN - ReLU.

    At the start the convolution is a cross-stitch: `own_weight` of the target's own features, the rest shared equally
    among the other tasks. As the features come out of a ReLU, and as long as BN has seen nothing, the network then
    almost equals the one without distillation.

    Source: Gao et al., NDDR-CNN, CVPR 2019: the layer and its diagonal start; module A of Xu et al., PAD-Net,
    CVPR 2018, which concatenates as well (one row of Table 1 for both).
    """

    def __init__(self, tasks: Sequence[str], channels: int, own_weight: float = 0.9) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        rows = zip(self.tasks, mostly_own(len(self.tasks), own_weight), strict=True)
        self.reductions = nn.ModuleDict({target: _reduction(weights, channels) for target, weights in rows})

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        auxiliary: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        everything = torch.cat(in_order(features, self.tasks), 1)
        return {target: reduction(everything) for target, reduction in self.reductions.items()}


def _reduction(weights: Float[Tensor, " s"], channels: int) -> nn.Sequential:
    conv = nn.Conv2d(len(weights) * channels, channels, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.cat([weight * torch.eye(channels) for weight in weights], 1)[..., None, None])
    return nn.Sequential(conv, nn.BatchNorm2d(channels, momentum=0.05), nn.ReLU())  # the momentum of the released code
