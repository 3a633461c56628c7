"""What every distillation module promises, the cost of each, and its numbers by hand."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrc.backbones import build_backbone
from atrc.distillation import DISTILLATIONS, GATES
from atrc.distillation.cross_stitch import CrossStitch
from atrc.distillation.nddr import NDDR
from atrc.distillation.pad_net import GatedMessages, Messages, PADNetB, PADNetC
from atrc.distillation.pap import PAP
from atrc.distillation.psd import PSD, exchange
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork
from atrc.training.recipe.files import read_recipe, recipe_path

# A new module joins by its entry; combinations of contexts read label regions, and have tests of their own.
MODULES = {name: make for name, make in DISTILLATIONS.items() if name != "none" and name not in GATES}
B, C = 2, 16


def named(count):
    return [f"task{i}" for i in range(count)]


def random_features(tasks, h=5, w=6, dtype=torch.float32):
    return {task: torch.rand(B, C, h, w, dtype=dtype, requires_grad=True) for task in tasks}


def detached(features):
    return {task: f.detach() for task, f in features.items()}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
class TestEveryModule:
    """A new module joins by its entry in the dictionary."""

    @pytest.mark.parametrize("tasks", [1, 2, 8])
    @pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 9)])
    def test_keeps_shapes_at_any_size_and_number_of_tasks_forward_and_backward(self, make, size, tasks):
        features = random_features(named(tasks), *size)
        refined = make(named(tasks), C)(features)
        assert {t: f.shape for t, f in refined.items()} == {t: f.shape for t, f in features.items()}
        sum(f.square().sum() for f in refined.values()).backward()
        for task in features:
            assert refined[task].isfinite().all()
            assert features[task].grad.isfinite().all()

    @pytest.mark.parametrize("tasks", [1, 3])
    def test_uses_every_parameter(self, make, tasks):
        module = make(named(tasks), C)
        sum(f.square().sum() for f in module(random_features(named(tasks))).values()).backward()
        assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []

    def test_the_gradient_of_every_target_reaches_every_source(self, make):
        features, module = random_features(named(3)), make(named(3), C)
        for parameter in module.parameters():  # some modules start with all others shut out
            parameter.data.add_(0.1 * torch.rand_like(parameter))
        for refined in module(features).values():
            gradients = torch.autograd.grad(refined.square().sum(), list(features.values()), retain_graph=True)
            assert all(gradient.abs().sum() > 0 for gradient in gradients)

    def test_refines_every_image_of_a_batch_alone(self, make):
        module, features = make(named(2), C).eval(), detached(random_features(named(2)))
        whole = module(features)
        for i in range(B):
            alone = module({t: f[i : i + 1] for t, f in features.items()})
            torch.testing.assert_close(alone, {t: f[i : i + 1] for t, f in whole.items()})

    def test_reads_features_by_task_in_any_order_and_memory_format(self, make):
        module, features = make(named(3), C).eval(), detached(random_features(named(3)))
        shuffled = {t: features[t].to(memory_format=torch.channels_last) for t in reversed(features)}
        torch.testing.assert_close(module(shuffled), module(features))

    def test_works_in_double_precision_and_under_autocast(self, make):
        module, features = make(named(2), C).eval(), detached(random_features(named(2)))
        exact = module.double()({t: f.double() for t, f in features.items()})
        module.float()
        with torch.autocast("cpu", torch.bfloat16):
            rough = module(features)
        for task, f in exact.items():
            assert f.dtype == torch.float64
            torch.testing.assert_close(module(features)[task].double(), f, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(rough[task].double(), f, rtol=0.05, atol=0.05)

    def test_its_state_makes_an_equal_module(self, make):
        module, copy = make(named(2), C).eval(), make(named(2), C).eval()
        copy.load_state_dict(module.state_dict())
        features = detached(random_features(named(2)))
        torch.testing.assert_close(copy(features), module(features), rtol=0, atol=0)

    def test_exports_with_sizes_left_open(self, make):
        module = make(named(2), C).eval()
        height, width = torch.export.Dim("height", min=1), torch.export.Dim("width", min=1)
        shapes = {"features": {t: {2: height, 3: width} for t in named(2)}}
        exported = torch.export.export(module, (detached(random_features(named(2))),), dynamic_shapes=shapes).module()
        for size in [(13, 10), (2, 3)]:
            features = detached(random_features(named(2), *size))
            torch.testing.assert_close(exported(features), module(features), rtol=1e-4, atol=1e-5)

    def test_names_the_task_whose_features_are_missing(self, make):
        with pytest.raises(UserError, match="no features of task 'task1'; got task0"):
            make(named(2), C)(random_features(named(1)))


# Parameters, and multiply-adds of convolutions, matrix products and windows [G] at 425x560, of the NYUD HRNet18
# network; then Table 1: parameters [M] and multiply-adds [G] with BN and ReLU, 0.11 G of them in the network without
# distillation (17.48 and 17.59 G).
GOLDEN = {
    "cross_stitch": (4_516_628, 17.48, 4.52, 17.59),  # the mix is elementwise: 16 x 67 x 107 x 140 = 0.02 G more
    "nddr": (4_587_916, 18.55, 4.59, 18.68),
    "pad_net_b": (5_018_324, 25.01, 5.02, 25.18),
    "pad_net_c": (5_503_136, 32.27, 5.50, 32.42),
    "pap": (4_540_624, 53.74, 4.54, 53.04),
    "psd": (4_714_140, 21.11, 4.71, 21.10),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_counts_hold_to_the_unit_and_are_those_of_table_1(nyud_tasks, name):
    names = [task.name for task in nyud_tasks]
    network = MultiTaskNetwork(nyud_tasks, build_backbone("hrnet18"), lambda c: MODULES[name](names, c)).eval()
    parameters, gmadds, paper_parameters, paper_gmadds = GOLDEN[name]
    assert count(network) == parameters
    assert round(parameters / 1e6, 2) == paper_parameters
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.to("meta")(torch.zeros(1, 3, 425, 560, device="meta"))
    assert round(counter.get_total_flops() / 2e9, 2) == gmadds
    assert gmadds == pytest.approx(paper_gmadds, rel=0.10 if name == "pap" else 0.03)


@pytest.mark.parametrize(("levels", "parameters"), [((18, 36, 72, 144), 5_948_640), ((48, 96, 192, 384), 42_301_440)])
def test_gated_messages_at_four_levels_have_the_parameters_of_mti_net(levels, parameters):
    assert sum(count(GatedMessages(named(4), channels)) for channels in levels) == parameters


# By hand: one channel, or two where half of them are values; images of one or two pixels.


def pixels(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


def fill(module, value):
    return nn.init.constant_(module.weight, value)


def test_a_cross_stitch_takes_nine_tenths_of_its_own_by_hand():
    refined = CrossStitch(["a", "b", "c"], 1)({"a": pixels(10.0), "b": pixels(20.0), "c": pixels(40.0)})
    assert [refined[t].item() for t in "abc"] == pytest.approx([12.0, 20.5, 37.5])


def test_pascal_s_recipe_mixes_as_the_released_configs():
    recipe = read_recipe([recipe_path("data/pascal")])
    weights = CrossStitch("abcde", 1, recipe.network.own_weight).weights[..., 0]
    torch.testing.assert_close(weights, 0.05 + 0.75 * torch.eye(5))
    assert NDDR("ab", 3).reductions["a"][1].momentum == 0.05


def test_a_cross_stitch_of_one_task_is_the_identity():
    features = random_features(["a"])
    torch.testing.assert_close(CrossStitch(["a"], C)(features)["a"], features["a"])


def test_cross_stitch_weights_are_by_target_source_and_channel():
    module = CrossStitch(["a", "b"], 2)
    with torch.no_grad():
        module.weights.copy_(torch.tensor([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]]))
    refined = module({"a": torch.ones(1, 2, 1, 1), "b": torch.full((1, 2, 1, 1), 10.0)})
    assert refined["a"].flatten().tolist() == [31, 42]
    assert refined["b"].flatten().tolist() == [75, 86]


def test_nddr_starts_as_a_cross_stitch_by_hand():
    features = {"a": pixels(10.0), "b": pixels(20.0), "c": pixels(40.0)}
    refined = NDDR(["a", "b", "c"], 1).eval()(features)
    assert [refined[t].item() for t in "abc"] == pytest.approx([12.0, 20.5, 37.5], rel=1e-4)  # BN has an epsilon


def test_nddr_of_equal_features_starts_as_the_identity():
    features = torch.rand(B, C, 3, 3)
    refined = NDDR(named(3), C).eval()(dict.fromkeys(named(3), features))
    torch.testing.assert_close(refined["task1"], features, rtol=1e-4, atol=1e-5)


def test_pad_net_adds_messages_of_the_others_and_projects_by_hand():
    module = PADNetB(["a", "b"], 1)
    for row in module.messages.messages.values():
        for message in row.values():
            fill(message, 2.0)
    fill(module.last["a"], 10.0)
    refined = module({"a": pixels(1.0, 5.0), "b": pixels(3.0, 4.0)})
    assert refined["a"].flatten().tolist() == [10 * (1 + 2 * 7), 10 * (5 + 2 * 7)]
    assert refined["b"].flatten().tolist() == [3 + 2 * 6, 4 + 2 * 6]


def test_the_source_gates_its_message_by_hand():
    module = PADNetC(["a", "b"], 1)
    told = module.messages.messages["a"]["b"]
    fill(told.message, 2.0)
    fill(told.gate, math.log(3))
    features = {"a": pixels(1.0), "b": pixels(1.0)}
    assert module(features)["a"].item() == pytest.approx(1 + 2 * 0.75)
    fill(told.gate, 0.0)
    assert module(features)["a"].item() == 2


@pytest.mark.parametrize(("make", "messages"), [(PADNetB, Messages), (PADNetC, GatedMessages)])
def test_the_last_convolution_of_pad_net_starts_as_the_identity(make, messages):
    module, features = make(named(3), C), random_features(named(3))
    assert isinstance(module.messages, messages)
    torch.testing.assert_close(module(features), module.messages(features))


def test_without_messages_targets_keep_their_own_features():
    features = random_features(["a"])
    torch.testing.assert_close(PADNetC(["a"], C)(features)["a"], features["a"])


def test_structures_are_exchanged_by_how_well_they_match_by_hand():
    # Two offsets, one pixel. Matches of the first: with itself 0.5, with the second 0.5; of the second: 0.5 and 1.
    structures = torch.tensor([[0.5, 0.5], [1.0, 0.0]]).view(1, 2, 2, 1, 1)
    shared = exchange(structures).view(2, 2)
    torch.testing.assert_close(shared[0], torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(shared[1], torch.tensor([(0.5 + 2) / 3, 0.5 / 3]))


def test_equal_structures_stay_and_all_others_still_sum_to_one():
    structure = torch.rand(2, 1, 9, 3, 4).softmax(2)
    same = structure.expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(exchange(same), same)
    torch.testing.assert_close(exchange(torch.rand(2, 3, 9, 3, 4).softmax(2)).sum(2), torch.ones(2, 3, 3, 4))


def show_diffused(module):
    """Make a module of 2 channels, 1 of them diffused, return its second input channel diffused, and 0."""
    with torch.no_grad():
        for task in module.tasks:
            module.values[task][0].weight.copy_(torch.tensor([0.0, 1.0]).view(1, 2, 1, 1))
            module.joins[task][0].weight.copy_(torch.tensor([[0.0, 0, 1], [0, 0, 0]]).view(2, 3, 1, 1))
    return module.eval()


def two_pixels(left, right):
    return torch.tensor([[9.0, 9.0], [left, right]]).view(1, 2, 1, 2)


@pytest.mark.parametrize("make", [PSD, PAP])
def test_without_patterns_every_pixel_gets_the_mean_by_hand(make):
    module = show_diffused(make(["a", "b"], 2))
    for pattern in module.patterns.values():
        fill(pattern[0], 0.0)
    refined = module({"a": two_pixels(0.0, 4.0), "b": two_pixels(6.0, 2.0)})
    assert refined["a"].flatten().tolist() == pytest.approx([2, 2, 0, 0], rel=1e-4)
    assert refined["b"].flatten().tolist() == pytest.approx([4, 4, 0, 0], rel=1e-4)


def test_psd_diffuses_twice_by_the_mean_structure_by_hand():
    module = show_diffused(PSD(["a"], 2))
    fill(module.patterns["a"][0], 0.0)
    with torch.no_grad():  # the pattern is the second channel: scores are 0, but right with right (2 ln 3)^0.5 squared
        module.patterns["a"][0].weight[0, 1, 1, 1] = 1
    right = (math.sqrt(2) * math.log(3)) ** 0.5
    refined = module({"a": two_pixels(0.0, right)})["a"][0, 0, 0]
    # Weights (1/2, 1/2) and (1/4, 3/4); squared: (3/8, 5/8) and (5/16, 11/16).
    assert refined.tolist() == pytest.approx([right * 5 / 8, right * 11 / 16], rel=1e-4)
