"""How to predict; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atrc.errors import UserError

Keep = Literal["all", "raw", "pictures", "sheets"]
Precision = Literal["32", "bf16", "16"]
SIDE = 640  # where nothing is known [px]


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes:
        max_side: Larger photographs are shrunk to this for the network [px]; by default to what it was trained on.
        batch: Photographs at a time; by default 8 on a GPU, else 1.
        keep: What to write: "raw" predictions, "pictures" of them, "sheets" of all tasks side by side, or "all".
        every: Of a video, every how many frames to predict.
        frames: Of a video, write the raw predictions of every frame too.
        device: Where: "auto" is a GPU if there is one; else as torch names it, such as cpu or cuda:1.
        precision: "32", or mixed: "bf16" or "16".
    """

    max_side: int | None = None
    batch: int | None = None
    keep: Keep = "all"
    every: int = 1
    frames: bool = False
    device: str = "auto"
    precision: Precision = "32"

    def __post_init__(self) -> None:
        for key, value in (("max_side", self.max_side), ("batch", self.batch), ("every", self.every)):
            if value is not None and value < 1:
                raise UserError(f"{key} is {value}; it has to be 1 or more")

    def side_for(self, size: tuple[int, int] | None) -> int:
        """Return the longest side [px] that a network sees which was trained on images of a size, if that is known."""
        return self.max_side or (max(size) if size else SIDE)

    def batch_on(self, device_type: str) -> int:
        """Return how many photographs to predict at a time on a kind of device."""
        return self.batch or (1 if device_type == "cpu" else 8)
