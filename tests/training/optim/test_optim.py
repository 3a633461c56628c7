"""Optimisers, schedules and parameter groups."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from atrc.errors import UserError
from atrc.network import NetworkConfig, build_network
from atrc.tasks import Depth
from atrc.training.optim import OPTIMIZERS, build_optimizer, build_schedule, parameter_groups
from atrc.training.recipe import OptimConfig
from atrc.training.run.checkpoint import write_tensors
from atrc.training.run.safe_load import safe_load


def rates(config, steps):
    optimizer = torch.optim.SGD([torch.zeros(1)], config.lr)
    set_lr = build_schedule(optimizer, config)
    found = []
    for step in steps:
        set_lr(step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_the_papers_learning_rate_is_the_polynomial_to_the_bit():
    config = OptimConfig()
    steps = [*range(0, 40_000, 613), 39_999]
    assert rates(config, steps) == [0.01 * (1 - step / 40_000) ** 0.9 for step in steps]
    assert rates(OptimConfig(steps=1), [0]) == [0.01]


def test_schedules_follow_a_warm_up_to_their_end():
    warm = [0.25, 0.5, 0.75, 1.0]
    for schedule, rest in {
        "polynomial": [0.75, 0.5, 0.25],
        "cosine": [0.854, 0.5, 0.146],
        "constant": [1, 1, 1],
    }.items():
        config = OptimConfig(steps=7, lr=1.0, warmup=3, schedule=schedule, power=1.0)
        assert rates(config, range(7)) == pytest.approx(warm + rest, abs=1e-3), schedule


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_learns_and_resumes_bit_for_bit_from_a_checkpoint(tmp_path, name):
    def make():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
        return model, build_optimizer(name, list(model.parameters()), lr=0.01, weight_decay=0.01)

    def loss(model, step):
        return model(torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(step))).square().mean()

    def train(model, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            loss(model, step).backward()
            optimizer.step()

    whole, first, again = make(), make(), make()
    before = loss(make()[0], 9)
    train(*whole, range(6))
    train(*first, range(3))
    write_tensors(tmp_path / "x.ckpt", {"model": first[0].state_dict(), "optimizer": first[1].state_dict()})
    for part, state in zip(again, safe_load(tmp_path / "x.ckpt").values(), strict=True):
        part.load_state_dict(state)
    train(*again, range(3, 6))
    assert all(map(torch.equal, whole[0].state_dict().values(), again[0].state_dict().values()))
    assert loss(whole[0], 9) < before


def test_unknown_names_list_the_choices():
    with pytest.raises(UserError, match="optim.optimizer is 'adm'; choose from sgd, nesterov, adam, adamw"):
        build_optimizer("adm", [nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(UserError, match="optim.schedule is 'cos'; choose from polynomial, cosine, constant"):
        rates(OptimConfig(schedule="cos"), [0])


def make(backbone, **options):
    network = build_network(NetworkConfig(backbone=backbone, **options), [Depth()])
    return network, list(network.parameters())


def test_the_paper_treats_all_parameters_alike():
    network, parameters = make("timm:test_efficientnet")
    assert parameter_groups(network, parameters, OptimConfig()) == [{"params": parameters}]


def test_norms_and_biases_can_go_without_weight_decay():
    network, parameters = make("timm:test_efficientnet")
    spared, decayed = sorted(
        parameter_groups(network, parameters, OptimConfig(decay_all=False)),
        key=lambda group: "weight_decay" not in group,
    )
    assert spared["weight_decay"] == 0
    assert {p.ndim for p in spared["params"]} == {1}
    assert min(p.ndim for p in decayed["params"]) > 1
    assert len(spared["params"]) + len(decayed["params"]) == len(parameters)


def test_the_backbone_can_have_a_learning_rate_of_its_own():
    network, parameters = make("timm:test_vit")
    groups = parameter_groups(network, parameters, OptimConfig(backbone_lr_factor=0.1))
    scales = {p: group.get("lr_scale", 1.0) for group in groups for p in group["params"]}
    pretrained = set(network.backbone.model.parameters())  # not the pyramid, which is new
    assert scales == {p: 0.1 if p in pretrained else 1.0 for p in parameters}
    optimizer = build_optimizer("sgd", groups, lr=1.0)
    build_schedule(optimizer, OptimConfig(lr=1.0, steps=4, power=1.0))(2)
    assert {group["lr"] for group in optimizer.param_groups} == {0.05, 0.5}


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_layer_decay_is_that_of_timm(name):
    network, parameters = make(f"timm:{name}")
    whole = timm.create_model(name)
    theirs = {id(p): name for name, p in whole.named_parameters()}
    groups = param_groups_layer_decay(whole, 0.05, whole.no_weight_decay() if "vit" in name or "swin" in name else ())
    expected = {theirs[id(p)]: (g["lr_scale"], g["weight_decay"] == 0) for g in groups for p in g["params"]}
    ours = parameter_groups(network, parameters, OptimConfig(layer_decay=0.75, decay_all=False))
    found = {p: (g.get("lr_scale", 1.0), "weight_decay" in g) for g in ours for p in g["params"]}
    for key, parameter in network.backbone.model.named_parameters():
        key = key.removeprefix("model.")
        key = key if key in expected else key.replace("_", ".", 1)
        assert found[parameter] == pytest.approx(expected[key]), key
    assert {found[p][0] for p in network.heads.parameters()} == {1.0}


def test_layer_decay_of_copied_stages_is_refused():
    network, parameters = make("timm:test_resnet", branching="at:1")
    with pytest.raises(UserError, match="optim.layer_decay 0.8 needs a backbone of timm that does not branch"):
        parameter_groups(network, parameters, OptimConfig(layer_decay=0.8))
