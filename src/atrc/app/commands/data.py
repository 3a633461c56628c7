"""Commands that make data sets and show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from atrc.app.output import PartialError


def rooms(
    out: str,
    profile: Literal["indoor", "people", "varied", "varied_people"] = "indoor",
    train: int = 800,
    val: int = 200,
    size: tuple[int, int] = (240, 320),
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Render a Rooms data set; an interrupted run continues where it stopped.

    Args:
        out: Folder to write.
        profile: indoor (semseg, depth, normals, edge) or people (semseg, human_parts, sal, normals, edge). varied and
            varied_people have more varied colours, lights, views and cameras, for networks that shall see real images.
        train: Number of training images.
        val: Number of validation images.
        size: Height and width [px].
        seed: Seed of all scenes.
        workers: Number of processes; one per core by default.
    """
    from atrc.app.data.rooms import write_rooms

    print(write_rooms(out, profile, train=train, val=val, size=size, seed=seed, workers=workers))


def check_data(root: str, workers: int | None = None) -> dict[str, Any]:
    """Read every image and label of a data set once: counts, histograms, ranges, and every fault by file name.

    The exit status is 1 if there are faults.

    Args:
        root: Data set folder: one with a dataset.yaml, NYUD_MT, PASCAL_MT or Rooms.
        workers: Number of processes; one per core by default, 0 reads in the main process.
    """
    from atrc.app.data.check import check_data
    from atrc.app.data.tables import print_report

    report = check_data(Path(root), workers)
    print_report(report)
    if report.faults:
        raise PartialError(report.to_dict())
    return report.to_dict()


def show_data(
    root: str,
    out: str = "sheet.png",
    split: str = "train",
    count: int = 8,
    augmented: bool = False,
    crop: tuple[int, int] | None = None,
) -> None:
    """Write a contact sheet: images of a data set next to their labels.

    Args:
        root: Data set folder: one with a dataset.yaml, NYUD_MT, PASCAL_MT or Rooms.
        out: PNG file to write.
        split: Split to show.
        count: Number of images, spread evenly over the split.
        augmented: Show the images as training sees them: scaled, cropped, mirrored, distorted.
        crop: Height and width of these crops [px]; the size of the first image by default.
    """
    from atrc.app.data.sheet import write_sheet
    from atrc.data.layouts import open_dataset

    write_sheet(open_dataset(root, split), Path(out), count, augmented=augmented, crop=crop)
    print(out)
