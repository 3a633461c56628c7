"""The network, and how it is built from plain values."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atrc.network.build import build_network
    from atrc.network.config import NetworkConfig
    from atrc.network.network import MultiTaskNetwork, Output

__all__ = ["MultiTaskNetwork", "NetworkConfig", "Output", "build_network"]

# Imported when first used: the command line needs NetworkConfig, and no torch before a command runs.
_MODULES = {
    "MultiTaskNetwork": "network",
    "NetworkConfig": "config",
    "Output": "network",
    "build_network": "build",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'atrc.network' has no attribute '{name}'")
    return getattr(importlib.import_module(f"atrc.network.{_MODULES[name]}"), name)
