"""`atrc importance`: files, tables and mistakes."""

import csv
import json

import pytest

from atrc.app.cli import main
from atrc.app.importance import print_row, to_csv
from atrc.studies.importance import runs as importance_runs
from atrc.studies.importance.scores import Importance, RowImportance
from atrc.training.evaluation.evaluate import Result

RESULTS = {"semseg": Result("mIoU", 40.0, "%", True, 0.0), "depth": Result("RMSE", 0.5, "m", False, 0.0)}
CONTEXTS = {("semseg", "semseg"): "local", ("semseg", "depth"): "none"}
CONTEXTS |= {("depth", "semseg"): "global", ("depth", "depth"): "t_label"}
LOST = {("semseg", "semseg"): [32.0, 36.0], ("depth", "semseg"): [0.499, 0.501], ("depth", "depth"): [0.6, 0.6]}
IMPORTANCE = Importance(CONTEXTS, RESULTS, LOST)


@pytest.fixture
def measured(monkeypatch):
    """Let every run lose the same."""
    protocol = {"layout": "NYUD", "split": "val", "tasks": {"semseg": "mIoU()", "depth": "RMSE()"}}
    measurement = importance_runs.Measurement(IMPORTANCE, protocol)
    monkeypatch.setattr("atrc.app.importance.measure_run", lambda run, settings: measurement)
    return protocol


def test_a_run_gets_its_table_and_figures_in_its_folder(tmp_path, measured, capsys):
    main(["importance", str(tmp_path), "--json", str(tmp_path / "out.json")])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("drop in Delta_m against the network itself [%], a row for every target")
    assert printed[1].split() == ["semseg", "depth"]
    assert printed[2].split() == ["semseg", "7.50", "±", "3.54", "0.00", "±", "0.00"]
    assert printed[3].split() == ["depth", "0.00", "±", "0.14", "10.00", "±", "0.00"]
    rows = list(csv.DictReader((tmp_path / "importance.csv").read_text().splitlines()))
    assert rows[0] == {"target": "semseg", "source": "semseg", "context": "local", "mean": "7.5", "std": "3.53553"}
    assert [row["context"] for row in rows] == ["local", "none", "global", "T-label"]
    assert (tmp_path / "importance.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / "importance.svg").read_text()
    assert not list(tmp_path.glob("*.partial"))
    (content,) = json.loads((tmp_path / "out.json").read_text())
    assert content["blocks"][0]["mean"] == pytest.approx(7.5)
    assert content["correlation"] is None


def test_several_runs_are_averaged_in_a_folder_of_their_own(tmp_path, measured, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["importance", "a", "b", "--json", "-"])
    captured = capsys.readouterr()
    (content,) = json.loads(captured.out)  # the table is not in it
    assert content["blocks"][0]["contexts"] == ["local", "local"]
    assert content["blocks"][0]["std"] == 0  # over runs
    assert (tmp_path / "importance" / "importance.png").exists()


def test_a_baseline_makes_it_the_papers_delta_m(tmp_path, measured, capsys):
    values = {"semseg": vars(RESULTS["semseg"]) | {"value": 80.0}, "depth": vars(RESULTS["depth"]) | {"value": 0.25}}
    (tmp_path / "base.json").write_text(json.dumps({"results": values, "protocol": measured}))
    main(["importance", str(tmp_path), "--baseline", str(tmp_path / "base.json")])
    out = capsys.readouterr().out
    assert "against the single-task results" in out
    assert "3.75 ± 1.77" in out
    assert "20.00 ± 0.00" in out


def test_a_study_gets_a_folder_with_the_correlation(tmp_path, monkeypatch, capsys):
    agreement = dict(zip(CONTEXTS, (1.0, 0.0, 0.0, 1.0), strict=True))
    row = RowImportance("ATRC / ours", [0, 1], [IMPORTANCE, IMPORTANCE], None, agreement, 2)
    monkeypatch.setattr("atrc.app.importance.measure_study", lambda folder, settings, rows, tell: [row])
    main(["importance", "--study", str(tmp_path)])
    out = capsys.readouterr().out
    assert "correlation with the agreement of 2 searches, over 4 blocks: 0.98" in out
    names = {file.name for file in (tmp_path / "importance").iterdir()}
    assert names == {
        "importance.json",
        *(f"atrc-ours.{kind}" for kind in ("csv", "png", "svg")),
        *(f"atrc-ours-reliability.{kind}" for kind in ("png", "svg")),
    }
    (content,) = json.loads((tmp_path / "importance" / "importance.json").read_text())
    assert content["correlation"] == pytest.approx(row.correlation)
    assert content["blocks"][0]["agreement"] == 1.0
    assert to_csv(row).splitlines()[1] == "semseg,semseg,local,7.5,0,1"


def test_constant_values_have_no_correlation(capsys):
    print_row(RowImportance("ATRC", [0, 1], [IMPORTANCE] * 2, None, dict.fromkeys(CONTEXTS, 1.0), 2))
    assert "none, one of them does not vary" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give the folders or checkpoints of runs, or --study FOLDER"),
        (["run", "--study", "study"], "give the folders or checkpoints of runs, or --study FOLDER"),
        (
            ["--study", "study", "--baseline", "run"],
            "--baseline: drops in a study compare with its own single-task row",
        ),
        (["run", "--rows", "[A]"], "--rows: only a study has rows"),
        (["nowhere"], "nowhere: no such checkpoint"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, said):
    with pytest.raises(SystemExit) as exit:
        main(["importance", *arguments])
    assert exit.value.code == 2
    assert capsys.readouterr().err.startswith(f"atrc importance: error: {said}")


def test_a_folder_that_cannot_be_written_is_named(tmp_path, measured, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["importance", str(tmp_path), "--out", str(tmp_path / "file" / "x")])
    assert "file/x: Not a directory; choose another --out" in capsys.readouterr().err
