"""Source-task importance of runs and of whole studies; what a run's folder holds is not measured again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.files import write_atomic
from atrc.genotype import Genotype, block_agreement
from atrc.studies.cells import Cell
from atrc.studies.importance.permutation import measure_importance
from atrc.studies.importance.scores import Importance, Pair, average, correlation
from atrc.studies.measured import Spread, measure
from atrc.studies.plan import read_study
from atrc.training.evaluation.evaluate import Result
from atrc.training.evaluation.protocol import Protocol, checkpoint_rule, describe_protocol
from atrc.training.resources import find_device
from atrc.training.run.checkpoint import Checkpoint, checkpoint_path

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """How importance is measured.

    Attributes:
        permutations: Permutations of every block.
        seed: Fixes them.
        data: Data set folder; the one that a run was trained on if None.
        split: Held-out split.
        workers: Loader processes.
        device: Device to run on; "auto" is a GPU if there is one.
    """

    permutations: int = 5
    seed: int = 0
    data: str | None = None
    split: str = "val"
    workers: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Measurement:
    """The importance of a run's blocks, and how it was measured."""

    importance: Importance
    protocol: Protocol


def measure_run(run: str | Path, settings: Settings) -> Measurement:
    """Measure a checkpoint or the last one of a run's folder, where the outcome is kept as importance.json.

    Raises:
        UserError: It cannot be read, the data are not its own, or it has no blocks.
    """
    device = str(find_device(settings.device))
    path = checkpoint_path(run)
    saved = Checkpoint.load(path)
    root = settings.data or saved.recipe["data"]["root"]
    dataset = open_dataset(root, settings.split, [task.name for task in saved.read_tasks()])
    saved.require_outputs(dataset.tasks, str(root))
    crop = tuple(saved.recipe["data"]["crop"])
    rule = checkpoint_rule(saved.step, saved.recipe["optim"]["steps"])
    protocol = describe_protocol(dataset, dataset.tasks, crop, rule)
    key = {
        "version": VERSION,
        "checkpoint": _digest(path),
        "permutations": settings.permutations,
        "seed": settings.seed,
        "protocol": protocol,
    }
    kept = Path(run) / "importance.json" if Path(run).is_dir() else None
    found = _read(kept, key) if kept else None
    if found is None:
        found = measure_importance(
            saved.build(),
            dataset,
            crop,
            permutations=settings.permutations,
            seed=settings.seed,
            batch_size=1 if device == "cpu" else saved.recipe["data"]["batch_size"],
            workers=settings.workers,
            device=device,
        )
        if kept:
            write_atomic(kept, json.dumps(key | found.to_dict(), indent=2) + "\n")
    return Measurement(found, protocol)


def _read(file: Path, key: dict[str, Any]) -> Importance | None:
    """Return what was measured before, if it was by the same key."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if {name: content[name] for name in key} != json.loads(json.dumps(key)):
            return None
        return Importance.from_dict(content)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class RowImportance:
    """The importance of blocks in a row of a study, or in some runs that are like one.

    Attributes:
        name: The row's.
        seeds: Of its runs.
        runs: Their importance.
        baselines: The single-task results that each run's Delta_m is against; None for its own results.
        agreement: Over the row's searches, the share of pairs of runs that chose the same context, of every block;
            None with fewer than two searches.
        searches: How many these are.
    """

    name: str
    seeds: list[int]
    runs: list[Importance]
    baselines: list[dict[str, float]] | None = None
    agreement: dict[Pair, float] | None = None
    searches: int = 0

    @property
    def table(self) -> dict[Pair, Spread]:
        """The drop in Delta_m [%] of every block, by (target, source)."""
        return average(self.runs, self.baselines)

    @property
    def correlation(self) -> float | None:
        """Pearson's, over the blocks, of importance and agreement; None where one is not known or does not vary.

        Source: Sec. 4.4.
        """
        if self.agreement is None:
            return None
        return correlation({pair: drop.mean for pair, drop in self.table.items()}, self.agreement)

    def contexts(self, pair: Pair) -> list[str]:
        """Return the contexts of a block in the runs."""
        return [run.contexts[pair] for run in self.runs]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        blocks = [
            {"target": pair[0], "source": pair[1], "mean": drop.mean, "std": drop.std, "contexts": self.contexts(pair)}
            | ({} if self.agreement is None else {"agreement": self.agreement[pair]})
            for pair, drop in self.table.items()
        ]
        return {
            "name": self.name,
            "seeds": self.seeds,
            "relative_to": "own results" if self.baselines is None else "single-task results",
            "blocks": blocks,
            "searches": self.searches,
            "correlation": self.correlation,
        }


def measure_study(
    folder: Path, settings: Settings, rows: Sequence[str] | None = None, told: Callable[[str], Any] = print
) -> list[RowImportance]:
    """Measure every finished run of a study whose network is ATRC; what is measured already is read.

    Args:
        folder: The study's folder.
        settings: How to measure.
        rows: Only these rows; all by default.
        told: Is told which run is next, and what cannot be compared.

    Raises:
        UserError: Not a study's folder, an unknown row, or nothing that is finished.
    """
    study, cells = read_study(folder)
    names = [row.name for row in study.rows]
    for name in rows or ():
        if name not in names:
            raise UserError(f"{folder}: no row '{name}'; there are {', '.join(names)}")
    singles = measure(study, cells).baseline
    found = []
    for name in rows or names:
        own = [cell for cell in cells if cell.row == name and _has_blocks(cell)]
        if done := [cell for cell in own if cell.state == "done"]:
            found.append(_measure_row(own, done, settings, singles.results if singles else {}, told))
    if not found:
        raise UserError(f"{folder}: no finished run of a network with ATRC; `atrc study` trains some")
    return found


def _measure_row(
    cells: Sequence[Cell],
    done: Sequence[Cell],
    settings: Settings,
    singles: Mapping[int, Mapping[str, Result]],
    told: Callable[[str], Any],
) -> RowImportance:
    runs = []
    for cell in done:
        told(str(cell))
        runs.append(measure_run(cell.run.path, settings).importance)
    bases = [{task: result.value for task, result in singles.get(cell.seed, {}).items()} for cell in done]
    paired = all(run.results.keys() <= base.keys() for run, base in zip(runs, bases, strict=True))
    if not paired:
        told(f"{done[0].row}: not every seed has single-task results; drops are relative to the runs' own results")
    genotypes = [genotype for cell in cells for genotype in _searched(cell)]
    agreement = _by_pair(block_agreement(genotypes)) if len(genotypes) > 1 else None
    seeds = [cell.seed for cell in done]
    return RowImportance(done[0].row, seeds, runs, bases if paired else None, agreement, len(genotypes))


def _has_blocks(cell: Cell) -> bool:
    network = cell.stages[-1].recipe.network
    return cell.task is None and network.distillation.startswith("atrc") and network.distil_at == "finest"


def _searched(cell: Cell) -> list[Genotype]:
    """Return what the cell's finished searches of contexts found."""
    folders = [cell.stage_folder(stage) for stage in cell.stages if stage.name == "search_contexts"]
    return [Genotype.load(folder.genotype) for folder in folders if folder.results.exists()]


def _by_pair(nested: dict[str, dict[str, float]]) -> dict[Pair, float]:
    return {(target, source): value for target, row in nested.items() for source, value in row.items()}
