"""The relational contexts: what a pixel of the target attends to. One file and one line here per context.

Genotypes, blocks, search, cost, figures and the explorer ask this registry.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from atrc.errors import UserError

if TYPE_CHECKING:
    from atrc.contexts.base import Context

# In the order of the published integers. Classes are imported on first use, so genotypes load without torch.
CONTEXTS: dict[str, str | type[Context]] = {
    "none": "atrc.contexts.none.NoContext",
    "global": "atrc.contexts.global_.Global",
    "local": "atrc.contexts.local.Local",
    "t_label": "atrc.contexts.label.TLabel",
    "s_label": "atrc.contexts.label.SLabel",
}


def get_context(name: str) -> type[Context]:
    """Return a context type by name.

    Raises:
        UserError: The name is unknown.
    """
    if name not in CONTEXTS:
        raise UserError(f"unknown context '{name}'; choose from {', '.join(CONTEXTS)}")
    context = CONTEXTS[name]
    if isinstance(context, str):
        module, _, type_name = context.rpartition(".")
        return getattr(importlib.import_module(module), type_name)
    return context
