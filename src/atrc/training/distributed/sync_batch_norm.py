"""Batch normalisation over all processes, on any device: PyTorch's own needs a GPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
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
        if input.dtype in (torch.float16, torch.bfloat16):  # counts and sums need more digits
            with torch.autocast(input.device.type, enabled=False):
                return self.forward(input.float()).to(input.dtype)
        count = input.new_full((1,), input.numel() / input.shape[1])
        sums = _AllReduceSum.apply(torch.cat([input.sum((0, 2, 3)), count]))
        centred = input - (mean := sums[:-1] / sums[-1])[:, None, None]
        # A second sum, of squared distances: E[x^2] - E[x]^2 would cancel in float32.
        variance = _AllReduceSum.apply(centred.square().sum((0, 2, 3))) / sums[-1]
        self._track(mean.detach(), variance.detach(), float(sums[-1].detach()))
        normalised = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            normalised = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        return normalised

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: float) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / max(count - 1, 1), momentum)


def synchronise(network: nn.Module, device_type: str) -> None:
    """Make every BatchNorm2d take its statistics over all processes; parameters, buffers and names stay."""
    if device_type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
