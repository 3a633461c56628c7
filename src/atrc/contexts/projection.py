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

from atrc.ops import projection, projection_available

# b batch, p projections, c input channels, d output channels, n pixels or regions

Layers = nn.Sequential  # conv - BN - activation, once or twice; conv is 1x1 without bias


def project(x: Float[Tensor, "b *p c n"], projections: Sequence[Layers]) -> Float[Tensor, "b _ d n"]:
    """Run projections of one form on one input, or each on its own.

    Args:
        x: What all of them read (b c n), or an input for each (b p c n).
        projections: Equal but for their weights.
    """
    layers = [[layers[i : i + 3] for layers in projections] for i in range(0, len(projections[0]), 3)]
    if not all(_alike([layer[1] for layer in some]) for some in layers):
        return torch.stack([_alone(x if x.dim() == 3 else x[:, i], each) for i, each in enumerate(projections)], 1)
    if _at_once(x, [layer[0][1] for layer in layers]):
        return _project(x, layers)
    for layer in layers:
        x = _layer(x, layer)
    return x


def join(
    maps: Sequence[Float[Tensor, "b _ n"]],
    weights: Sequence[Float[Tensor, "d _"]],
    norm: nn.Module,
    *,
    relu: bool,
) -> Float[Tensor, "b d n"]:
    """Run conv - BN, and ReLU if asked for, on maps side by side, without putting them there.

    Args:
        maps: The parts of the input.
        weights: The columns of the conv's weight that read each part.
        norm: The BN.
        relu: Whether a ReLU follows.
    """
    if _at_once(maps[0], [norm]):
        return _run(
            maps, [torch.cat(list(weights), 1)[None]], [[cast(nn.BatchNorm2d, norm)]], "relu" if relu else "none"
        ).squeeze(1)
    parts = [(weight.expand(x.shape[0], -1, -1), x) for weight, x in zip(weights, maps, strict=True)]
    y = torch.bmm(*parts[0])  # len(x) would fix the batch of an exported network
    for part in parts[1:]:
        y = torch.baddbmm(y, *part)
    y = norm(y[..., None])[..., 0]
    return torch.relu(y) if relu else y


def _at_once(x: Tensor, norms: Sequence[nn.Module]) -> bool:
    """Whether the kernel knows these layers: in training, with statistics of this process alone."""
    return x.dim() == 3 and projection_available(x) and x[:, 0].numel() > 1 and all(_is_plain(norm) for norm in norms)


def _alike(norms: Sequence[nn.Module]) -> bool:
    """Whether norms can be one: BNs that differ in their numbers only, not frozen one by one, nor of another kind."""
    kinds = {
        (type(norm), norm.training, norm.momentum, norm.eps, norm.affine, norm.running_mean is None)
        if isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm)
        else None
        for norm in norms
    }
    return len(kinds) == 1 and None not in kinds and norms[0].running_mean is not None


def _alone(x: Float[Tensor, "b c n"], projection: Layers) -> Float[Tensor, "b d n"]:
    """Run one projection as it is."""
    return projection(x[..., None])[..., 0]


def _is_plain(norm: nn.Module) -> bool:
    plain = type(norm) is nn.BatchNorm2d and norm.training
    return plain and norm.momentum is not None and norm.running_mean is not None


def _project(x: Float[Tensor, "b c n"], layers: Sequence[Sequence[Layers]]) -> Float[Tensor, "b p d n"]:
    weights = [torch.stack([cast(nn.Conv2d, each[0]).weight.flatten(1) for each in layer]) for layer in layers]
    norms = [[cast(nn.BatchNorm2d, each[1]) for each in layer] for layer in layers]
    last = layers[-1][0][2]
    name = _name(last)
    z = _run([x], weights, norms, name or "none")
    return z if name else last(z)


def _name(activation: nn.Module) -> str | None:
    """Return what the operator calls an activation; None if it has no such."""
    if isinstance(activation, nn.Softplus):
        return "softplus" if (activation.beta, activation.threshold) == (1, 20) else None
    return "relu" if isinstance(activation, nn.ReLU) else None


def _run(
    maps: Sequence[Tensor], weights: Sequence[Tensor], norms: Sequence[Sequence[nn.BatchNorm2d]], activation: str
) -> Float[Tensor, "b p d n"]:
    """Run one or two layers at once; every BN keeps track of its own channels."""
    affine = [[_affine(each) for each in layer] for layer in norms]
    scales, shifts = (torch.stack([torch.cat([each[i] for each in layer]) for layer in affine]) for i in (0, 1))
    eps = [layer[0].eps for layer in norms]
    z, statistics = projection(list(maps), weights[0], (*weights, None)[1], scales, shifts, eps, activation)
    for layer, (mean, variance) in zip(norms, statistics, strict=True):
        _keep_track(layer, mean, variance, z.shape[0] * z.shape[3])
    return z


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return what a BN multiplies by and adds."""
    if norm.affine:
        return norm.weight, norm.bias
    mean = cast(Tensor, norm.running_mean)
    return torch.ones_like(mean), torch.zeros_like(mean)


@torch.no_grad()
def _keep_track(norms: Sequence[nn.BatchNorm2d], mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics towards those of a batch, as PyTorch does."""
    momentum = cast(float, norms[0].momentum)
    new = {"running_mean": mean, "running_var": variance * (count / (count - 1))}
    for name, value in new.items():
        tracked = [cast(Tensor, getattr(norm, name)) for norm in norms]
        torch._foreach_mul_(tracked, 1 - momentum)
        torch._foreach_add_(tracked, value.split(len(tracked[0])), alpha=momentum)
    torch._foreach_add_([cast(Tensor, norm.num_batches_tracked) for norm in norms], 1)


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
        momentum = 1 / (int(cast(Tensor, first.num_batches_tracked)) + 1) if first.momentum is None else first.momentum
        x = F.batch_norm(x, **state, training=True, momentum=momentum, eps=first.eps)
    else:  # one that takes its statistics over processes
        own = state | {"num_batches_tracked": cast(Tensor, first.num_batches_tracked).clone()}  # counted below
        x = torch.func.functional_call(first, own, (x[..., None],))[..., 0]
    with torch.no_grad():
        for name in ("running_mean", "running_var"):
            torch._foreach_copy_([getattr(norm, name) for norm in norms], state[name].split(y.shape[2]))
        torch._foreach_add_([cast(Tensor, norm.num_batches_tracked) for norm in norms], 1)
    return x.view_as(y)
