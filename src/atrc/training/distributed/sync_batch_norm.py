"""Batch normalisation over all processes, on any device: PyTorch's own needs a GPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn


class _AllReduceSum(torch.autograd.Function):
    """Sum over processes; so is the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of the global batch. Same state as `nn.BatchNorm2d`."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        return normalise(self, input)


class SyncBatchNormAct2d(BatchNormAct2d):
    """The same for timm's batch normalisation with an activation, as in EfficientNet."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized():
            return super().forward(x)
        return self.act(self.drop(normalise(self, x)))


def normalise(norm: nn.BatchNorm2d, input: Tensor) -> Tensor:
    """Normalise by the statistics of all processes, and track them."""
    if input.dtype in (torch.float16, torch.bfloat16):  # counts and sums need more digits
        with torch.autocast(input.device.type, enabled=False):
            return normalise(norm, input.float()).to(input.dtype)
    count = input.new_full((1,), input.numel() / input.shape[1])
    sums = _AllReduceSum.apply(torch.cat([input.sum((0, 2, 3)), count]))
    centred = input - (mean := sums[:-1] / sums[-1])[:, None, None]
    # A second sum, of squared distances: E[x^2] - E[x]^2 would cancel in float32.
    variance = _AllReduceSum.apply(centred.square().sum((0, 2, 3))) / sums[-1]
    _track(norm, mean.detach(), variance.detach(), float(sums[-1].detach()))
    normalised = centred * torch.rsqrt(variance + norm.eps)[:, None, None]
    if norm.affine:
        normalised = normalised * norm.weight[:, None, None] + norm.bias[:, None, None]
    return normalised


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: float) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    momentum = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * count / max(count - 1, 1), momentum)


_SYNCHRONISED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: SyncBatchNorm2d,
    BatchNormAct2d: SyncBatchNormAct2d,
}


def synchronise(network: nn.Module, device_type: str) -> None:
    """Make every batch normalisation take its statistics over all processes; parameters, buffers and names stay."""
    if device_type != "cpu":
        convert_sync_batchnorm(network)
        return
    for module in network.modules():
        module.__class__ = _SYNCHRONISED.get(type(module), type(module))
