"""Two processes: the same numbers as one; and when one is lost or hangs, the other ends soon and says why."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from atrc.training.loop import fit
from atrc.training.nonfinite import Failure
from atrc.training.run.folder import plain, read_table
from folders import write_nyud, write_pascal
from forks import ranks, wait
from runs import last, tiny

# Python 3.12 on forks beside threads
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def config(path, what):
    path.write_text(yaml.safe_dump(plain(what.to_dict())))
    return ["train", "--config", str(path)]


@pytest.mark.parametrize(
    ("write", "balancing"), [(write_nyud, "uncertainty"), (write_pascal, "fixed")], ids=["nyud", "pascal"]
)
def test_two_processes_equal_one_in_losses_gradients_statistics_and_metrics(tmp_path, write, balancing):
    data = write(tmp_path / ("NYUD_MT" if write is write_nyud else "PASCAL_MT"), train=4, val=3)
    # float64: at this size a batch norm has few values, and float32 would differ in the third digit after a step.
    options = {"precision": "64", "distillation": "atrc", "genotype": "random:1", "dropout": 0.0, "validate_every": 0}
    one, two = (tiny(tmp_path / name, data, 2, balancing=balancing, **options) for name in ("one", "two"))
    one.data.crop = two.data.crop = (48, 64)  # three images to evaluate: one process has two of them, the other one
    two.devices = 2
    with ranks(config(tmp_path / "c.yaml", two), tmp_path) as processes:
        fit(one, progress=False)
        ended = [wait(process, 300) for process in processes]
    assert ended == [0, 0], (tmp_path / "rank0.log").read_text() + (tmp_path / "rank1.log").read_text()
    curves = [[[float(x) for x in row.values()] for row in read_table(run / "train.csv")] for run in paths(tmp_path)]
    torch.testing.assert_close(torch.tensor(curves[1]), torch.tensor(curves[0]), rtol=1e-6, atol=1e-9)
    ours, theirs = (last(run) for run in paths(tmp_path))
    torch.testing.assert_close(theirs.network, ours.network, rtol=1e-9, atol=1e-9)  # weights and running statistics
    momenta = [
        [state["momentum_buffer"].double() for state in run.training["optimizer"]["state"].values()]
        for run in (ours, theirs)
    ]
    weights = len(list(ours.build().parameters()))  # then the balancing's, which are in single precision
    torch.testing.assert_close(momenta[1][:weights], momenta[0][:weights], rtol=1e-9, atol=1e-9)  # sums of gradients
    torch.testing.assert_close(momenta[1][weights:], momenta[0][weights:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs.training["balancing"], ours.training["balancing"], rtol=1e-5, atol=1e-6)
    results = [json.loads((run / "results.json").read_text())["results"] for run in paths(tmp_path)]
    for task, result in results[0].items():
        assert results[1][task]["value"] == pytest.approx(result["value"], rel=1e-6), task
        assert results[1][task]["confusion"] == result["confusion"], task


def paths(root):
    return root / "one", root / "two"


def begin(tmp_path, nyud_folder, steps=10_000, timeout=300):
    what = tiny(tmp_path / "run", nyud_folder, steps, validate_every=0, devices=2, timeout=timeout)
    return config(tmp_path / "c.yaml", what), tmp_path / "run/train.csv"


def until_it_trains(table, seconds=300):
    until = time.monotonic() + seconds
    while not table.exists() or len(read_table(table)) < 2:
        assert time.monotonic() < until, "it does not train"
        time.sleep(0.02)


stopped = pytest.param(signal.SIGSTOP, marks=pytest.mark.release)  # ends when the time is out


@pytest.mark.parametrize("by", [signal.SIGKILL, stopped])
def test_when_one_of_two_processes_is_lost_the_other_ends_with_one_line(tmp_path, nyud_folder, by):
    command, table = begin(tmp_path, nyud_folder, timeout=300 if by == signal.SIGKILL else 60)
    with ranks(command, tmp_path) as processes:
        until_it_trains(table)
        os.kill(processes[0], by)
        status = wait(processes[1], 200)
    log = (tmp_path / "rank1.log").read_text()
    assert status == 2, log
    assert "atrc train: error: another process was lost (" in log
    assert log.rstrip().endswith("; see what it said last, then continue with --resume")
    assert "Traceback" not in log


@pytest.mark.parametrize("by", [signal.SIGKILL, stopped])
def test_the_process_that_started_the_others_ends_them_and_names_the_lost_one(tmp_path, nyud_folder, by):
    command, table = begin(tmp_path, nyud_folder, timeout=300 if by == signal.SIGKILL else 60)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "atrc", *command], stderr=subprocess.PIPE, text=True, env=environment
    ) as main:
        until_it_trains(table)
        (child,) = children(main.pid)
        os.kill(child, by)
        said = main.communicate(timeout=200)[1]
    assert main.returncode == 2
    lost = "process 1 (killed by SIGKILL)" if by == signal.SIGKILL else "another process"
    assert f"atrc train: error: {lost} was lost (" in said
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def children(process):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=True)
    return [int(pid) for pid in listed.stdout.split()]


def test_a_loss_that_is_infinite_in_one_process_stops_both_and_names_its_images(tmp_path, nyud_folder, monkeypatch):
    from atrc.tasks import Depth

    command, _ = begin(tmp_path, nyud_folder, 4)
    loss_of_depth, calls = Depth.loss, []

    def changed(self, logits, *arguments):
        calls.append(0)
        bad = len(calls) == 2 and os.environ.get("RANK") == "1"
        return loss_of_depth(self, logits, *arguments) * (float("nan") if bad else 1)

    monkeypatch.setattr(Depth, "loss", changed)
    with ranks(command, tmp_path) as processes:
        assert [wait(process, 300) for process in processes] == [2, 2]
    failure = Failure.load(tmp_path / "run/checkpoints/nonfinite-1.pt")
    for rank in (0, 1):
        (line,) = [x for x in (tmp_path / f"rank{rank}.log").read_text().splitlines() if x.startswith("atrc")]
        assert "step 2: the loss of depth is not a finite number, images" in line
        assert f"images {failure.batch['id'][0]}; " in line
        assert "nonfinite-1.pt" in line
    assert failure.process == 1
