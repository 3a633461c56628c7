"""Whole runs on tiny data: learning, resuming, continuing, refusing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from atrc.app.evaluate import score_checkpoint
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import NetworkConfig
from atrc.network.build import build_network, resolve_genotype
from atrc.training.loading import load
from atrc.training.loop import fit
from atrc.training.recipe import Recipe
from atrc.training.run.checkpoint import Checkpoint
from atrc.training.run.folder import plain, read_table
from atrc.training.step import Stepper
from forks import fork, kill, wait
from runs import break_at, last, same, same_run, tiny

ATRC = {"distillation": "atrc", "genotype": "random:1"}


def curve(run: Path, column: str = "loss") -> list[float]:
    return [float(row[column]) for row in read_table(run / "train.csv")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, nyud_folder):
    """A finished run, to read."""
    run = tmp_path_factory.mktemp("finished") / "run"
    return run, fit(tiny(run, nyud_folder), progress=False)


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run to change."""
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_run_leaves_everything_in_its_folder_and_learns(finished):
    run, results = finished
    assert curve(run)[-1] < curve(run)[0]
    content = json.loads((run / "results.json").read_text())
    assert content["layout"].startswith("NYUD_MT")
    assert content["results"]["depth"]["value"] == results["depth"].value
    assert {"torch", "timm", "python"} <= set(json.loads((run / "versions.json").read_text()))
    assert yaml.safe_load((run / "config.yaml").read_text())["optim"]["steps"] == 4
    assert [int(row["step"]) for row in read_table(run / "val.csv")] == [2, 4]
    assert list(run.glob("events.out.tfevents*"))


def test_the_same_seed_gives_the_same_run_with_any_number_of_workers(finished, tmp_path, nyud_folder):
    what = tiny(tmp_path / "two", nyud_folder)
    what.data.workers = 2
    fit(what, progress=False)
    assert same_run(finished[0], tmp_path / "two")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forks beside threads
def test_a_run_killed_at_any_step_resumes_as_if_unbroken(tmp_path, nyud_folder):
    def start(name: str) -> int:
        what = tiny(tmp_path / name, nyud_folder, 6, **ATRC)  # with dropout
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(plain(what.to_dict())))
        return fork(["train", "--config", str(tmp_path / f"{name}.yaml"), "--resume"], tmp_path / "log")

    fit(tiny(tmp_path / "whole", nyud_folder, 6, **ATRC), progress=False)
    table = tmp_path / "broken/train.csv"
    for rows in (3, 5):  # once between checkpoints, once right after one
        process = start("broken")
        while not table.exists() or len(read_table(table)) < rows:
            assert wait(process, 0.02) is None, (tmp_path / "log").read_text()
        kill(process)
    assert len(read_table(table)) < 6
    assert wait(start("broken"), 300) == 0, (tmp_path / "log").read_text()
    assert same_run(tmp_path / "whole", tmp_path / "broken")
    assert (tmp_path / "broken/results.json").exists()


MODERN = {
    "backbone": "timm:test_convnext", "freeze": "stages:1", "optimizer": "adamw", "schedule": "cosine", "warmup": 2,
    "decay_all": False, "layer_decay": 0.8, "backbone_lr_factor": 0.5, "accumulate": 2, "ema": 0.9, "clip": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("search", [False, True], ids=["train", "search"])
def test_a_run_broken_between_checkpoints_resumes_as_if_unbroken_with_modern_settings(
    tmp_path, nyud_folder, monkeypatch, search
):
    options = MODERN | ({"ema": None, "tasks": ["semseg", "depth"]} if search else {})
    for name in ("whole", "broken"):
        with monkeypatch.context() as patch:
            if name == "broken":
                break_at(patch, 3)
                with pytest.raises(KeyboardInterrupt):
                    fit(tiny(tmp_path / name, nyud_folder, **options), search=search, progress=False)
        fit(tiny(tmp_path / name, nyud_folder, **options), search=search, resume=name == "broken", progress=False)
    assert same_run(tmp_path / "whole", tmp_path / "broken")
    assert len(set(curve(tmp_path / "whole", "lr"))) == 4


def test_the_moving_average_is_evaluated_saved_and_loaded(tmp_path, nyud_folder, monkeypatch):
    take, seen = Stepper.take, []

    def watch(self, *arguments):
        losses = take(self, *arguments)
        seen.append({key: value.clone() for key, value in self.phase.network.state_dict().items()})
        return losses

    monkeypatch.setattr(Stepper, "take", watch)
    what = tiny(tmp_path / "run", nyud_folder, 3, ema=0.25, lr=0.1, validate_every=0)
    results = fit(what, progress=False)
    saved, key = last(tmp_path / "run"), "backbone.model.conv_stem.weight"
    average = seen[0][key].lerp(seen[1][key], 0.75).lerp(seen[2][key], 0.75)  # timm's starts with the first weights
    torch.testing.assert_close(saved.network[key], average)
    assert same(saved.training["weights"], seen[2])
    assert torch.equal(load(tmp_path / "run").state_dict()[key], saved.network[key])
    scores = score_checkpoint(str(tmp_path / "run"), None, None, "val", 0)["results"]
    assert {task: score["value"] for task, score in scores.items()} == pytest.approx(
        {task: result.value for task, result in results.items()}
    )


def test_a_search_logs_its_traces_and_writes_its_genotype(tmp_path, nyud_folder):
    run = tmp_path / "run"
    fit(tiny(run, nyud_folder), search=True, progress=False)
    genotype = Genotype.load(run / "genotype.json")
    assert genotype.targets == ("semseg", "depth", "normals", "edge")
    rows = read_table(run / "search.csv")
    assert len(rows) == 4
    for target in genotype.targets:
        names = [name for name in rows[0] if name.startswith(f"{target}/depth/")]
        assert sum(float(rows[-1][name]) for name in names) == pytest.approx(1, abs=1e-6)
    assert curve(run, "temperature") == pytest.approx([1.0, 0.7625, 0.525, 0.2875])
    assert curve(run, "entropy_weight") == pytest.approx([-0.02, 0.0, 0.02, 0.04])
    assert last(run).build().distillation is not None
    assert last(run).genotype == genotype.contexts


def test_a_run_is_not_overwritten_and_another_recipe_is_refused(copied, nyud_folder):
    what = tiny(copied, nyud_folder)
    with pytest.raises(UserError, match="holds a run already; continue it with --resume"):
        fit(what, progress=False)
    what.optim.lr = 0.5
    config = (copied / "config.yaml").read_text()
    with pytest.raises(UserError, match=r"belongs to another recipe: optim\.lr was 0\.01, now 0\.5"):
        fit(what, resume=True, progress=False)
    assert (copied / "config.yaml").read_text() == config
    what.optim.lr = 0.01
    with pytest.raises(UserError, match="belongs to `atrc train`, not to `atrc search`"):
        fit(what, search=True, resume=True, progress=False)


def test_a_finished_run_is_not_trained_again_but_can_be_extended(copied, finished, nyud_folder):
    what, stamp = tiny(copied, nyud_folder), (copied / "checkpoints/last.ckpt").stat().st_mtime_ns
    assert fit(what, resume=True, progress=False) == finished[1]
    assert (copied / "checkpoints/last.ckpt").stat().st_mtime_ns == stamp
    what.optim.steps = 6
    with pytest.raises(UserError, match=r"optim\.steps was 4, now 6; restore the value, or give --extend 6"):
        fit(what, resume=True, progress=False)
    with pytest.raises(UserError, match=r"--extend 3: .* has 4 steps already; give a larger number"):
        fit(what, extend=3, progress=False)
    fit(what, extend=6, progress=False)
    assert curve(copied)[:4] == curve(finished[0])
    assert curve(copied, "lr") == pytest.approx(
        [0.01 * (1 - t / n) ** 0.9 for t, n in zip(range(6), (4,) * 4 + (6,) * 2, strict=True)]
    )
    assert [last(copied).step, json.loads((copied / "results.json").read_text())["steps"]] == [6, 6]


def test_a_run_killed_before_its_results_repeats_the_last_validation_once(copied, finished, nyud_folder):
    rows = read_table(copied / "val.csv")
    (copied / "results.json").unlink()
    assert fit(tiny(copied, nyud_folder), resume=True, progress=False) == finished[1]
    assert read_table(copied / "val.csv") == rows


def test_data_of_other_classes_are_refused(copied, nyud_folder, tmp_path):
    what = tiny(copied, nyud_folder)
    other = shutil.copytree(nyud_folder, tmp_path / "other")
    (other / "rooms.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    what.data.root = str(other)
    with pytest.raises(UserError, match="semseg has num_classes 3, the checkpoint num_classes 40"):
        fit(what, resume=True, progress=False)
    with pytest.raises(UserError, match="semseg has 3 outputs, the checkpoint 40"):
        score_checkpoint(str(copied), str(other), None, "val", 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable checkpoint"),
        (b"garbage", "not a readable checkpoint"),
        ({"a": 1}, "not a checkpoint of atrc"),
        (
            {"format": "atrc-checkpoint", "version": 99},
            "made by a newer atrc .format 99, this reads up to 1.: update atrc",
        ),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, message):
    path = tmp_path / "x.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        Checkpoint.load(path)
    assert "x.ckpt" in str(error.value)


class Payload:
    def __reduce__(self):
        return (os.system, ("touch /tmp/atrc-was-here",))


def test_a_pickled_payload_is_refused(tmp_path):
    torch.save({"format": "atrc-checkpoint", "version": 1, "x": Payload()}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"x.ckpt: holds code to run \(posix.system\)"):
        Checkpoint.load(tmp_path / "x.ckpt")
    assert not Path("/tmp/atrc-was-here").exists()


def test_a_random_genotype_is_drawn_by_the_seed_of_the_run(nyud_tasks):
    tasks = ["semseg", "depth"]
    assert resolve_genotype("random", tasks, seed=3) == Genotype.random(tasks, 3) == resolve_genotype("random:3", tasks)
    what = Recipe(seed=3, network=NetworkConfig(distillation="atrc", genotype="random"))
    assert build_network(what.network, nyud_tasks, seed=what.seed).genotype == Genotype.random(
        [task.name for task in nyud_tasks], 3
    )


def test_recipes_that_cannot_work_are_refused_before_training(tmp_path, nyud_folder):
    what = tiny(tmp_path / "run", nyud_folder, distillation="atrc")
    with pytest.raises(UserError, match=r"needs network\.genotype"):
        fit(what, progress=False)
    what.network.genotype = "pascal_hrnet18"
    with pytest.raises(UserError, match="is for the tasks semseg, human_parts.*the network predicts semseg, depth"):
        fit(what, progress=False)
    what.network.genotype = "random:x"
    with pytest.raises(UserError, match="write random:SEED"):
        fit(what, progress=False)
    what.network.genotype, what.precision = "global", "16"
    with pytest.raises(UserError, match="precision '16' needs a GPU"):
        fit(what, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_in_bfloat16_stays_finite_and_near_float32(tmp_path, nyud_folder):
    for precision in ("32", "bf16"):  # random:1 has every context
        fit(tiny(tmp_path / precision, nyud_folder, 2, precision=precision, validate_every=0, **ATRC), progress=False)
    assert curve(tmp_path / "bf16") == pytest.approx(curve(tmp_path / "32"), rel=0.05)
