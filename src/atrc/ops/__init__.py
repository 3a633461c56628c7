"""Kernels: local attention, attention to label regions, projections with batch norm, cross entropy of coarse logits."""

from atrc.ops.label_attention import label_attention
from atrc.ops.local_attention import local_attention
from atrc.ops.projection import projection, projection_available
from atrc.ops.resized_cross_entropy import resized_cross_entropy

__all__ = ["label_attention", "local_attention", "projection", "projection_available", "resized_cross_entropy"]
