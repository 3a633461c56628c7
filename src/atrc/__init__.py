"""Adaptive task-relational context for multi-task dense prediction."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atrc.backbones import build_backbone
    from atrc.data.layouts import open_dataset
    from atrc.distillation import ATRC
    from atrc.errors import UserError
    from atrc.genotype import Genotype, SearchSpace
    from atrc.metrics import BoundaryFMeasure
    from atrc.network import MultiTaskNetwork
    from atrc.ops import local_attention
    from atrc.training.loading import load

__version__ = "0.1.0"

# The public surface, imported when first used: `import atrc` needs no torch.
_PUBLIC = {
    "ATRC": "atrc.distillation",
    "BoundaryFMeasure": "atrc.metrics",
    "Genotype": "atrc.genotype",
    "MultiTaskNetwork": "atrc.network",
    "SearchSpace": "atrc.genotype",
    "UserError": "atrc.errors",
    "build_backbone": "atrc.backbones",
    "load": "atrc.training.loading",
    "local_attention": "atrc.ops",
    "open_dataset": "atrc.data.layouts",
}
__all__ = [
    "ATRC",
    "BoundaryFMeasure",
    "Genotype",
    "MultiTaskNetwork",
    "SearchSpace",
    "UserError",
    "__version__",
    "build_backbone",
    "load",
    "local_attention",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'atrc' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
