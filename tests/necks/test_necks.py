import pytest
import torch

from atrc.errors import UserError
from atrc.necks import FPM, NECKS, build_neck, join, once_each
from atrc.necks.fpm import BasicBlock, SqueezeExcitation
from atrc.tasks import Depth, SemanticSegmentation

TASKS = (SemanticSegmentation(num_classes=5), Depth())
CHANNELS, STRIDES = (8, 16, 32, 64), (4, 8, 16, 32)
SIZES = ((9, 13), (5, 7), (3, 4), (2, 2))


def levels(dtype=torch.float32):
    return [torch.randn(2, c, h, w, dtype=dtype) for c, (h, w) in zip(CHANNELS, SIZES, strict=True)]


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", NECKS)
def test_every_neck_gives_each_task_its_channels_at_the_finest_size(name):
    neck = build_neck(name, CHANNELS, STRIDES, TASKS)
    own, initial = neck(dict.fromkeys(("semseg", "depth"), levels()))
    shared = once_each(own, join)
    assert {task: x.shape for task, x in shared.items()} == dict.fromkeys(
        ("semseg", "depth"), (2, neck.channels, *SIZES[0])
    )
    if name != "concat":  # which has nothing to learn
        sum(x.sum() for x in [*shared.values(), *(x for some in initial.values() for x in some)]).backward()
    assert all(p.grad is not None for p in neck.parameters())


@pytest.mark.parametrize("name", NECKS)
def test_tasks_with_levels_of_their_own_see_only_these(name):
    neck = build_neck(name, CHANNELS, STRIDES, TASKS).eval()
    one, other, changed = levels(), levels(), levels()
    before = neck({"semseg": one, "depth": other}).levels["depth"]
    after = neck({"semseg": changed, "depth": other}).levels["depth"]
    assert torch.equal(join(before), join(after)) == (name != "fpm")  # feature propagation mixes tasks


def test_shared_levels_are_joined_once():
    own = levels()
    joined = once_each({"a": own, "b": own, "c": levels()}, join)
    assert joined["a"] is joined["b"]
    assert not torch.equal(joined["a"], joined["c"])


def test_join_upsamples_by_hand():
    coarse = torch.tensor([[[[1.0, 3.0]]]])
    fine = torch.zeros(1, 1, 1, 4)
    assert join([fine, coarse])[0, 1, 0].tolist() == [1.0, 1.5, 2.5, 3.0]


# N tasks with outputs 40, 1, 3, 1: measured on the published network
@pytest.mark.parametrize(
    ("channels", "propagation", "total"),
    [((18, 36, 72, 144), 3_285_276, 7_844_550), ((48, 96, 192, 384), 23_337_384, 55_660_908)],
)
def test_the_fpm_has_the_published_parameters(channels, propagation, total, nyud_tasks):
    fpm = FPM(channels, nyud_tasks)
    assert parameters(fpm.propagation) == propagation
    assert parameters(fpm) == total


def test_the_fpm_predicts_every_task_at_every_level():
    _, initial = FPM(CHANNELS, TASKS)(dict.fromkeys(("semseg", "depth"), levels()))
    assert [tuple(x.shape) for x in initial["semseg"]] == [(2, 5, *size) for size in SIZES]
    assert [tuple(x.shape) for x in initial["depth"]] == [(2, 1, *size) for size in SIZES]


def test_propagation_runs_from_coarse_to_fine_only():
    fpm = FPM(CHANNELS, TASKS).eval()
    given = levels()
    before, _ = fpm(dict.fromkeys(("semseg", "depth"), given))
    given[1] = torch.randn_like(given[1])
    after, _ = fpm(dict.fromkeys(("semseg", "depth"), given))
    changed = [not torch.equal(x, y) for x, y in zip(before["depth"], after["depth"], strict=True)]
    assert changed == [True, True, False, False]


@pytest.mark.parametrize(
    ("over", "weights"),
    [
        ("tasks", [0.25, 0.75, 0.5, 0.25, 0.75, 0.25, 0.5, 0.75]),  # channel i of the one task against i of the other
        ("channels", [0.25, 0.75, 0.5, 0.5, 0.75, 0.25, 0.25, 0.75]),  # neighbours in pairs
    ],
)
def test_attention_is_a_softmax_over_tasks_or_neighbouring_channels(over, weights):
    block = FPM((4, 4), TASKS, over).propagation[0].eval()
    with torch.no_grad():
        block.attention[-1].weight.zero_()
        block.attention[-1].bias.copy_(torch.tensor([1.0, 3, 1, 1, 3, 1, 1, 3]).log())  # two tasks, four channels
    seen = []
    block.shared.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block({task: torch.ones(1, 4, 2, 2) for task in ("semseg", "depth")})
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(weights)


def test_a_basic_block_without_body_passes_what_is_positive():
    block = BasicBlock(3, 3).eval()
    torch.nn.init.zeros_(block.body[-1].weight)
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(block(x), x.relu())


def test_squeeze_excitation_scales_channels_alike_at_all_pixels():
    x = torch.randn(2, 32, 3, 3)
    ratio = SqueezeExcitation(32)(x) / x
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))
    assert ratio.min() > 0
    assert ratio.max() < 1


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="unknown neck 'fpn'; choose from concat, project, skip, aspp, fpm"):
        build_neck("fpn", CHANNELS, STRIDES, TASKS)
    with pytest.raises(UserError, match="neck 'fpm' needs two levels or more, the backbone has 1"):
        build_neck("fpm", (64,), (16,), TASKS)
