"""Depth estimation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from atrc import metrics
from atrc.tasks.base import Across, Labelled, Task, alone, masked_mean
from atrc.tasks.colours import Bar, paint_scalar
from atrc.tasks.maps import LabelMap, resize_nearest

# b batch, r bins, h w image


class DepthMap(LabelMap):
    """Metres along the optical axis. Enlarging an image by s brings everything s times nearer."""


@TF.register_kernel(functional="resize", tv_tensor_cls=DepthMap)
def _resize_depth(inpt: DepthMap, size: list[int], interpolation: Any = None, **kwargs: Any) -> DepthMap:
    corner = interpolation is InterpolationMode.NEAREST
    resized = resize_nearest(inpt.as_subclass(torch.Tensor), size, corner=corner)
    scale = math.sqrt(resized.shape[-2] * resized.shape[-1] / (inpt.shape[-2] * inpt.shape[-1]))
    return DepthMap(resized / scale)


@dataclass(frozen=True)
class Depth(Task):
    """Distance along the optical axis [m]. Truth: metres; L1; RMSE; regions are bins of equal log width."""

    name: str = "depth"
    bins: int = 40
    nearest: float = 0.7
    farthest: float = 10.0
    weight: float = field(default=1.0, kw_only=True)

    metric_name: ClassVar[str] = "RMSE"
    unit: ClassVar[str] = "m"
    decoded: ClassVar[str] = "distance along the optical axis [m]"
    kind_title: ClassVar[str] = "Depth"
    hub_tag: ClassVar[str] = "depth-estimation"
    truth_type: ClassVar[type[tv_tensors.TVTensor]] = DepthMap

    @property
    def channels(self) -> int:
        return 1

    @property
    def region_count(self) -> int:
        return self.bins

    @property
    def legend(self) -> Bar:
        return Bar(self.nearest, self.farthest, "m", logarithmic=True)

    @property
    def region_names(self) -> tuple[str, ...]:
        edges = [self.nearest * (self.farthest / self.nearest) ** (i / self.bins) for i in range(self.bins + 1)]
        return tuple(f"{near:.2f}-{far:.2f} m" for near, far in itertools.pairwise(edges))

    @property
    def region_colours(self) -> UInt8[np.ndarray, "r 3"]:
        shares = (np.arange(self.bins) + 0.5) / self.bins
        return self.colour(self.nearest * (self.farthest / self.nearest) ** shares[None])[0]

    def loss(
        self,
        logits: Float[Tensor, "b 1 h w"],
        truth: Float[Tensor, "b h w"],
        valid: Bool[Tensor, "b h w"],
        across: Across = alone,
    ) -> Float[Tensor, ""]:
        return masked_mean((logits[:, 0] - truth).abs(), valid, across)

    def region_labels(self, truth: Float[Tensor, "b h w"]) -> Integer[Tensor, "b h w"]:
        share = torch.log(truth.clamp(min=1e-6) / self.nearest) / math.log(self.farthest / self.nearest)
        return (share * self.bins).nan_to_num(0).long().clamp(0, self.bins - 1)

    def decode(self, logits: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b h w"]:
        return logits[:, 0].float().clamp(min=0)  # as the released code before it computes RMSE

    def unscaled(self, logits: Float[Tensor, "b 1 h w"], scale: float) -> Float[Tensor, "b 1 h w"]:
        return logits * scale  # in the enlarged image everything is nearer

    def metric(self, *, fast: bool = False) -> metrics.RootMeanSquareError:
        return metrics.RootMeanSquareError()

    def constant(self, images: Sequence[Labelled]) -> Float[Tensor, "1 1 1"]:
        return torch.cat([truth[valid] for truth, valid in images]).mean().view(1, 1, 1)

    def colour(self, decoded: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        logarithm = np.log(np.maximum(decoded, 1e-3))  # as the label regions: near things deserve the colours
        return paint_scalar(logarithm, math.log(self.nearest), math.log(self.farthest), "turbo_r")
