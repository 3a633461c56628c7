"""The window's weights as a map, against the form that gathers all neighbours with `unfold`."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from atrc.errors import UserError
from atrc.ops import local_attention
from atrc.ops.window import window_softmax, window_sum

SHAPES = [(1, 1), (2, 5), (1, 9), (7, 3), (13, 11)]


def textbook(query, key, value, window):
    b, c, h, w = query.shape
    around = [F.unfold(x, window, padding=window // 2) for x in (key, value, torch.ones_like(key[:, :1]))]
    keys, values, exists = (x.view(b, -1, window**2, h, w) for x in around)
    scores = torch.einsum("bchw,bcohw->bohw", query, keys) / c**0.5
    weights = scores.masked_fill(exists[:, 0] == 0, -torch.inf).softmax(1)
    return weights, torch.einsum("bohw,bcohw->bchw", weights, values)


def ours(query, key, value, window):
    weights = window_softmax(query, key, window)
    return weights, window_sum(weights, value, window)


def inputs(h, w, dtype=torch.float64):
    return [torch.randn(2, n, h, w, dtype=dtype, requires_grad=True) for n in (3, 3, 5)]


@pytest.mark.parametrize("window", [1, 3, 9])
@pytest.mark.parametrize(("h", "w"), SHAPES)
def test_weights_sums_and_gradients_agree_with_the_textbook_form(h, w, window):
    tensors = inputs(h, w)
    results = []
    for form in (ours, textbook):
        out = form(*tensors, window)
        cotangents = [torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x).cos() for x in out]
        results.append([*out, *torch.autograd.grad(out, tensors, cotangents)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)


def test_together_they_are_local_attention():
    tensors = inputs(6, 11, torch.float32)
    torch.testing.assert_close(ours(*tensors, 9)[1], local_attention(*tensors, 9))


def test_weights_of_existing_neighbours_sum_to_one_and_of_others_are_zero():
    weights = window_softmax(*inputs(2, 3)[:2], 9)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 2, 3, dtype=torch.float64))
    assert ((weights > 0).sum(1) == 6).all()


def test_weights_and_sums_of_two_pixels_by_hand():
    pixels = torch.tensor([[[[0.0, 3.0**0.5]]]])  # scores of the right pixel: 0 and 3
    weights = window_softmax(pixels, pixels * torch.log(torch.tensor(3.0)) / 3, 3)
    assert weights[0, :, 0, 0].tolist() == pytest.approx([0, 0, 0, 0, 0.5, 0.5, 0, 0, 0])
    assert weights[0, :, 0, 1].tolist() == pytest.approx([0, 0, 0, 0.25, 0.75, 0, 0, 0, 0])
    assert window_sum(weights, torch.tensor([[[[0.0, 8.0]]]]), 3).flatten().tolist() == pytest.approx([4, 6])


def test_half_precision_is_summed_in_single_precision():
    tensors = inputs(9, 9, torch.float32)
    half = [x.detach().bfloat16() for x in tensors]
    truth = textbook(*(x.float() for x in half), 9)[1]
    out = ours(*half, 9)[1]
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), truth, rtol=0.02, atol=0.02)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
def test_the_operators_pass_opcheck():
    query, key, value = inputs(4, 3)
    weights = torch.randn(2, 9, 4, 3, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.atrc.window_scores.default, (query, key, 3))
    torch.library.opcheck(torch.ops.atrc.window_sum.default, (weights, value, 3))
    torch.library.opcheck(torch.ops.atrc.window_spread.default, (weights, value, 3))


def test_second_derivatives_are_right():
    query, key, value = inputs(2, 3)
    assert torch.autograd.gradgradcheck(lambda *x: ours(*x, 3)[1], (query, key, value))


def test_the_multiply_adds_of_whole_windows_are_counted():
    query, key, value = inputs(4, 5)
    with FlopCounterMode(display=False) as counter:
        ours(query, key, value, 9)
    assert counter.get_total_flops() == 2 * 2 * 4 * 5 * 81 * (3 + 5)


def test_mistakes_are_named():
    query, key, value = inputs(2, 2)
    with pytest.raises(UserError, match="window is 4; it must be odd"):
        window_softmax(query, key, 4)
    with pytest.raises(UserError, match="weights have 9 offsets; a window of 5 has 25"):
        window_sum(window_softmax(query, key, 3), value, 5)
