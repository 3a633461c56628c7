"""What `atrc data check` found, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from atrc.app.data.check import Report
from atrc.app.data.statistics import ClassStatistics, DepthStatistics, MaskStatistics, NormalStatistics, Statistics
from atrc.app.output import print_grid

SIZES = 3  # image sizes that a line names
Row = list[str]


def print_report(report: Report) -> None:
    """Print what a folder holds, then what is odd, then what is wrong."""
    print(f"{report.root}: {report.layout}")
    if report.splits:
        _print_splits(report)
    images = {name: split.images for name, split in report.splits.items()}
    for task in dict.fromkeys(name for split in report.splits.values() for name in split.labels):
        _print_task(task, {name: split.labels[task] for name, split in report.splits.items()}, images)
    _print_list("remark", report.remarks)
    _print_list("fault", report.faults)
    if not report.faults:
        print("\nno faults")


def _print_splits(report: Report) -> None:
    rows = [["", "images", "sizes [px]"]]
    for name, split in report.splits.items():
        sizes = [f"{h}x{w}" + f" ({count})" * (len(split.sizes) > 1) for (h, w), count in split.sizes.most_common()]
        rows.append([name, str(split.images), ", ".join(sizes[:SIZES] + [".."] * (len(sizes) > SIZES))])
    print_grid(rows)


def _print_task(name: str, splits: dict[str, Statistics], images: dict[str, int]) -> None:
    columns, cells = _columns(next(iter(splits.values())))
    print(f"\n{name}")
    rows = [["", "labelled", "valid [%]", *columns]]
    for split, statistics in splits.items():
        valid = percent(statistics.valid / statistics.pixels) if statistics.pixels else "-"
        more = cells(statistics.details()) if statistics.valid else ["-"] * len(columns)
        rows.append([split, f"{statistics.labelled} of {images[split]}", valid, *more])
    print_grid(rows)
    if isinstance(next(iter(splits.values())), ClassStatistics):
        _print_classes(splits)


def _columns(statistics: Statistics) -> tuple[Sequence[str], Callable[[dict[str, Any]], Row]]:
    """Return the columns of a kind of task, and what fills them."""
    if isinstance(statistics, DepthStatistics):
        keys = ("min", "percentile_1", "percentile_50", "percentile_99", "max")
        return ("min [m]", "1 %", "median", "99 %", "max"), lambda found: [f"{found[key]:.3g}" for key in keys]
    if isinstance(statistics, NormalStatistics):
        names = ("not of length 1 [%]", "away from camera [%]")
        return names, lambda found: [percent(found["not_unit_share"]), percent(found["away_share"])]
    if isinstance(statistics, MaskStatistics):
        return ("marked [%]",), lambda found: [percent(found["marked_share"])]
    return (), lambda found: []


def _print_classes(splits: dict[str, Statistics]) -> None:
    shares = [statistics.details()["class_shares"] if statistics.valid else {} for statistics in splits.values()]
    names = next((list(found) for found in shares if found), [])
    rows = [["class", *(f"{split} [%]" for split in splits), ""]]
    for name in names:
        never = "" if any(found.get(name) for found in shares) else "never occurs"
        rows.append([name, *(percent(found[name]) if found else "-" for found in shares), never])
    if names:
        print_grid(rows)


def _print_list(kind: str, lines: list[str]) -> None:
    if lines:
        print(f"\n{len(lines)} {kind}{'s' * (len(lines) > 1)}")
        for line in lines:
            print(f"  {line}")


def percent(share: float) -> str:
    """Return a share in percent; what is little is not called nothing.

    >>> percent(0.12), percent(0.0), percent(1e-9), percent(1 - 1e-9)
    ('12.00', '0', '<0.01', '>99.99')
    """
    if share in (0, 1):
        return f"{share * 100:.0f}"
    text = f"{share * 100:.2f}"
    return {"0.00": "<0.01", "100.00": ">99.99"}.get(text, text)
