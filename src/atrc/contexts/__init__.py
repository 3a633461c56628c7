"""The relational contexts: what a target pixel attends to."""

from atrc.contexts.attention import global_context, label_context, prototypes, spatial_softmax
from atrc.contexts.joint import Joint, Pooled, Term
from atrc.contexts.pooling import ContextPooling

__all__ = [
    "ContextPooling",
    "Joint",
    "Pooled",
    "Term",
    "global_context",
    "label_context",
    "prototypes",
    "spatial_softmax",
]
