"""Rooms: furnished rooms rendered with exact labels, in the layouts of NYUD_MT and PASCAL_MT."""

from atrc_rooms.profiles import CLASSES, PROFILES, RoomsError
from atrc_rooms.render import View, render_room
from atrc_rooms.writer import RoomsReport, write_rooms

__all__ = ["CLASSES", "PROFILES", "RoomsError", "RoomsReport", "View", "render_room", "write_rooms"]
