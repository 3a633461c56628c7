"""Local attention against the textbook form, which gathers all neighbours with `unfold`."""

import inspect
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from atrc.contexts.local import Local
from atrc.errors import UserError
from atrc.ops import local_attention
from atrc.ops import local_attention_native as native

textbook = Local.attend
SHAPES = [(1, 1), (2, 5), (1, 9), (7, 3), (13, 18), (8, 16), (17, 33)]


@pytest.fixture(params=["native", "tiles"], scope="module")
def kernels(request):
    """Both kernels that a CPU can use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATRC_NO_COMPILER", "1" if request.param == "tiles" else "")
        if request.param == "native" and not native.available(torch.float32, 9):
            pytest.skip("no C++ compiler")
        yield


def inputs(b: int, d: int, c: int, h: int, w: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(b + 10 * d + 100 * c + h * w)
    tensors = [torch.randn(b, n, h, w, dtype=dtype, generator=generator) for n in (d, d, c)]
    return [x.requires_grad_() for x in tensors]


def with_gradients(attention, tensors: list[Tensor], window: int = 9) -> list[Tensor]:
    out = attention(*tensors, window)
    cotangent = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out).cos()
    return [out, *torch.autograd.grad(out, [x for x in tensors if x.requires_grad], cotangent)]


def relative_errors(actual: list[Tensor], truth: list[Tensor]) -> float:
    return max(((a - t).abs().max() / t.abs().max().clamp(min=1e-3)).item() for a, t in zip(actual, truth, strict=True))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("window", [3, 5, 7, 9])
@pytest.mark.parametrize(("h", "w"), SHAPES)
def test_agrees_with_the_textbook_form_in_double_precision(h, w, window):
    tensors = inputs(2, 3, 10, h, w)
    assert (
        relative_errors(with_gradients(local_attention, tensors, window), with_gradients(textbook, tensors, window))
        < 1e-9
    )


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("d", "c"), [(33, 33), (64, 64), (8, 19)])
def test_agrees_with_the_textbook_form_in_single_precision(d, c):
    tensors = inputs(1, d, c, 19, 37)
    single = [x.detach().float().requires_grad_() for x in tensors]
    truth = with_gradients(textbook, tensors)
    assert relative_errors([x.double() for x in with_gradients(local_attention, single)], truth) < 1e-5


@pytest.mark.usefixtures("kernels")
@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(1, 40),
    st.sampled_from([1, 3, 9]),
)
def test_agrees_with_the_textbook_form_for_any_size(b, d, c, h, w, window):
    tensors = inputs(b, d, c, h, w)
    assert (
        relative_errors(with_gradients(local_attention, tensors, window), with_gradients(textbook, tensors, window))
        < 1e-9
    )


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("wanted", [set(n) for k in (1, 2) for n in combinations(range(3), k)])
def test_gradients_for_some_inputs_only(wanted):
    tensors = [x.requires_grad_(i in wanted) for i, x in enumerate(map(Tensor.detach, inputs(1, 2, 3, 4, 6)))]
    assert relative_errors(with_gradients(local_attention, tensors), with_gradients(textbook, tensors)) < 1e-9


@pytest.mark.usefixtures("kernels")
def test_any_memory_layout_gives_the_same_result():
    tensors = [x.detach() for x in inputs(2, 3, 4, 9, 11)]
    layouts = {
        "channels last": [x.to(memory_format=torch.channels_last) for x in tensors],
        "transposed": [x.mT.contiguous().mT for x in tensors],
        "strided": [x.repeat_interleave(2, 3)[..., ::2] for x in tensors],
    }
    truth = with_gradients(local_attention, [x.requires_grad_() for x in tensors])
    for layout in layouts.values():
        actual = with_gradients(local_attention, [x.detach().requires_grad_() for x in layout])
        assert all(torch.equal(a, t) for a, t in zip(actual, truth, strict=True))


@pytest.mark.usefixtures("kernels")
def test_the_weights_of_existing_neighbours_sum_to_one():
    query, key, value = inputs(2, 3, 1, 7, 4)
    torch.testing.assert_close(local_attention(query, key, torch.ones_like(value)), torch.ones_like(value))


def test_mirroring_the_inputs_mirrors_the_output():
    tensors = inputs(1, 3, 4, 10, 21)
    for axis in (2, 3):
        mirrored = local_attention(*(x.flip(axis) for x in tensors))
        torch.testing.assert_close(mirrored, local_attention(*tensors).flip(axis))


@pytest.mark.usefixtures("kernels")
def test_large_scores_neither_overflow_nor_leak():
    query, key, value = (x.detach().float() for x in inputs(1, 4, 4, 12, 12))
    truth = textbook(query.double() * 100, key.double() * 100, value.double()).float()
    torch.testing.assert_close(local_attention(query * 100, key * 100, value), truth, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("kernels")
def test_half_precision_is_computed_in_single_precision():
    tensors = [x.detach().bfloat16() for x in inputs(1, 8, 8, 9, 9)]
    out = local_attention(*tensors)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, local_attention(*(x.float() for x in tensors)).bfloat16())


@pytest.mark.usefixtures("kernels")
def test_gradients_flow_under_autocast():
    conv = torch.nn.Conv2d(3, 12, 1)
    image = inputs(1, 3, 1, 9, 9, torch.float32)[0]
    with torch.autocast("cpu", torch.bfloat16):
        query, key, value = conv(image).chunk(3, 1)
        out = local_attention(query, key.float(), value)
    out.float().square().mean().backward()
    assert conv.weight.grad.isfinite().all()
    assert conv.weight.grad.abs().sum() > 0


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_into_the_kernels(dtype):
    tensors = inputs(1, 4, 4, 10, 11, torch.float32)
    plain = with_gradients(local_attention, tensors)
    with torch.autocast("cpu", dtype):
        cast = with_gradients(local_attention, tensors)
    assert all(torch.equal(x, y) for x, y in zip(cast, plain, strict=True))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_of_nothing_comes_nothing(size):
    out, *grads = with_gradients(local_attention, inputs(1, 2, 2, *size))
    assert [tuple(x.shape) for x in (out, *grads)] == [(1, 2, *size)] * 4


@pytest.mark.usefixtures("kernels")
def test_gradcheck():
    torch.autograd.gradcheck(lambda *x: local_attention(*x, 3), inputs(1, 2, 2, 3, 4))


@pytest.mark.usefixtures("kernels")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_opcheck(dtype):
    tensors = [x.detach().to(dtype) for x in inputs(2, 3, 4, 5, 6)]
    grad = torch.ones_like(tensors[2])
    channels_last = [x.to(memory_format=torch.channels_last) for x in tensors]
    torch.library.opcheck(torch.ops.atrc.local_attention, (*(x.requires_grad_() for x in tensors), 3))
    torch.library.opcheck(torch.ops.atrc.local_attention, (*channels_last, 3))
    torch.library.opcheck(torch.ops.atrc.local_attention_backward, (grad, *(x.detach() for x in tensors), 3))


def test_compiles_to_one_graph(unchecked):
    unchecked("atrc.ops.local_attention", "atrc.ops.local_attention_tiles")
    tensors = inputs(1, 3, 4, 9, 12)
    compiled = torch.compile(inspect.unwrap(local_attention), fullgraph=True, backend="aot_eager", dynamic=True)
    for actual, truth in zip(with_gradients(compiled, tensors), with_gradients(local_attention, tensors), strict=True):
        torch.testing.assert_close(actual, truth)


class Attention(torch.nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return inspect.unwrap(local_attention)(query, key, value)


def test_exports_with_dynamic_sizes_and_only_core_operators():
    sizes = {axis: torch.export.Dim(name, min=1) for axis, name in {0: "b", 2: "h", 3: "w"}.items()}
    exported = torch.export.export(Attention(), tuple(inputs(2, 3, 4, 13, 21)), dynamic_shapes=(sizes, sizes, sizes))
    assert not any("atrc" in str(node.target) for node in exported.graph.nodes)
    for b, h, w in [(1, 1, 1), (3, 5, 3), (1, 16, 16), (1, 20, 37)]:
        tensors = inputs(b, 3, 4, h, w)
        torch.testing.assert_close(exported.module()(*tensors), textbook(*tensors))


def test_exports_with_fixed_sizes():
    tensors = tuple(inputs(1, 3, 4, 8, 11))
    torch.testing.assert_close(torch.export.export(Attention(), tensors).module()(*tensors), textbook(*tensors))


def test_flops_are_those_of_the_matrix_products():
    b, d, c, h, w, window = 2, 3, 4, 5, 6, 7
    product = 2 * b * h * w * window**2
    with FlopCounterMode(display=False) as counter:
        out = local_attention(*inputs(b, d, c, h, w), window)
    assert counter.get_total_flops() == product * (d + c)
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == product * (3 * d + 2 * c)


@pytest.mark.parametrize("window", [0, -3, 4])
def test_a_window_without_a_middle_is_refused(window):
    with pytest.raises(UserError, match=f"window is {window}; it must be odd"):
        local_attention(*inputs(1, 2, 2, 3, 3), window)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 2, 3, 3), (1, 3, 3, 3), (1, 2, 3, 3)], "key"),
        ([(1, 2, 3, 3), (1, 2, 3, 3), (1, 2, 3, 4)], "value"),
        ([(2, 3, 3), (2, 3, 3), (2, 3, 3)], "height, width"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(UserError, match=message):
        inspect.unwrap(local_attention)(*map(torch.zeros, shapes))
