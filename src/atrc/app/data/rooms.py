"""Rooms data sets for commands: errors of the renderer become user errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import atrc_rooms
from atrc.errors import UserError


def write_rooms(root: Path | str, profile: str, **options: Any) -> atrc_rooms.RoomsReport:
    """Render a data set as `atrc_rooms.write_rooms` does, with the same arguments.

    Raises:
        UserError: Instead of `RoomsError`.
    """
    try:
        return atrc_rooms.write_rooms(root, profile, **options)
    except atrc_rooms.RoomsError as error:
        raise UserError(str(error)) from None
