"""Running one cell of a study in its own process: `python -m atrc.studies.running.work FOLDER`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from atrc.errors import UserError
from atrc.studies.cells import Cell
from atrc.training.loop import fit


def run_cell(folder: Path) -> bool:
    """Run the unfinished stages of a cell; return whether it is done. If it failed, its failed.txt says why."""
    cell = Cell.load(folder.absolute())
    stage = cell.stages[0]
    try:
        with contextlib.chdir(folder):
            for stage in cell.stages:
                fit(stage.recipe, search=stage.search, resume=True, progress=False)
    except UserError as error:
        reason = str(error)
    except Exception as error:
        traceback.print_exc()
        reason = traceback.format_exception_only(error)[-1]
    else:
        return True
    cell.fail(f"{stage.name}: {reason}")
    return False


def end_with_parent() -> None:
    """End this process and those it started when standard input, a pipe from the parent, is closed.

    The kernel closes it however the parent ends, even if it was killed.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not sys.stdin.read: its lock may not be held when Python ends
            continue
        os.killpg(0, signal.SIGKILL)  # a run may be killed at any time, and then resumes

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run the cell of a folder; the exit status is 1 if it failed."""
    parser = argparse.ArgumentParser(description=run_cell.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--with-parent", action="store_true", help="End when standard input is closed.")
    arguments = parser.parse_args()
    if arguments.with_parent:
        end_with_parent()
    raise SystemExit(0 if run_cell(arguments.folder) else 1)


if __name__ == "__main__":
    main()
