"""Distillation modules: `(features, auxiliary) -> refined features`, dictionaries by task."""

from atrc.distillation.atrc import ATRC, MakeBlock
from atrc.distillation.base import Distillation, NoDistillation

__all__ = ["ATRC", "Distillation", "MakeBlock", "NoDistillation"]
