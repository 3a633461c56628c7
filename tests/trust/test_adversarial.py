"""Losses and metrics over the inputs that break such things: finite numbers, and the right ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atrc.distillation import ATRC
from atrc.genotype import Genotype
from atrc.network import NetworkConfig, build_network
from atrc.tasks import Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals
from atrc.training.evaluation.evaluate import Meter
from atrc.training.losses import task_losses

TASKS = (
    SemanticSegmentation(num_classes=5),
    SemanticSegmentation(num_classes=40),
    HumanParts(),
    Saliency(),
    SurfaceNormals(),
    Boundaries(max_dist=0.2),
    Depth(),
)
LOGITS = ("random", "zero", "constant", "+1e4", "-1e4", "+-1e4", "tiny", "huge")
MASKS = ("all", "none", "one pixel", "one row", "random", "one image")
TRUTHS = ("random", "one label", "one pixel of another label", "two labels")


def make_logits(kind, shape, g):
    noise = torch.randn(shape, generator=g)
    return {
        "random": noise,
        "zero": torch.zeros(shape),
        "constant": noise[:, :, :1, :1].expand(shape).contiguous(),
        "+1e4": torch.full(shape, 1e4),
        "-1e4": torch.full(shape, -1e4),
        "+-1e4": noise.sign() * 1e4,
        "tiny": noise * 1e-20,
        "huge": noise.sign() * 1e15,  # not a logit that anyone has, but a number
    }[kind]


def make_mask(kind, shape, g):
    mask = torch.zeros(shape, dtype=torch.bool)
    if kind == "random":
        return torch.rand(shape, generator=g) < 0.5
    if kind == "one image":
        mask[0] = True
    elif kind == "one pixel":
        mask[-1, -1, -1] = True
    elif kind == "one row":
        mask[:, 0] = True
    return ~mask if kind == "all" else mask


def make_truth(task, kind, shape, g):
    labels = torch.randint(task.region_count, shape, generator=g)
    if kind != "random":
        labels = torch.zeros_like(labels) if kind != "two labels" else labels % 2
    if kind == "one pixel of another label":
        labels[0, 0, 0] = task.region_count - 1
    if isinstance(task, SurfaceNormals):
        return torch.tensor(task.centroids)[labels].movedim(-1, 1).contiguous()
    if isinstance(task, Depth):
        return task.nearest * (task.farthest / task.nearest) ** ((labels + 0.5) / task.bins)
    return labels.to(torch.uint8)


cases = {
    "task": st.sampled_from(TASKS),
    "logits": st.sampled_from(LOGITS),
    "mask": st.sampled_from(MASKS),
    "truth": st.sampled_from(TRUTHS),
    "size": st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9)),
    "seed": st.integers(0, 99),
}


@settings(max_examples=400)
@given(dtype=st.sampled_from([torch.float32, torch.float64]), **cases)
def test_losses_and_gradients_are_finite_and_reach_only_valid_pixels(task, logits, mask, truth, size, seed, dtype):
    g = torch.Generator().manual_seed(seed)
    b, h, w = size
    target, valid = make_truth(task, truth, size, g), make_mask(mask, size, g)
    if target.is_floating_point():  # what is not valid may be anything
        shown = valid if target.ndim == 3 else valid[:, None]
        target = torch.where(shown, target, math.nan).to(dtype)
    for loss, channels in ((task.loss, task.channels), (task.auxiliary_loss, task.region_count)):
        scores = make_logits(logits, (b, channels, h, w), g).to(dtype).requires_grad_()
        value = loss(scores, target, valid)
        value.backward()
        assert value.isfinite()
        assert value >= 0
        assert scores.grad.isfinite().all()
        assert not scores.grad[(~valid)[:, None].expand_as(scores)].any()
        if not valid.any():
            assert value == 0
            assert not scores.grad.any()


def expected_score(task, logits, truth, valid):
    """Score in the plainest way, by NumPy, from the unnormalised predictions; None where there are no valid pixels."""
    v = valid.numpy()
    if not v.any():
        return None
    x, t = logits.double().numpy(), truth.numpy()
    if isinstance(task, Depth):
        return math.sqrt(np.mean((x[:, 0][v].clip(0) - t[v].astype(np.float64)) ** 2))  # no depth is negative
    if isinstance(task, SurfaceNormals):
        p, q = np.moveaxis(x, 1, -1)[v], np.moveaxis(t, 1, -1)[v].astype(np.float64)
        largest = np.abs(p).max(1, keepdims=True)
        p = np.divide(p, largest, out=np.zeros_like(p), where=largest > 0)  # squares of tiny numbers would vanish
        length = np.linalg.norm(p, axis=1) * np.linalg.norm(q, axis=1)
        cosine = np.divide((p * q).sum(1), length, out=np.zeros_like(length), where=length > 0)
        return np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()
    if isinstance(task, Saliency):
        shifted = x - x.max(1, keepdims=True)
        probability, positive = (np.exp(shifted[:, 1]) / np.exp(shifted).sum(1))[v], t[v] > 0
        best = 0.0
        for threshold in np.arange(1, 20) / 20:
            predicted = probability.astype(np.float32) > np.float32(threshold)
            hit = (predicted & positive).sum()
            best = max(best, 1.3 * hit / max(0.3 * positive.sum() + predicted.sum(), 1))
        return 100 * best
    labels, truths = x.argmax(1)[v], t[v]
    found = [c for c in range(task.channels) if (labels == c).any() or (truths == c).any()]
    both = [((labels == c) & (truths == c)).sum() / ((labels == c) | (truths == c)).sum() for c in found]
    return 100 * float(np.mean(both))


@settings(max_examples=300)
@given(**cases)
def test_metrics_are_the_right_numbers(task, logits, mask, truth, size, seed):
    if isinstance(task, Boundaries):
        return  # below
    g = torch.Generator().manual_seed(seed)
    b, h, w = size
    target, valid = make_truth(task, truth, size, g), make_mask(mask, size, g)
    scores = make_logits(logits, (b, task.channels, h, w), g)
    meter = Meter(task, fast=False)
    for one in range(b):  # as an evaluation does: a score is of all pixels, not a mean of those of images
        meter.update(scores[one : one + 1], target[one : one + 1], valid[one : one + 1])
    result, expected = meter.result(), expected_score(task, scores, target, valid)
    assert result.non_finite == 0
    if expected is None:
        assert math.isnan(result.value)
    else:
        # acos is what is inexact near 0 and 180 degrees
        assert result.value == pytest.approx(expected, rel=1e-5, abs=2e-3 if isinstance(task, SurfaceNormals) else 1e-9)


@settings(max_examples=60)
@given(**{key: value for key, value in cases.items() if key != "task"})
def test_odsf_of_degenerate_maps_is_a_share_and_right_where_it_can_be_told(logits, mask, truth, size, seed):
    task, g = Boundaries(max_dist=0.01), torch.Generator().manual_seed(seed)
    b, h, w = size
    target, valid = make_truth(task, truth, size, g), make_mask(mask, size, g)
    meter = Meter(task, fast=False)
    meter.update(make_logits(logits, (b, 1, h, w), g), target, valid)
    value = meter.result().value
    if not valid.any():
        assert math.isnan(value)
        return
    assert 0 <= value <= 100
    if not (target[valid] > 0).any() or logits == "-1e4":
        assert value == 0  # nothing there, or nothing predicted


def test_a_normal_of_no_length_is_90_degrees_from_every_other():
    meter = Meter(SurfaceNormals(), fast=False)
    truth = torch.zeros(1, 3, 2, 2)
    truth[:, 2] = 1
    meter.update(torch.zeros(1, 3, 2, 2), truth, torch.ones(1, 2, 2, dtype=torch.bool))
    assert meter.result().value == 90


def test_depths_beyond_the_squares_of_float32_have_an_rmse():
    meter, pixel = Meter(Depth(), fast=False), (1, 1, 1)
    meter.update(torch.full((1, *pixel), 1e30), torch.ones(pixel), torch.ones(pixel, dtype=torch.bool))
    assert meter.result().value == pytest.approx(1e30)


@pytest.mark.parametrize("context", ["global", "local", "t_label", "s_label"])
@pytest.mark.parametrize("scale", [0.0, 1e4, -1e4])
def test_contexts_are_finite_over_constant_features_and_saturated_or_one_pixel_regions(context, scale):
    names = ("semseg", "depth")
    module = ATRC(Genotype.uniform(names, context), channels=8, attention_channels=4)
    regions = {name: torch.randn(2, 5, 6, 7).sign() * scale for name in names}
    regions["semseg"][:, 0] = -1e4
    regions["semseg"][:, 0, 2, 3] = 1e4  # a region of one pixel
    features = {name: torch.full((2, 8, 6, 7), scale, requires_grad=True) for name in names}
    torch.nn.init.ones_(module.rows["semseg"].fuse[1].weight)  # so that the contexts reach the output
    refined = module(features, regions)
    sum(x.square().sum() for x in refined.values()).backward()
    tensors = [*refined.values(), *(x.grad for x in features.values()), *(p.grad for p in module.parameters())]
    assert all(x.isfinite().all() for x in tensors if x is not None)


@pytest.mark.parametrize("value", [0, 255])
def test_a_constant_image_with_empty_masks_trains(nyud_tasks, value):
    network = build_network(NetworkConfig(distillation="atrc", genotype="random:1"), nyud_tasks).train()
    output = network(torch.full((2, 3, 32, 32), value / 255))
    shape = (2, 32, 32)
    truth = {task.name: make_truth(task, "random", shape, torch.Generator().manual_seed(0)) for task in nyud_tasks}
    nowhere = {task.name: torch.zeros(shape, dtype=torch.bool) for task in nyud_tasks}
    losses = task_losses(output, truth, nowhere, nyud_tasks)
    assert all(loss == 0 for loss in losses.values())
    everywhere = {name: ~mask for name, mask in nowhere.items()}
    losses = task_losses(output, truth, everywhere, nyud_tasks)
    sum(losses.values()).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(loss.isfinite() for loss in losses.values())
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
