"""A study that takes seconds: a tiny network on 32x32 crops of drawn scenes; and an executor without processes."""

from __future__ import annotations

from pathlib import Path

import yaml

from atrc.studies.cells import Cell
from atrc.studies.plan import plan, save_study
from atrc.studies.running.run import Executor, Job, Run
from atrc.studies.running.work import run_cell
from atrc.studies.study import Study

ALONE = {"name": "One each", "single_task": True}
SEARCHED = {"name": "ATRC / searched", "recipes": ["network/global"], "search": ["search/contexts"]}
BROKEN = {"name": "broken", "set": {"network.backbone": "hrnet19"}}


def settings(data: Path | str, steps: int = 2) -> dict:
    return {
        "network.backbone": "timm:test_efficientnet",
        "data.root": str(data),
        "data.tasks": ["semseg", "depth"],
        "data.crop": [32, 32],
        "data.batch_size": 4,
        "data.workers": 0,
        "accelerator": "cpu",
        "precision": "32",
        "log_every": 1,
        "validate_every": 2,
        "optim.steps": steps,
        "search.lr": 0.3,
    }


def write_study(path: Path, data: Path | str, *rows: dict, steps: int = 2, seeds: tuple[int, ...] = (0, 1)) -> Path:
    content = {"title": "Tiny", "layout": "nyud", "set": settings(data, steps), "seeds": list(seeds), "rows": [*rows]}
    path.write_text(yaml.safe_dump(content))
    return path


class Ended(Job):
    """A job that has ended."""

    def state(self) -> None:
        return None

    def reason(self) -> str:
        return "ended"

    def stop(self) -> None:
        pass


class InProcess(Executor):
    """Runs cells one after the other, here."""

    leaves = False

    def __init__(self) -> None:
        self.ran: list[str] = []

    def has_room(self, cell: Cell) -> bool:
        return True

    def start(self, cell: Cell) -> Ended:
        self.ran.append(str(cell))
        run_cell(cell.folder)
        return Ended()


def run(file: Path, out: Path, executor: Executor | None = None, watch=lambda run: None) -> Run:
    """Run a study as `atrc study` does, but for the table."""
    study = Study.load(file)
    cells = plan(study, out)
    save_study(study, cells, out)
    work = Run(cells, executor or InProcess(), watch)
    work.run()
    return work
