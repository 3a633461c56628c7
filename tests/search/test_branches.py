import itertools
import math

import pytest
import torch
from torch import nn

from atrc.backbones import Backbone, build_backbone
from atrc.backbones.branched import BranchedBackbone
from atrc.branching import Branching
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork
from atrc.search.branches import BranchSupergraph, expected_nodes, stage_shares
from atrc.tasks import Depth, SemanticSegmentation

TASKS = ("a", "b", "c")


class Tiny(Backbone):
    """Three stages; the levels are the outputs of the last two."""

    channels, strides = (4, 8), (2, 4)

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 8, 3, 2, 1)])

    def forward(self, image):
        state = [image]
        for stage in self.stages():
            state = stage(state)
        return state

    def stages(self):
        return [_Last(self.convs[0]), _Last(self.convs[1]), _Append(self.convs[2])]


class _Last(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, state):
        return [self.conv(state[-1])]


class _Append(_Last):
    def forward(self, state):
        return [*state, self.conv(state[-1])]


def brute_force(edges):
    """Add up over every way in which every reader may read."""
    stages, n, _ = edges.shape
    total = torch.zeros(stages, dtype=edges.dtype)
    for flat in itertools.product(range(n), repeat=stages * n):
        reads = torch.tensor(flat).view(stages, n)
        p = math.prod(float(edges[i, j, reads[i, j]]) for i in range(stages) for j in range(n))
        using = set(range(n))
        for i in reversed(range(stages)):
            using = {int(reads[i, j]) for j in using}
            total[i] += p * len(using)
    return total


def test_expected_nodes_are_those_of_all_trees_added_up():
    edges = torch.rand(2, 3, 3, dtype=torch.float64).softmax(-1)
    torch.testing.assert_close(expected_nodes(edges), brute_force(edges))


def test_expected_nodes_by_hand():
    # Two readers, each by chance at one of two nodes: together 1.5; those nodes read 1 + 1/2 * 1/2 = 1.25 before.
    half = torch.full((2, 2, 2), 0.5)
    torch.testing.assert_close(expected_nodes(half), torch.tensor([1.25, 1.5]))
    torch.testing.assert_close(expected_nodes(torch.eye(3).expand(2, 3, 3)), torch.tensor([3.0, 3.0]))


def test_the_cost_falls_with_sharing_and_reaches_alpha():
    found = BranchSupergraph(Tiny(), TASKS)
    assert 1 / 3 < found.cost() < 1
    found.cost().backward()
    assert found.alpha.grad.abs().sum() > 0
    with torch.no_grad():
        found.alpha[..., 0] = 100
    assert found.cost().item() == pytest.approx(1 / 3)
    with torch.no_grad():
        found.alpha.copy_(100 * torch.eye(3).expand(2, 3, 3))
    assert found.cost().item() == pytest.approx(1)


def test_shares_of_the_stages_by_hand():
    # 64x64 image: 32x32 pixels of 4x4x9 multiply-adds, then 16x16 of 4x8x9
    one, other = 32 * 32 * 4 * 4 * 9, 16 * 16 * 4 * 8 * 9
    torch.testing.assert_close(stage_shares(Tiny()), torch.tensor([one, other]) / (one + other))


def test_a_supergraph_that_decided_equals_its_branched_backbone():
    backbone = Tiny()
    found = BranchSupergraph(backbone, TASKS)
    with torch.no_grad():
        for p in found.later.parameters():
            p.normal_()
        found.alpha[1] = torch.tensor([[0, 5, 0], [5, 0, 0], [0, 5, 0]])  # heads a, c read node b; head b node a
        found.alpha[0] = torch.tensor([[0, 0, 5], [0, 0, 5], [0, 5, 0]])  # nodes a, b read node c
    branching = found.branching()
    assert branching.groups == ((("a", "b", "c"),), (("a", "c"), ("b",)))
    fixed = BranchedBackbone(backbone, branching)
    fixed.later[0][0].load_state_dict(found.later[0][2].state_dict())
    fixed.later[1][0].load_state_dict(found.later[1][1].state_dict())
    fixed.later[1][1].load_state_dict(found.later[1][0].state_dict())
    image = torch.randn(2, 3, 9, 11)
    expected, got = found.eval()(image), fixed(image)
    assert got["a"] is got["c"]
    for task in TASKS:
        for x, y in zip(got[task], expected[task], strict=True):
            torch.testing.assert_close(x, y)


def test_a_sample_mixes_the_nodes_by_its_weights():
    found = BranchSupergraph(Tiny(), ("a", "b"))
    with torch.no_grad():
        for p in found.later.parameters():
            p.normal_()
    image = torch.randn(1, 3, 8, 8)
    found.weights = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.25, 0.75], [1.0, 0.0]]])
    state = found.first([image])
    a, b = (last(middle(state)) for middle, last in zip(*found.later, strict=True))
    levels = found(image)
    for i in range(2):
        torch.testing.assert_close(levels["a"][i], 0.25 * a[i] + 0.75 * b[i])
        torch.testing.assert_close(levels["b"][i], a[i])


def test_samples_follow_the_seed_and_reach_alpha():
    found = BranchSupergraph(Tiny(), TASKS)
    found.sample(1.0, 1)
    first = found.weights
    found.sample(1.0, 1)
    assert torch.equal(first, found.weights)
    found.sample(1.0, 2)
    assert not torch.equal(first, found.weights)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(2, 3))
    sum(x.square().sum() for levels in found(torch.randn(1, 3, 8, 8)).values() for x in levels).backward()
    assert (found.alpha.grad[0].abs().sum(), found.alpha.grad[1].abs().sum()) > (0, 0)


@pytest.mark.parametrize("name", ["hrnet18", "resnet50"])
def test_a_backbone_shared_to_the_end_is_the_plain_one(name):
    backbone = build_backbone(name).eval()
    shared = BranchedBackbone(backbone, Branching.at(9, TASKS, len(backbone.stages())))
    image = torch.randn(1, 3, 33, 47)
    levels = shared(image)
    assert levels["a"] is levels["b"] is levels["c"]
    for x, y in zip(levels["a"], backbone(image), strict=True):
        torch.testing.assert_close(x, y)
    assert sum(p.numel() for p in shared.parameters()) == sum(p.numel() for p in backbone.parameters())


def test_a_network_on_a_branched_backbone_trains_every_parameter():
    tasks = (SemanticSegmentation(num_classes=3), Depth())
    backbone = BranchedBackbone(Tiny(), Branching.at(2, ("semseg", "depth"), 3))
    network = MultiTaskNetwork(tasks, backbone)
    output = network(torch.rand(2, 3, 16, 20))
    sum(x.sum() for x in output.predictions.values()).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_what_cannot_branch_is_named():
    with pytest.raises(UserError, match="the branching is for 2 stages, the backbone Tiny has 3"):
        BranchedBackbone(Tiny(), Branching.at(1, TASKS, 2))
