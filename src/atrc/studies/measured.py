"""What a study has measured so far: every quantity by row and seed, and Delta_m against its single-task networks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scipy.special import stdtrit

from atrc.errors import UserError
from atrc.metrics.functional import delta_m
from atrc.studies.cells import Cell
from atrc.studies.study import Row, Study
from atrc.training.evaluation.evaluate import Result, read_results

Results = dict[str, Result]  # by task
BySeed = dict[int, int | float]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None for a single number) of n numbers."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[int | float]) -> Spread | None:
        """Summarise the finite ones of some numbers; None if there are none.

        >>> Spread.of([1.0, 2.0, 3.0])
        Spread(mean=2.0, std=1.0, n=3)
        """
        found = [value for value in values if math.isfinite(value)]
        if not found:
            return None
        return cls(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))

    @property
    def interval(self) -> float | None:
        """Half the 95 % confidence interval of the mean, by Student's t; None for a single number.

        >>> round(Spread(3.0, 1.0, 4).interval, 3)  # t of 3 degrees of freedom is 3.182, over the root of 4
        1.591
        """
        return None if self.std is None else float(stdtrit(self.n - 1, 0.975)) * self.std / math.sqrt(self.n)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"interval": self.interval}


def paired_difference(one: BySeed, other: BySeed) -> Spread | None:
    """Summarise the differences of two quantities within seeds; None if they share no seed.

    >>> paired_difference({0: 3.0, 1: 5.0, 2: 9.0, 3: 1.0}, {0: 1.0, 1: 2.0, 2: 5.0})  # 2, 3 and 4
    Spread(mean=3.0, std=1.0, n=3)
    """
    return Spread.of(one[seed] - other[seed] for seed in one if seed in other)


@dataclass(frozen=True)
class Quantity:
    """A number that rows have for every seed: the metric of a task, which names it, Delta_m, a cost or a time."""

    name: str
    metric: str = ""
    unit: str = ""
    higher_is_better: bool | None = None


DELTA_M = Quantity("delta_m", unit="%", higher_is_better=True)
COSTS = (Quantity("parameters"), Quantity("multiply_adds"))
TIMES = (Quantity("seconds", unit="s"), Quantity("search_seconds", unit="s"))


@dataclass(frozen=True, eq=False)
class Measured:
    """A row of a study and what it has reached; only what is finished.

    Attributes:
        row: The row.
        cells: Its cells.
        results: Results of its networks, by seed and task; a single-task row may lack some tasks.
        sampled: Results of the network that a search ended with, before retraining.
        values: Every quantity by name and seed. The times of single-task networks are added up.
        notes: Results that are not plain numbers.
    """

    row: Row
    cells: tuple[Cell, ...]
    results: dict[int, Results] = field(default_factory=dict)
    sampled: dict[int, Results] = field(default_factory=dict)
    values: dict[str, BySeed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the row."""
        return self.row.name

    @property
    def seeds(self) -> list[int]:
        """The seeds whose cells are all done."""
        return list(self.values["seconds"])

    @property
    def tasks(self) -> list[str]:
        """The tasks that its cells predict; empty for all tasks of the data set."""
        recipes = [cell.stages[-1].recipe for cell in self.cells]
        return list(dict.fromkeys(task for recipe in recipes for task in recipe.data.tasks))

    def of(self, quantity: str) -> BySeed:
        """Return a quantity by seed."""
        return self.values.get(quantity, {})

    def spread(self, quantity: str) -> Spread | None:
        """Summarise a quantity over the seeds."""
        return Spread.of(self.of(quantity).values())


@dataclass(frozen=True, eq=False)
class Measurements:
    """All rows of a study.

    Attributes:
        study: The study.
        rows: What each has reached.
        columns: The tasks and their metrics.
        baseline: The single-task row; None if there is none.
        notes: What could not be compared, and why.
    """

    study: Study
    rows: list[Measured]
    columns: list[Quantity]
    baseline: Measured | None
    notes: list[str]

    @property
    def control(self) -> Measured | None:
        """The row that the study names as the control of the others."""
        return next((row for row in self.rows if row.name == self.study.control), None)

    def difference(self, row: Measured, quantity: str) -> Spread | None:
        """Summarise what a row has more than the control within seeds; None for the control, and without one."""
        if self.control in (None, row):
            return None
        return paired_difference(row.of(quantity), self.control.of(quantity))

    def task_gains(self, results: Mapping[int, Results]) -> dict[str, BySeed]:
        """Return the gain [%] of every task by seed, paired with the single-task network of the same seed."""
        base = self.baseline.results if self.baseline else {}
        tasks = dict.fromkeys(task for own in results.values() for task in own)
        alone = {t: {seed: {t: own[t]} for seed, own in results.items() if t in own} for t in tasks}
        gains = {task: seed_gains(own, base)[0] for task, own in alone.items()}
        return {task: by_seed for task, by_seed in gains.items() if by_seed}


def measure(study: Study, cells: Sequence[Cell]) -> Measurements:
    """Read what the cells of a study have reached."""
    rows = [_read_row(row, [cell for cell in cells if cell.row == row.name]) for row in study.rows]
    columns = _columns(study, rows)
    single = [row for row in rows if row.row.single_task]
    baseline = single[0] if single else None
    notes = [f"{row.name}: {note}" for row in rows for note in row.notes]
    if baseline is None:
        notes.append("no single-task row: there is no Delta_m")
    elif len(single) > 1:
        notes.append(f"several single-task rows; Delta_m is against {baseline.name}")
    for row in rows if baseline else []:
        row.values["delta_m"], missing = seed_gains(row.results, baseline.results)  # type: ignore[union-attr]
        if row is not baseline:
            notes += [f"{row.name}: no Delta_m of seed {seed}: {reason}" for seed, reason in missing.items()]
        if row.results and (lacking := [c.name for c in columns if row.tasks and c.name not in row.tasks]):
            notes.append(f"{row.name}: its Delta_m is without {', '.join(lacking)}, which it does not predict")
    return Measurements(study, rows, columns, baseline, notes)


def seed_gains(results: Mapping[int, Results], baseline: Mapping[int, Results]) -> tuple[BySeed, dict[int, str]]:
    """Return Delta_m [%] of every seed, paired with the same seed of the baseline; and why other seeds have none."""
    gains: BySeed = {}
    missing = {}
    for seed, own in results.items():
        base = baseline.get(seed, {})
        if lacking := [task for task in own if task not in base]:
            missing[seed] = f"no single-task result of {', '.join(lacking)} with this seed"
            continue
        values, reference = ({task: found[task].value for task in own} for found in (own, base))
        try:
            gains[seed] = delta_m(values, reference, {task: result.higher_is_better for task, result in own.items()})
        except UserError as error:
            missing[seed] = str(error)
    return gains, missing


def _read_row(row: Row, cells: Sequence[Cell]) -> Measured:
    measured = Measured(row, tuple(cells), values={time.name: {} for time in TIMES})
    for cell in cells:
        for stage, into in zip(reversed(cell.stages), (measured.results, measured.sampled), strict=False):
            if (file := cell.stage_folder(stage).results).exists():
                into.setdefault(cell.seed, {}).update(found := read_results(file))
                measured.notes.extend(f"seed {cell.seed}, {stage.name}: {note}" for note in _notes(found))
    for seed in dict.fromkeys(cell.seed for cell in cells):
        own = [cell for cell in cells if cell.seed == seed]
        if all(cell.state == "done" for cell in own):
            measured.values["seconds"][seed] = sum(cell.seconds(cell.stages[-1:]) for cell in own)
            if row.search:
                measured.values["search_seconds"][seed] = sum(cell.seconds(cell.stages[:-1]) for cell in own)
    for seed, results in measured.results.items():
        for task, result in results.items():
            measured.values.setdefault(task, {})[seed] = result.value
    return measured


def _notes(results: Results) -> Iterator[str]:
    for task, result in results.items():
        if result.non_finite:
            yield f"{100 * result.non_finite:.3g} % of the pixels of {task} are not finite numbers"
        if math.isnan(result.value):
            yield f"{task} has no {result.metric}, nothing was scored"


def _columns(study: Study, rows: Sequence[Measured]) -> list[Quantity]:
    """Return the tasks that some row predicts, in the order of the study's layout."""
    planned = {task for row in rows for task in row.tasks}
    if any(row.cells and not row.tasks for row in rows) or not planned:
        planned |= {task.name for task in study.tasks}
    known = {
        task.name: Quantity(task.name, task.metric_name, task.unit, bool(task.metric().higher_is_better))
        for task in study.tasks
        if task.name in planned
    }
    results = [result for row in rows for one in row.results.values() for result in one.items()]
    return list((known | {t: Quantity(t, r.metric, r.unit, r.higher_is_better) for t, r in results}).values())
