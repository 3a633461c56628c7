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
from atrc.search.branches import BranchSupergraph, expected_nodes
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


def brute_force(picks):
    """Add up over all ways in which the tasks may pick: tasks share an operator that they reach by equal picks."""
    layers, n, _ = picks.shape
    total = torch.zeros(layers, dtype=picks.dtype)
    for flat in itertools.product(range(n), repeat=layers * n):
        paths = list(zip(*torch.tensor(flat).view(layers, n).tolist(), strict=True))
        p = math.prod(float(picks[i, j, path[i]]) for j, path in enumerate(paths) for i in range(layers))
        total += p * torch.tensor([len({path[: i + 1] for path in paths}) for i in range(layers)])
    return total


def test_the_expected_operators_of_the_paper_s_code_with_uniform_probabilities():
    assert expected_nodes(torch.full((3, 4, 4), 1 / 4)).sum().item() == pytest.approx(10.53, abs=0.005)
    assert expected_nodes(torch.full((2, 2, 2), 1 / 2)).tolist() == [1.5, 1.75]
    exactly = sum(4**layer * (1 - (1 - 4**-layer) ** 4) for layer in (1, 2, 3))  # distinct among four random paths
    assert exactly == pytest.approx(10.28, abs=0.005)


def test_the_expectation_is_exact_in_the_first_layer_and_for_two_tasks_and_too_high_by_few_percent_else():
    two = torch.rand(3, 2, 2, dtype=torch.float64).softmax(-1)
    torch.testing.assert_close(expected_nodes(two), brute_force(two))
    three = torch.rand(2, 3, 3, dtype=torch.float64).softmax(-1)
    estimate, truth = expected_nodes(three), brute_force(three)
    assert estimate[0] == pytest.approx(truth[0])
    assert 1 < estimate[1] / truth[1] < 1.05


def test_the_expectation_of_decided_picks_counts_their_groups_and_its_gradient_reaches_alpha():
    apart, together = torch.eye(3), torch.eye(3)[[0, 0, 0]]
    pair = torch.eye(3)[[1, 1, 2]]
    assert expected_nodes(torch.stack([together, pair, apart])).tolist() == [1, 2, 3]
    assert expected_nodes(torch.stack([apart, apart])).tolist() == [3, 3]
    found = BranchSupergraph(Tiny(), TASKS)
    found.expected_nodes().sum().backward()
    assert (found.operator_alpha.grad[0].abs().sum(), found.operator_alpha.grad[1].abs().sum()) > (0, 0)


def test_the_operations_of_an_operator_by_hand():
    # 64x64 image: 32x32 pixels of 4x4x9 multiply-adds, then 16x16 of 4x8x9
    expected = torch.tensor([32 * 32 * 4 * 4 * 9, 16 * 16 * 4 * 8 * 9]) * 2 / 1e9
    torch.testing.assert_close(BranchSupergraph(Tiny(), TASKS).count_gflops((64, 64)), expected)


def drawn():
    """A supergraph with random operators."""
    found = BranchSupergraph(Tiny(), TASKS)
    with torch.no_grad():
        for p in found.later.parameters():
            p.normal_()
    return found


def test_a_supergraph_that_decided_equals_its_branched_backbone():
    found = drawn()
    with torch.no_grad():  # a and c pick c's operator, b picks a's; then all pick b's: groups do not join again
        found.operator_alpha[0] = 5 * torch.eye(3)[[2, 0, 2]]
        found.operator_alpha[1] = 5 * torch.eye(3)[[1, 1, 1]]
    assert found.branching().groups == ((("a", "c"), ("b",)), (("a", "c"), ("b",)))
    fixed = BranchedBackbone(Tiny(), found.branching())
    fixed.first.load_state_dict(found.first.state_dict())
    for i, operators in enumerate([(2, 0), (1, 1)]):
        for copied, operator in zip(fixed.later[i], operators, strict=True):
            copied.load_state_dict(found.later[i][operator].state_dict())
    image = torch.randn(2, 3, 9, 11)
    expected, got = found.eval()(image), fixed(image)
    assert got["a"] is got["c"]
    for task in TASKS:
        for x, y in zip(got[task], expected[task], strict=True):
            torch.testing.assert_close(x, y)


def test_a_task_mixes_the_operators_by_its_own_weights_and_uses_its_own_before_any_are_drawn():
    found, image = drawn(), torch.randn(1, 3, 8, 8)
    stem, (first, second) = found.first([image]), found.later
    for j, task in enumerate(TASKS):
        for x, y in zip(found(image)[task], second[j](first[j](stem)), strict=True):
            torch.testing.assert_close(x, y)
    found.weights = torch.eye(3).repeat(2, 1, 1)
    found.weights[0, 1] = torch.tensor([0.25, 0.75, 0.0])
    a, b, _ = (operator(stem)[0] for operator in first)
    (x, y), (_, deep) = found(image)["b"], second[1]([0.25 * a + 0.75 * b])
    torch.testing.assert_close(x, 0.25 * a + 0.75 * b)
    torch.testing.assert_close(y, deep)


def test_samples_follow_the_seed_and_reach_alpha():
    found = BranchSupergraph(Tiny(), TASKS)
    found.sample(1.0, 1)
    first = found.weights
    found.sample(1.0, 1)
    assert torch.equal(first, found.weights)
    found.sample(1.0, 2)
    assert not torch.equal(first, found.weights)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(2, 3))
    with torch.no_grad():  # operators start as copies: mixtures of equals have no gradient
        for p in found.later.parameters():
            p.normal_()
    sum(x.square().sum() for levels in found(torch.randn(1, 3, 8, 8)).values() for x in levels).backward()
    assert (found.operator_alpha.grad[0].abs().sum(), found.operator_alpha.grad[1].abs().sum()) > (0, 0)


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
