"""Kernels: local attention, attention to label regions."""

from atrc.ops.label_attention import label_attention
from atrc.ops.local_attention import local_attention

__all__ = ["label_attention", "local_attention"]
