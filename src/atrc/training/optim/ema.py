"""The exponential moving average of the weights, from timm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from timm.utils import ModelEmaV3
from torch import nn


def make_ema(network: nn.Module, decay: float | None) -> ModelEmaV3 | None:
    """Return the moving average of a network's weights and statistics, in their precision; None without a decay.

    The decay is smaller in the first steps, so that the initial weights do not stay in the average.
    """
    return None if decay is None else ModelEmaV3(network, decay, use_warmup=True)


@contextmanager
def averaged(network: nn.Module, ema: ModelEmaV3 | None) -> Iterator[None]:
    """Let a network have the averaged weights for a while."""
    if ema is None:
        yield
        return
    own = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(ema.module.state_dict())
    try:
        yield
    finally:
        network.load_state_dict(own)
