"""Weights by name: checked before they fill a network, or the memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from atrc.errors import UserError

SPARE = 1 << 27  # parameters that a network may drop while it is built


@contextlib.contextmanager
def at_most(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuse to build a network with more parameters than there are weights, before it fills the memory.

    A network may be built with some that it drops again, such as the classifier of a backbone.

    Raises:
        UserError: It has more.
    """
    thread, left = threading.get_ident(), SPARE + 4 * sum(value.numel() for value in weights.values())

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if parameter is None or parameter.is_meta or threading.get_ident() != thread:
            return
        left -= parameter.numel()
        if left < 0:
            raise UserError("asks for a network of many more parameters than there are weights; save it again")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], where: str | Path) -> None:
    """Fill a network with weights, all of them, in its own precision.

    Raises:
        UserError: They do not fit. It names the first key that is missing, unknown or of another shape.
    """
    own = network.state_dict()
    faults = {
        "missing": [key for key in own if key not in weights],
        "unknown": [key for key in weights if key not in own],
        "of another shape": [key for key in own if key in weights and own[key].shape != weights[key].shape],
    }
    found = [f"{len(keys)} {fault}, '{keys[0]}' first" for fault, keys in faults.items() if keys]
    if found:
        raise UserError(f"{where}: the weights do not fit the network: {'; '.join(found)}; was it saved by this atrc?")
    network.load_state_dict(weights)
