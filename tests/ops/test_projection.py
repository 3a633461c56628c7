"""Projections in training against PyTorch's: matrix products, `batch_norm` and `relu`."""

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrc.contexts.projection import join, project
from atrc.errors import UserError
from atrc.ops import native, projection, projection_available

SIZES = [(2, 1, 3, 4, 5), (1, 4, 33, 67, 1500), (2, 3, 5, 7, 63), (3, 2, 9, 20, 1100)]
EPS = [1e-5, 1e-3]
ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "softplus": F.softplus}


@pytest.fixture(autouse=True)
def _kernel():
    if not native.available("projection", torch.float32):
        pytest.skip("no C++ compiler")


def textbook(x, first, second, scales, shifts, eps, activation="relu"):
    z, (p, d) = torch.cat(x, 1)[:, None], first.shape[:2]
    for layer, weight in enumerate((first, second)[: len(eps)]):
        y = torch.matmul(weight, z).flatten(1, 2)
        z = F.batch_norm(y, None, None, scales[layer], shifts[layer], True, 0, eps[layer]).unflatten(1, (p, d))
        z = ACTIVATIONS["relu" if layer + 1 < len(eps) else activation](z)
    return z


def inputs(b, p, d, c, n, *, layers=2, maps=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(b + p * d + c * n)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    x = [part.detach().requires_grad_() for part in (normal(b, c, n) * 2 + 1).tensor_split(maps, 1)]
    second = normal(p, d, d) if layers == 2 else None
    return x, normal(p, d, c), second, normal(layers, p * d), normal(layers, p * d), EPS[:layers]


def leaves(tensors):
    return [x for x in (*tensors[0], *tensors[1:5]) if x is not None]


def agree(tensors, tolerance, activation="relu"):
    outputs = [projection(*tensors, activation)[0], textbook(*tensors, activation)]
    weight = torch.linspace(-1, 2, outputs[0].numel(), dtype=outputs[0].dtype).view_as(outputs[0])
    grads = [torch.autograd.grad((z * weight).sum(), leaves(tensors)) for z in outputs]
    for found, truth in zip((outputs[0], *grads[0]), (outputs[1], *grads[1]), strict=True):
        assert (found - truth).abs().max() <= tolerance * truth.abs().max()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("layers", "maps"), [(1, 1), (1, 3), (2, 1), (2, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_outputs_and_gradients_are_those_of_the_textbook_form(size, layers, maps, activation):
    agree(inputs(*size, layers=layers, maps=maps), 1e-10, activation)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("size", SIZES[1:])
def test_single_precision_agrees_to_a_ten_thousandth(size, layers, activation):
    agree(inputs(*size, layers=layers, dtype=torch.float32), 1e-4, activation)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_and_its_slope_are_right_from_very_negative_to_very_positive(dtype):
    x = torch.linspace(-60, 60, 4001, dtype=dtype)
    one, spread = torch.ones(1, 1, dtype=dtype), x.double().std(correction=0).to(dtype).view(1, 1)
    shifts = torch.zeros(1, 1, dtype=dtype, requires_grad=True)
    z, _ = projection([x[None, None]], one[None], None, spread, shifts, [0.0], "softplus")
    truth = x.double().clamp(min=0) + torch.log1p(torch.exp(-x.double().abs()))
    torch.testing.assert_close(z.flatten().double(), truth, rtol=1e-12 if dtype == torch.float64 else 3e-5, atol=0)
    (slope,) = torch.autograd.grad(z.sum(), shifts)
    torch.testing.assert_close(slope.double(), torch.sigmoid(x.double()).sum().view(1, 1), rtol=1e-5, atol=0)


@settings(max_examples=25, deadline=None)
@given(*(st.integers(1, 9) for _ in range(3)), st.integers(2, 40))
def test_outputs_and_gradients_are_those_of_the_textbook_form_for_any_size(p, d, c, n):
    agree(inputs(2, p, d, c, n, layers=1, maps=min(2, c)), 1e-7, "none")


def test_two_pixels_become_minus_one_and_one():
    one = torch.ones(1, 1)
    z, statistics = projection([torch.tensor([[[1.0, 3.0]]])], 2 * one[None], None, 5 * one, one, [0.0], "none")
    assert z.flatten().tolist() == [-4, 6]
    assert statistics.flatten().tolist() == [4, 4]  # mean and variance of 2 and 6
    z, _ = projection([torch.tensor([[[1.0, 3.0]]])], 2 * one[None], None, 5 * one, one, [0.0])
    assert z.flatten().tolist() == [0, 6]


def test_the_variance_of_what_lies_far_from_zero_is_right_in_single_precision():
    x = 1000 + torch.randn(1, 1, 5000, generator=torch.Generator().manual_seed(0)) / 10
    one = torch.ones(1, 1)
    _, statistics = projection([x], one[None], None, one, one, [0.0])
    torch.testing.assert_close(statistics[0, 1, 0], x.double().var(correction=0).float(), rtol=1e-4, atol=0)


def test_the_gradient_is_the_slope():
    tensors = inputs(2, 2, 3, 3, 4)
    torch.autograd.gradcheck(
        lambda a, b, c, d, e: projection([a], b, c, d, e, EPS)[0], leaves(tensors), eps=1e-7, atol=1e-5
    )


def test_the_gradient_has_no_gradient():
    tensors = inputs(1, 1, 2, 2, 4)
    (grad,) = torch.autograd.grad(projection(*tensors)[0].square().sum(), tensors[0], create_graph=True)
    with pytest.raises(RuntimeError):
        grad.sum().backward()


def test_what_is_no_number_stays_none_and_spoils_its_own_channel_alone():
    x = torch.randn(1, 2, 9)
    x[0, 1, 3] = torch.nan
    scales = torch.ones(1, 2)
    z, _ = projection([x], torch.eye(2)[None], None, scales, scales, [1e-5])
    truth = textbook([x], torch.eye(2)[None], None, scales, scales, [1e-5])
    assert torch.equal(z.isnan(), truth.isnan())
    assert z[0, 0, 1].isnan().all()


def test_no_result_depends_on_the_number_of_threads():
    tensors = inputs(2, 2, 9, 12, 3000, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        z, statistics = projection(*tensors)
        results.append((z, statistics, *torch.autograd.grad(z.square().sum(), leaves(tensors))))
    torch.set_num_threads(before)
    assert all(torch.equal(x, y) for other in results[1:] for x, y in zip(other, results[0], strict=True))


@pytest.mark.parametrize("layers", [1, 2])
def test_the_operator_keeps_the_promises_of_a_custom_operator(layers):
    x, *weights, eps = inputs(2, 2, 3, 4, 5, layers=layers, maps=2)
    x, *weights = [each.detach() for each in x], *(each if each is None else each.detach() for each in weights)
    torch.library.opcheck(torch.ops.atrc.projection.default, (x, *weights, eps, "softplus"))


def test_of_two_layers_one_map_is_kept():
    kept = []
    x, *rest = inputs(2, 2, 3, 4, 500)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        projection(x, *rest)
    assert sum(kept) < 1.1 * (x[0].numel() + 2 * 2 * 3 * 500)


@pytest.mark.parametrize(
    ("place", "change"),
    [(1, lambda w: w.float()), (1, lambda w: w[..., :2]), (2, lambda w: w[:1]), (3, lambda s: s[:1])],
)
def test_what_does_not_fit_is_refused(place, change):
    tensors = list(inputs(2, 2, 3, 4, 5))
    tensors[place] = change(tensors[place])
    with pytest.raises(UserError):
        inspect.unwrap(projection)(*tensors)  # the tests check shapes, and would be first


def test_half_precision_is_refused():
    half = torch.ones(1, 1, dtype=torch.bfloat16)
    assert not projection_available(half)
    with pytest.raises(UserError, match="bfloat16"):
        projection([half[None]], half[None], None, half, half, [0.0])


def layers(c, d, *, affine=True, activation=nn.ReLU):
    norm = nn.BatchNorm2d(d, affine=affine, momentum=0.3, eps=1e-3)
    first = nn.Conv2d(c, d, 1, bias=False), nn.BatchNorm2d(d), nn.ReLU()
    return nn.Sequential(*first, nn.Conv2d(d, d, 1, bias=False), norm, activation()).double()


@pytest.mark.parametrize("way", ["native", "operators"])
@pytest.mark.parametrize("form", [{}, {"affine": False}, {"activation": nn.Softplus}])
def test_running_statistics_are_those_of_the_modules(form, way, monkeypatch):
    monkeypatch.setenv("ATRC_NO_COMPILER", "" if way == "native" else "1")
    some = [layers(4, 3, **form) for _ in range(2)]
    twins = copy.deepcopy(some)
    for _ in range(3):
        x = torch.randn(2, 4, 35, dtype=torch.float64)
        truth = torch.stack([twin(x[..., None])[..., 0] for twin in twins], 1)
        torch.testing.assert_close(project(x, some), truth, rtol=1e-9, atol=1e-9)
    for module, twin in zip(some, twins, strict=True):
        for key, value in twin.state_dict().items():
            torch.testing.assert_close(module.state_dict()[key], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("change", ["momentum", "track_running_stats"])
def test_unusual_statistics_are_the_modules_own(change):
    norm = nn.BatchNorm2d(3, **{change: None if change == "momentum" else False})
    twin = copy.deepcopy(norm)
    weight = torch.randn(3, 4)
    for _ in range(3):
        x = torch.randn(2, 4, 35)
        truth = twin((weight @ x)[..., None])[..., 0]
        torch.testing.assert_close(join([x[:, :1], x[:, 1:]], [weight[:, :1], weight[:, 1:]], norm, relu=False), truth)
    assert str(norm.state_dict()) == str(twin.state_dict())


@pytest.mark.parametrize("way", ["native", "operators"])
def test_statistics_are_averaged_over_batches_where_the_momentum_is_none(way, monkeypatch):
    monkeypatch.setenv("ATRC_NO_COMPILER", "" if way == "native" else "1")
    batches = list(torch.randn(3, 2, 4, 35, dtype=torch.float64) * 2 + 1)
    modules = nn.ModuleList([layers(4, 3), layers(4, 3)])
    twins = copy.deepcopy(modules)
    for some in (modules, twins):
        some.run = (lambda x, s=some: project(x, list(s))) if some is modules else (
            lambda x, s=some: torch.stack([each(x[..., None])[..., 0] for each in s], 1)
        )  # fmt: skip
        some.forward = some.run
        torch.optim.swa_utils.update_bn(batches, some)
    for key, value in twins.state_dict().items():
        torch.testing.assert_close(modules.state_dict()[key], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", ["native", "operators"])
@pytest.mark.parametrize("change", ["frozen", "torchvision", "group norm"])
def test_what_was_done_to_one_module_stays_with_it(change, way, monkeypatch):
    monkeypatch.setenv("ATRC_NO_COMPILER", "" if way == "native" else "1")
    some = [layers(4, 3) for _ in range(3)]
    if change == "frozen":
        some[1].eval()
    else:
        other = torchvision.ops.FrozenBatchNorm2d(3) if change == "torchvision" else nn.GroupNorm(3, 3)
        some[0][1] = some[1][4] = other.double()
    twins = copy.deepcopy(some)
    x = torch.randn(2, 4, 35, dtype=torch.float64)
    truth = torch.stack([twin(x[..., None])[..., 0] for twin in twins], 1)
    torch.testing.assert_close(project(x, some), truth, rtol=1e-9, atol=1e-9)
    each = torch.randn(2, 3, 4, 35, dtype=torch.float64)
    truth = torch.stack([twin(each[:, i, :, :, None])[..., 0] for i, twin in enumerate(twins)], 1)
    torch.testing.assert_close(project(each, some), truth, rtol=1e-9, atol=1e-9)
    for module, twin in zip(some, twins, strict=True):
        for key, value in twin.state_dict().items():
            torch.testing.assert_close(module.state_dict()[key], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("relu", [True, False])
def test_maps_side_by_side_need_no_compiler(relu, monkeypatch):
    x, weight = torch.randn(2, 7, 35).double(), torch.randn(3, 7).double()
    results = []
    for off in ("", "1"):
        monkeypatch.setenv("ATRC_NO_COMPILER", off)
        norm = nn.BatchNorm2d(3).double()
        results.append((join(x.split([5, 2], 1), weight.split([5, 2], 1), norm, relu=relu), norm.running_var))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


def test_operations_count_as_without_the_kernel(monkeypatch):
    counts = []
    for off in ("", "1"):
        monkeypatch.setenv("ATRC_NO_COMPILER", off)
        with FlopCounterMode(display=False) as counter:
            project(torch.randn(2, 4, 35, dtype=torch.float64).requires_grad_(), [layers(4, 3)]).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * 2 * 35 * (4 * 3 + 3 * 3)


def test_one_value_for_each_channel_is_refused_as_by_pytorch():
    with pytest.raises(ValueError, match="more than 1 value"):
        project(torch.ones(1, 4, 1, dtype=torch.float64), [layers(4, 3)])
