"""Runs as folders to share, and that docs/predict.md and docs/share.md are true."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from atrc import sharing
from atrc.app.cli import expand, main, make_parser
from atrc.app.publish import publish_network
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import NetworkConfig, build_network
from atrc.search.build import build_supergraph
from atrc.tasks import Depth, tasks_to_dicts
from atrc.training.recipe import Recipe
from atrc.training.run.checkpoint import Checkpoint

ROOT = Path(__file__).parent.parent.parent
PAGES = {name: (ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("predict", "share")}
TASKS = (Depth(),)


@pytest.fixture
def run(tmp_path):
    genotype = Genotype.uniform(["depth"], "t_label")
    network = build_network(NetworkConfig(distillation="atrc"), TASKS, genotype)
    recipe = Recipe(network=NetworkConfig(distillation="atrc", genotype="t_label")).to_dict()
    state, plain = network.state_dict(), tasks_to_dicts(TASKS)
    saved = Checkpoint(3, 1.0, "train", recipe, plain, genotype.contexts, None, "Rooms", state, {})
    saved.save(tmp_path / "run/checkpoints/last.ckpt")
    result = {"metric": "RMSE", "value": 0.5, "unit": "m", "higher_is_better": False, "non_finite": 0.0}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(recipe))))
    protocol = {"layout": "Rooms", "split": "val", "images": 40}
    (tmp_path / "run/results.json").write_text(json.dumps({"results": {"depth": result}, "protocol": protocol}))
    return tmp_path / "run"


def test_a_run_is_published_with_its_results_and_settings(run, tmp_path):
    assert publish_network(str(run), str(tmp_path / "out"), False, None).endswith("MB")
    card = (tmp_path / "out/README.md").read_text()
    assert "| depth | Depth | distance along the optical axis [m] | RMSE 0.5000 m |" in card
    assert "The results were measured on Rooms, split val, 40 images." in card
    assert "| optim.steps | 40000 |" in card
    assert "| data.crop | [425, 560] |" in card
    assert "data.root" not in card
    assert sharing.load(tmp_path / "out").size == (425, 560)


def test_the_command_publishes_half_precision(run, tmp_path, capsys):
    main(["publish", str(run), str(tmp_path / "out"), "--half"])
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'out'}: ")
    dtypes = {value.dtype for value in load_file(tmp_path / "out/model.safetensors").values()}
    assert dtypes == {torch.float16, torch.int64}


def test_the_card_of_a_checkpoint_alone_has_no_results(run, tmp_path):
    publish_network(str(run / "checkpoints/last.ckpt"), str(tmp_path / "out"), False, None)
    assert "RMSE [m] |" in (tmp_path / "out/README.md").read_text()


def test_a_search_is_refused_with_the_command_to_train_its_genotype(run, tmp_path, monkeypatch):
    supergraph = build_supergraph(NetworkConfig(), TASKS, "contexts")
    monkeypatch.setattr("atrc.app.publish.load", lambda model: supergraph)
    with pytest.raises(UserError, match="supergraph of a search; .* --network.genotype .*run/genotype.json"):
        publish_network(str(run), str(tmp_path / "out"), False, None)


def test_an_upload_that_fails_leaves_the_folder_and_says_so(run, tmp_path, monkeypatch):
    def offline(folder, name):
        raise ConnectionError("no route to the hub\nmore")

    monkeypatch.setattr(sharing, "push", offline)
    with pytest.raises(UserError, match=r"out is written, but not uploaded to a/b \(no route to the hub\); log in"):
        publish_network(str(run), str(tmp_path / "out"), True, "a/b")
    assert (tmp_path / "out/config.json").exists()


def test_the_command_predicts_and_exits_by_what_failed(run, tmp_path, capsys):
    pictures = ROOT / "docs/assets"
    (tmp_path / "x.jpg").touch()
    some = next(iter(sorted(pictures.glob("*.png"))))
    main(["predict", str(run), str(some), "--out", str(tmp_path / "out"), "--keep", "raw", "--max_side", "32"])
    with pytest.raises(SystemExit) as error:
        main(["predict", str(run), "--out", str(tmp_path / "out"), "--keep", "raw", str(tmp_path / "x.jpg")])
    assert error.value.code == 1
    assert "x.jpg: an empty file" in capsys.readouterr().err
    assert (tmp_path / f"out/depth/{some.stem}.npy").exists()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", "".join(PAGES.values()), re.S))
def test_every_python_snippet_of_the_pages_runs(code):
    exec(compile(code, "page.md", "exec"), {})


@pytest.mark.parametrize("line", re.findall(r"^(atrc (?!predict MODEL).*)$", "\n".join(PAGES.values()), re.M))
def test_every_command_of_the_pages_is_understood(line):
    parser, _ = make_parser()
    assert parser.parse_args(expand(shlex.split(line)[1:])).command


def test_every_option_of_the_pages_exists():
    _, parsers = make_parser()
    known = {key for name in ("predict", "publish") for key in vars(parsers[name].get_defaults().as_flat())}
    named = {option.replace("-", "_") for option in re.findall(r"--([a-z][a-z-]*)", "".join(PAGES.values()))}
    assert named <= known | {"network"}
