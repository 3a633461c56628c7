"""Running the cells of a study: done ones are skipped, failed ones do not stop the others."""

from __future__ import annotations

import abc
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from atrc.errors import UserError
from atrc.studies.cells import Cell

POLL = 0.2  # time between checks of the jobs [s]


class Job(abc.ABC):
    """A cell that was started somewhere."""

    @abc.abstractmethod
    def state(self) -> str | None:
        """Return "queued" or "running", or None once it has ended."""

    @abc.abstractmethod
    def reason(self) -> str:
        """Say how a cell ended that left no reason, and which log to read."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End it; the cell keeps its checkpoints."""


class Executor(abc.ABC):
    """Where cells run.

    Attributes:
        leaves: Whether jobs go on without the study.
    """

    leaves: bool

    @abc.abstractmethod
    def has_room(self, cell: Cell) -> bool:
        """Say whether a cell can start now."""

    @abc.abstractmethod
    def start(self, cell: Cell) -> Job:
        """Start a cell."""


class Run:
    """A running study.

    Attributes:
        cells: All cells.
        states: Of every cell: as in `Cell.state`, or "queued" or "running".
        jobs: The started cells.
        begun: The states before it ran.
        clock: Measures its speed.
    """

    def __init__(self, cells: Sequence[Cell], executor: Executor, watch: Callable[[Run], None]) -> None:
        """Prepare a study.

        Args:
            cells: The cells to run.
            executor: Where they run.
            watch: Called after every check of the jobs, to show the progress.
        """
        self.cells, self.executor, self.watch = cells, executor, watch
        self.jobs: dict[Cell, Job] = {}
        self.begun: dict[Cell, str] = {cell: cell.state for cell in cells}
        self.waiting = [cell for cell in cells if self.begun[cell] != "done"]
        self.states = self.begun | dict.fromkeys(self.waiting, "waiting")
        self.clock = Clock(cells)

    def run(self, wait: bool = True) -> None:
        """Start cells as there is room until all have ended; an exception stops the jobs that need this process.

        Args:
            wait: Stay until all have ended, not only until all are started.
        """
        try:
            while self.waiting or (self.jobs and wait):
                ended = self._look()
                started = self._start()
                self.clock.look(list(self.jobs), self.states)
                self.watch(self)
                if not (ended or started):
                    time.sleep(POLL)
        finally:
            if not self.executor.leaves:
                for job in self.jobs.values():
                    job.stop()

    def _start(self) -> bool:
        """Start cells in order while there is room; return whether one was started."""
        started = False
        while self.waiting and self.executor.has_room(self.waiting[0]):
            cell = self.waiting.pop(0)
            cell.failure.unlink(missing_ok=True)
            try:
                self.jobs[cell] = self.executor.start(cell)
                self.states[cell] = self.jobs[cell].state() or "running"
            except UserError as error:
                cell.fail(str(error))
                self.states[cell] = "failed"
            started = True
        return started

    def _look(self) -> bool:
        """Update the states; return whether a job has ended."""
        ended = False
        for cell, job in list(self.jobs.items()):
            state = job.state()
            if state is None:
                if (state := cell.state) not in ("done", "failed"):
                    cell.fail(job.reason())
                    state = "failed"
                del self.jobs[cell]
                ended = True
            self.states[cell] = state
        return ended


class Clock:
    """Measures the time of a step of every cell, and estimates the time that is left."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self.steps = {cell: cell.steps_done() for cell in cells}
        self.seen: dict[Cell, tuple[float, int]] = {}  # running cells: time and step when they first moved
        self.rates = {cell: cell.seconds() / cell.steps for cell in cells if cell.state == "done"}  # seconds of a step
        self.running = 0

    def look(self, started: Sequence[Cell], states: Mapping[Cell, str]) -> None:
        """Read the progress of the started cells."""
        now = time.monotonic()
        self.running = sum(state == "running" for state in states.values())
        for cell in {*started, *self.seen}:
            done = cell.steps_done()
            if states[cell] != "running":
                self.seen.pop(cell, None)
                if states[cell] == "done":
                    self.rates[cell] = cell.seconds() / cell.steps
            elif cell not in self.seen or done < self.seen[cell][1]:  # a resumed run begins at its checkpoint
                self.seen[cell] = now, done
            elif done > self.seen[cell][1]:
                began, first = self.seen[cell]
                self.rates[cell] = (now - began) / (done - first)
            self.steps[cell] = done

    def left(self, states: Mapping[Cell, str]) -> float | None:
        """Return the time until all cells are done or have failed [s]; None before any step was timed."""
        if not self.rates:
            return None
        rows: dict[str, list[float]] = defaultdict(list)
        for cell, rate in self.rates.items():
            rows[cell.row].append(rate)
        known = {row: fmean(rates) for row, rates in rows.items()}
        todo = [cell for cell in self.cells if states[cell] not in ("done", "failed")]
        rates = [self.rates.get(cell, known.get(cell.row, fmean(known.values()))) for cell in todo]
        times = [(cell.steps - self.steps[cell]) * rate for cell, rate in zip(todo, rates, strict=True)]
        return max([sum(times) / max(1, self.running), *times]) if times else 0.0
