"""Batch normalisation folded into the convolutions before it, for networks that only predict."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from atrc.distillation import ATRC

# b batch, c channels, h w image

Network = TypeVar("Network", bound=nn.Module)


class Pair(NamedTuple):
    """A convolution, and the batch normalisation that alone reads it."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d


def fold_batch_norm(network: Network) -> Network:
    """Return a copy in evaluation mode in which convolutions do what the batch norms behind them did.

    It predicts the same up to rounding, and sooner; it is not for training. The projections of ATRC's blocks stay as
    they are: they fold their own in evaluation mode.

    Args:
        network: Takes images (b 3 h w), such as a `MultiTaskNetwork`.

    >>> layers = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    >>> fold_batch_norm(layers)
    Sequential(
      (0): Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1))
      (1): Identity()
      (2): ReLU()
    )
    """
    folded = copy.deepcopy(network).eval()
    paths = {module: name for name, module in folded.named_modules()}
    for conv, norm in find_pairs(folded):
        conv.weight, conv.bias = _fused(conv, norm)
        folded.set_submodule(paths[norm], norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity())
    for module in folded.modules():
        if isinstance(module, ATRC):
            _fold_rows(module)
    return folded


@torch.no_grad()
def find_pairs(network: nn.Module) -> list[Pair]:
    """Run a network in evaluation mode once, on a small grey image, to see which batch norms alone read a convolution.

    Those are not among them whose weights are read elsewhere too.
    """
    parameter = next(network.parameters())
    with _Watch() as watch:
        output = network(torch.full((1, 3, 64, 64), 0.5, dtype=parameter.dtype, device=parameter.device))
    watch.reads.update(map(id, tree_leaves(output)))  # by whoever gets it
    return list(watch.pairs(network))


class _Watch(TorchFunctionMode):
    """Counts how often every tensor is read, and notes the convolutions and batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[int] = Counter()  # by identity of the tensor
        self.weights: dict[int, Tensor] = {}  # of the convolution, by identity of its output
        self.norms: list[tuple[Tensor, Tensor]] = []  # input and running mean
        self.seen: list[Any] = []  # alive, so that no two have the same identity

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):  # or it only asks for a shape
            self.reads.update({id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)})
            self.seen += [args, kwargs, result]
        if func is F.conv2d:
            self.weights[id(result)] = args[1]
        elif func is F.batch_norm:
            self.norms.append((args[0], args[1]))
        return result

    def pairs(self, network: nn.Module) -> Iterator[Pair]:
        convs: dict[int, Any] = {id(m.weight): m for m in network.modules() if type(m).forward is nn.Conv2d.forward}
        norms: dict[int, Any] = {
            id(m.running_mean): m for m in network.modules() if type(m) in (nn.BatchNorm2d, BatchNormAct2d)
        }
        uses: dict[tuple[int, int], list[int]] = defaultdict(list)
        for output, mean in self.norms:
            uses[id(self.weights.get(id(output))), id(mean)].append(self.reads[id(output)])
        for (weight, mean_id), reads in uses.items():
            alone = set(reads) == {1} and self.reads[weight] == self.reads[mean_id] == len(reads)
            if alone and weight in convs and mean_id in norms:
                yield Pair(convs[weight], norms[mean_id])


class _Shift(nn.Module):
    """Adds a number to every channel."""

    shift: Tensor

    def __init__(self, shift: Float[Tensor, " c"]) -> None:
        super().__init__()
        self.register_buffer("shift", shift[:, None, None])

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.shift


def _fold_rows(module: ATRC) -> None:
    """Fold what reads the contexts: matrix products by the weights of convolutions that are never called."""
    for row in module.rows.values():
        for layers in (getattr(row, "fuse", None), row.join):
            if layers is not None and isinstance(layers[1], nn.BatchNorm2d):
                layers[0].weight, shift = _fused(cast(nn.Conv2d, layers[0]), layers[1])
                layers[1] = _Shift(shift.detach())


def _fused(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[nn.Parameter, nn.Parameter]:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    return fuse_conv_bn_weights(conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias)
