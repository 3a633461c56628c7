"""Where predictions go: DIR/TASK, DIR/pictures/TASK, DIR/sheets; of frames of videos DIR/frames/TASK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from atrc.app.predict.files import Size, write_raw
from atrc.app.predict.predictor import Outputs, decode
from atrc.app.predict.settings import Keep
from atrc.app.predict.sheet import draw_picture, draw_sheet
from atrc.errors import UserError
from atrc.files import replacing
from atrc.tasks import Task

# h w image

FRAMES = "frames"
_TAKEN = (FRAMES, "pictures", "sheets", "videos")


class Writer:
    """Writes the predictions of photographs into a folder."""

    def __init__(self, folder: Path, tasks: Sequence[Task], keep: Keep) -> None:
        """Make the folder.

        Raises:
            UserError: It cannot be made, or a task's name is none for a folder.
        """
        self.folder, self.tasks, self.keep = folder, tasks, keep
        for task in tasks:
            if not task.name.isidentifier() or task.name.casefold() in _TAKEN:
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
        """Write the predictions of a photograph in the units of their tasks."""
        self._write_raw(self.folder, name, size, outputs)

    def write_frame(self, name: str, number: int, size: Size, outputs: Outputs) -> None:
        """Write the predictions of a frame of a video, apart from photographs, which may be called like its frames."""
        self._write_raw(self.folder / FRAMES, f"{name}/{number:06}", size, outputs)

    def _write_raw(self, folder: Path, name: str, size: Size, outputs: Outputs) -> None:
        for task in self.tasks:
            write_raw(task, outputs[task.name], size, folder / task.name / name)

    def _save(self, picture: Image.Image, name: str) -> None:
        with replacing(self.folder / name) as partial:
            picture.save(partial, "PNG")
