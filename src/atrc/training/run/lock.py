"""One process at a time in a folder."""

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
def only_one(folder: Path) -> Iterator[None]:
    """Keep other processes off a folder until this one leaves it, in whatever way it does.

    Where a file system has no locks, nobody is kept off.

    Raises:
        UserError: Another process has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --out") from None
    with file:
        # A lock of the process, not of the open file, which loader workers that outlive it would hold.
        with contextlib.suppress(OSError):
            _lock(file.fileno(), folder)
        with naming(folder / ".lock"):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())  # no buffer, which a full disk would keep
        yield


def _lock(file: int, folder: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        holder = os.pread(file, 20, 0).decode()
        raise UserError(
            f"{folder}: another atrc is at work here (process {holder}); wait for it, stop it, or choose another --out"
        ) from None
