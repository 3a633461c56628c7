"""How long a study will still take, from the time its steps have taken."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from atrc.studies.cells import Cell


class Clock:
    """Measures the time of a step of every row."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self.steps = {cell: cell.steps_done() for cell in cells}
        self.seen: dict[Cell, tuple[float, int]] = {}  # of the running ones: when first seen to move, and where
        self.rates: dict[Cell, float] = {}  # seconds of a step
        self.running = 0
        for cell in cells:
            if cell.state == "done":
                self.rates[cell] = cell.seconds() / cell.steps

    def look(self, started: Sequence[Cell], states: Mapping[Cell, str]) -> None:
        """Look how far the started cells are."""
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
        known = {row: sum(rates) / len(rates) for row, rates in rows.items()}
        mean = sum(known.values()) / len(known)
        todo = [cell for cell in self.cells if states[cell] not in ("done", "failed")]
        times = [(c.steps - self.steps[c]) * self.rates.get(c, known.get(c.row, mean)) for c in todo]
        return max([sum(times) / max(1, self.running), *times]) if times else 0.0
