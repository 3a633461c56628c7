import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from PIL import Image

from atrc.app.cli import COMMANDS, expand, main, make_parser
from atrc.app.output import PartialError
from atrc.genotype import Genotype
from atrc.training.evaluation.evaluate import Result
from folders import write_nyud

SMALL = ["--data.crop", "[32,32]", "--data.batch_size", "4", "--optim.steps", "2", "--accelerator", "cpu"]
LONG = "a" * 300  # no file system takes such a name


def fails(capsys, *arguments):
    """Run a command that must end with one line and status 2; return the line."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("atrc")
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert (COMMANDS[command].__doc__ or "").split("\n")[0].split(":")[0][:30] in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "invalid choice: 'fly' (choose from 'demo'"),
        ([], "demo,rooms,data,train,search"),
        (["train", "--network.backbne", "x"], "--network.backbne x; did you mean network.backbone?"),
        (["train", "--network.distil-at", "x"], "network.distil_at"),
        (["predict", "m", "x.jpg", "--max-siz", "3"], "--max-siz 3; did you mean max_side?"),
        (["train", "--optim.steps", "many"], "optim.steps\": Expected a <class 'int'>. Got value: many"),
        (
            ["train", "--config", "nothere.yaml"],
            "no recipe 'nothere.yaml'; give a YAML file or one of backbone/convnext_tiny",
        ),
        (["train", "--config=network/all"], "no recipe 'network/all'"),
        (["resources", "--studies", "[table9]"], "no study 'table9'; give a YAML file or one of beyond, rooms"),
        (["train", "--data.root", "nothere"], "nothere: not a data set folder"),
        (["evaluate", "nothere.ckpt"], "nothere.ckpt: no such checkpoint"),
        (["demo", "--image", "nothere.jpg"], "nothere.jpg: no such file"),
        (["rooms", "x", "--train", "0"], "train = 0"),
        (["train", "--config", LONG], "aaa: File name too long"),
        (["evaluate", LONG], "aaa: File name too long"),
        (["predict", "rooms-atrc", LONG], "aaa: File name too long"),
        (["study", LONG], "aaa: File name too long"),
        (["study", "table1", "--out", "/dev/null"], "cannot write to /dev/null: File exists; choose another --out"),
        (["resources", "--device", "warp"], "--device warp: not available here"),
        (["evaluate", "nothere.ckpt", "--json", "."], "--json .: a folder; name a file in it"),
        (["evaluate", "nothere.ckpt", "--json", "/dev/null/a.json"], "--json /dev/null/a.json: /dev/null is a file"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in fails(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_a_wrong_key_in_a_file_names_itself(capsys, tmp_path):
    (tmp_path / "r.yaml").write_text("optim:\n  stps: 3\n")
    assert "optim.stps" in fails(capsys, "train", "--config", str(tmp_path / "r.yaml"))


def test_shipped_recipes_have_names(capsys, tmp_path):
    said = fails(
        capsys, "train", "--config", "data/nyud", "--config=network/global", "--data.root", str(tmp_path / "none")
    )
    assert "none: no such data set" in said or "none: not a data set" in said


def test_resources_prints_our_counts_next_to_the_papers(capsys, tmp_path):
    study = tmp_path / "small.yaml"
    study.write_text(
        "title: Two rows\nlayout: nyud\nset: {data.crop: [64, 96]}\nrows:\n"
        "  - {name: one each, single_task: true, paper: {parameters: 16.09, multiply_adds: 40.93}}\n"
        "  - {name: together}\n"
    )
    main(["resources", "--studies", f"[{study}]", "--repeats", "1", "--json", "-"])
    shown = capsys.readouterr()
    rows = json.loads(shown.out)
    assert [row["parameters"] for row in rows] == [16_097_716, 4_515_556]
    assert rows[0]["multiply_adds"] > 2 * rows[1]["multiply_adds"]
    assert rows[1]["latency"] > 0
    assert (rows[0]["paper_parameters"], rows[1]["paper_parameters"]) == (16.09, None)
    assert "Two rows; one image of 64x96" in shown.err
    assert "16.10  16.09" in shown.err


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("--network.backbone", "vgg", "unknown backbone 'vgg'; choose from hrnet18"),
        ("--network.neck", "fpn", "unknown neck 'fpn'; choose from concat"),
        ("--network.distil_at", "all", "needs levels of every task's own, which network.neck concat does not make"),
        ("--data.tasks", "[semseg,flow]", "unknown task 'flow'"),
        ("--network.genotype", "nowhere.json", "no genotype file 'nowhere.json'"),
    ],
)
def test_unknown_names_in_a_recipe_list_the_choices(capsys, tmp_path, nyud_folder, key, value, said):
    arguments = ["train", "--out", str(tmp_path / "run"), "--data.root", str(nyud_folder), *SMALL]
    arguments += ["--network.distillation", "atrc", "--network.genotype", "global", key, value]
    assert said in fails(capsys, *arguments)


@pytest.mark.parametrize(
    ("distillation", "genotype", "said"),
    [
        ("x", "null", "unknown distillation 'x'; choose from none"),
        ("none", "global", "network.genotype global goes with network.distillation atrc, not with none"),
    ],
)
def test_an_invalid_distillation_lists_the_choices(capsys, tmp_path, nyud_folder, distillation, genotype, said):
    arguments = ["train", "--out", str(tmp_path / "run"), "--data.root", str(nyud_folder), *SMALL]
    arguments += ["--network.distillation", distillation, "--network.genotype", genotype]
    assert said in fails(capsys, *arguments)


def test_a_broken_image_is_named(capsys, tmp_path):
    root = write_nyud(tmp_path / "data")
    for path in (root / "images").iterdir():
        path.write_bytes(path.read_bytes()[:500])
    said = fails(capsys, "train", "--out", str(tmp_path / "run"), "--data.root", str(root), *SMALL)
    assert ".jpg: cannot be read" in said


def test_files_and_options_combine_and_the_last_one_wins(tmp_path, nyud_folder, capsys):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(yaml.safe_dump({"data": {"root": str(nyud_folder), "crop": [32, 32], "batch_size": 4}, "seed": 1}))
    two.write_text(yaml.safe_dump({"optim": {"steps": 7}, "seed": 2}))
    run = tmp_path / "run"
    main(
        [
            "train",
            "--config",
            str(one),
            "--config",
            str(two),
            "--optim.steps",
            "1",
            "--out",
            str(run),
            "--accelerator",
            "cpu",
        ]
    )
    used = yaml.safe_load((run / "config.yaml").read_text())
    assert used["seed"] == 2
    assert used["optim"]["steps"] == 1
    assert used["data"]["batch_size"] == 4


def test_training_then_evaluating_gives_the_same_numbers_and_delta_m_against_itself_is_zero(
    tmp_path, nyud_folder, capsys
):
    run, data = tmp_path / "run", ["--data.root", str(nyud_folder), "--data.tasks", "[semseg,depth,normals]"]
    main(["train", "--out", str(run), *data, *SMALL, "--json", str(tmp_path / "a.json")])
    main(["evaluate", str(run), "--baseline", str(run), "--json", str(tmp_path / "b.json")])
    trained, scored = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert scored["results"] == trained
    assert scored["delta_m"] == 0
    assert scored["protocol"]["layout"].startswith("NYUD_MT")


@pytest.fixture
def boundary_folders(tmp_path):
    maps = np.zeros((40, 50), np.uint8)
    maps[20] = 255
    for name in ("p", "t"):
        (tmp_path / name).mkdir()
        Image.fromarray(maps).save(tmp_path / name / "x.png")
    return str(tmp_path / "p"), str(tmp_path / "t")


def test_boundaries_scores_a_folder_against_itself_and_writes_all_that_is_asked_for(tmp_path, boundary_folders, capsys):
    theirs, worst, eval_folder = (str(tmp_path / name) for name in ("theirs.json", "worst.png", "eval"))
    main(["boundaries", *boundary_folders, "--protocol", "bsds", "--json", theirs])
    assert "odsF 1.0000 at 0.010, OIS-F 1.0000, AP 0.0000 (1 image; bsds, max_dist 0.0075)" in capsys.readouterr().err
    Path(theirs).write_text(Path(theirs).read_text().replace('"name": "p"', '"name": "theirs"'))
    outputs = ["--csv", str(tmp_path / "images.csv"), "--worst", worst, "--write-bsds", eval_folder, "--human"]
    plot = ["--plot", str(tmp_path / "pr.svg"), "--compare", f"[{theirs}]"]
    main(["boundaries", *boundary_folders, "--max-dist", "0.011", *plot, *outputs, "--json", "-"])
    printed = capsys.readouterr()
    scores = json.loads(printed.out)
    assert scores["ods_f"] > 0.9
    assert (scores["protocol"]["name"], scores["protocol"]["max_dist"], scores["images"]) == ("seism", 0.011, 1)
    assert "warning: theirs was scored as bsds, max_dist 0.0075" in printed.err
    assert (tmp_path / "images.csv").read_text().count("\n") == 2
    assert len(list((tmp_path / "eval").iterdir())) == 4
    assert all(name in (tmp_path / "pr.svg").read_text() for name in ("theirs: ODS 1.000", "people (BSDS500)"))
    with Image.open(worst) as sheet:
        assert sheet.size[0] > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "protocol 'seism' has no tolerance of its own: give max_dist, 0.011 for NYUD-v2"),
        (["--protocol", "bsds", "--plot", "pr.jpg"], "pr.jpg: a figure is .png, .svg or .pdf"),
        (["--protocol", "bsds", "--compare", "{}.json"], "{}.json: not written by atrc boundaries --json"),
        (["--protocol", "bsds", "--compare", "none.json"], "none.json: No such file"),
    ],
)
def test_boundaries_refuses_what_it_cannot_use_before_it_scores(
    boundary_folders, options, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "{}.json").write_text("{}")
    with pytest.raises(SystemExit):
        main(["boundaries", *boundary_folders, *options])
    assert message in capsys.readouterr().err


def test_the_module_runs_and_help_is_quick_to_import():
    code = "import sys, atrc.app.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    done = subprocess.run([sys.executable, "-m", "atrc", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0


def test_options_have_dashes_and_underscores_are_accepted(capsys):
    for option in ("--max-dist", "--max_dist"):
        parsed = make_parser()[0].parse_args(expand(["boundaries", "p", "t", option, "0.011", f"{option}=0.02"]))
        assert parsed.boundaries.max_dist == 0.02
    words = ["predict", "a_b", "--out", "c_d-e", "--max-side=3", "--", "--f-g"]
    assert expand(words) == ["predict", "a_b", "--out", "c_d-e", "--max_side=3", "--", "--f-g"]
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert "--network.distil-at" in shown
    assert not re.search(r"--[\w.]*_", shown)


def test_a_distributed_run_reports_from_its_first_process_only(capsys, tmp_path, monkeypatch):
    results = {"depth": Result("RMSE", 0.5, "m", False, 0.0)}
    monkeypatch.setattr("atrc.training.loop.fit", lambda recipe, **_: results)
    for rank in (0, 1):
        monkeypatch.setattr(rank_zero_only, "rank", rank)
        for command in ("train", "search"):
            file, out = tmp_path / f"{command}{rank}.json", tmp_path / "run"
            out.mkdir(exist_ok=True)
            Genotype.uniform(("depth",), "local").save(out / "genotype.json")
            main([command, "--out", str(out), "--json", str(file)])
            shown = capsys.readouterr()
            assert file.exists() == (rank == 0)
            assert ("depth        RMSE" in shown.err) == (rank == 0)
            assert ("local" in shown.err) == (rank == 0 and command == "search")
        main(["train", "--json", "-"])
        assert capsys.readouterr().out.count("RMSE") == 1 - rank


def test_json_makes_its_folder_and_is_written_even_if_part_of_the_work_failed(tmp_path, monkeypatch):
    def partial(**_):
        raise PartialError({"a": 1})

    monkeypatch.setitem(COMMANDS, "resources", partial)
    with pytest.raises(SystemExit) as stop:
        main(["resources", "--json", str(tmp_path / "new" / "a.json")])
    assert stop.value.code == 1
    assert json.loads((tmp_path / "new/a.json").read_text()) == {"a": 1}


def test_an_error_without_a_file_keeps_its_traceback(monkeypatch):
    def broken(**_):
        raise OSError(errno.EINVAL, "ours")

    monkeypatch.setitem(COMMANDS, "demo", broken)
    with pytest.raises(OSError, match="ours"):
        main(["demo"])
