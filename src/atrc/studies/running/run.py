"""Running the cells of a study: done ones are skipped, failed ones do not stop the rest."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Sequence

from atrc.errors import UserError
from atrc.studies.cells import Cell
from atrc.studies.running.progress import Clock

POLL = 0.2  # time between looks at the processes [s]


class Job(abc.ABC):
    """A cell that was started somewhere."""

    @abc.abstractmethod
    def state(self) -> str | None:
        """Return "queued" or "running", or None once it has ended."""

    @abc.abstractmethod
    def reason(self) -> str:
        """Say how it ended, for one that left no word itself, and where to look."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End it; the cell's checkpoints stand."""


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
    """A study at work: its cells and their states."""

    def __init__(self, cells: Sequence[Cell], executor: Executor, watch: Callable[[Run], None]) -> None:
        """Take up a study.

        Args:
            cells: What is to be done.
            executor: Where.
            watch: Called after every look at the jobs, to show how far it is.
        """
        self.cells, self.executor, self.watch = cells, executor, watch
        self.jobs: dict[Cell, Job] = {}
        self.states: dict[Cell, str] = {cell: cell.state for cell in cells}
        self.begun = dict(self.states)
        self.clock = Clock(cells)
        self.waiting = [cell for cell in cells if self.states[cell] != "done"]
        self.states |= dict.fromkeys(self.waiting, "waiting")

    def run(self, wait: bool = True) -> None:
        """Start cells as there is room until all have ended; what stops it, stops the jobs that do not go on alone.

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
        """Start what there is room for, in order."""
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
        """Ask the jobs how they are; return whether one has ended."""
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
