"""Settings of `atrc predict`; this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from atrc.errors import UserError

Keep = Literal["all", "raw", "colour", "sheets"]
Precision = Literal["32", "bf16", "16"]


@dataclass(frozen=True)
class Settings:
    """The options of `atrc predict`, where they are documented."""

    max_side: int | None = None
    batch: int | None = None
    keep: Keep = "all"
    every: int = 1
    frames: bool = False
    device: str = "auto"
    precision: Precision = "32"
    window: tuple[int, int] | None = None
    tta: str | None = None

    def __post_init__(self) -> None:
        for key in ("max_side", "batch", "every"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise UserError(f"{key} is {value}; it has to be 1 or more")

    def batch_on(self, device_type: str) -> int:
        """Return the number of images to predict at a time on this kind of device."""
        return self.batch or (1 if device_type == "cpu" else 8)
