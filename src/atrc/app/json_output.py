"""`--json PATH`: what a verb found, for programs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from atrc.errors import UserError
from atrc.files import write_atomic


def require_writable(path: str | None) -> None:
    """Refuse a file that cannot be written, before hours of work end there.

    Raises:
        UserError: It is a folder, lies in what is none, or may not be written.
    """
    if not path or path == "-":
        return
    file = Path(path)
    if file.is_dir():
        raise UserError(f"--json {path}: a folder; name a file in it")
    above = next(folder for folder in file.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UserError(f"--json {path}: {above} is a file, not a folder; choose another place")
    if not os.access(file if file.exists() else above, os.W_OK):
        raise UserError(f"--json {path}: you may not write there; choose another place")


def write_json(content: Any, path: str | None) -> None:
    """Write plain values to a file, whose folder is made, or to standard output for "-"."""
    text = json.dumps(content, indent=2) + "\n"
    if path == "-":
        print(text, end="")
    elif path:
        file = Path(path)
        if file.exists() and (file.is_symlink() or not file.is_file()):  # /dev/stdout, a pipe
            file.write_text(text, encoding="utf-8")
        else:
            write_atomic(file, text)
