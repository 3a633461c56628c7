"""Where the curves of a run go."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from atrc.errors import UserError
from atrc.training.logs import Logs, require_loggers
from atrc.training.run.folder import RunFolder, read_table


def write(folder, names):
    require_loggers(names)
    logs = Logs(RunFolder(folder), names, start=0, steps=2)
    for step in (1, 2):
        logs.add("train", step, {"loss": 1 / step, "weight/depth": 0.5})
    logs.add("val", 2, {"depth/RMSE": 0.25})
    logs.add("search", 2, {})
    logs.close()


def test_tables_and_tensorboard_get_the_same_numbers(tmp_path):
    write(tmp_path, ["csv", "tensorboard"])
    assert [float(row["loss"]) for row in read_table(tmp_path / "train.csv")] == [1, 0.5]
    assert read_table(tmp_path / "val.csv") == [{"step": "2", "depth/RMSE": "0.25"}]
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [1, 0.5]
    assert [event.step for event in events.Scalars("val/depth/RMSE")] == [2]


@pytest.mark.release
def test_weights_and_biases_logs_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write(tmp_path, ["wandb"])
    assert [path.suffix for path in tmp_path.glob("wandb/offline-run-*/*.wandb")] == [".wandb"]


@pytest.mark.release
def test_mlflow_logs_to_the_folder_of_the_run(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    write(tmp_path, ["mlflow"])
    client = mlflow.tracking.MlflowClient(f"file:{tmp_path}/mlruns")
    (run,) = client.search_runs([client.get_experiment_by_name("atrc").experiment_id])
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 0.5]


def test_unknown_loggers_and_missing_packages_are_named(monkeypatch):
    with pytest.raises(UserError, match="log names 'wanb'; choose from csv, tensorboard, wandb, mlflow"):
        require_loggers(["csv", "wanb"])
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match=r"log wandb needs wandb, which is not installed; pip install 'atrc\[log\]'"):
        require_loggers(["wandb"])
