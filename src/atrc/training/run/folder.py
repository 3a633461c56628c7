"""The folder of a run: configuration, versions, metrics and genotype, all readable without us."""

from __future__ import annotations

import csv
import errno
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from atrc import __version__
from atrc.errors import UserError
from atrc.files import naming, write_atomic
from atrc.training.recipe import Recipe

STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)


class RunFolder:
    """Paths and writers of one run."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is written yet."""
        self.path = path

    def begin(self, recipe: Recipe) -> None:
        """Make the folder, with the recipe and the versions.

        Raises:
            UserError: It cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path / "config.yaml", yaml.safe_dump(plain(recipe.to_dict()), sort_keys=False))
            write_atomic(self.path / "versions.json", json.dumps(versions(), indent=2) + "\n")
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}; choose another --out") from None

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def nonfinite(self) -> Path:
        """What is kept of a step that gave no finite number, of the first process; see `Failure`."""
        return self.checkpoint.with_name("nonfinite.pt")

    @property
    def genotype(self) -> Path:
        """The genotype, of a search the newest one."""
        return self.path / "genotype.json"

    @property
    def branching(self) -> Path:
        """The branching of the backbone, of a search the newest one."""
        return self.path / "branching.json"

    @property
    def results(self) -> Path:
        """The final metrics."""
        return self.path / "results.json"

    def table(self, name: str, step: int) -> Table:
        """Open a CSV table whose rows after `step` are dropped: a resumed run writes them again."""
        return Table(self.path / f"{name}.csv", step)


class Table:
    """A CSV file that grows by one row per step."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.exists():
            rows = read_table(path)
            kept = [row for row in rows if int(row["step"]) <= step] if step else []
            self.columns = list(rows[0]) if rows else []
            self._rewrite(kept)

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        lines = [",".join(self.columns), *(",".join(row.values()) for row in rows)] if self.columns else []
        write_atomic(self.path, "".join(f"{line}\n" for line in lines))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row; the first one names the columns."""
        row = {"step": step, **values}
        fresh = not self.columns
        self.columns = self.columns or list(row)
        with naming(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow({key: f"{value:.10g}" for key, value in row.items()})


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV table; a last row that a kill cut short is left out."""
    with path.open(newline="", encoding="utf-8") as file:
        text = file.read()
    lines = text[: text.rfind("\n") + 1].splitlines()
    return list(csv.DictReader(lines))


@contextmanager
def storage(where: str, cure: str) -> Iterator[None]:
    """Turn what a disk refuses, being full, read-only, or broken, into a UserError that names the file and the cure."""
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        raise UserError(f"{error.filename or where}: {error.strerror}; {cure}") from error


def plain(value: Any) -> Any:
    """Turn tuples into lists, for YAML."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def versions() -> dict[str, str]:
    """Return the versions of what computes, and the git state of the working directory if it has one."""
    packages = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "numpy", "numba")
    found = {"atrc": __version__, "python": platform.python_version(), "machine": platform.platform()}
    found |= {package: metadata.version(package) for package in packages}
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return found | ({"git": git.stdout.strip()} if git.returncode == 0 else {})
