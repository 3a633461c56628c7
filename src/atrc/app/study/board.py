"""`atrc study`: run a grid of recipes and seeds, and show the progress."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from atrc.app.output import format_grid, print_grid
from atrc.errors import UserError
from atrc.studies.cells import Cell
from atrc.studies.costs import Estimate, estimate
from atrc.studies.plan import plan, save_study
from atrc.studies.running.local import LocalExecutor
from atrc.studies.running.run import Executor, Run
from atrc.studies.running.slurm import SlurmExecutor, require_not_submitted
from atrc.studies.running.slurm_config import SlurmConfig
from atrc.studies.study import Study
from atrc.training.evaluation.evaluate import read_results, results_to_dict
from atrc.training.run.lock import lock

HEAD = ("", "done", "running", "waiting", "failed", "progress")
REDRAW = 1.0  # time between two drawings of the table [s]


def run_study(
    file: str, out: str | None, jobs: int | None, dry_run: bool, throughput: float, slurm: SlurmConfig
) -> list[dict[str, Any]]:
    """Run the unfinished cells of a study and print the progress; return all cells as plain values."""
    study = Study.load(file)
    folder = Path(out) if out else Path("runs") / Path(file).stem
    cells = plan(study, folder, slurm.gpus, slurm.nodes)
    if dry_run:
        return print_plan(study, cells, folder, throughput)
    accelerators = {stage.recipe.accelerator for cell in cells for stage in cell.stages}
    executor: Executor
    if slurm.wanted:
        executor = SlurmExecutor(slurm, folder)
    else:
        require_not_submitted(cells)
        executor = LocalExecutor(jobs, "cpu" if accelerators == {"cpu"} else "auto")
    with lock(folder):
        save_study(study, cells, folder)
        board = Board(study.title)
        run = Run(cells, executor, board)
        try:
            run.run(wait=slurm.wait)
        finally:
            board.finish(run)
    return [describe(cell, run.states[cell]) for cell in cells]


def describe(cell: Cell, state: str | None = None) -> dict[str, Any]:
    """Return a cell's state and results as plain values."""
    state = state or cell.state
    return {
        "row": cell.row,
        "seed": cell.seed,
        "task": cell.task,
        "state": state,
        "reason": cell.reason() if state == "failed" else None,
        "steps": cell.steps,
        "steps_done": cell.steps_done(),
        "seconds": cell.seconds(),
        "results": results_to_dict(read_results(cell.run.results)) if state == "done" else None,
        "folder": str(cell.folder),
    }


def print_plan(study: Study, cells: Sequence[Cell], folder: Path, throughput: float) -> list[dict[str, Any]]:
    """Print what a study would do and what training takes; return the cells with that as plain values.

    Args:
        study: The study.
        cells: Its cells.
        folder: Its folder.
        throughput: What a GPU sustains [TFLOP/s].
    """
    if throughput <= 0:
        raise UserError(f"--throughput {throughput:g}: give the TFLOP/s that a GPU sustains, such as 4")
    costs = estimate(study, cells)
    print(study.title)
    grid = [["cell", "state", "steps", "images", "MAdds [P]", "GPU hours"]]
    for cell in cells:
        steps = " + ".join(f"{stage.recipe.optim.steps:,}" for stage in cell.stages)
        grid.append([str(cell), cell.state, steps, *_describe_cost([costs[cell]], throughput)])
    steps = f"{sum(cell.steps for cell in cells):,}"
    print_grid([*grid, ["all", "", steps, *_describe_cost(costs.values(), throughput)]])
    left = sum(cell.steps - cell.steps_done() for cell in cells)
    print(f"{len(cells)} cells in {folder}; {steps} steps, of which {left:,} are left")
    print(
        f"GPU hours: 3 forward passes a step (forward and backward), 2 operations per multiply-add, at {throughput:g} "
        "TFLOP/s (--throughput); searches as if they fixed no block; without loading and evaluation"
    )
    for reason in dict.fromkeys(cost.reason for cost in costs.values() if cost.reason):
        print(f"not counted: {reason}")
    return [
        describe(cell) | {"images": cost.images, "multiply_adds": cost.multiply_adds} for cell, cost in costs.items()
    ]


def _describe_cost(costs: Iterable[Estimate], throughput: float) -> list[str]:
    found = list(costs)
    known = [cost.multiply_adds for cost in found if cost.multiply_adds is not None]
    images = f"{sum(cost.images for cost in found):,}"
    if not known:
        return [images, "unknown", "unknown"]
    hours = 2 * sum(known) / (throughput * 1e12) / 3600
    return [images, f"{sum(known) / 1e15:,.1f}", f"{hours:,.1f}"]


class Board:
    """The progress of a study: a table that is redrawn on a terminal, elsewhere a line for every change."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.live = sys.stdout.isatty()
        self.height = 0
        self.drawn = float("-inf")
        self.printed: dict[Cell, str] = {}

    def __call__(self, run: Run) -> None:
        """Show the progress of a study."""
        if not self.live:
            self._print(run)
        elif time.monotonic() - self.drawn > REDRAW:
            self._draw(run)

    def finish(self, run: Run) -> None:
        """Print the table for the last time, and the failures."""
        if self.live:
            self._draw(run)
        else:
            self._print(run)
            print("\n".join(table(self.title, run)))
        sys.stdout.flush()
        if stopped := [cell for cell in run.jobs if not run.executor.leaves]:
            print(f"stopped: {', '.join(map(str, stopped))}; the same command continues")
        elif run.jobs:
            print(f"{len(run.jobs)} jobs go on without this command; run it again to watch them")
        for cell, state in run.states.items():
            if state == "failed":
                print(f"failed: {cell}: {cell.reason()}")

    def _print(self, run: Run) -> None:
        for cell, state in run.states.items():
            if state != self.printed.get(cell, "waiting") and state != run.begun[cell]:
                ended = sum(state in ("done", "failed") for state in run.states.values())
                why = f": {cell.reason()}" if state == "failed" else ""
                print(f"[{ended}/{len(run.cells)}] {state}: {cell}{why}", flush=True)
        self.printed = dict(run.states)

    def _draw(self, run: Run) -> None:
        size = shutil.get_terminal_size()
        lines = table(self.title, run)
        if len(lines) >= size.lines:  # a table that scrolls cannot be redrawn: show only its head and its sum
            lines = [*lines[:2], lines[-1]]
        up = f"\x1b[{self.height}F\x1b[J" if self.height else ""
        sys.stdout.write(up + "".join(f"{line[: size.columns - 1]}\n" for line in lines))
        sys.stdout.flush()
        self.height, self.drawn = len(lines), time.monotonic()


def table(title: str, run: Run) -> list[str]:
    """Return the lines of the table: one for each row of the study, and their sum."""
    rows: dict[str, list[Cell]] = {}
    for cell in run.cells:
        rows.setdefault(cell.row, []).append(cell)
    grid = [HEAD, *(_line(name, cells, run) for name, cells in rows.items()), _line("all", run.cells, run)]
    left = run.clock.left(run.states)
    ended = all(state in ("done", "failed") for state in run.states.values())
    return [title, *format_grid(grid)[:-1], format_grid(grid)[-1] + ("" if ended else f"  {describe_time(left)}")]


def _line(name: str, cells: Sequence[Cell], run: Run) -> tuple[str, ...]:
    counts = _count(cells, run.states)
    share = sum(run.clock.steps[cell] for cell in cells) / sum(cell.steps for cell in cells)
    shown = [str(counts[key]) if counts[key] else "" for key in HEAD[2:5]]
    return name, f"{counts['done']}/{len(cells)}", *shown, f"{100 * share:.0f} %"


def _count(cells: Sequence[Cell], states: Mapping[Cell, str]) -> Counter[str]:
    return Counter("waiting" if states[cell] == "queued" else states[cell] for cell in cells)


def describe_time(left: float | None) -> str:
    """Describe the time left [s]."""
    if left is None:
        return "time left: not known yet"
    minutes = max(1, round(left / 60))
    if minutes < 60:
        return f"about {minutes} min left"
    if minutes < 24 * 60:
        return f"about {minutes // 60}:{minutes % 60:02d} h left"
    return f"about {minutes // 1440} d {minutes // 60 % 24} h left"
