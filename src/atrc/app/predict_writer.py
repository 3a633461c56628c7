"""Where predictions go: DIR/TASK, DIR/pictures/TASK, DIR/sheets; and what became of every input."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from atrc.app.inputs import Input
from atrc.app.predict_files import Size, replacing, write_raw
from atrc.app.predict_settings import Keep
from atrc.app.predict_sheet import draw_picture, draw_sheet
from atrc.app.predictor import Outputs, decode
from atrc.errors import UserError
from atrc.tasks import SemanticSegmentation, Task, tasks_to_dicts

# h w image

INDEX = "predictions.json"
_TAKEN = ("pictures", "sheets", "videos")


class Writer:
    """Writes the predictions of photographs into a folder."""

    def __init__(self, folder: Path, tasks: Sequence[Task], keep: Keep) -> None:
        """Make the folder.

        Raises:
            UserError: It cannot be made, or a task's name is none for a folder.
        """
        self.folder, self.tasks, self.keep = folder, tasks, keep
        for task in tasks:
            if not task.name.isidentifier() or task.name in _TAKEN:
                raise UserError(f"a task called {task.name!r} has no folder to go to; rename it")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {folder}: {error.strerror}; choose another folder") from None

    def __call__(self, name: str, pixels: UInt8[np.ndarray, "h w 3"], size: Size, outputs: Outputs) -> None:
        """Write all that is to be kept of one photograph.

        Args:
            name: What its predictions are called.
            pixels: What the network saw.
            size: Height and width of the photograph [px].
            outputs: The network's.
        """
        if self.keep in ("all", "raw"):
            self.write_raw(name, size, outputs)
        if self.keep == "raw":
            return
        decoded = decode(self.tasks, outputs)
        if self.keep in ("all", "pictures"):
            for task in self.tasks:
                self._save(draw_picture(task, decoded[task.name]), f"pictures/{task.name}/{name}.png")
        if self.keep in ("all", "sheets"):
            self._save(draw_sheet(pixels, self.tasks, decoded, name), f"sheets/{name}.png")

    def write_raw(self, name: str, size: Size, outputs: Outputs) -> None:
        """Write the predictions in the units of their tasks."""
        for task in self.tasks:
            write_raw(task, outputs[task.name], size, self.folder / task.name / name)

    def _save(self, picture: Image.Image, name: str) -> None:
        with replacing(self.folder / name) as partial:
            picture.save(partial, "PNG")


class Report:
    """What became of the inputs, in the order of their completion.

    Attributes:
        done: Source and name, size [px], and whatever there is to say.
        failed: Source and reason.
    """

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []

    def succeed(self, one: Input, size: Size, note: str = "") -> None:
        """Note an input that is done."""
        more = {"note": note} if note else {}
        self.done.append({"source": str(one.path), "name": one.name, "size": list(size), **more})

    def fail(self, one: Input, reason: str) -> None:
        """Note an input that cannot be predicted, and why."""
        self.failed.append({"source": str(one.path), "reason": reason.removeprefix(f"{one.path}: ")})

    @contextmanager
    def trying(self, one: Input) -> Iterator[None]:
        """Note it if an input fails, and go on; a disk that is full ends all."""
        try:
            yield
        except UserError as error:
            self.fail(one, str(error))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"{error.filename or 'the disk'}: {error.strerror}; {len(self.done)} files are done"
                ) from None
            self.fail(one, f"its predictions cannot be written ({error.strerror or error})")

    def write(self, folder: Path, model: str, tasks: Sequence[Task]) -> None:
        """Write predictions.json: the tasks, what is done, what failed."""
        described = [_describe(task) for task in tasks]
        content = {"model": model, "tasks": described, "images": self.done, "failed": self.failed}
        with replacing(folder / INDEX) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", errors="surrogateescape")


def _describe(task: Task) -> dict[str, Any]:
    classes = {"classes": list(task.region_names)} if isinstance(task, SemanticSegmentation) else {}
    return {"name": task.name, "kind": tasks_to_dicts([task])[0]["kind"], **classes}
