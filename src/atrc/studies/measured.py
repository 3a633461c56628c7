"""What a study has measured so far: results by row and seed, and Delta_m against its single-task networks."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from atrc.errors import UserError
from atrc.metrics.functional import delta_m
from atrc.studies.cells import Cell
from atrc.studies.study import Row, Study
from atrc.training.evaluation.evaluate import Result, read_results

Results = dict[str, Result]  # by task


@dataclass(frozen=True)
class Spread:
    """Some numbers, in short.

    Attributes:
        mean: Their mean.
        std: Their sample standard deviation; None of a single one.
        n: How many they are.
    """

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Summarise numbers; None if there are none.

        >>> Spread.of([1.0, 2.0, 3.0])
        Spread(mean=2.0, std=1.0, n=3)
        """
        found = list(values)
        if not found:
            return None
        return cls(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))


@dataclass(frozen=True)
class Column:
    """A task of a study and how it is measured."""

    task: str
    metric: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True, eq=False)
class Measured:
    """A row of a study and what it has reached, by seed; only what is finished.

    Attributes:
        row: The row.
        cells: Its cells.
        results: Results of its networks, by seed and task; of a single-task row some tasks may be missing.
        sampled: Results of the network that a search ended with, before retraining.
        seconds: Time of training [s]; single-task networks are added up.
        search_seconds: Time of the searches before it [s].
        notes: What is no plain number in them.
    """

    row: Row
    cells: tuple[Cell, ...]
    results: dict[int, Results] = field(default_factory=dict)
    sampled: dict[int, Results] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    search_seconds: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the row."""
        return self.row.name

    @property
    def tasks(self) -> list[str]:
        """The tasks that its cells are to predict; empty for all of the data set."""
        recipes = [cell.stages[-1].recipe for cell in self.cells]
        return list(dict.fromkeys(task for recipe in recipes for task in recipe.data.tasks))

    def of_task(self, task: str) -> Spread | None:
        """Summarise a task's metric over the seeds."""
        values = [results[task].value for results in self.results.values() if task in results]
        return Spread.of(value for value in values if math.isfinite(value))


@dataclass(frozen=True, eq=False)
class Measurements:
    """All rows of a study.

    Attributes:
        study: The study.
        rows: What each has reached.
        columns: The tasks.
        baseline: The single-task row; None if there is none.
        gains: Delta_m [%] by row and seed, each against the single-task networks of the same seed.
        task_gains: The same for every task alone: by row, task and seed.
        sampled_gains: As `task_gains`, of the networks that searches ended with.
        notes: What could not be compared, and why.
    """

    study: Study
    rows: list[Measured]
    columns: list[Column]
    baseline: Measured | None
    gains: dict[str, dict[int, float]]
    task_gains: dict[str, dict[str, dict[int, float]]]
    sampled_gains: dict[str, dict[str, dict[int, float]]]
    notes: list[str]


def measure(study: Study, cells: Sequence[Cell]) -> Measurements:
    """Read what the cells of a study have reached."""
    rows = [_read_row(row, [cell for cell in cells if cell.row == row.name]) for row in study.rows]
    columns = _columns(study, rows)
    single = [row for row in rows if row.row.single_task]
    notes = [f"{row.name}: {note}" for row in rows for note in row.notes]
    if len(single) > 1:
        notes.append(f"several single-task rows; Delta_m is against {single[0].name}")
    if not single:
        notes.append("no single-task row: there is no Delta_m")
    baseline = single[0] if single else None
    gains: dict[str, dict[int, float]] = {}
    for row in rows if baseline else []:
        gains[row.name], missing = seed_gains(row.results, baseline.results)  # type: ignore[union-attr]
        if row is not baseline:
            notes += [f"{row.name}: no Delta_m of seed {seed}: {reason}" for seed, reason in missing.items()]
        if row.results and (lacking := [c.task for c in columns if row.tasks and c.task not in row.tasks]):
            notes.append(f"{row.name}: its Delta_m is without {', '.join(lacking)}, which it does not predict")
    base = baseline.results if baseline else {}
    return Measurements(
        study,
        rows,
        columns,
        baseline,
        gains,
        {row.name: gains_by_task(row.results, base) for row in rows},
        {row.name: gains_by_task(row.sampled, base) for row in rows},
        notes,
    )


def seed_gains(
    results: Mapping[int, Results], baseline: Mapping[int, Results]
) -> tuple[dict[int, float], dict[int, str]]:
    """Return Delta_m [%] of every seed, paired with the same seed of the baseline; and why others have none."""
    gains, missing = {}, {}
    for seed, own in results.items():
        base = baseline.get(seed, {})
        if lacking := [task for task in own if task not in base]:
            missing[seed] = f"no single-task result of {', '.join(lacking)} with this seed"
            continue
        try:
            gains[seed] = _gain(own, base)
        except UserError as error:
            missing[seed] = str(error)
    return gains, missing


def gains_by_task(results: Mapping[int, Results], baseline: Mapping[int, Results]) -> dict[str, dict[int, float]]:
    """Return the gain of every task alone [%], by seed, paired with the same seed of the baseline."""
    found: dict[str, dict[int, float]] = {}
    for seed, own in results.items():
        for task, result in own.items():
            gains, _ = seed_gains({seed: {task: result}}, baseline)
            found.setdefault(task, {}).update(gains)
    return {task: gains for task, gains in found.items() if gains}


def _gain(own: Results, base: Results) -> float:
    values, reference = ({task: found[task].value for task in own} for found in (own, base))
    return delta_m(values, reference, {task: result.higher_is_better for task, result in own.items()})


def _read_row(row: Row, cells: Sequence[Cell]) -> Measured:
    measured = Measured(row, tuple(cells))
    for seed in dict.fromkeys(cell.seed for cell in cells):
        own = [cell for cell in cells if cell.seed == seed]
        for cell in own:
            _add(measured, measured.results, cell, cell.stages[-1].name)
            if len(cell.stages) > 1:
                _add(measured, measured.sampled, cell, cell.stages[-2].name)
        if all(cell.state == "done" for cell in own):
            times = [[_seconds(cell, stage.name) for stage in cell.stages] for cell in own]
            measured.seconds[seed] = sum(stages[-1] for stages in times)
            if row.search:
                measured.search_seconds[seed] = sum(sum(stages[:-1]) for stages in times)
    return measured


def _add(measured: Measured, into: dict[int, Results], cell: Cell, stage: str) -> None:
    """Take the results of a cell's stage, if it is finished."""
    file = cell.folder / stage / "results.json"
    if not file.exists():
        return
    for task, result in read_results(file).items():
        if result.non_finite:
            share = f"{100 * result.non_finite:.3g} %"
            measured.notes.append(f"seed {cell.seed}, {stage}: {share} of the pixels of {task} are no finite numbers")
        if math.isnan(result.value):
            measured.notes.append(f"seed {cell.seed}, {stage}: {task} has no {result.metric}, nothing was scored")
        into.setdefault(cell.seed, {})[task] = result


def _seconds(cell: Cell, stage: str) -> float:
    return float(json.loads((cell.folder / stage / "results.json").read_text(encoding="utf-8"))["seconds"])


def _columns(study: Study, rows: Sequence[Measured]) -> list[Column]:
    """Return the tasks that some row is to predict, in the order of the study's layout."""
    results = [result for row in rows for result in row.results.values()]
    found = {task: result for one in results for task, result in one.items()}
    planned = {task for row in rows for task in row.tasks}
    if any(row.cells and not row.tasks for row in rows) or not planned:
        planned |= {task.name for task in study.tasks}
    known = {
        task.name: Column(task.name, task.metric_name, task.unit, bool(task.metric().higher_is_better))
        for task in study.tasks
        if task.name in planned
    }
    return list((known | {t: Column(t, r.metric, r.unit, r.higher_is_better) for t, r in found.items()}).values())
