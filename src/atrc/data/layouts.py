"""Which data set a folder is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atrc.data.archives import ensure_folder
from atrc.data.dataset import MultiTaskDataset
from atrc.data.folder.dataset import FILE, FolderDataset
from atrc.data.nyud import NYUD
from atrc.data.pascal import PASCALContext
from atrc.errors import UserError

LAYOUTS: dict[str, type[MultiTaskDataset]] = {
    FILE: FolderDataset,
    "gt_sets": NYUD,
    "ImageSets/Context": PASCALContext,
}


def open_dataset(
    root: str | Path, split: str, tasks: Sequence[str] | None = None, url: str | None = None
) -> MultiTaskDataset:
    """Open a folder by what it holds; an archive beside its name is unpacked first.

    Args:
        root: A folder in the NYUD_MT or the PASCAL_MT layout, as Rooms are written too, or one with a dataset.yaml.
        split: "train" or "val"; one's own data may have more.
        tasks: Names of the tasks to read; all by default.
        url: Where to download the archive of a folder that is not there.

    Raises:
        UserError: The folder is in no known layout or in two, or lacks the split or a task.
    """
    root = ensure_folder(Path(root), url)
    return find_layout(root)(root, split, tasks)


def find_layout(root: Path) -> type[MultiTaskDataset]:
    """Return which data set a folder is, by what it holds.

    Raises:
        UserError: The folder is in no known layout or in two.
    """
    found = [marker for marker in LAYOUTS if (root / marker).exists()]
    if len(found) > 1:
        raise UserError(f"{root}: which data set? it holds {' and '.join(found)}; give each data set its own folder")
    if not found:
        raise UserError(
            f"{root}: not a data set folder (none of {', '.join(LAYOUTS)} in it); make one with `atrc rooms {root}`"
        )
    return LAYOUTS[found[0]]
