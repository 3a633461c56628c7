"""No context: the pair has no block."""

from __future__ import annotations

from atrc.contexts.base import Context


class NoContext(Context):
    """Nothing of the source reaches the target. Source: Sec. 3.3."""

    name, title, letter, colour, meaning = "none", "none", "\N{EN DASH}", "#bbbbbb", "nothing"

    @staticmethod
    def multiply_adds(pixels: int, regions: int, channels: int, attention_channels: int) -> int:
        return 0
