"""The lock of a folder: one process at a time works in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atrc.errors import UserError
from atrc.files import naming


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder until this one leaves it or ends.

    On a file system without locks there is no protection.

    Raises:
        UserError: Another process has the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --out") from None
    with file:
        # A lock of the process, not of the open file, which loader workers would keep when they outlive it.
        with contextlib.suppress(OSError):
            _acquire(file.fileno(), folder)
        with naming(folder / ".lock"):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())  # no buffer, which a full disk would keep
        yield


def _acquire(file: int, folder: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        holder = os.pread(file, 20, 0).decode()
        raise UserError(
            f"{folder}: another atrc works here (process {holder}); wait for it, stop it, or choose another --out"
        ) from None
