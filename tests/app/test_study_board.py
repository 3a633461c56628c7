"""The table of a running study, and how long it says that it takes."""

import re

import pytest

from atrc.app.study.board import Board, describe_time, table
from atrc.studies.plan import plan
from atrc.studies.running import run as runner
from atrc.studies.running.run import Executor, Job, Run
from atrc.studies.study import Study
from tiny_study import write_study


class Pretended(Job):
    """A job whose cell logs five steps in every round of ten seconds, and ends with its last one."""

    def __init__(self, cell, rounds):
        self.cell, self.rounds, self.began = cell, rounds, rounds[0]
        cell.run.path.mkdir(parents=True)

    def state(self):
        steps = 5 * (self.rounds[0] - self.began)
        (self.cell.run.path / "train.csv").write_text("step,loss\n" + (f"{steps},1.0\n" if steps else ""))
        if steps < self.cell.steps:
            return "running"
        self.cell.run.results.write_text('{"seconds": 40, "results": {}}')
        return None

    def reason(self):
        raise AssertionError

    def stop(self):
        raise AssertionError


class Pretending(Executor):
    """Runs one cell at a time."""

    leaves = False

    def __init__(self, rounds):
        self.rounds, self.job = rounds, None

    def has_room(self, cell):
        return self.job is None or self.job.state() is None

    def start(self, cell):
        self.job = Pretended(cell, self.rounds)
        return self.job


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Two cells of 20 steps, one after the other, each step two seconds; returns a runner of them."""
    rounds = [0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: 10.0 * rounds[0])
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: rounds.__setitem__(0, rounds[0] + 1))
    file = write_study(tmp_path / "s.yaml", "nowhere", {"name": "a"}, {"name": "b"}, steps=20, seeds=(0,))
    cells = plan(Study.load(file), tmp_path / "out")
    return lambda watch: Run(cells, Pretending(rounds), watch)


def test_the_time_left_follows_from_the_steps_so_far(study):
    seen = []
    study(lambda run: seen.append(run.clock.left(run.states))).run()
    # nothing is known, then 2 s a step: 15 + 20, 10 + 20, 5 + 20 steps, and the same for the second cell
    expected = [None, 70, 60, 50, 40, 30, 20, 10, 0]
    assert [left for left, before in zip(seen, [0, *seen], strict=False) if left != before] == expected


def test_the_table_counts_the_cells_of_every_row(study):
    seen = []
    run = study(lambda run: seen.append(table("Tiny", run)))
    run.run()
    assert seen[0] == [
        "Tiny",
        "     done  running  waiting  failed  progress",
        "a     0/1        1                        0 %",
        "b     0/1                 1               0 %",
        "all   0/2        1        1               0 %  time left: not known yet",
    ]
    assert seen[2][-1].split() == ["all", "0/2", "1", "1", "12", "%", "about", "1", "min", "left"]
    assert seen[-1][-1].split() == ["all", "2/2", "100", "%"]


def test_without_a_terminal_every_change_is_a_line(study, capsys):
    board = Board("Tiny")
    run = study(board)
    run.run()
    board.finish(run)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "[0/2] running: a, seed 0",
        "[1/2] done: a, seed 0",
        "[1/2] running: b, seed 0",
        "[2/2] done: b, seed 0",
    ]
    assert lines[4] == "Tiny"


def test_on_a_terminal_the_table_is_redrawn_in_place(study, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "20")
    board = Board("Tiny")
    board.live = True
    run = study(board)
    run.run()
    board.finish(run)
    first, *later = re.split(r"\x1b\[5F\x1b\[J", capsys.readouterr().out)
    assert len(later) >= 4
    assert all(picture.startswith("Tiny\n") and picture.count("\n") == 5 for picture in (first, *later))
    assert max(len(line) for line in first.splitlines()) < 60


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "time left: not known yet"), (20, "about 1 min left"), (3540, "about 59 min left"),
     (3725, "about 1:02 h left"), (90_000, "about 1 d 1 h left")],
)  # fmt: skip
def test_the_time_left_is_given_in_its_largest_units(seconds, text):
    assert describe_time(seconds if seconds is None else float(seconds)) == text
