"""Losses, gradients and weights that are not finite: the run stops there, keeps the step, and loses nothing."""

import contextlib
import math

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision

from atrc.app.cli import main
from atrc.data.sample import network_input
from atrc.errors import UserError
from atrc.tasks import Depth
from atrc.training import loop, nonfinite
from atrc.training.loop import fit
from atrc.training.losses import task_losses
from atrc.training.nonfinite import Failure
from atrc.training.run.folder import read_table
from runs import last, same, same_run, tiny

loss_of_depth = Depth.loss


@contextlib.contextmanager
def depth_loss(change, at):
    """Let the loss of depth be another one in its call number `at`, and after it if that is negative."""
    calls = 0

    def changed(self, logits, *arguments):
        nonlocal calls
        calls += 1
        loss = loss_of_depth(self, logits, *arguments)
        return change(loss, logits) if calls == at or (at < 0 and calls >= -at) else loss

    Depth.loss = changed
    try:
        yield
    finally:
        Depth.loss = loss_of_depth


def infinite(loss, logits):
    return loss * math.inf


def no_gradient(loss, logits):
    return loss + (logits[:1, :, :1, :1] * 0).sqrt().sum()  # finite itself, but its derivative is inf * 0


@pytest.mark.parametrize("search", [False, True], ids=["train", "search"])
def test_an_infinite_loss_stops_the_run_there_and_the_step_can_be_taken_again(tmp_path, nyud_folder, search):
    run, options = tmp_path / "run", {} if search else {"distillation": "atrc", "genotype": "random:1", "dropout": 0.5}
    what = tiny(run, nyud_folder, **options)
    with (
        depth_loss(infinite, at=3),
        pytest.raises(UserError, match=r"^step 3: the loss of depth is not a finite number, images 00\d\d, 00\d\d; "),
    ):
        fit(what, search=search, progress=False)
    assert last(run).step == 2
    failure = Failure.load(run / "checkpoints/nonfinite.pt")
    assert (failure.checkpoint.step, failure.process, failure.reason) == (2, 0, "the loss of depth")
    assert failure.losses["depth"] == math.inf
    assert len(failure.batch["id"]) == 2
    weights = dict(last(run).build().named_parameters())
    network, losses = failure.replay()
    assert all(torch.equal(weights[name], p) for name, p in network.named_parameters())
    assert {name for name in losses if float(losses[name].detach()) != failure.losses[name]} == {"depth"}
    sum(losses.values()).backward()
    fit(what, search=search, resume=True, progress=False)
    fit(tiny(tmp_path / "whole", nyud_folder, **options), search=search, progress=False)
    assert same_run(run, tmp_path / "whole")


def test_a_step_in_double_precision_is_kept_in_it(tmp_path, nyud_folder):
    with depth_loss(infinite, at=2), pytest.raises(UserError, match="step 2: .* the step is kept in .*nonfinite"):
        fit(tiny(tmp_path, nyud_folder, precision="64", validate_every=0), progress=False)
    failure = Failure.load(tmp_path / "checkpoints/nonfinite.pt")
    network, losses = failure.replay()
    assert losses["semseg"].item() == failure.losses["semseg"]
    assert next(network.parameters()).dtype == torch.float64


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_reaches_the_weights(tmp_path, nyud_folder):
    with depth_loss(no_gradient, at=3), pytest.raises(UserError, match=r"^step 3: the gradient of .*backbone.* finite"):
        fit(tiny(tmp_path, nyud_folder), progress=False)
    network, _ = Failure.load(tmp_path / "checkpoints/nonfinite.pt").replay()
    weights = dict(last(tmp_path).build().named_parameters())
    assert all(torch.equal(weights[name], p) for name, p in network.named_parameters())


def test_weights_that_are_not_finite_are_not_saved(tmp_path, nyud_folder, monkeypatch):
    what = tiny(tmp_path, nyud_folder)
    after = loop.TrainPhase.after

    def spoil(self, step):
        with torch.no_grad():
            next(self.network.parameters()).mul_(math.nan if step == 3 else 1)
        return after(self, step)

    monkeypatch.setattr(loop.TrainPhase, "after", spoil)
    said = r"^step 4: .*weight is not finite, .* last checkpoint stands; lower optim\.lr"
    with pytest.raises(UserError, match=said):
        fit(what, progress=False)
    assert last(tmp_path).step == 2


def test_what_is_no_kept_step_is_named(tmp_path, nyud_folder):
    torch.save({"format": "atrc-checkpoint"}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt: not a step that atrc kept"):
        Failure.load(tmp_path / "x.pt")


def test_the_command_says_so_in_one_line_and_exits_with_2(tmp_path, nyud_folder, capsys):
    command = ["train", "--out", str(tmp_path), "--data.root", str(nyud_folder), "--data.crop", "[32,32]"]
    command += ["--data.batch_size", "2", "--accelerator", "cpu", "--optim.steps", "2"]
    with depth_loss(infinite, at=1), pytest.raises(SystemExit, match="2"):
        main(command)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("atrc train: error: step 1: the loss of depth is not a finite number, images 00")


@pytest.fixture
def float16(monkeypatch):
    """Let runs take float16 with gradient scaling on the CPU, where the recipe would have to name a GPU."""

    def use(scale):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        monkeypatch.setattr(loop, "make_fabric", lambda *_: Fabric(accelerator="cpu", plugins=plugin))

    return use


@pytest.mark.parametrize("search", [False, True], ids=["train", "search"])
def test_float16_gradients_that_overflow_skip_the_step_and_are_counted(tmp_path, nyud_folder, float16, search):
    float16(2.0**20)
    fit(tiny(tmp_path, nyud_folder, 20, validate_every=0), search=search, progress=False)
    skipped = [float(row["skipped"]) for row in read_table(tmp_path / "train.csv")]
    assert skipped[0] == 1
    assert skipped == sorted(skipped)
    assert 1 < skipped[-1] < 20
    saved = last(tmp_path)
    assert saved.training["skipped"] == skipped[-1]
    assert saved.training["precision"]["scale"] == 2.0 ** (20 - skipped[-1])
    assert all(value.isfinite().all() for value in saved.network.values() if value.is_floating_point())


def test_a_float16_loss_that_overflows_once_skips_the_step_too(tmp_path, nyud_folder, float16):
    float16(1.0)
    with depth_loss(infinite, at=2):
        fit(tiny(tmp_path, nyud_folder, 3, validate_every=0), progress=False)
    assert [float(row["skipped"]) for row in read_table(tmp_path / "train.csv")] == [0, 1, 1]


def test_float16_that_overflows_in_every_step_stops_the_run(tmp_path, nyud_folder, float16, monkeypatch):
    monkeypatch.setattr(nonfinite, "MOST_SKIPPED", 3)
    float16(1.0)
    said = r"^step 4: at a loss scale of 0\.125, float16 in 3 steps in a row: .*; set precision bf16 or 32"
    with depth_loss(no_gradient, at=-2), pytest.raises(UserError, match=said):
        fit(tiny(tmp_path, nyud_folder, 20, validate_every=0), progress=False)
    assert Failure.load(tmp_path / "checkpoints/nonfinite.pt").checkpoint.step == 3


def test_the_losses_of_a_kept_step_are_those_of_its_batch(tmp_path, nyud_folder):
    with depth_loss(infinite, at=1), pytest.raises(UserError):
        fit(tiny(tmp_path, nyud_folder), progress=False)
    failure = Failure.load(tmp_path / "checkpoints/nonfinite.pt")
    network, losses = failure.replay()
    again = task_losses(
        network(network_input(failure.batch)), failure.batch["truth"], failure.batch["valid"], network.tasks
    )
    assert same({k: v.detach() for k, v in again.items()}, {k: v.detach() for k, v in losses.items()})
