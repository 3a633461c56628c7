"""How a network is run: recomputation, memory format, compilation. None of it changes what is computed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from atrc.genotype import SearchSpace
from atrc.network import MultiTaskNetwork
from atrc.training.recipe import Recipe

Recompute = Literal["nothing", "distillation", "network"]


def arrange(network: MultiTaskNetwork, recipe: Recipe) -> None:
    """Make a network run as its recipe says: `recompute`, `channels_last`, `compile`."""
    recompute(network, recipe.recompute or default_recompute(network))
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    if recipe.compile:
        network.compile(backend=recipe.compile)


def default_recompute(network: MultiTaskNetwork) -> Recompute:
    """Choose "distillation" where the blocks hold several contexts each, as in a search; else "nothing"."""
    return "distillation" if isinstance(network.genotype, SearchSpace) else "nothing"


def recompute(network: MultiTaskNetwork, what: Recompute = "network") -> None:
    """Keep only the inputs of parts and recompute the rest in the backward pass.

    The parts are the blocks of the backbone, the heads, the neck, and the distillation: of ATRC, every
    target. Gradients and the statistics of batch normalisation are the same to the bit.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.

    Args:
        network: Changed in place.
        what: All parts, or that of the distillation alone.
    """
    chosen = {"nothing": (), "distillation": network.distillation.parts(), "network": parts(network)}[what]
    for part in chosen:
        part.forward = functools.partial(_recomputed, part, part.forward)


def parts(network: MultiTaskNetwork) -> Iterator[nn.Module]:
    """Yield the parts of a network that have parameters; none is inside another."""
    yield from _blocks(network.backbone)
    heads = (*network.heads.values(), *network.auxiliary.values())
    for part in (network.neck, *network.distillation.parts(), *heads):
        if next(part.parameters(), None) is not None:
            yield part


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        listing = isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if listing or any(hasattr(child, name) for name in ("feature_info", "blocks")):  # timm's models and stages
            yield from _blocks(child)
        elif next(child.children(), None) is not None:
            yield child


def _recomputed(part: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not (part.training and torch.is_grad_enabled()):
        return forward(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _without_statistics(part)

    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _without_statistics(part: nn.Module) -> Iterator[None]:
    """Let the second forward pass of a step leave running statistics alone."""
    norms = [m for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]  # type: ignore[union-attr]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)  # type: ignore[union-attr]
