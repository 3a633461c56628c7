import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as TF

from atrc.errors import UserError
from atrc.tasks import (
    TASKS,
    Boundaries,
    Depth,
    HumanParts,
    Saliency,
    SemanticSegmentation,
    SurfaceNormals,
    select_tasks,
    tasks_from_dicts,
    tasks_to_dicts,
)
from atrc.tasks.colours import palette
from atrc.tasks.depth import DepthMap
from atrc.tasks.normals import NormalMap, sphere

B, H, W = 2, 5, 6
ALL = [SemanticSegmentation(num_classes=4), HumanParts(), Saliency(), SurfaceNormals(), Boundaries(), Depth()]


def truth_of(task, g):
    if isinstance(task, SurfaceNormals):
        return F.normalize(torch.randn(B, 3, H, W, generator=g), dim=1)
    if isinstance(task, Depth):
        return torch.rand(B, H, W, generator=g) * 9 + 0.5
    classes = task.num_classes if isinstance(task, SemanticSegmentation) else 2
    return torch.randint(classes, (B, H, W), generator=g).to(torch.uint8)


@pytest.fixture(params=ALL, ids=lambda task: task.name)
def case(request):
    task, g = request.param, torch.Generator().manual_seed(0)
    logits = torch.randn(B, task.channels, H, W, generator=g)
    regions = torch.randn(B, task.region_count, H, W, generator=g)
    valid = torch.rand(B, H, W, generator=g) < 0.6
    return task, logits, regions, truth_of(task, g), valid


def test_every_kind_is_covered():
    assert {task.name for task in ALL} == set(TASKS)


def test_invalid_pixels_change_neither_loss_nor_gradient(case):
    task, logits, regions, truth, valid = case
    for loss, scores in ((task.loss, logits), (task.auxiliary_loss, regions)):
        scores = scores.clone().requires_grad_()
        value = loss(scores, truth, valid)
        value.backward()
        assert scores.grad[~valid[:, None].expand_as(scores)].eq(0).all()
        assert scores.grad.abs().sum() > 0
        invalid = ~valid if truth.ndim == 3 else ~valid[:, None].expand_as(truth)
        changed = torch.where(invalid, truth.roll(1, 0) if truth.dtype == torch.uint8 else -truth, truth)
        noisy = torch.where(valid[:, None], scores.detach(), 7.0)
        assert loss(noisy, changed, valid).item() == pytest.approx(value.item(), rel=1e-6)


def test_a_label_that_is_missing_costs_nothing(case):
    task, logits, regions, truth, valid = case
    nowhere = torch.zeros_like(valid)
    assert task.loss(logits.requires_grad_(), truth, nowhere) == 0
    assert task.auxiliary_loss(regions, truth, nowhere) == 0


def test_losses_are_finite_on_saturated_and_zero_logits(case):
    task, logits, regions, truth, valid = case
    for scale in (0.0, 1e4, -1e4):
        assert task.loss(logits.sign() * scale, truth, valid).isfinite()
        assert task.auxiliary_loss(regions.sign() * scale, truth, valid).isfinite()


def test_region_labels_are_in_range(case):
    task, _, _, truth, _ = case
    labels = task.region_labels(truth)
    assert labels.shape == (B, H, W)
    assert labels.min() >= 0
    assert labels.max() < task.region_count


def test_decoding_fits_the_metric_and_the_colours(case):
    task, logits, _, truth, valid = case
    decoded = task.decode(logits)
    metric = task.metric()
    metric.update(decoded, truth, valid)
    assert metric.compute().isfinite()
    picture = task.colour(decoded[0].numpy())
    assert picture.shape == (H, W, 3)
    assert picture.dtype == np.uint8
    assert task.colour(truth[0].numpy()).shape == (H, W, 3)


def test_no_other_constant_beats_the_best_one(case):
    task, _, _, truth, valid = case
    if isinstance(task, Boundaries | Saliency):
        pytest.skip("any constant probability over the threshold scores the same")
    best = task.constant([(truth, valid)])

    def score(constant):
        metric = task.metric()
        metric.update(constant.expand(*constant.shape[:-2], H, W).expand(B, *constant.shape[1:-2], H, W), truth, valid)
        return float(metric.compute()) * (1 if metric.higher_is_better else -1)

    others = [task.decode(torch.randn(1, task.channels, 1, 1) * 4) for _ in range(50)]
    assert score(best) >= max(map(score, others)) - 1e-6


def test_flipping_twice_is_the_identity(case):
    task, _, _, truth, _ = case
    wrapped = task.truth_type(truth[0])
    flipped = TF.horizontal_flip(wrapped)
    assert type(flipped) is task.truth_type
    assert torch.equal(TF.horizontal_flip(flipped), wrapped)


def test_tasks_survive_json(case):
    task = case[0]
    assert tasks_from_dicts(tasks_to_dicts([task])) == (task,)


def test_a_flip_negates_the_x_of_normals_alone():
    normals = NormalMap(torch.tensor([0.6, 0.0, 0.8]).view(3, 1, 1).expand(3, 2, 2))
    assert TF.horizontal_flip(normals)[:, 0, 0].tolist() == pytest.approx([-0.6, 0.0, 0.8])


def test_enlarging_divides_depth():
    depth = TF.resize(DepthMap(torch.full((4, 6), 3.0)), [8, 12])
    assert depth.shape == (8, 12)
    assert depth.eq(1.5).all()


def test_depth_bins_are_equal_on_a_log_scale_and_clamp_at_the_ends():
    task = Depth()
    width = math.log(10 / 0.7) / 40
    centres = 0.7 * torch.exp(width * (torch.arange(40) + 0.5))
    assert task.region_labels(centres.view(1, 5, 8)).flatten().tolist() == list(range(40))
    assert task.region_labels(torch.tensor([[[0.1, 50.0]]])).flatten().tolist() == [0, 39]


def test_the_nearest_centroid_labels_a_normal():
    task = SurfaceNormals()
    centroids = torch.tensor(sphere(40)).T.reshape(1, 3, 5, 8)
    assert task.region_labels(centroids).flatten().tolist() == list(range(40))


def test_semseg_loss_by_hand():
    logits = torch.tensor([[0.0, 2.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # classes x pixels
    truth, valid = torch.tensor([[[1, 0]]]), torch.ones(1, 1, 2, dtype=torch.bool)
    expected = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert SemanticSegmentation(num_classes=2).loss(logits, truth, valid).item() == pytest.approx(expected)


def test_boundary_loss_by_hand():
    logits, truth = torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]])
    loss = Boundaries(positive_weight=0.95).loss(logits, truth, torch.ones(1, 1, 2, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log(2) * (0.95 + 0.05) / 2)


def test_saliency_weighs_positives_by_the_share_of_negatives():
    logits, truth = torch.zeros(1, 2, 1, 4), torch.tensor([[[1, 0, 0, 0]]])
    loss = Saliency().loss(logits, truth, torch.ones(1, 1, 4, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log(2) * (0.75 * 1 + 0.25 * 3) / 4)


def test_normals_loss_by_hand():
    logits = torch.tensor([0.0, 0.0, 2.0]).view(1, 3, 1, 1)
    truth = torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1)
    loss = SurfaceNormals().loss(logits, truth, torch.ones(1, 1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(0.6 + 0.2)


def test_the_counts_of_a_loss_can_be_those_of_all_processes(case):
    task, logits, _, truth, valid = case
    if isinstance(task, Saliency):
        pytest.skip("its balance is over the batch: tested with two processes")
    whole = task.loss(logits, truth, valid)
    shares = []
    for i in range(B):
        global_counts = iter([valid.sum().float() / B])
        one = slice(i, i + 1)
        shares.append(task.loss(logits[one], truth[one], valid[one], lambda count: next(global_counts)))  # noqa: B023
    assert (sum(shares) / B).item() == pytest.approx(whole.item(), rel=1e-5)


def test_an_unknown_task_is_named_with_the_choices():
    with pytest.raises(UserError, match="unknown task 'flow'; this data set has semseg, human_parts"):
        select_tasks(ALL, ["flow"])
    with pytest.raises(UserError, match="unknown kind of task 'flow'"):
        tasks_from_dicts([{"kind": "flow"}])


def test_colours_are_distinct_and_stable():
    colours = palette(40)
    assert len(np.unique(colours, axis=0)) == 40
    assert np.array_equal(palette(7), colours[:7])
