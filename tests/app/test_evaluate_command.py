"""Scoring a checkpoint, alone and against baselines of the same and of another protocol."""

import json
import math

import pytest

from atrc.app.cli import main
from atrc.app.evaluate import compare, score_checkpoint
from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.network import build_network
from atrc.tasks import tasks_to_dicts
from atrc.training.evaluation.evaluate import Result
from atrc.training.evaluation.protocol import describe_protocol
from atrc.training.recipe import DataConfig, OptimConfig, Recipe
from atrc.training.run.checkpoint import Checkpoint

TASKS = ["semseg", "depth"]
VALUES = {
    "semseg": {"metric": "mIoU", "value": 40.0, "unit": "%", "higher_is_better": True, "non_finite": 0.0},
    "depth": {"metric": "RMSE", "value": 0.5, "unit": "m", "higher_is_better": False, "non_finite": 0.0},
}


@pytest.fixture(scope="module")
def data(nyud_folder):
    return open_dataset(nyud_folder, "val", TASKS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, data):
    """Write what a run of four steps would have saved, without the steps."""
    recipe = Recipe(data=DataConfig(root=str(data.root), crop=(32, 32), batch_size=2), optim=OptimConfig(steps=4))
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    network = build_network(recipe.network, data.tasks)
    Checkpoint(
        step=4,
        seconds=1.0,
        phase="train",
        recipe=recipe.to_dict(),
        tasks=tasks_to_dicts(data.tasks),
        genotype=None,
        branching=None,
        layout=data.layout,
        network=network.state_dict(),
        training={},
    ).save(path)
    return path


@pytest.fixture
def baseline(tmp_path, data):
    """Return a function that writes results of some tasks, measured as the checkpoint will be."""

    def write(name, *tasks, protocol=None, **changes):
        known = describe_protocol(data, [task for task in data.tasks if task.name in tasks], (32, 32))
        content = {"results": {task: VALUES[task] for task in tasks}, "protocol": protocol or known | changes}
        folder = tmp_path / name
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(content))
        return str(folder)

    return write


def score(checkpoint, *baselines, **options):
    return score_checkpoint(str(checkpoint), None, list(baselines), "val", 0, **options)


def test_several_single_task_runs_make_one_baseline(checkpoint, baseline, capsys):
    scored = score(checkpoint, baseline("a", "semseg"), baseline("b", "depth"))
    values = {task: result["value"] for task, result in scored["results"].items()}
    gain = ((values["semseg"] - 40) / 40 + (0.5 - values["depth"]) / 0.5) / 2
    assert scored["delta_m"] == pytest.approx(100 * gain)
    assert {task: entry["value"] for task, entry in scored["baseline"].items()} == {"semseg": 40, "depth": 0.5}
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith("  ")] == [*TASKS, "delta_m"]
    classes = [line for line in lines if line.startswith("  semseg ")]  # before the summary
    assert len(classes) == 40
    assert "IoU" in classes[0]
    assert lines.index(classes[-1]) < len(lines) - 3
    assert scored["protocol"]["checkpoint"] == "last"
    assert scored["step"] == 4


def test_one_multi_task_run_is_a_baseline_by_its_folder_or_its_file(checkpoint, baseline):
    folder = baseline("a", *TASKS)
    both = [score(checkpoint, path)["delta_m"] for path in (folder, f"{folder}/results.json")]
    assert both[0] == both[1]
    assert score(checkpoint)["delta_m"] is None


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([["semseg"]], "--baseline: no result for depth in .*0; add its run"),
        ([["semseg"], ["semseg", "depth"]], "--baseline: semseg is in both .*0 and .*1; give each task once"),
    ],
)
def test_every_task_has_one_baseline(checkpoint, baseline, runs, said):
    with pytest.raises(UserError, match=said):
        score(checkpoint, *(baseline(str(i), *tasks) for i, tasks in enumerate(runs)))


def test_results_of_another_protocol_are_refused_and_every_difference_is_named(checkpoint, baseline, capsys):
    other = baseline("a", *TASKS, layout="NYUD_MT, another copy", crop=[64, 64])
    with pytest.raises(UserError, match="another protocol") as error:
        score(checkpoint, other)
    assert "layout is 'NYUD_MT, another copy' there and 'NYUD_MT" in str(error.value)
    assert "crop is [64, 64] there and [32, 32] here" in str(error.value)
    assert "--allow-different-protocols" in str(error.value)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().err == ""  # before anything was evaluated
    scored = score(checkpoint, other, allow_different_protocols=True)
    assert math.isfinite(scored["delta_m"])
    assert "warning: " in (shown := capsys.readouterr().err)
    assert "crop is [64, 64] there and [32, 32] here" in shown


def test_a_task_whose_metric_had_other_settings_is_another_protocol(checkpoint, baseline):
    with pytest.raises(
        UserError, match=r"metric of semseg is 'mIoU\(num_classes=13\)' there and 'mIoU\(num_classes=40\)"
    ):
        score(checkpoint, baseline("a", *TASKS, tasks={"semseg": "mIoU(num_classes=13)", "depth": "RMSE()"}))


def test_results_without_a_protocol_are_refused_unless_allowed(checkpoint, baseline, tmp_path):
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"results": VALUES}))
    with pytest.raises(UserError, match=r"old\.json has another protocol: no protocol is recorded there"):
        score(checkpoint, str(old))
    assert score(checkpoint, str(old), allow_different_protocols=True)["delta_m"] is not None


def test_a_baseline_of_zero_is_refused_before_the_evaluation(checkpoint, baseline, monkeypatch, capsys):
    monkeypatch.setitem(VALUES, "semseg", VALUES["semseg"] | {"value": 0.0})
    with pytest.raises(UserError, match="the baseline's semseg is 0"):
        score(checkpoint, baseline("a", *TASKS))
    assert capsys.readouterr().err == ""


def test_an_unfinished_run_is_not_compared_with_finished_ones(checkpoint, baseline, tmp_path):
    saved = Checkpoint.load(checkpoint)
    Checkpoint(**vars(saved) | {"step": 3}).save(tmp_path / "early.ckpt")
    with pytest.raises(UserError, match="checkpoint is 'last' there and 'step 3 of 4' here"):
        score(tmp_path / "early.ckpt", baseline("a", *TASKS))


def test_the_command_takes_one_baseline_or_a_list_and_writes_only_json(checkpoint, baseline, capsys):
    runs = [baseline("a", "semseg"), baseline("b", "depth")]
    main(["evaluate", str(checkpoint), "--baseline", f"[{runs[0]}, {runs[1]}]", "--json", "-"])
    written = json.loads(capsys.readouterr().out)
    assert list(written) == ["results", "delta_m", "baseline", "protocol", "step"]
    assert [entry["file"] for entry in written["baseline"].values()] == runs
    other = baseline("c", *TASKS, split="train")
    with pytest.raises(SystemExit):
        main(["evaluate", str(checkpoint), "--baseline", other])
    assert "split is 'train' there and 'val' here" in capsys.readouterr().err
    main(["evaluate", str(checkpoint), "--baseline", other, "--allow_different_protocols"])


def test_what_was_evaluated_can_be_a_baseline(checkpoint, tmp_path):
    file = tmp_path / "scored.json"
    main(["evaluate", str(checkpoint), "--json", str(file)])
    written = json.loads(file.read_text())
    written["results"]["semseg"]["value"] = 40.0  # an untrained network may reach 0
    file.write_text(json.dumps(written))
    scored = score(checkpoint, str(file))
    assert scored["baseline"]["depth"]["value"] == scored["results"]["depth"]["value"]


def test_delta_m_of_results_takes_their_directions():
    results = {task: Result(**fields) for task, fields in VALUES.items()}
    better = results | {"depth": Result("RMSE", 0.4, "m", False, 0.0)}
    assert compare(results, results) == 0
    assert compare(better, results) == pytest.approx(10)


def test_windows_and_flips_are_recorded_and_compared_only_with_the_same(checkpoint, baseline):
    protocol = score(checkpoint, window=(32, 32), tta="flip")["protocol"]
    assert (protocol["window"], protocol["tta"]) == ([32, 32], "flip")
    with pytest.raises(UserError, match=r"window is not recorded there and \[32, 32\] here"):
        score(checkpoint, baseline("a", *TASKS), window=(32, 32))
