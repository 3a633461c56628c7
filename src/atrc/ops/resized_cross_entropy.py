"""Cross entropy of logits that are coarser than the labels, without the resized logits in memory.

One custom operator, `atrc::resized_cross_entropy`, which returns the loss and, at once, its gradient: on a CPU by a C++
kernel, built on first use; for few classes, elsewhere and without a compiler by PyTorch's operators, image by image.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from atrc.ops import native

FEW = 8  # classes of which PyTorch's operators are as quick: the kernel's vectors hold those of one pixel


# b batch, k classes, y x grid of the logits, h w image
def resized_cross_entropy(
    logits: Float[Tensor, "b k y x"], labels: Integer[Tensor, "b h w"], weights: Float[Tensor, " k"] | None = None
) -> Float[Tensor, ""]:
    """Resize logits bilinearly to the size of the labels and add up the cross entropies of all pixels.

    The gradient reaches the logits alone, and cannot be differentiated again.

    Args:
        logits: In single or double precision, of any size.
        labels: Classes; pixels with another number do not count.
        weights: Of the classes; 1 if not given.

    >>> logits = torch.tensor([[[[0.0]], [[2.0]]]])
    >>> resized_cross_entropy(logits, torch.tensor([[[1, -1], [1, -1]]]))  # 2 log(1 + exp(-2))
    tensor(0.2539)
    """
    weights = logits.new_ones(logits.shape[1]) if weights is None else weights.to(logits)
    return _resized_cross_entropy(logits, labels.long(), weights)[0]


@torch.library.custom_op("atrc::resized_cross_entropy", mutates_args=())
def _resized_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    logits, labels = logits.contiguous(), labels.contiguous()
    if logits.shape[1] >= FEW and logits.is_cpu and native.available("resized_cross_entropy", logits.dtype):
        return _native(logits, labels, weights.contiguous())
    losses, grads = zip(*(_one_image(*image, weights) for image in zip(logits, labels, strict=True)), strict=True)
    return torch.stack(losses).sum(), torch.stack(grads)


def _native(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    total, grad = logits.new_empty(()), torch.empty_like(logits)
    library = native.library("resized_cross_entropy", logits.dtype)
    sizes = (*logits.shape, *labels.shape[1:])
    native.call(library, "resized_cross_entropy", (logits, labels, weights, total, grad), *sizes)
    return total, grad


def _one_image(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    size = list(labels.shape)
    counts = (labels >= 0) & (labels < len(logits))
    target = torch.where(counts, labels, 0)
    log_shares = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0].log_softmax(0)
    weight = torch.where(counts, weights[target], 0)
    loss = -torch.where(counts, weight * log_shares.gather(0, target[None])[0], 0).sum()
    grad = log_shares.exp_().scatter_add_(0, target[None], -torch.ones_like(weight)[None])
    grad = torch.where(counts, grad * weight, 0)
    if torch.are_deterministic_algorithms_enabled():
        return loss, _shrink_by_products(grad, logits)
    shape = [1, *logits.shape]
    return loss, torch.ops.aten.upsample_bilinear2d_backward(grad[None], size, shape, False)[0]


def _shrink_by_products(grad: Float[Tensor, "k h w"], logits: Float[Tensor, "k y x"]) -> Float[Tensor, "k y x"]:
    """Return the transpose of the resize: PyTorch's own adds up atomically on a GPU and refuses to be deterministic."""
    down, across = (_resize_matrix(grad, *sizes) for sizes in zip(grad.shape[1:], logits.shape[1:], strict=True))
    with torch.autocast(grad.device.type, enabled=False):
        return down.mT @ grad @ across


def _resize_matrix(like: Tensor, size: int, coarse: int) -> Float[Tensor, "size coarse"]:
    """Return what resizes one axis: the resized identity."""
    identity = torch.eye(coarse, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], size, mode="linear", align_corners=False)[0].mT


@_resized_cross_entropy.register_fake
def _(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    return logits.new_empty(()), logits.new_empty(logits.shape)


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return grad * ctx.saved_tensors[0], None, None


_resized_cross_entropy.register_autograd(_differentiate, setup_context=_remember)
