"""The projections of many blocks at once: what reads the same features is one matrix product.

The blocks hold the weights; they are gathered anew in every forward pass, which is little work beside any map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# b batch, p projections, c input channels, d output channels, n pixels or regions

Layers = nn.Sequential  # conv - BN - activation, once or twice; conv is 1x1 without bias


def project(x: Float[Tensor, "b *p c n"], projections: Sequence[Layers]) -> Float[Tensor, "b _ d n"]:
    """Run projections of one form on one input, or each on its own.

    Args:
        x: What all of them read (b c n), or an input for each (b p c n).
        projections: Equal but for their weights.
    """
    for i in range(0, len(projections[0]), 3):
        x = _layer(x, [projection[i : i + 3] for projection in projections])
    return x


def _layer(x: Tensor, layers: Sequence[Layers]) -> Float[Tensor, "b p d n"]:
    norms = [cast(nn.BatchNorm2d, layer[1]) for layer in layers]
    weight = torch.stack([cast(nn.Conv2d, layer[0]).weight.flatten(1) for layer in layers])
    if norms[0].training:
        y = _normalise(_multiply(weight, x), norms)
    else:
        scale = torch.stack([_scale(norm) for norm in norms])
        shift = torch.stack([_shift(norm) for norm in norms])
        y = _multiply(weight * scale[..., None], x) + shift[..., None]
    return _activate(y, layers[0][2])


def _multiply(weight: Float[Tensor, "p d c"], x: Tensor) -> Float[Tensor, "b p d n"]:
    if x.dim() == 4:
        return torch.matmul(weight, x)
    p, d, _ = weight.shape
    return torch.bmm(weight.flatten(0, 1).expand(x.shape[0], -1, -1), x).unflatten(1, (p, d))


def _activate(y: Tensor, activation: nn.Module) -> Tensor:
    return torch.relu_(y) if isinstance(activation, nn.ReLU) else activation(y)


def _scale(norm: nn.BatchNorm2d) -> Float[Tensor, " d"]:
    """Return what a BN in evaluation multiplies by."""
    scale = torch.rsqrt(cast(Tensor, norm.running_var) + norm.eps)
    return scale if norm.weight is None else scale * norm.weight


def _shift(norm: nn.BatchNorm2d) -> Float[Tensor, " d"]:
    """Return what a BN in evaluation adds."""
    shift = -norm.running_mean * _scale(norm)  # type: ignore[operator]
    return shift if norm.bias is None else shift + norm.bias


def _normalise(y: Float[Tensor, "b p d n"], norms: Sequence[nn.BatchNorm2d]) -> Float[Tensor, "b p d n"]:
    """Normalise by the statistics of the batch; every BN keeps track of its own channels."""
    first = norms[0]
    names = ("running_mean", "running_var", *(("weight", "bias") if first.affine else ()))
    state: dict[str, Any] = {name: torch.cat([getattr(norm, name) for norm in norms]) for name in names}
    x = y.flatten(1, 2)
    if type(first) is nn.BatchNorm2d:
        momentum = 0.1 if first.momentum is None else first.momentum
        x = F.batch_norm(x, **state, training=True, momentum=momentum, eps=first.eps)
    else:  # one that takes its statistics over processes
        own = state | {"num_batches_tracked": cast(Tensor, first.num_batches_tracked).clone()}  # counted below
        x = torch.func.functional_call(first, own, (x[..., None],))[..., 0]
    with torch.no_grad():
        for name in ("running_mean", "running_var"):
            torch._foreach_copy_([getattr(norm, name) for norm in norms], state[name].split(y.shape[2]))
        torch._foreach_add_([cast(Tensor, norm.num_batches_tracked) for norm in norms], 1)
    return x.view_as(y)
