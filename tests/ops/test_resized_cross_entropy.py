"""Cross entropy of coarse logits against PyTorch's: `interpolate`, then `cross_entropy`."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from atrc.ops import native, resized_cross_entropy

SIZES = [(1, 1, 9, 4), (3, 5, 12, 20), (6, 7, 13, 29), (9, 8, 9, 8), (9, 8, 5, 4), (11, 2, 40, 3)]


@pytest.fixture(params=["native", "operators"], scope="module")
def kernel(request):
    """Both ways that a CPU can take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATRC_NO_COMPILER", "" if request.param == "native" else "1")
        if request.param == "native" and not native.available("resized_cross_entropy", torch.float32):
            pytest.skip("no C++ compiler")
        yield


def textbook(logits, labels, weights=None):
    resized = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
    return F.cross_entropy(resized, labels, weight=weights, ignore_index=-1, reduction="sum")


def inputs(b, k, y, x, h, w, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(b + k + y * x + h * w)
    logits = torch.randn(b, k, y, x, dtype=dtype, generator=generator) * scale
    labels = torch.randint(-1, k, (b, h, w), generator=generator)
    return logits.requires_grad_(), labels, torch.rand(k, dtype=dtype, generator=generator)


def agree(tensors, tolerance):
    expected, found = (f(*tensors) for f in (textbook, resized_cross_entropy))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)
    wanted, had = (torch.autograd.grad(0.3 * loss, tensors[0])[0] for loss in (expected, found))
    assert (had - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [1, 2, 8, 16, 17, 40])
def test_loss_and_gradient_are_those_of_the_textbook_form_in_double_precision(classes, size):
    agree(inputs(2, classes, *size), 1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_a_deterministic_run_gets_the_same_gradient(size, monkeypatch):
    monkeypatch.setenv("ATRC_NO_COMPILER", "1")
    # PyTorch's own transpose of the resize refuses on a GPU.
    monkeypatch.setattr(torch.ops.aten, "upsample_bilinear2d_backward", None)
    tensors = inputs(2, 3, *size)
    torch.use_deterministic_algorithms(True)
    try:
        loss = resized_cross_entropy(*tensors)
        found = torch.autograd.grad(loss, tensors[0])[0]
    finally:
        torch.use_deterministic_algorithms(False)
    wanted = torch.autograd.grad(textbook(*tensors), tensors[0])[0]
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("scale", [1, 100])
@pytest.mark.parametrize("size", SIZES)
def test_loss_and_gradient_are_those_of_the_textbook_form_in_single_precision(size, scale):
    agree(inputs(3, 21, *size, torch.float32, scale), 1e-5 * scale)


@pytest.mark.usefixtures("kernel")
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 20), *(st.integers(1, 12) for _ in range(4)))
def test_loss_and_gradient_are_those_of_the_textbook_form_for_any_size(b, k, y, x, h, w):
    agree(inputs(b, k, y, x, h, w), 1e-12)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("classes", [2, 12])
def test_pixels_without_a_label_have_neither_say_nor_gradient_whatever_their_logits(classes):
    logits = torch.zeros(1, classes, 2, 2)
    logits[:, 0, 0, 0] = torch.nan
    logits.requires_grad_()
    loss = resized_cross_entropy(logits, torch.tensor([[[-1, 1], [255, -7]]]))
    torch.testing.assert_close(loss.item(), torch.tensor(classes).log().item())
    (grad,) = torch.autograd.grad(loss, logits)
    assert grad[..., 0, 0].eq(0).all()
    assert grad[..., 1, :].eq(0).all()
    assert grad[0, 1, 0, 1] == pytest.approx(1 / classes - 1)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("classes", [2, 12])
def test_a_logit_that_is_no_number_makes_the_loss_none(classes):
    logits = torch.zeros(1, classes, 2, 2)
    logits[0, 1, 0, 0] = torch.nan
    assert resized_cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.long)).isnan()


@pytest.mark.usefixtures("kernel")
def test_saturated_logits_give_a_finite_loss():
    logits = torch.zeros(1, 9, 2, 2)
    logits[:, 0] = 1e4
    logits.requires_grad_()
    loss = resized_cross_entropy(logits, torch.ones(1, 8, 8, dtype=torch.long))
    assert loss.item() == pytest.approx(64e4)
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_the_result_does_not_depend_on_the_number_of_threads():
    tensors = inputs(2, 40, 27, 35, 107, 140, torch.float32)
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        loss = resized_cross_entropy(*tensors)
        results.append((loss.item(), torch.autograd.grad(loss, tensors[0])[0]))
    torch.set_num_threads(before)
    assert len({loss for loss, _ in results}) == 1
    assert all(torch.equal(grad, results[0][1]) for _, grad in results)


def test_the_operator_keeps_the_promises_of_a_custom_operator():
    logits, labels, weights = inputs(1, 9, 3, 4, 6, 8)
    torch.library.opcheck(torch.ops.atrc.resized_cross_entropy.default, (logits.detach(), labels, weights))


def test_it_compiles_whole():
    logits, labels, weights = inputs(1, 9, 3, 4, 6, 8)
    compiled = torch.compile(inspect.unwrap(resized_cross_entropy), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, labels, weights), textbook(logits, labels, weights))


def test_memory_does_not_hold_the_resized_logits():
    tensors = inputs(2, 40, 8, 8, 64, 64, torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        kept = []
        resized_cross_entropy(*tensors)
    assert sum(kept) == tensors[0].numel()
