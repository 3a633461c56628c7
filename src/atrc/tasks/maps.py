"""The typed tensor of what is known per pixel: how a resize treats it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as TF

# h w before, y x after


class LabelMap(tv_tensors.Mask):
    """Labels, or a mask of where they are valid, (h w) or (c h w). A resize takes the nearest pixel's, unchanged."""


@TF.register_kernel(functional="resize", tv_tensor_cls=LabelMap)
def _resize_labels(inpt: LabelMap, size: list[int], **kwargs: Any) -> LabelMap:
    return type(inpt)(resize_nearest(inpt.as_subclass(torch.Tensor), size))


def resize_nearest(values: Shaped[Tensor, "*c h w"], size: Sequence[int]) -> Shaped[Tensor, "*c y x"]:
    """Resize by taking the pixel whose square holds the new pixel's centre.

    torchvision's kernel for masks takes the one at the new pixel's corner: up to half a pixel off from the image,
    whose bilinear resize goes by centres.

    >>> resize_nearest(torch.tensor([[1, 2, 3, 4, 5]]), (1, 3)).tolist()
    [[1, 3, 5]]
    """
    rows, columns = (_nearest(old, new) for old, new in zip(values.shape[-2:], size, strict=True))
    array = values.numpy()  # whose `take` needs a third of the time of torch's, for bytes
    if len(rows) < array.shape[-2]:  # first what leaves less to the second
        return torch.from_numpy(array.take(rows, -2).take(columns, -1))
    return torch.from_numpy(array.take(columns, -1).take(rows, -2))


def _nearest(old: int, new: int) -> np.ndarray:
    return (2 * np.arange(new) + 1) * old // (2 * new)
