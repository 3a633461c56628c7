"""Curves of a run: tables in its folder, TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers import TensorBoardLogger

from atrc.errors import UserError, needs_extra
from atrc.training.run.folder import RunFolder, Table


class Tables:
    """One CSV table for each first part of the names: `train/loss` is the column `loss` of train.csv."""

    def __init__(self, folder: Path, ends: Mapping[str, int]) -> None:
        """Open tables.

        Args:
            folder: Of the run.
            ends: Names of the tables, with the last step to keep: a resumed run repeats the rows after it.
        """
        self.tables = {name: Table(folder / f"{name}.csv", end) for name, end in ends.items()}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Append a row to each table that is named."""
        rows: dict[str, dict[str, float]] = {}
        for key, value in metrics.items():
            table, _, column = key.partition("/")
            rows.setdefault(table, {})[column] = value
        for table, row in rows.items():
            self.tables[table].add(step, row)

    def finalize(self, status: str) -> None:
        """Do nothing: every row is in the file already."""


def _tensorboard(folder: Path, ends: Mapping[str, int]) -> Any:
    return TensorBoardLogger(folder, name="", version="", purge_step=ends["train"] or None)


def _wandb(folder: Path, ends: Mapping[str, int]) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    logger = WandbLogger(name=folder.name, project="atrc", save_dir=folder)
    # Lightning leaves this to the end of the process.
    logger.finalize = lambda status: logger.experiment.finish()  # type: ignore[method-assign]
    return logger


def _mlflow(folder: Path, ends: Mapping[str, int]) -> Any:
    from lightning.pytorch.loggers import MLFlowLogger

    # A server if MLFLOW_TRACKING_URI names one, else files in the run's folder, for which mlflow wants to be asked.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    where = os.environ.get("MLFLOW_TRACKING_URI")
    return MLFlowLogger("atrc", run_name=folder.name, tracking_uri=where, save_dir=str(folder / "mlruns"))


LOGGERS: dict[str, Callable[[Path, Mapping[str, int]], Any]] = {
    "csv": Tables,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def require_loggers(names: list[str]) -> None:
    """Refuse loggers that are unknown, or whose package is not installed.

    Raises:
        UserError: Names the first.
    """
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"log names '{name}'; choose from {', '.join(LOGGERS)}")
        if name in ("wandb", "mlflow"):
            with needs_extra("log", f"log {name}"):
                __import__(name)


class Logs:
    """The loggers of a run, all given the same numbers."""

    def __init__(self, folder: RunFolder, names: list[str], start: int, steps: int) -> None:
        """Open them, in the first process of a run only.

        Args:
            folder: Of the run.
            names: Keys of `LOGGERS`.
            start: Steps that are finished.
            steps: Steps in all.
        """
        # The last validation comes after the last checkpoint: a run that was killed between them repeats it.
        ends = {"train": start, "val": start - (start == steps), "search": start}
        self.loggers = [LOGGERS[name](folder.path, ends) for name in names]

    def add(self, table: str, step: int, row: Mapping[str, float]) -> None:
        """Log a row."""
        if row:
            for logger in self.loggers:
                logger.log_metrics({f"{table}/{name}": value for name, value in row.items()}, step)

    def close(self) -> None:
        """Write what is pending."""
        for logger in self.loggers:
            logger.finalize("success")
