"""The relational contexts: what a target pixel attends to."""

from atrc.contexts.attention import global_context, label_context, prototypes, spatial_softmax
from atrc.contexts.pooling import ContextPooling

__all__ = ["ContextPooling", "global_context", "label_context", "prototypes", "spatial_softmax"]
