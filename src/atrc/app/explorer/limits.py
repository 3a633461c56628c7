"""What the explorer takes and holds at most."""

from __future__ import annotations

from dataclasses import dataclass

from atrc.errors import UserError

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds that keep the server's memory and waiting times in check.

    Attributes:
        upload: Of one file [bytes].
        uploads: Of all files that arrive, wait or are being read at a time [bytes].
        pixels: Of one photograph, by its header, before it is decoded.
        images: Of all photographs that are held, shrunk [bytes].
        looks: Of all that was made of them: features, label regions, predictions [bytes].
        waiting: Jobs that wait for the network at a time.
        seconds: That one file may take to arrive.
    """

    upload: int = 32 * MEGABYTE
    uploads: int = 128 * MEGABYTE
    pixels: int = 50_000_000
    images: int = 128 * MEGABYTE
    looks: int = 1024 * MEGABYTE
    waiting: int = 128
    seconds: float = 60.0


class MissingError(UserError):
    """Nothing of that name is here, or no longer."""


class TooLargeError(UserError):
    """More than `Limits` allow."""


class BusyError(UserError):
    """More to do than `Limits` let wait."""
