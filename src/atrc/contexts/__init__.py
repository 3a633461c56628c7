"""The relational contexts: what a target pixel attends to."""

from atrc.contexts.attention import global_context, label_context, prototypes, spatial_softmax
from atrc.contexts.joint import Pooled, Term, pool, pool_regions
from atrc.contexts.pooling import ContextPooling

__all__ = [
    "ContextPooling",
    "Pooled",
    "Term",
    "global_context",
    "label_context",
    "pool",
    "pool_regions",
    "prototypes",
    "spatial_softmax",
]
