"""The kernels of label attention against the plain form in `atrc.contexts.label`."""

import inspect
import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from atrc.contexts.label import TLabel
from atrc.errors import UserError
from atrc.ops import label_attention
from atrc.ops import label_attention_matmul as matmul
from atrc.ops import label_attention_native as native

plain = inspect.unwrap(label_attention)  # without the tests' checks of types, which do not trace


@pytest.fixture(params=["native", "matmul"], scope="module")
def kernels(request):
    """Both kernels that a CPU can use; the products in chunks of 16 pixels or a few more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATRC_NO_COMPILER", "1" if request.param == "matmul" else "")
        patch.setattr(matmul, "CHUNK", 1000)
        if request.param == "native" and not native.available(torch.float32):
            pytest.skip("no C++ compiler")
        yield request.param


def textbook(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return TLabel.attend(query, key[..., None], value[..., None])


def inputs(b: int, d: int, c: int, r: int, h: int, w: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(b + 10 * d + 100 * c + h * w + r)
    shapes = [(b, d, h, w), (b, d, r), (b, c, r)]
    return [torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in shapes]


def with_gradients(attention, tensors: list[Tensor]) -> list[Tensor]:
    out = attention(*tensors)
    cotangent = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out).cos()
    return [out, *torch.autograd.grad(out, [x for x in tensors if x.requires_grad], cotangent)]


def relative_errors(actual: list[Tensor], truth: list[Tensor]) -> float:
    return max(((a - t).abs().max() / t.abs().max().clamp(min=1e-3)).item() for a, t in zip(actual, truth, strict=True))


def agree(tensors: list[Tensor], attention=label_attention) -> float:
    return relative_errors(with_gradients(attention, tensors), with_gradients(textbook, tensors))


def test_hand_computed_weights():
    query = torch.tensor([0.0, math.log(3)]).view(1, 1, 1, 2)
    key, value = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[4.0, 8.0]]])
    torch.testing.assert_close(label_attention(query, key, value).flatten(), torch.tensor([6.0, 7.0]))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("regions", [1, 2, 7, 40])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 5), (13, 18), (17, 33)])
def test_agrees_with_the_textbook_form_in_double_precision(h, w, regions):
    assert agree(inputs(2, 5, 10, regions, h, w)) < 1e-9


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("d", "c", "r"), [(33, 33, 40), (64, 64, 5), (8, 19, 300), (1, 2, 512)])
def test_agrees_with_the_textbook_form_in_single_precision(d, c, r):
    tensors = inputs(1, d, c, r, 19, 37)
    single = [x.detach().float().requires_grad_() for x in tensors]
    actual = [x.double() for x in with_gradients(label_attention, single)]
    assert relative_errors(actual, with_gradients(textbook, tensors)) < 1e-5


@pytest.mark.usefixtures("kernels")
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_agrees_with_the_textbook_form_for_any_size(data):
    small, side = st.integers(1, 13), st.integers(1, 40)
    assert agree(inputs(*(data.draw(s) for s in (st.integers(1, 2), small, small, small, side, side)))) < 1e-9


@pytest.mark.usefixtures("kernels")
def test_images_of_several_tasks_of_the_kernel_agree_with_the_textbook_form():
    assert agree(inputs(1, 3, 2, 4, 79, 83)) < 1e-9


@pytest.mark.parametrize("attention", [matmul.attend, matmul.attend_fused])
def test_the_forms_for_export_and_for_gpus_agree_with_the_textbook_form(attention):
    tensors = inputs(2, 5, 9, 3, 4, 7)
    assert agree(tensors, attention) < 1e-9
    assert attention(*tensors).is_contiguous()


@pytest.mark.usefixtures("kernels")
def test_one_region_gives_its_value_everywhere():
    query, key, value = inputs(2, 4, 5, 1, 6, 7)
    expected = value[..., None].expand(-1, -1, 6, 7)
    torch.testing.assert_close(label_attention(query, key, value), expected)


@pytest.mark.usefixtures("kernels")
def test_the_order_of_the_pixels_does_not_matter():
    query, key, value = inputs(1, 3, 4, 5, 6, 70)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    shuffled = label_attention(query[..., order], key, value)
    torch.testing.assert_close(shuffled, label_attention(query, key, value)[..., order])


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("wanted", [set(n) for k in (1, 2) for n in combinations(range(3), k)])
def test_gradients_for_some_inputs_only(wanted):
    tensors = [x.requires_grad_(i in wanted) for i, x in enumerate(map(Tensor.detach, inputs(1, 2, 3, 5, 4, 6)))]
    assert agree(tensors) < 1e-9


@pytest.mark.usefixtures("kernels")
def test_any_memory_layout_gives_the_same_result():
    tensors = [x.detach() for x in inputs(2, 3, 4, 5, 9, 11)]
    layouts = {
        "transposed": [x.mT.contiguous().mT for x in tensors],
        "strided": [x.repeat_interleave(2, -1)[..., ::2] for x in tensors],
        "channels last": [x.movedim(1, -1).contiguous().movedim(-1, 1) for x in tensors],
        "part of a larger map": [torch.cat([x, x], 1).chunk(2, 1)[1] for x in tensors],
    }
    truth = with_gradients(label_attention, [x.requires_grad_() for x in tensors])
    for layout in layouts.values():
        actual = with_gradients(label_attention, [x.detach().requires_grad_() for x in layout])
        assert all(torch.equal(a, t) for a, t in zip(actual, truth, strict=True))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("size", [100.0, -1e4])
def test_large_scores_neither_overflow_nor_lose_the_weights(size):
    query, key, value = (x.detach().float() for x in inputs(1, 4, 4, 9, 12, 12))
    tensors = [x.requires_grad_() for x in (query * size, key.round(decimals=1), value)]
    actual = with_gradients(label_attention, tensors)
    truth = with_gradients(textbook, [x.detach().double().requires_grad_() for x in tensors])
    assert all(x.isfinite().all() for x in actual)
    assert relative_errors([x.double() for x in actual], truth) < 2e-2  # single precision rounds these scores to 1e-3


@pytest.mark.usefixtures("kernels")
def test_half_precision_is_computed_in_single_precision():
    tensors = [x.detach().bfloat16() for x in inputs(1, 8, 8, 5, 9, 9)]
    out = label_attention(*tensors)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, label_attention(*(x.float() for x in tensors)).bfloat16())


@pytest.mark.usefixtures("kernels")
def test_gradients_flow_under_autocast():
    conv = torch.nn.Conv2d(3, 8, 1)
    image, regions, _ = inputs(1, 3, 1, 5, 9, 9, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        query, key = conv(image), conv(regions[..., None])
        out = label_attention(query, key.float(), key)
    out.float().square().mean().backward()
    assert conv.weight.grad.isfinite().all()
    assert conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_does_not_change_a_bit(dtype, monkeypatch):
    monkeypatch.delenv("ATRC_NO_COMPILER", raising=False)
    if not native.available(dtype):
        pytest.skip("no C++ compiler")
    tensors = [x.detach() for x in inputs(2, 3, 4, 5, 90, 91, dtype)]
    grad = torch.randn(2, 4, 90, 91, dtype=dtype)
    results, threads = [], torch.get_num_threads()
    for count in (1, 2, 5, 5):
        torch.set_num_threads(count)
        results.append([native.forward(*tensors), *native.backward(grad, *tensors)])
    torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.usefixtures("kernels")
def test_gradcheck():
    torch.autograd.gradcheck(label_attention, inputs(1, 2, 3, 3, 2, 3))


@pytest.mark.usefixtures("kernels")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_opcheck(dtype):
    query, key, value = (x.detach().to(dtype).requires_grad_() for x in inputs(2, 3, 4, 5, 6, 7))
    strided = query.detach().mT.contiguous().mT
    grad = torch.ones_like(label_attention(query, key, value)).detach()
    torch.library.opcheck(torch.ops.atrc.label_attention, (query, key, value))
    torch.library.opcheck(torch.ops.atrc.label_attention, (strided, key, value))
    detached = (x.detach() for x in (query, key, value))
    torch.library.opcheck(torch.ops.atrc.label_attention_backward, (grad, *detached))


def test_compiles_to_one_graph(unchecked):
    unchecked("atrc.ops.label_attention", "atrc.ops.label_attention_matmul")
    tensors = inputs(1, 3, 4, 5, 9, 12)
    compiled = torch.compile(plain, fullgraph=True, backend="aot_eager", dynamic=True)
    actual, truth = (with_gradients(attention, tensors) for attention in (compiled, label_attention))
    for a, t in zip(actual, truth, strict=True):
        torch.testing.assert_close(a, t)


class Attention(torch.nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return plain(query, key, value)


def test_exports_with_dynamic_sizes_and_only_core_operators():
    batch, h, w = (torch.export.Dim(name, min=1) for name in "bhw")
    sizes = ({0: batch, 2: h, 3: w}, {0: batch}, {0: batch})
    exported = torch.export.export(Attention(), tuple(inputs(2, 3, 4, 5, 13, 21)), dynamic_shapes=sizes)
    assert not any("atrc" in str(node.target) for node in exported.graph.nodes)
    for b, height, width in [(1, 1, 1), (3, 5, 3), (1, 20, 37)]:
        tensors = inputs(b, 3, 4, 5, height, width)
        torch.testing.assert_close(exported.module()(*tensors), textbook(*tensors))


def test_flops_are_those_of_the_matrix_products():
    b, d, c, r, h, w = 2, 4, 5, 6, 7, 8
    product = 2 * b * h * w * r
    with FlopCounterMode(display=False) as counter:
        out = label_attention(*inputs(b, d, c, r, h, w))
    assert counter.get_total_flops() == product * (d + c)
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == product * (3 * d + 2 * c)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 3, 4, 4), (2, 2, 5), (2, 3, 5)], "batch and channels must be equal"),
        ([(2, 3, 4, 4), (1, 3, 5), (1, 3, 5)], "batch and channels"),
        ([(2, 3, 4, 4), (2, 3, 5), (2, 3, 6)], "batch and regions"),
        ([(3, 4, 4), (3, 5), (3, 5)], "channels, height, width"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(UserError, match=message):
        plain(*map(torch.zeros, shapes))
