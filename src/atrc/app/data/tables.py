"""The report of `atrc data check`, as tables for a terminal."""

from __future__ import annotations

from atrc.app.data.check import Report
from atrc.app.data.statistics import ClassStatistics, Statistics
from atrc.app.output import print_grid

SIZES = 3  # image sizes in a line


def print_report(report: Report) -> None:
    """Print the content of a folder, then remarks, then faults."""
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
    columns = dict(next(iter(splits.values())).columns)
    rows = [["", "labelled", "valid [%]", *columns.values()]]
    for split, statistics in splits.items():
        valid = percent(statistics.valid / statistics.pixels) if statistics.pixels else "-"
        found = statistics.details() if statistics.valid else {}
        cells = [_cell(found.get(key), unit=head) for key, head in columns.items()]
        rows.append([split, f"{statistics.labelled} of {images[split]}", valid, *cells])
    print(f"\n{name}")
    print_grid(rows)
    if isinstance(next(iter(splits.values())), ClassStatistics):
        _print_classes(splits)


def _cell(value: float | None, unit: str) -> str:
    return "-" if value is None else percent(value) if "[%]" in unit else f"{value:.3g}"


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
    """Return a share in percent; a small share is not rounded to 0.

    >>> percent(0.12), percent(0.0), percent(1e-9), percent(1 - 1e-9)
    ('12.00', '0', '<0.01', '>99.99')
    """
    if share in (0, 1):
        return f"{share * 100:.0f}"
    text = f"{share * 100:.2f}"
    return {"0.00": "<0.01", "100.00": ">99.99"}.get(text, text)
