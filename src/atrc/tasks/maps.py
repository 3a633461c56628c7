"""The typed tensor of what is known per pixel: how a resize treats it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

# h w before, y x after


class LabelMap(tv_tensors.Mask):
    """Labels, or a mask of where they are valid, (h w) or (c h w). A resize takes the nearest pixel's, unchanged.

    The interpolation "nearest" is the corner rule of OpenCV and of the released code; all others go by centres.
    """


@TF.register_kernel(functional="resize", tv_tensor_cls=LabelMap)
def _resize_labels(inpt: LabelMap, size: list[int], interpolation: Any = None, **kwargs: Any) -> LabelMap:
    corner = interpolation is InterpolationMode.NEAREST
    return type(inpt)(resize_nearest(inpt.as_subclass(torch.Tensor), size, corner=corner))


def resize_nearest(
    values: Shaped[Tensor, "*c h w"], size: Sequence[int], *, corner: bool = False
) -> Shaped[Tensor, "*c y x"]:
    """Resize by taking the pixel whose square holds the new pixel's centre.

    OpenCV and torchvision's kernel for masks take the one at the new pixel's `corner`, which shifts labels against the
    image, whose bilinear resize goes by centres, by up to half a pixel.

    >>> resize_nearest(torch.tensor([[1, 2, 3, 4, 5]]), (1, 3)).tolist()
    [[1, 3, 5]]
    >>> resize_nearest(torch.tensor([[1, 2, 3, 4, 5]]), (1, 3), corner=True).tolist()
    [[1, 2, 4]]
    """
    from atrc.tasks.gather import gather  # with numba, which takes half a second to import

    array = values.numpy()
    result = np.empty((*array.shape[:-2], *size), array.dtype)
    rows, columns = (_nearest(old, new, corner) for old, new in zip(array.shape[-2:], size, strict=True))
    bits = np.dtype(f"u{array.itemsize}")  # whatever they mean, they are only moved
    gather(array.view(bits).reshape(-1, *array.shape[-2:]), rows, columns, result.view(bits).reshape(-1, *size))
    return torch.from_numpy(result)


def _nearest(old: int, new: int, corner: bool) -> np.ndarray:
    return ((2 * np.arange(new) + (0 if corner else 1)) * old // (2 * new)).astype(np.int32)
