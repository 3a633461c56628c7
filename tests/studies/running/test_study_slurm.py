"""Cells as jobs: on commands that play Slurm's part, and through submitit's local executor for real."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from atrc.errors import UserError
from atrc.studies.cells import Cell
from atrc.studies.plan import plan, save_study
from atrc.studies.running import slurm
from atrc.studies.running.run import Run
from atrc.studies.running.slurm import CellJob, SlurmExecutor, SlurmQueue, job_file
from atrc.studies.running.slurm_config import SlurmConfig
from atrc.studies.study import Study
from tiny_study import run, write_study

ONE = {"name": "a", "set": {"data.tasks": ["semseg"]}}


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Put sbatch, squeue and scontrol on the path that answer from files in a folder."""
    folder = tmp_path / "slurm-commands"
    folder.mkdir()
    scripts = {
        "sbatch": f'cp "$1" {folder}/batch; echo x >> {folder}/calls; '
        f'n=$(wc -l < {folder}/calls); echo "$n PENDING" >> {folder}/jobs; echo "Submitted batch job $n"',
        "squeue": f"touch {folder}/jobs; cat {folder}/jobs; test ! -e {folder}/down",
        "scontrol": 'echo "JobId=$4 JobName=x JobState=TIMEOUT Reason=TimeLimit"',
        "srun": "exit 1",
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "LOOK", 0.0)
    monkeypatch.setattr(slurm, "GRACE", 0.0)
    return folder


def planned(tmp_path: Path, *rows: dict, **given) -> list[Cell]:
    study = Study.load(write_study(tmp_path / "s.yaml", "nowhere", *rows))
    cells = plan(study, tmp_path / "out", **given)
    save_study(study, cells, tmp_path / "out")
    return cells


def submit(cells: list[Cell], tmp_path: Path, **options) -> Run:
    work = Run(cells, SlurmExecutor(SlurmConfig(**options), tmp_path / "out"), lambda run: None)
    work.run(wait=False)
    return work


def test_any_option_submits():
    assert not SlurmConfig().wanted
    assert SlurmConfig(time=60).wanted
    assert SlurmConfig(cluster="slurm").wanted


def test_without_submitit_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'atrc\[study\]'"):
        SlurmExecutor(SlurmConfig(partition="gpu"), tmp_path)


def test_without_slurm_that_is_said(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no Slurm here"):
        SlurmExecutor(SlurmConfig(partition="gpu"), tmp_path)


def test_the_options_reach_sbatch(cluster, tmp_path):
    pytest.importorskip("submitit")
    cells = planned(tmp_path, ONE, devices=4, nodes=2)
    submit(cells[:1], tmp_path, partition="gpu", time=90, gpus=4, nodes=2, cpus=6, mem=32.0, extra={"account": "v"})
    batch = (cluster / "batch").read_text()
    wanted = ("partition=gpu", "time=90", "nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "cpus-per-task=6")
    for option in (*wanted, "mem=32GB", "account=v", "job-name='atrc a, seed 0'"):
        assert f"#SBATCH --{option}\n" in batch
    assert "srun --unbuffered" in batch
    assert " --kill-on-bad-exit=1 --cpus-per-task=6 " in batch.split("srun ")[1]
    assert "OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}" in batch


def test_gpus_are_asked_for_only_where_they_are_wanted(cluster, tmp_path):
    pytest.importorskip("submitit")
    submit(planned(tmp_path, ONE)[:1], tmp_path, time=5)
    assert "--gpus" not in (cluster / "batch").read_text()
    gpu = {"name": "b", "set": {"accelerator": "gpu", "devices": 2}}
    submit(planned(tmp_path, gpu)[:1], tmp_path, time=5)
    assert "gpus-per-node=2\n" in (cluster / "batch").read_text()


def test_a_task_that_fails_says_so_to_srun_and_the_first_reason_stands(tmp_path):
    cell = planned(tmp_path, ONE)[0]
    with pytest.raises(SystemExit, match="1"):
        CellJob(str(cell.folder))()
    assert "nowhere: not a data set folder" in cell.reason()
    cell.fail("another process was lost")
    assert "nowhere" in cell.reason()


def test_jobs_go_on_alone_and_are_found_by_the_next_call(cluster, tmp_path):
    pytest.importorskip("submitit")
    cells = planned(tmp_path, ONE)
    work = submit(cells, tmp_path, time=5)
    assert list(work.states.values()) == ["queued", "queued"]
    assert [job_file(cell).read_text() for cell in cells] == ["1\n", "2\n"]
    (cluster / "jobs").write_text("2 RUNNING\n")  # the first one ended, without a word
    again = submit(cells, tmp_path, time=5)
    assert list(again.states.values()) == ["queued", "running"]
    assert [job_file(cell).read_text() for cell in cells] == ["3\n", "2\n"]
    assert len((cluster / "calls").read_text().split()) == 3


def test_a_job_that_ends_early_is_named_with_slurms_reason(cluster, tmp_path):
    pytest.importorskip("submitit")
    cells = planned(tmp_path, ONE)[:1]
    work = submit(cells, tmp_path, time=5)
    (cluster / "jobs").write_text("")
    work.run()
    assert work.states[cells[0]] == "failed"
    log = tmp_path / "out/slurm/1_0_log.err"
    assert cells[0].reason() == f"Slurm job 1 ended as TIMEOUT before the cell was done; see {log}"
    assert not job_file(cells[0]).exists()


def test_a_silent_slurm_ends_no_job(cluster):
    (cluster / "jobs").write_text("7 RUNNING\n8 CONFIGURING\n9 COMPLETING\n")
    queue = SlurmQueue()
    assert [queue.state(number) for number in "6789"] == [None, "running", "queued", "running"]
    (cluster / "jobs").write_text("")
    (cluster / "down").touch()
    assert queue.state("7") == "running"
    (cluster / "down").unlink()
    assert queue.state("7") is None


def test_nothing_is_submitted_twice_while_slurm_does_not_answer(cluster, tmp_path):
    pytest.importorskip("submitit")
    cells = planned(tmp_path, ONE)
    submit(cells, tmp_path, time=5)
    squeue = (cluster / "squeue").read_text()
    (cluster / "squeue").write_text('#!/bin/sh\ntest "$1" = --version\n')  # it is there, its controller is not
    with pytest.raises(UserError, match="Slurm does not answer"):
        submit(cells, tmp_path, time=5)
    (cluster / "squeue").write_text(squeue)
    assert list(submit(cells, tmp_path, time=5).states.values()) == ["queued", "queued"]
    assert len((cluster / "calls").read_text().split()) == 2


def test_a_local_run_leaves_submitted_cells_to_slurm(cluster, tmp_path):
    pytest.importorskip("submitit")
    cells = planned(tmp_path, ONE)
    submit(cells[:1], tmp_path, time=5)
    with pytest.raises(UserError, match="a, seed 0 was submitted to Slurm as job 1"):
        slurm.require_not_submitted(cells)
    (cluster / "jobs").write_text("")
    slurm.require_not_submitted(cells)
    (cluster / "squeue").write_text('#!/bin/sh\ntest "$1" = --version\n')
    with pytest.raises(UserError, match="Slurm does not answer"):
        slurm.require_not_submitted(cells)
    slurm.require_not_submitted(cells[1:])


@pytest.mark.release  # it starts a process that imports everything again
def test_submitits_local_executor_runs_a_study(tmp_path, nyud_folder):
    pytest.importorskip("submitit")
    file = write_study(tmp_path / "s.yaml", nyud_folder, ONE, seeds=(0,))
    work = run(file, tmp_path / "out", SlurmExecutor(SlurmConfig(cluster="local", time=5), tmp_path / "out"))
    assert list(work.states.values()) == ["done"]
    assert work.cells[0].run.results.exists()


def test_a_local_job_of_submitit_that_left_no_word_is_named(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    file = write_study(tmp_path / "s.yaml", "nowhere", ONE, {"name": "wide", "set": {"devices": 2}}, seeds=(0,))
    job = SimpleNamespace(job_id="7", done=lambda: True, paths=SimpleNamespace(stderr="7.err"), cancel=lambda: None)
    monkeypatch.setattr(SlurmExecutor, "_submit", lambda self, cell: self._parameters(cell) and job)
    work = run(file, tmp_path / "out", SlurmExecutor(SlurmConfig(cluster="local", time=5), tmp_path / "out"))
    one, two = work.cells
    assert one.reason() == "submitit's job 7 ended before the cell was done; see 7.err"
    assert two.reason().startswith("submitit's local jobs have one process")
