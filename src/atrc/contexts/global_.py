"""Global context: every pixel of the source, at a cost linear in the pixels."""

from __future__ import annotations

import contextlib

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts.base import Context

# b batch, c value channels, d query/key channels, h w target grid, y x source grid, n m their pixels


class Global(Context):
    """Attend to every pixel in proportion to q . k. Source: Sec. 3.2.1, Eq. 3 with phi(x) = x."""

    name, title, letter, colour, meaning = "global", "global", "G", "#4477aa", "every pixel"
    activation = nn.Softplus  # keeps q . k positive

    @staticmethod
    def attend(
        query: Float[Tensor, "b d h w"], key: Float[Tensor, "b d y x"], value: Float[Tensor, "b c y x"]
    ) -> Float[Tensor, "b c h w"]:
        """Return Eq. 3. Multiplying keys and values first avoids the attention map.

        >>> x = torch.tensor([[[[1.0, 3.0]]]])
        >>> Global.attend(x, x, x)  # (1 * 1 + 3 * 3) / (1 + 3)
        tensor([[[[2.5000, 2.5000]]]])
        """
        with _single_precision(query):  # sums over all pixels overflow half precision
            q, k, v = (x.flatten(2).to(torch.promote_types(x.dtype, torch.float32)) for x in (query, key, value))
            numerator = torch.einsum("bcd,bdn->bcn", torch.einsum("bcm,bdm->bcd", v, k), q)
            denominator = torch.einsum("bd,bdn->bn", k.sum(2), q).clamp(min=1e-12)
            context = numerator / denominator[:, None]
        return context.to(value.dtype).unflatten(2, query.shape[2:])

    @staticmethod
    def attention(
        query: Float[Tensor, " d"], key: Float[Tensor, "d y x"], row: int, column: int
    ) -> Float[Tensor, "y x"]:
        """Return the shares of q . k.

        >>> Global.attention(torch.tensor([2.0]), torch.tensor([[[1.0, 3.0]]]), 0, 0)
        tensor([[0.2500, 0.7500]])
        """
        similarity = torch.einsum("d,dyx->yx", query, key)
        return similarity / similarity.sum().clamp(min=1e-12)

    @staticmethod
    def multiply_adds(pixels: int, regions: int, channels: int, attention_channels: int) -> int:
        d = attention_channels
        return pixels * (2 * d * d + d)


def _single_precision(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Keep autocast from turning products into half precision."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):  # autocast does not know the meta device
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)
