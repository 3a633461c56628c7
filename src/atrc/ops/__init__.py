"""Fast versions of what the rest of the source has in plain PyTorch. Everything works without them.

`KERNELS` is the switch of the contexts: `ContextPooling` looks its `attend` up here. Empty it for the plain versions.
"""

from atrc.ops.label_attention import label_attention
from atrc.ops.local_attention import local_attention
from atrc.ops.resized_cross_entropy import resized_cross_entropy

__all__ = ["KERNELS", "label_attention", "local_attention", "resized_cross_entropy"]

KERNELS = {"local": local_attention, "t_label": label_attention, "s_label": label_attention}
