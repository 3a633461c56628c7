"""Atomic writes: a reader finds the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomic(path: str | os.PathLike[str], content: str | bytes, *, shared: bool = False) -> None:
    """Write a file atomically, and wait until the disk has it; text is written as UTF-8.

    Args:
        path: The file. Its folder is made.
        content: All of it.
        shared: Several processes may write this file at the same time.

    Raises:
        OSError: As of `replacing`.
    """
    with replacing(path, shared=shared) as partial, partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: str | os.PathLike[str], *, shared: bool = False) -> Iterator[Path]:
    """Yield the name of a temporary file to write, which replaces `path` at the end if nothing was raised.

    Args:
        path: The file. Its folder is made.
        shared: Several processes may write this file at the same time.

    Raises:
        OSError: It cannot be written. The error names the file, the temporary file is removed, the old file is kept.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial" if shared else f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path):
            yield partial
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError name this file if it names none, as those of a write or a flush, or only a temporary one."""
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or str(error.filename).endswith(".partial")
        if not unnamed or type(error).__module__ != "builtins":  # PyAV has its own
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
