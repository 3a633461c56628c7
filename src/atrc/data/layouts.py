"""Which data set a folder is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atrc.data.dataset import MultiTaskDataset
from atrc.data.nyud import NYUD
from atrc.data.pascal import PASCALContext
from atrc.errors import UserError

LAYOUTS: dict[str, type[MultiTaskDataset]] = {"gt_sets": NYUD, "ImageSets/Context": PASCALContext}


def open_dataset(root: str | Path, split: str, tasks: Sequence[str] | None = None) -> MultiTaskDataset:
    """Open a folder by what it holds.

    Args:
        root: A folder in the NYUD_MT or the PASCAL_MT layout; Rooms are written in these.
        split: "train" or "val".
        tasks: Names of the tasks to read; all by default.

    Raises:
        UserError: The folder is in no known layout, or lacks the split or a task.
    """
    for marker, layout in LAYOUTS.items():
        if (Path(root) / marker).is_dir():
            return layout(root, split, tasks)
    raise UserError(
        f"{root}: not a data set folder (none of {', '.join(LAYOUTS)} in it); make one with `atrc rooms {root}`"
    )
