"""Folded networks predict the same; what is not safe to fold stays."""

import copy

import pytest
import torch
from torch import nn

from atrc.backbones import build_backbone
from atrc.distillation import ATRC, DISTILLATIONS
from atrc.network import NetworkConfig, build_network
from atrc.sharing.fold import find_pairs, fold_batch_norm
from atrc.tasks import Depth, SemanticSegmentation

TASKS = (SemanticSegmentation(num_classes=3), Depth(bins=4))
SMALL = "timm:test_resnet"
CONFIGS = {
    **{name: NetworkConfig(SMALL, distillation=name) for name in DISTILLATIONS},
    **{
        context: NetworkConfig(SMALL, distillation="atrc", genotype=context)
        for context in ("none", "global", "local", "t_label", "s_label")
    },
    "mti-net": NetworkConfig(SMALL, neck="fpm", distil_at="all", distillation="gated_messages"),
    "aspp": NetworkConfig(SMALL, neck="aspp"),
    "skip": NetworkConfig(SMALL, neck="skip"),
    "project": NetworkConfig(SMALL, neck="project"),
    "branched": NetworkConfig(SMALL, branching="at:2"),
    "hrnet18": NetworkConfig("hrnet18"),
}


def lived_in(module):
    """Give every batch norm statistics and weights as if it had been trained."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, std=0.5)
    return module.eval()


def norms(module):
    return [name for name, norm in module.named_modules() if isinstance(norm, nn.BatchNorm2d)]


def assert_alike(output, expected):
    for a, b in zip(torch.utils._pytree.tree_leaves(output), torch.utils._pytree.tree_leaves(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * b.abs().max().item())


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_folded_network_predicts_the_same_and_has_no_batch_norm_but_in_projections(name):
    network = lived_in(build_network(CONFIGS[name], TASKS).double())
    before, image = copy.deepcopy(network.state_dict()), torch.rand(2, 3, 37, 50).double()
    folded = fold_batch_norm(network.train())
    assert network.training
    assert not folded.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert_alike(folded(image), network.eval()(image))
    assert [key for key in norms(folded) if ".blocks." not in key] == []
    again = fold_batch_norm(folded)
    assert_alike(list(again.state_dict().values()), list(folded.state_dict().values()))


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet50", "timm:test_efficientnet", "timm:test_convnext"])
def test_a_folded_backbone_gives_the_same_levels(name):
    backbone = lived_in(build_backbone(name).double())
    folded, image = fold_batch_norm(backbone), torch.rand(1, 3, 37, 50).double()
    assert norms(folded) == []
    assert_alike(folded(image), backbone(image))


def test_the_weights_of_a_folded_convolution_by_hand():
    layers = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.BatchNorm2d(1, eps=1e-12))
    nn.init.constant_(layers[0].weight, 2.0)
    for value, number in ((layers[1].running_mean, 1), (layers[1].running_var, 4), (layers[1].weight, 3)):
        nn.init.constant_(value, number)
    nn.init.constant_(layers[1].bias, 5.0)
    folded = fold_batch_norm(layers)  # (2 x - 1) / 2 * 3 + 5
    assert folded[0].weight.flatten().tolist() == pytest.approx([3.0, 3.0, 3.0])
    assert folded[0].bias.tolist() == pytest.approx([3.5])


class Layers(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.another, self.run = nn.BatchNorm2d(3), nn.BatchNorm2d(3), forward

    def forward(self, image):
        return self.run(self, image)


def tied(self, x):
    self.other.weight = self.conv.weight
    return self.norm(self.conv(x)) + self.other(x)


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: self.norm(self.conv(x)) + self.conv(x),
        lambda self, x: self.norm(y := self.conv(x)) + y,
        lambda self, x: (self.norm(y := self.conv(x)), y),
        lambda self, x: self.another(y := self.conv(x)) + self.norm(y),
        lambda self, x: self.norm(self.conv(x)) + self.norm(self.other(x)),
        lambda self, x: self.norm(self.conv(x)) * self.conv.weight.mean(),
        lambda self, x: self.norm(self.conv(x).relu()),
        tied,
    ],
    ids=["conv twice", "read twice", "returned", "two norms", "norm twice", "weight read", "relu between", "tied"],
)
@torch.no_grad()
def test_what_is_read_elsewhere_is_not_folded(forward):
    layers, image = lived_in(Layers(forward)), torch.rand(1, 3, 2, 2)
    assert find_pairs(layers) == []
    torch.testing.assert_close(fold_batch_norm(layers)(image), layers(image))


@torch.no_grad()
def test_a_context_that_is_given_is_refined_the_same_by_a_folded_module():
    network = lived_in(build_network(CONFIGS["local"], TASKS).double())
    folded = fold_batch_norm(network)
    one, other = (next(m for m in n.modules() if isinstance(m, ATRC)) for n in (network, folded))
    features = {task.name: torch.rand(1, network.neck.channels // 4, 3, 4).double() for task in TASKS}
    contexts = one.contexts(features)
    assert_alike(other.refine(features, contexts), one.refine(features, contexts))
