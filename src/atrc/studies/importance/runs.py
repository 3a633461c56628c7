"""Source-task importance of runs and of whole studies. A run's folder keeps what was measured."""

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
from atrc.studies.importance.scores import Importance, RowImportance
from atrc.studies.measured import measure
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


def measure_study(
    folder: Path, settings: Settings, rows: Sequence[str] | None = None, tell: Callable[[str], object] = print
) -> list[RowImportance]:
    """Measure every finished run of a study whose network is ATRC, or read what was measured before.

    Args:
        folder: The study's folder.
        settings: How to measure.
        rows: Only these rows; all by default.
        tell: Called with the name of every run, and with what cannot be compared.

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
            found.append(_measure_row(own, done, settings, singles.results if singles else {}, tell))
    if not found:
        raise UserError(f"{folder}: no finished run of a network with ATRC; `atrc study` trains some")
    return found


def _measure_row(
    cells: Sequence[Cell],
    done: Sequence[Cell],
    settings: Settings,
    singles: Mapping[int, Mapping[str, Result]],
    tell: Callable[[str], object],
) -> RowImportance:
    runs = []
    for cell in done:
        tell(str(cell))
        runs.append(measure_run(cell.run.path, settings).importance)
    bases = [{task: result.value for task, result in singles.get(cell.seed, {}).items()} for cell in done]
    paired = all(run.results.keys() <= base.keys() for run, base in zip(runs, bases, strict=True))
    if not paired:
        tell(f"{done[0].row}: not every seed has single-task results; drops are relative to the runs' own results")
    searches = [cell.stage_folder(stage) for cell in cells for stage in cell.stages if stage.name == "search_contexts"]
    genotypes = [Genotype.load(folder.genotype) for folder in searches if folder.results.exists()]
    nested = block_agreement(genotypes) if len(genotypes) > 1 else {}
    agreement = {(target, source): share for target, own in nested.items() for source, share in own.items()} or None
    seeds = [cell.seed for cell in done]
    return RowImportance(done[0].row, seeds, runs, bases if paired else None, agreement, len(genotypes))


def _has_blocks(cell: Cell) -> bool:
    network = cell.stages[-1].recipe.network
    return cell.task is None and network.distillation.startswith("atrc") and network.distil_at == "finest"
