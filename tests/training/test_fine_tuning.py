"""Frozen parts, and starting from the weights of another network."""

import re

import pytest
import torch

from atrc import sharing
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import NetworkConfig, build_network
from atrc.search.build import build_supergraph
from atrc.tasks import Depth, SemanticSegmentation
from atrc.training.fine_tuning import freeze, initialise
from atrc.training.loading import load
from atrc.training.loop import fit
from runs import last, same, tiny

TASKS = SemanticSegmentation(num_classes=4), Depth()
ATRC = {"distillation": "atrc", "genotype": "random:1"}


def make(tasks=TASKS, backbone="timm:test_resnet", **options):
    return build_network(NetworkConfig(backbone, **options), tasks)


def train_once(network):
    network.train()
    sum(x.square().sum() for x in network(torch.rand(2, 3, 32, 32)).predictions.values()).backward()
    torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.01).step()
    return network.state_dict()


@pytest.mark.parametrize(
    ("what", "backbone", "frozen"),
    [
        ("backbone", "timm:test_resnet", r"backbone\."),
        ("backbone", "timm:test_vit", r"backbone\.model\."),  # the pyramid is trained
        ("stages:2", "timm:test_resnet", r"backbone\.model\.(conv1|bn1|layer1|layer2)\."),
    ],
)
def test_a_frozen_part_keeps_weights_and_statistics_while_the_rest_is_trained(what, backbone, frozen):
    network = make(backbone=backbone)
    freeze(network, what)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    after = train_once(network)
    kept = {key for key in before if re.match(frozen, key)}
    assert same({key: before[key] for key in kept}, {key: after[key] for key in kept})
    assert {name for name, p in network.named_parameters() if not p.requires_grad} <= kept
    assert all(p.requires_grad for name, p in network.named_parameters() if name not in kept)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {"final", "heads"} <= {key.split(".")[0] for key in changed}
    assert any(key.startswith("backbone.") for key in changed) == (frozen != r"backbone\.")


def test_stages_that_are_not_there_are_named():
    with pytest.raises(UserError, match="network.freeze is 'stages:9'; this backbone has the stages 1 to 4"):
        freeze(make(), "stages:9")
    with pytest.raises(UserError, match="network.freeze is 'stem'; choose backbone, or stages:N"):
        freeze(make(), "stem")


@pytest.fixture(scope="module")
def multi_task(tmp_path_factory, nyud_folder):
    run = tmp_path_factory.mktemp("init") / "multi_task"
    fit(tiny(run, nyud_folder, 1, validate_every=0), progress=False)
    return run


def test_retraining_starts_from_a_multi_task_network_and_lists_the_rest(multi_task, tmp_path, nyud_folder, capsys):
    what = tiny(tmp_path / "run", nyud_folder, 1, validate_every=0, init=str(multi_task), lr=0.0, weight_decay=0.0)
    what.network.distillation, what.network.genotype = "atrc", "global"
    fit(what, progress=False)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("network.init")]
    assert "parameters fit; trained from scratch: distillation." in line
    assert "backbone" not in line.partition(";")[2]
    found, source = last(tmp_path / "run").network, load(multi_task).state_dict()
    assert all(torch.equal(found[key], value) for key, value in source.items() if key.endswith("conv_stem.weight"))
    (tmp_path / "run/results.json").unlink()
    what.network.init = "moved/away"
    with pytest.raises(UserError, match="belongs to another recipe: network.init was"):
        fit(what, resume=True, progress=False)


def test_a_search_can_start_from_a_multi_task_network_and_a_training_from_a_search(multi_task, tmp_path, nyud_folder):
    options = {"lr": 0.0, "weight_decay": 0.0, "validate_every": 0}
    fit(tiny(tmp_path / "search", nyud_folder, 1, init=str(multi_task), **options), search=True, progress=False)
    trained, searched = (last(run).network for run in (multi_task, tmp_path / "search"))
    weights = [name for name, _ in load(multi_task).named_parameters()]
    assert same({name: searched[name] for name in weights}, {name: trained[name] for name in weights})
    options |= {"distillation": "atrc", "genotype": str(tmp_path / "search/genotype.json")}
    fit(tiny(tmp_path / "run", nyud_folder, 1, init=str(tmp_path / "search"), **options), progress=False)
    found, genotype = last(tmp_path / "run").network, Genotype.load(tmp_path / "search/genotype.json")
    assert same({name: found[name] for name in weights}, {name: trained[name] for name in weights})
    for target, row in genotype.contexts.items():
        for source, context in row.items():  # the blocks are the candidates that were chosen
            block, key = f"distillation.rows.{target}.blocks.{source}", "query.0.weight"
            if context != "none":
                assert torch.equal(found[f"{block}.{key}"], searched[f"{block}.candidates.{context}_context.{key}"])


def test_outputs_of_other_classes_and_alpha_are_not_taken(tmp_path):
    sharing.save(make(), tmp_path / "saved")
    other = make((SemanticSegmentation(num_classes=4, class_names=("a", "b", "c", "d")), Depth()))
    fresh = {key: value.clone() for key, value in other.state_dict().items()}
    said = initialise(other, str(tmp_path / "saved"))
    assert said.endswith("trained from scratch: final.semseg (2)")
    source = load(tmp_path / "saved").state_dict()
    for key, value in other.state_dict().items():
        assert torch.equal(value, (fresh if key.startswith("final.semseg") else source)[key]), key
    supergraph = build_supergraph(NetworkConfig("timm:test_resnet"), TASKS, "contexts")
    assert not any(key.endswith(".alpha") for key in source)
    assert "trained from scratch: distillation" in initialise(supergraph, str(tmp_path / "saved"))


def test_a_network_of_which_nothing_fits_is_refused(tmp_path):
    sharing.save(make(), tmp_path / "saved")
    network = make((SemanticSegmentation("material", 7),), "timm:test_vit")
    with pytest.raises(
        UserError, match=r"network\.init .*saved: none of its weights fits this network; check network\."
    ):
        initialise(network, str(tmp_path / "saved"))
    with pytest.raises(UserError, match="no such run, checkpoint or saved network"):
        initialise(network, "saved-elsewhere")
