"""Verbs that make data sets and look at them."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Literal

from atrc.app.json_output import write_json


def rooms(
    out: str,
    profile: Literal["indoor", "people"] = "indoor",
    train: int = 800,
    val: int = 200,
    size: tuple[int, int] = (240, 320),
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Render a Rooms data set; an interrupted run continues where it was.

    Args:
        out: Folder to write.
        profile: indoor (semseg, depth, normals, edge) or people (semseg, human_parts, sal, normals, edge).
        train: Training images.
        val: Validation images.
        size: Height and width [px].
        seed: Fixes every scene.
        workers: Processes; one per core by default.
    """
    from atrc.app.data.rooms import write_rooms

    print(write_rooms(out, profile, train=train, val=val, size=size, seed=seed, workers=workers))


def check_data(root: str, workers: int | None = None, json: str | None = None) -> None:
    """Read every image and label of a data set once: counts, histograms, ranges, and every fault by file name.

    The exit status is 1 if there are faults.

    Args:
        root: Data set folder: one with a dataset.yaml, NYUD_MT, PASCAL_MT or Rooms.
        workers: Processes; one per core by default, 0 reads in this one.
        json: Also write the report to this file; "-" for standard output, in place of the tables.
    """
    from atrc.app.data.check import check_data
    from atrc.app.data.tables import print_report

    report = check_data(Path(root), workers)
    with redirect_stdout(sys.stderr) if json == "-" else nullcontext():
        print_report(report)
    write_json(report.to_dict(), json)
    if report.faults:
        raise SystemExit(1)


def show_data(
    root: str,
    out: str = "sheet.png",
    split: str = "train",
    count: int = 8,
    augmented: bool = False,
    crop: tuple[int, int] | None = None,
) -> None:
    """Write a contact sheet: images of a data set with their labels.

    Args:
        root: Data set folder: one with a dataset.yaml, NYUD_MT, PASCAL_MT or Rooms.
        out: The picture to write (PNG).
        split: Split to show.
        count: Number of images, spread evenly over the split.
        augmented: Show what a training makes of the images: scaled, cropped, mirrored, distorted.
        crop: Height and width of these crops [px]; those of the first image by default.
    """
    from atrc.app.data.sheet import write_sheet
    from atrc.data.layouts import open_dataset

    write_sheet(open_dataset(root, split), Path(out), count, augmented=augmented, crop=crop)
    print(out)
