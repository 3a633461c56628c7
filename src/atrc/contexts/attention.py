"""The contexts as pure functions. The local one is `atrc.ops.local_attention`; the label ones use its sibling."""

from __future__ import annotations

import contextlib

import torch
from jaxtyping import Float
from torch import Tensor

from atrc.ops import label_attention

# b batch, d query/key channels, c value channels, h w feature grid, r label regions


def global_context(
    query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d h w"], value: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b c h w"]:
    """Let every target pixel attend to every source pixel, by a linear kernel, in O(h w).

    Queries and keys must be positive (they come out of a softplus), so the similarity q . k is.

    Source: Sec. 3.2.1; Eq. 3 with phi(x) = x, multiplied in the order that never forms the attention map.
    """
    with single_precision(query):
        context = global_product(*(x.flatten(2) for x in (query, key, value)))
    return context.to(value.dtype).view_as(value)


def global_product(
    query: Float[Tensor, "b d n"], key: Float[Tensor, "b d n"], value: Float[Tensor, "b c n"]
) -> Float[Tensor, "b c n"]:
    """Run `global_context` on rows of pixels; sums over all of them overflow half precision, so in single."""
    query, key, value = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value))
    total = torch.bmm(key.sum(2)[:, None], query).clamp(min=1e-12)
    return torch.bmm(torch.bmm(value, key.mT), query) / total


def single_precision(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Keep autocast from turning products into half precision."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):  # there is no autocast for tensors without data
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)


def label_context(
    query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d r"], value: Float[Tensor, "b c r"]
) -> Float[Tensor, "b c h w"]:
    """Let every target pixel attend to the prototypes of the label regions.

    Source: Sec. 3.2.3; Eq. 2 with the prototypes of Eq. 5 in the place of pixels.
    """
    return label_attention(query[:, None], key[:, None], value[:, None])[:, 0]


def spatial_softmax(logits: Float[Tensor, "b r h w"]) -> Float[Tensor, "b r h w"]:
    """Turn region logits into one density over the pixels per region. Source: Sec. 3.2.3."""
    return logits.flatten(2).softmax(2).view_as(logits)


def prototypes(densities: Float[Tensor, "b r h w"], features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c r"]:
    """Average the source features over every label region. Source: Eq. 5."""
    return torch.einsum("brhw,bchw->bcr", densities, features)
