"""Whole runs on tiny data: learning, resuming, killing, distributing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from atrc.app.evaluate import score_checkpoint
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network.build import build_network, resolve_genotype
from atrc.search.build import build_supergraph
from atrc.training.loop import fit
from atrc.training.phases.search import ContextSearch
from atrc.training.recipe import DataConfig, NetworkConfig, OptimConfig, Recipe, SearchConfig
from atrc.training.run.checkpoint import Checkpoint
from atrc.training.run.folder import read_table
from forks import fork, kill, wait

COLUMNS = ("loss", "semseg", "depth", "normals", "edge")


def recipe(out: Path, data: Path, steps: int = 6, **network: str) -> Recipe:
    return Recipe(
        out=str(out),
        data=DataConfig(root=str(data), crop=(32, 32), batch_size=4, workers=0),
        network=NetworkConfig(**network),
        optim=OptimConfig(steps=steps),
        search=SearchConfig(lr=0.3),
        validate_every=2,
        log_every=1,
        accelerator="cpu",
        precision="32",
    )


def curve(run: Path, columns: tuple[str, ...] = COLUMNS) -> list[tuple[float, ...]]:
    return [tuple(float(row[name]) for name in columns) for row in read_table(run / "train.csv")]


def write_config(path: Path, what: Recipe) -> Path:
    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return list(value) if isinstance(value, tuple) else value

    path.write_text(yaml.safe_dump(plain(what.to_dict())))
    return path


def test_a_run_leaves_everything_in_its_folder_and_learns(tmp_path, nyud_folder):
    results = fit(recipe(tmp_path / "run", nyud_folder, 12), progress=False)
    run = tmp_path / "run"
    losses = curve(run)
    assert losses[-1][0] < losses[0][0]
    content = json.loads((run / "results.json").read_text())
    assert content["layout"].startswith("NYUD_MT")
    assert content["results"]["depth"]["value"] == results["depth"].value
    assert {"torch", "timm", "python"} <= set(json.loads((run / "versions.json").read_text()))
    assert yaml.safe_load((run / "config.yaml").read_text())["optim"]["steps"] == 12
    assert [int(row["step"]) for row in read_table(run / "val.csv")] == [2, 4, 6, 8, 10, 12]
    assert list(run.glob("events.out.tfevents*"))


def test_the_same_seed_gives_the_same_run_with_any_number_of_workers(tmp_path, nyud_folder):
    one, two = recipe(tmp_path / "one", nyud_folder, 4), recipe(tmp_path / "two", nyud_folder, 4)
    two.data.workers = 2
    fit(one, progress=False)
    fit(two, progress=False)
    assert curve(tmp_path / "one") == curve(tmp_path / "two")
    first, second = (Checkpoint.load(tmp_path / n / "checkpoints/last.ckpt").network for n in ("one", "two"))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forks beside threads
@pytest.mark.parametrize("search", [False, True], ids=["train", "search"])
def test_a_run_killed_at_any_step_resumes_as_if_unbroken(tmp_path, nyud_folder, search):
    network = {} if search else {"distillation": "atrc", "genotype": "random:1"}  # with dropout; a search has none

    def start(name: str) -> int:
        config = write_config(tmp_path / f"{name}.yaml", recipe(tmp_path / name, nyud_folder, **network))
        return fork(["search" if search else "train", "--config", str(config), "--resume"], tmp_path / "log")

    assert wait(start("whole"), 300) == 0, (tmp_path / "log").read_text()
    table = tmp_path / "broken/train.csv"
    for rows in (3, 5):  # once between checkpoints, once right behind one
        process = start("broken")
        while not table.exists() or len(read_table(table)) < rows:
            assert wait(process, 0.02) is None, (tmp_path / "log").read_text()
        kill(process)
    assert len(read_table(table)) < 6
    assert wait(start("broken"), 300) == 0, (tmp_path / "log").read_text()
    columns = (*COLUMNS, *(("entropy", "temperature") if search else ()))
    assert curve(tmp_path / "broken", columns) == curve(tmp_path / "whole", columns)
    one, other = (Checkpoint.load(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "broken"))
    assert all(torch.equal(one.network[key], other.network[key]) for key in one.network)
    assert one.genotype == other.genotype
    assert (tmp_path / "whole/results.json").exists()
    assert read_table(tmp_path / "whole/val.csv") == read_table(tmp_path / "broken/val.csv")


def test_a_search_logs_its_traces_and_writes_its_genotype(tmp_path, nyud_folder):
    fit(recipe(tmp_path / "run", nyud_folder), search=True, progress=False)
    genotype = Genotype.load(tmp_path / "run/genotype.json")
    assert genotype.targets == ("semseg", "depth", "normals", "edge")
    rows = read_table(tmp_path / "run/search.csv")
    assert len(rows) == 6
    for target in genotype.targets:
        names = [name for name in rows[0] if name.startswith(f"{target}/depth/")]
        assert sum(float(rows[-1][name]) for name in names) == pytest.approx(1, abs=1e-6)
    train = read_table(tmp_path / "run/train.csv")
    assert float(train[0]["temperature"]) == 1.0
    assert float(train[-1]["temperature"]) == pytest.approx(0.05)
    assert float(train[0]["entropy_weight"]) == pytest.approx(-0.02)
    checkpoint = Checkpoint.load(tmp_path / "run/checkpoints/last.ckpt")
    assert checkpoint.build().distillation is not None
    assert checkpoint.genotype == genotype.contexts


def test_two_processes_train_as_one_does_on_the_same_global_batch(tmp_path, nyud_folder):
    curves = []
    for devices in (1, 2):
        what = recipe(tmp_path / str(devices), nyud_folder, 3, distillation="atrc", genotype="s_label")
        what.devices = devices
        what.network.dropout = 0.0  # it draws per process
        what.precision, what.data.crop = "64", (48, 64)
        what.data.batch_size = 2  # three images to validate: the processes see two batches and one
        if devices == 1:
            fit(what, progress=False)
        else:  # the command starts the others
            command = [sys.executable, "-m", "atrc", "train", "--config", str(write_config(tmp_path / "c.yaml", what))]
            threads = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=threads)
            assert done.returncode == 0, done.stderr
        curves.append(curve(tmp_path / str(devices)))
    for one, two in zip(*curves, strict=True):
        assert two == pytest.approx(one, rel=1e-6)
    one, two = (json.loads((tmp_path / str(n) / "results.json").read_text())["results"] for n in (1, 2))
    for task, result in one.items():
        assert two[task]["value"] == pytest.approx(result["value"], rel=1e-4)


def test_a_run_is_not_overwritten_and_another_recipe_is_refused(tmp_path, nyud_folder):
    what = recipe(tmp_path / "run", nyud_folder, 2)
    fit(what, progress=False)
    with pytest.raises(UserError, match="holds a run already; continue it with --resume"):
        fit(what, progress=False)
    what.optim.lr = 0.5
    config = (tmp_path / "run/config.yaml").read_text()
    with pytest.raises(UserError, match=r"of another recipe: optim\.lr was 0\.01, now 0\.5"):
        fit(what, resume=True, progress=False)
    assert (tmp_path / "run/config.yaml").read_text() == config
    what.optim.lr = 0.01
    with pytest.raises(UserError, match="belongs to `atrc train`, not to `atrc search`"):
        fit(what, search=True, resume=True, progress=False)


def test_a_finished_run_is_not_trained_again(tmp_path, nyud_folder):
    what = recipe(tmp_path / "run", nyud_folder, 2)
    first = fit(what, progress=False)
    stamp = (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns
    again = fit(what, resume=True, progress=False)
    assert {k: v.value for k, v in again.items()} == {k: v.value for k, v in first.items()}
    assert (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns == stamp


def test_a_loss_that_is_not_finite_stops_the_run_and_names_task_and_images(tmp_path, nyud_folder):
    what = recipe(tmp_path / "run", nyud_folder, 20)
    what.optim.lr = 1e30
    with pytest.raises(UserError, match=r"step \d+: the loss of .* is not a finite number, images 000"):
        fit(what, progress=False)


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
    what = recipe(tmp_path / "run", nyud_folder, distillation="atrc")
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


def test_data_of_other_classes_are_refused(tmp_path, nyud_folder):
    what = recipe(tmp_path / "run", nyud_folder, 2)
    fit(what, progress=False)
    other = shutil.copytree(nyud_folder, tmp_path / "other")
    (other / "rooms.json").write_text(json.dumps({"classes": ["a", "b", "c"]}))
    what.data.root, what.optim.steps = str(other), 2
    with pytest.raises(UserError, match="semseg has num_classes 3, the checkpoint num_classes 40"):
        fit(what, resume=True, progress=False)
    with pytest.raises(UserError, match="semseg has 3 outputs, the checkpoint 40"):
        score_checkpoint(str(tmp_path / "run"), str(other), None, "val", 0)


@pytest.mark.parametrize("genotype", ["global", "local", "t_label"])
def test_a_run_in_bfloat16_stays_finite_and_near_float32(tmp_path, nyud_folder, genotype):
    losses = []
    for precision in ("32", "bf16"):
        what = recipe(tmp_path / precision, nyud_folder, 2, distillation="atrc", genotype=genotype)
        what.precision, what.validate_every = precision, 0
        fit(what, progress=False)
        losses.append(curve(tmp_path / precision)[0][0])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_sgd_and_its_clipping_hold_the_weights_and_adam_the_architecture_parameters(nyud_tasks):
    what = Recipe()
    network = build_supergraph(what.network, nyud_tasks, "contexts")
    phase = ContextSearch(network, what)
    alphas = {id(alpha) for alpha in phase.supergraph.alphas()}
    held = {id(parameter) for parameter in phase.weights}
    assert {id(p) for group in phase.sgd.param_groups for p in group["params"]} == held
    assert {id(p) for group in phase.adam.param_groups for p in group["params"]} == alphas
    assert not held & alphas
    assert held | alphas == {id(parameter) for parameter in network.parameters()}
    assert phase.clip == 10
    assert phase.adam.param_groups[0]["weight_decay"] == 0


def test_a_run_killed_before_its_results_repeats_the_last_validation_once(tmp_path, nyud_folder):
    what = recipe(tmp_path / "run", nyud_folder, 2)
    first = fit(what, progress=False)
    rows = read_table(tmp_path / "run/val.csv")
    (tmp_path / "run/results.json").unlink()
    assert fit(what, resume=True, progress=False) == first
    assert read_table(tmp_path / "run/val.csv") == rows
