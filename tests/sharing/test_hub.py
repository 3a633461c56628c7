"""Networks as folders: what is saved is what is loaded, and no folder can do harm."""

import copy
import dataclasses
import json
import pickle

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file, save_file

import atrc
from atrc import sharing
from atrc.branching import Branching
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork, NetworkConfig, build_network
from atrc.search.build import build_supergraph
from atrc.sharing import Architecture
from atrc.sharing.weights import load_weights
from atrc.tasks import Depth, SemanticSegmentation
from atrc.training.loading import load
from atrc.training.run.checkpoint import Checkpoint

TASKS = (SemanticSegmentation(num_classes=3, class_names=("a", "b", "c")), Depth(bins=5))
NAMES = ["semseg", "depth"]
ROWS = {"semseg": {"semseg": "local", "depth": "s_label"}, "depth": {"semseg": "none", "depth": "t_label"}}
GENOTYPE = Genotype(ROWS)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = build_network(NetworkConfig(distillation="atrc"), TASKS, GENOTYPE).eval()
    for name, buffer in network.named_buffers():  # as after a training
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "network"
    sharing.save(network, folder)
    return folder


@pytest.fixture
def changed(folder, tmp_path):
    """Return a copy of the folder whose config.json is changed at a path of keys."""

    def change(value, *keys):
        content = json.loads((folder / "config.json").read_text())
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        if keys:
            inner[keys[-1]] = value
        (tmp_path / "config.json").write_text(json.dumps(content if keys else value))
        (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
        return tmp_path

    return change


def predict(network, image):
    with torch.inference_mode():
        return network(image).predictions


def same(one, other):
    image = torch.rand(1, 3, 40, 52)
    torch.testing.assert_close(predict(one, image), predict(other, image), rtol=0, atol=0)


def test_a_saved_network_predicts_the_same_when_loaded(network, folder):
    loaded = sharing.load(folder)
    assert isinstance(loaded, MultiTaskNetwork)
    assert not loaded.training
    assert Architecture.of(loaded) == Architecture.of(network)
    assert loaded.genotype == GENOTYPE
    assert loaded.tasks == TASKS
    same(network, loaded)
    same(network, atrc.load(folder))


def test_the_folder_holds_safetensors_json_and_a_card_and_nothing_else(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # all as readable as one another
    content = json.loads((folder / "config.json").read_text())
    assert content["format"] == "atrc-network"
    assert "pretrained" not in content["network"]


@pytest.mark.parametrize(
    ("config", "branching"),
    [
        (NetworkConfig(), None),
        (NetworkConfig(neck="fpm", distil_at="all", distillation="pad_net_b"), None),
        (NetworkConfig(distillation="atrc_static", attention_channels=6), None),
        (NetworkConfig(backbone="resnet50", neck="skip", distillation="cross_stitch"), None),
        (NetworkConfig(), Branching.at(2, NAMES, 4)),
    ],
)
def test_every_architecture_survives_json(config, branching, tmp_path):
    architecture = Architecture.of(build_network(config, TASKS, None, branching))
    again = Architecture.from_dict(json.loads(json.dumps(architecture.to_dict())))
    assert again == architecture
    keys = again.build().state_dict().keys()
    assert keys == build_network(config, TASKS, None, branching).state_dict().keys()


def test_what_a_recipe_names_is_resolved_so_that_the_folder_stands_alone(tmp_path):
    GENOTYPE.save(tmp_path / "genotype.json")
    config = NetworkConfig(distillation="atrc", genotype=str(tmp_path / "genotype.json"), branching="at:3")
    architecture = Architecture.of(build_network(config, TASKS))
    assert architecture.genotype == GENOTYPE
    assert architecture.branching == Branching.at(3, NAMES, 4)
    assert str(tmp_path) not in json.dumps(architecture.to_dict())
    assert config.genotype == str(tmp_path / "genotype.json")  # the caller's stays


def test_half_precision_halves_the_file_and_loads_as_single(network, folder, tmp_path):
    sharing.save(network, tmp_path, dtype=torch.float16)
    saved = load_file(tmp_path / "model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float16, torch.int64}
    size = (tmp_path / "model.safetensors").stat().st_size
    assert 0.45 < size / (folder / "model.safetensors").stat().st_size < 0.55
    loaded = sharing.load(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert {p.dtype for p in network.parameters()} == {torch.float32}  # untouched
    own = network.state_dict()
    assert all(torch.allclose(value, own[key], 1e-3, 1e-4) for key, value in loaded.state_dict().items())


def test_half_precision_that_overflows_is_refused(network, tmp_path):
    large = copy.deepcopy(network)
    large.final["depth"].bias.data.fill_(1e6)
    with pytest.raises(UserError, match=r"final.depth.bias is not finite in torch.float16; save in torch.bfloat16"):
        sharing.save(large, tmp_path / "x", dtype=torch.float16)
    with pytest.raises(UserError, match="dtype torch.int8: weights are saved as one of torch.float16"):
        sharing.save(large, tmp_path / "x", dtype=torch.int8)
    assert not (tmp_path / "x").exists()


def test_a_network_without_an_architecture_says_how_to_build_it(tmp_path):
    by_hand = MultiTaskNetwork(TASKS, build_network(NetworkConfig(), TASKS).backbone)
    supergraphs = [build_supergraph(NetworkConfig(), TASKS, space) for space in ("contexts", "branches")]
    for network in (by_hand, *supergraphs):
        with pytest.raises(UserError, match=r"build_network\(NetworkConfig.*retrain the genotype"):
            sharing.save(network, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_written_is_named(network, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: cannot be written \(File exists\); choose another folder"):
        sharing.save(network, tmp_path / "file")


def test_pushing_uploads_what_saving_wrote_and_nothing_else(folder, monkeypatch):
    calls = []

    def upload(self, **options):
        calls.append(options)
        return f"https://hub/{options['repo_id']}"

    repository = type("Repository", (), {"repo_id": "someone/network"})
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: calls.append((name, options)) or repository)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert sharing.push(folder, "network", private=True, token="t") == "https://hub/someone/network"
    assert calls[0] == ("network", {"private": True, "exist_ok": True})
    assert calls[1]["folder_path"] == folder
    assert sorted(calls[1]["allow_patterns"]) == ["README.md", "config.json", "model.safetensors"]


def test_a_name_on_the_hub_is_downloaded(network, folder, monkeypatch):
    asked = []

    def download(repo_id, filename, **options):
        asked.append((repo_id, filename, options))
        return str(folder / filename)

    monkeypatch.setattr("atrc.sharing.hub.hf_hub_download", download)
    same(network, sharing.load("someone/something", revision="v2"))
    assert asked == [("someone/something", name, {"revision": "v2"}) for name in ("config.json", "model.safetensors")]
    same(network, load("someone/something"))


def test_offline_a_name_that_is_nowhere_is_named(tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"someone/something: no such folder, and .* Hub has no network of that .*while online"
    ):
        sharing.load("someone/something", local_files_only=True, cache_dir=tmp_path)
    with pytest.raises(UserError, match=r"a/b/c: no such folder, and .*HFValidationError"):
        sharing.load("a/b/c", cache_dir=tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for gone in ("gone", "runs/gone", str(tmp_path / "gone")):  # the Hub is not asked for these
        with pytest.raises(UserError, match="no such run, checkpoint or saved network; one on the Hugging Face Hub is"):
            load(gone)


def test_the_card_is_metadata_tasks_results_settings_and_genotype(network, tmp_path):
    scores = {"depth": "RMSE 0.5 m"}
    sharing.save(network, tmp_path, metrics=scores, data="Rooms", settings={"optim.lr": "0.02"})
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "atrc"
    assert card.data.tags == ["multi-task-learning", "dense-prediction", "semantic-segmentation", "depth-estimation"]
    assert "| semseg | SemanticSegmentation | class of every pixel | mIoU [%] |" in card.text
    assert "| depth | Depth | distance along the optical axis [m] | RMSE 0.5 m |" in card.text
    assert "The results were measured on Rooms." in card.text
    assert "| optim.lr | 0.02 |" in card.text
    assert "| semseg | local | s_label |\n| depth | none | t_label |" in card.text


def test_a_card_that_somebody_wrote_stays(network, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    sharing.save(network, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ((), [], 'not a network of atrc: "format" should be "atrc-network"'),
        (("format",), "bert", "not a network of atrc"),
        (("version",), 2, "network of atrc .*made by a newer atrc .format 2, this reads up to 1.: update"),
        (("network",), "hrnet18", "network: expected keys and values, not 'hrnet18'"),
        (("network", "genotype"), "/etc/passwd", "network.genotype: unknown; there are: backbone, "),
        (("network", "pretrained"), True, "network.pretrained: unknown"),
        (("network", "backbone"), "vgg", "unknown backbone 'vgg'; choose from hrnet18"),
        (("network", "backbone"), "timm:hf-hub:someone/model", "timm has no model 'hf-hub:someone/model'"),
        (("network", "backbone"), 3, "network.backbone: 3 is invalid"),
        (("network", "distil_at"), "somewhere", "network.distil_at: 'somewhere' is invalid"),
        (
            ("network", "attention_channels"),
            10**9,
            "attention_channels: 1000000000 is invalid; whole numbers end at 4096",
        ),
        (("network", "dropout"), float("nan"), "network.dropout: nan is invalid"),
        (("network", "dropout"), 7.5, "not a network that can be built .*dropout probability"),
        (("tasks",), [], "tasks: expected a list of tasks"),
        (("tasks", 0, "kind"), "audio", "unknown kind of task 'audio'"),
        (("tasks", 0, "num_classes"), 10**12, r"tasks\[0\].num_classes: 1000000000000 is invalid"),
        (("tasks", 0, "num_classes"), True, r"tasks\[0\].num_classes: True is invalid"),
        (("tasks", 0, "class_names"), ["a"], "tasks: semseg has 3 classes, but 1 class_names"),
        (("tasks", 0, "name"), "../../x", "tasks: '../../x' should be a name of letters, digits and _"),
        (("tasks", 0, "name"), "depth", "tasks: 'depth' should be a name .* used by one task only"),
        (("tasks", 1, "farther"), 1, r"tasks\[1\].farther: unknown; there are: name, weight, bins"),
        (("genotype",), {}, "a genotype needs at least one target"),
        (("genotype",), {"semseg": 3}, "genotype: expected {target: {source: context}}"),
        (("genotype", "semseg", "depth"), "x", "unknown context 'x' of target 'semseg'"),
        (("genotype",), {"sal": {"sal": "none"}}, "this genotype is for the tasks sal; the network predicts semseg"),
        (("genotype",), None, "network.distillation atrc needs network.genotype"),
        (("size",), [3, 10**6], r"size: \[3, 1000000\] is not a height and a width"),
        (("branching",), [["semseg"]], "branching: expected the groups of tasks"),
        (("branching",), [[["semseg", "depth"]]], "the branching is for 2 stages"),
    ],
)
def test_a_wrong_or_hostile_config_is_refused_by_key(changed, keys, value, said):
    with pytest.raises(UserError, match=r"config.json: .*" + said):
        load(changed(value, *keys))


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000])
def test_a_config_that_is_not_json_is_named(folder, tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="config.json: (cannot be read as JSON|not a network)"):
        load(tmp_path)


def test_weights_that_do_not_fit_are_named_by_key(folder, changed, tmp_path):
    with pytest.raises(UserError, match="weights do not fit the network: 2 of another shape, 'auxiliary.depth"):
        load(changed(9, "tasks", 1, "bins"))
    weights = load_file(folder / "model.safetensors")
    weights["extra"] = weights.pop("final.depth.bias")
    save_file(weights, changed(5, "tasks", 1, "bins") / "model.safetensors")
    with pytest.raises(UserError, match="1 missing, 'final.depth.bias' first; 1 unknown, 'extra' first"):
        load(tmp_path)


def test_pickled_weights_are_never_opened(folder, tmp_path):
    class Harm:
        def __reduce__(self):
            return (pytest.fail, ("it was unpickled",))

    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(UserError, match="model.safetensors: no such file"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(UserError, match="model.safetensors: not readable"):
        load(tmp_path)
    with pytest.raises(UserError, match="model.safetensors: weights alone; give the folder"):
        load(folder / "model.safetensors")


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither a run, which has checkpoints/last.ckpt, nor a saved network"):
        load(tmp_path)


def checkpoint(weights):
    config = NetworkConfig(distillation="atrc", genotype="gone.json", pretrained="gone.pth")
    recipe = {"network": dataclasses.asdict(config), "data": {"crop": [96, 128]}, "seed": 0}
    tasks = [{"kind": "semseg", "num_classes": 3, "class_names": ("a", "b", "c")}, {"kind": "depth", "bins": 5}]
    return Checkpoint(7, 1.0, "train", recipe, tasks, ROWS, None, "Rooms", weights, {})


def test_a_checkpoint_gives_the_same_network_and_can_be_shared(network, tmp_path):
    checkpoint(network.state_dict()).save(tmp_path / "run" / "checkpoints" / "last.ckpt")
    loaded = load(tmp_path / "run")
    assert Architecture.of(loaded) == dataclasses.replace(Architecture.of(network), size=(96, 128))
    same(network, loaded)
    sharing.save(loaded, tmp_path / "shared")
    assert "Trained on crops of 96 x 128 pixels" in (tmp_path / "shared/README.md").read_text()
    shared = load(tmp_path / "shared")
    assert Architecture.of(shared) == Architecture.of(loaded)
    same(network, shared)


def test_a_checkpoint_of_another_network_is_named_by_key(network, tmp_path):
    checkpoint({"x": torch.zeros(1)}).save(tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt: .* do not fit .* \d+ missing, 'backbone.*1 unknown, 'x'"):
        load(tmp_path / "last.ckpt")


def test_weights_are_filled_in_the_networks_own_precision(network):
    half = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    other = Architecture.of(network).build()
    load_weights(other, half, "somewhere")
    assert other.final["depth"].weight.dtype == torch.float32
