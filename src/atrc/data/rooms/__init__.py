"""Rooms: furnished rooms rendered with exact labels, in the layouts of NYUD_MT and PASCAL_MT."""

from atrc.data.rooms.profiles import CLASSES, PROFILES
from atrc.data.rooms.render import View, render_room
from atrc.data.rooms.sheet import contact_sheet
from atrc.data.rooms.writer import RoomsReport, write_rooms

__all__ = ["CLASSES", "PROFILES", "RoomsReport", "View", "contact_sheet", "render_room", "write_rooms"]
