from typing import Any
RoomsReport=Any
write_rooms=None
