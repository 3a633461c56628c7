"""Whole studies on tiny data: skipping, failing, killing, resuming."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch

from atrc.app.cli import main
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import NetworkConfig, build_network
from atrc.studies.cells import Cell
from atrc.studies.plan import plan, save_study
from atrc.studies.running import local
from atrc.studies.running.local import LocalExecutor
from atrc.studies.running.run import Run
from atrc.studies.study import Study
from atrc.tasks import Depth
from atrc.training.resources import count_multiply_adds
from atrc.training.run.checkpoint import Checkpoint
from atrc.training.run.folder import read_table
from forks import fork, wait
from tiny_study import ALONE, BROKEN, SEARCHED, InProcess, run, write_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory, nyud_folder) -> Run:
    """Two rows and a broken one between them."""
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder / "s.yaml", nyud_folder, ALONE, BROKEN, SEARCHED, seeds=(0,))
    return run(file, folder / "out")


def cells_of(work: Run, row: dict) -> list[Cell]:
    return [cell for cell in work.cells if cell.row == row["name"]]


def rows_logged(cell: Cell) -> int:
    table = cell.run.path / "train.csv"
    return len(read_table(table)) if table.exists() else 0


def processes(word: Path) -> list[int]:
    """Find processes with a word on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(word).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_every_cell_ends_with_the_results_of_its_tasks(finished):
    for cell in cells_of(finished, ALONE):
        assert list(json.loads(cell.run.results.read_text())["results"]) == [cell.task]
    for cell in cells_of(finished, SEARCHED):
        assert list(json.loads(cell.run.results.read_text())["results"]) == ["semseg", "depth"]
        assert cell.steps_done() == cell.steps == 4
    assert {finished.states[cell] for cell in finished.cells if cell.row != "broken"} == {"done"}
    assert finished.clock.left(finished.states) == 0


def test_what_was_searched_is_what_is_trained(finished):
    for cell in cells_of(finished, SEARCHED):
        searched = Genotype.load(cell.folder / "search_contexts/genotype.json")
        assert Genotype.load(cell.folder / "train/genotype.json") == searched
        assert searched != Genotype.uniform(searched.targets, "global")


def test_a_broken_row_fails_with_its_reason_and_stops_nothing(finished):
    for cell in cells_of(finished, BROKEN):
        assert finished.states[cell] == "failed"
        assert cell.reason().startswith("train: unknown backbone 'hrnet19'; choose from hrnet18")
    assert finished.cells.index(cells_of(finished, SEARCHED)[0]) > finished.cells.index(cells_of(finished, BROKEN)[0])


def test_the_next_call_tries_only_what_failed(finished, tmp_path, nyud_folder):
    out = finished.cells[0].folder.parents[2]
    fixed = {"name": "broken", "set": {"data.tasks": ["semseg"]}}  # nothing was begun: the row may change
    file = write_study(tmp_path / "s.yaml", nyud_folder, ALONE, fixed, SEARCHED, seeds=(0,))
    executor = InProcess()
    again = run(file, out, executor)
    assert executor.ran == ["broken, seed 0"]
    assert set(again.states.values()) == {"done"}
    assert not list(out.rglob("failed.txt"))


def test_the_command_prints_a_table_and_lists_the_cells(finished, tmp_path, nyud_folder, capsys):
    out = finished.cells[0].folder.parents[2]
    file = str(write_study(tmp_path / "s.yaml", nyud_folder, ALONE, SEARCHED, seeds=(0,)))
    main(["study", file, "--out", str(out), "--json", "-"])
    printed = capsys.readouterr()
    cells = json.loads(printed.out)
    assert [cell["state"] for cell in cells] == ["done"] * 3
    assert cells[1]["task"] == "depth"
    assert cells[1]["results"]["depth"]["metric"] == "RMSE"
    assert cells[2]["seconds"] > 0
    assert printed.err.splitlines() == [
        "Tiny",
        "                 done  running  waiting  failed  progress",
        "One each          2/2                               100 %",
        "ATRC / searched   1/1                               100 %",
        "all               3/3                               100 %",
    ]


def test_a_dry_run_prints_what_every_cell_and_the_study_take(tmp_path, capsys):
    file = str(write_study(tmp_path / "s.yaml", "nowhere", ALONE, SEARCHED, BROKEN, seeds=(0,)))
    options = ["--out", str(tmp_path / "out"), "--dry-run", "--throughput", "0.001"]
    main(["study", file, *options, "--json", str(tmp_path / "plan.json")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Tiny"
    assert lines[1].split() == ["cell", "state", "steps", "images", "MAdds", "[P]", "GPU", "hours"]
    assert re.fullmatch(r"ATRC / searched, seed 0 +waiting  2 \+ 2 +16 +0\.0 +0\.0", lines[4])
    assert lines[6].split()[:3] == ["all", "10", "40"]
    assert lines[7] == f"4 cells in {tmp_path / 'out'}; 10 steps, of which 10 are left"
    assert "at 0.001 TFLOP/s (--throughput)" in lines[8]
    assert lines[9].startswith("not counted: unknown backbone 'hrnet19'; choose from")
    _, depth, searched, broken = json.loads((tmp_path / "plan.json").read_text())
    one = count_multiply_adds(
        build_network(NetworkConfig("timm:test_efficientnet", pretrained=False), [Depth()]), (32, 32)
    )
    # 2 steps of 4 images, each 3 forward passes; the search runs all candidates, then one trains
    assert (depth["images"], depth["multiply_adds"]) == (8, 2 * 4 * 3 * one)
    assert searched["images"] == 16
    assert searched["multiply_adds"] > 2 * depth["multiply_adds"]
    assert broken["multiply_adds"] is None
    assert not (tmp_path / "out").exists()


def test_a_cell_that_needs_several_nodes_is_sent_to_slurm(tmp_path, nyud_folder, capsys):
    file = str(write_study(tmp_path / "s.yaml", nyud_folder, {"name": "wide", "set": {"nodes": 2}}, seeds=(0,)))
    with pytest.raises(SystemExit) as stop:
        main(["study", file, "--out", str(tmp_path / "out"), "--json", str(tmp_path / "cells.json")])
    assert stop.value.code == 1
    reason = "needs 2 nodes, and this is one; submit it to Slurm (--slurm.partition ...)"
    assert f"failed: wide, seed 0: {reason}" in capsys.readouterr().out.splitlines()
    assert json.loads((tmp_path / "cells.json").read_text())[0]["reason"] == reason


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forks with threads
def test_a_study_killed_midway_resumes_as_if_unbroken(tmp_path, nyud_folder):
    file = write_study(tmp_path / "s.yaml", nyud_folder, SEARCHED, steps=20, seeds=(0,))
    (whole,) = run(file, tmp_path / "whole").cells
    study = Study.load(write_study(file, nyud_folder, BROKEN, SEARCHED, steps=20, seeds=(0,)))
    failed, broken = plan(study, tmp_path / "broken")
    save_study(study, [failed, broken], tmp_path / "broken")
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # of the cells, which are processes of their own
    command = ["study", str(file), "--out", str(tmp_path / "broken"), "--jobs", "1"]
    process = fork(command, tmp_path / "log", threads)
    while rows_logged(broken) < 3:
        assert wait(process, 0.02) is None, (tmp_path / "log").read_text()
    os.kill(process, signal.SIGKILL)
    assert wait(process, 10) == -signal.SIGKILL
    until = time.monotonic() + 10
    while (left := processes(tmp_path / "broken")) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left  # the cell's own process ended with the study's
    assert broken.state == "interrupted"
    assert 20 < broken.steps_done() < 40
    assert failed.reason().startswith("train: unknown backbone")
    assert "Fatal" not in failed.log.read_text()  # the thread that watches the parent does not disturb the end

    executor = InProcess()
    run(file, tmp_path / "broken", executor)
    assert executor.ran == ["broken, seed 0", "ATRC / searched, seed 0"]
    for stage in ("search_contexts", "train"):
        one, other = (cell.folder / stage for cell in (whole, broken))
        tensors = [Checkpoint.load(run / "checkpoints/last.ckpt").network for run in (one, other)]
        assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
        for table in ("train.csv", "val.csv"):
            assert (one / table).read_bytes() == (other / table).read_bytes()
        assert (one / "genotype.json").read_bytes() == (other / "genotype.json").read_bytes()
    assert json.loads(whole.run.results.read_text())["results"] == json.loads(broken.run.results.read_text())["results"]


def test_a_killed_cell_is_named_and_continued_by_the_next_call(tmp_path, monkeypatch):
    file = write_study(tmp_path / "s.yaml", "nowhere", {"name": "a"}, {"name": "b"}, seeds=(0,))
    monkeypatch.setattr(local, "_command", lambda cell: ["sh", "-c", "exit 3" if cell.row == "b" else "kill -9 $$"])
    killed, ended = run(file, tmp_path / "out", LocalExecutor(2, "cpu")).cells
    assert killed.reason() == f"killed (memory may be short); called again, the study continues it; see {killed.log}"
    assert ended.reason() == f"ended with exit status 3; see {ended.log}"
    waiting = Run(plan(Study.load(file), tmp_path / "out"), InProcess(), lambda run: None)
    assert [str(cell) for cell in waiting.waiting] == ["a, seed 0", "b, seed 0"]


def test_an_interrupt_ends_the_processes(tmp_path, nyud_folder):
    file = write_study(tmp_path / "s.yaml", nyud_folder, {"name": "a"})

    def interrupt(work: Run) -> None:
        if len(processes(tmp_path / "out")) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(file, tmp_path / "out", LocalExecutor(2, "cpu"), interrupt)
    assert not processes(tmp_path / "out")
    assert not list(tmp_path.rglob("failed.txt"))


@pytest.mark.slow
def test_a_cell_on_two_devices_trains_under_torchrun(tmp_path, nyud_folder):
    row = SEARCHED | {"set": {"devices": 2, "data.batch_size": 2}}
    work = run(
        write_study(tmp_path / "s.yaml", nyud_folder, row, seeds=(0,)), tmp_path / "out", LocalExecutor(1, "cpu")
    )
    (cell,) = work.cells
    assert work.states[cell] == "done", cell.log.read_text()
    assert Genotype.load(cell.folder / "train/genotype.json").targets == ("semseg", "depth")


def test_slots_are_taken_and_given_back(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    executor = LocalExecutor(None)
    assert executor.free == ["2", "5", "7"]
    assert LocalExecutor(5).free == ["2", "5", "7", "2", "5"]
    assert LocalExecutor(2, "cpu").free == [None, None]
    file = write_study(tmp_path / "s.yaml", "nowhere", {"name": "a"}, {"name": "b", "set": {"devices": 2}})
    one, _, two, _ = plan(Study.load(file), tmp_path / "out")
    for cell in (one, two):
        cell.folder.mkdir(parents=True)
    monkeypatch.setattr(local, "_command", lambda cell: ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"])
    first, second = executor.start(one), executor.start(two)
    assert executor.free == []
    assert not executor.has_room(one)
    for job in (first, second):
        job.process.wait()
    assert first.state() is None
    assert executor.free == ["2"]
    assert not executor.has_room(two)
    assert second.state() is None
    assert executor.has_room(two)
    assert (one.log.read_text(), two.log.read_text()) == ("2\n", "5,7\n")


def test_threads_are_shared_out_unless_they_are_set(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [LocalExecutor(jobs, "cpu").threads for jobs in (None, 2, 3, 16)] == [1, 4, 2, 1]
    assert len(LocalExecutor(None, "cpu").free) == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert LocalExecutor(2, "cpu").threads == 3
    with pytest.raises(UserError, match="jobs = 0"):
        LocalExecutor(0)
