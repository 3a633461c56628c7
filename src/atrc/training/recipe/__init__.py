"""Recipes: everything a run depends on, their files, and what is refused before a run starts."""

from atrc.training.recipe.config import (
    DataConfig,
    LossConfig,
    NetworkConfig,
    OptimConfig,
    Recipe,
    SearchConfig,
    differences,
    flatten,
)

__all__ = [
    "DataConfig",
    "LossConfig",
    "NetworkConfig",
    "OptimConfig",
    "Recipe",
    "SearchConfig",
    "differences",
    "flatten",
]
