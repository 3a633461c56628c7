import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sk_confusion
from sklearn.metrics import jaccard_score, root_mean_squared_error

from atrc.errors import UserError
from atrc.metrics.dense import MaxFMeasure, MeanAngularError, MeanIoU, RootMeanSquareError
from atrc.metrics.functional import angular_error, confusion_matrix, delta_m, mean_iou

SHAPE = (3, 5, 7)


def _labels(seed: int, classes: int):
    g = torch.Generator().manual_seed(seed)
    preds, target = (torch.randint(classes, SHAPE, generator=g) for _ in range(2))
    return preds, target, torch.rand(SHAPE, generator=g) < 0.7


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9))
def test_miou_equals_scikit_learn(seed, classes):
    preds, target, valid = _labels(seed, classes)
    metric = MeanIoU(classes)
    metric.update(preds, target, valid)
    p, t = preds[valid].numpy(), target[valid].numpy()
    assert np.array_equal(confusion_matrix(preds, target, valid, classes), sk_confusion(t, p, labels=range(classes)))
    occurring = np.union1d(p, t)
    expected = jaccard_score(t, p, labels=occurring, average="macro")
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-12)


def test_miou_of_two_images_is_that_of_their_common_matrix_not_the_mean_of_theirs():
    preds = torch.tensor([[[0, 0, 0, 0]], [[1, 0, 0, 0]]])
    target = torch.tensor([[[0, 0, 0, 1]], [[1, 1, 0, 0]]])
    metric = MeanIoU(2)
    metric.update(preds, target, torch.ones(2, 1, 4, dtype=torch.bool))
    assert float(metric.compute()) == pytest.approx((5 / 7 + 1 / 3) / 2)


def test_a_class_that_never_occurs_is_left_out_and_one_that_is_only_predicted_counts_as_zero():
    assert float(mean_iou(torch.tensor([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))) == pytest.approx(0.75 / 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_rmse_equals_scikit_learn(seed):
    g = torch.Generator().manual_seed(seed)
    preds, target = (torch.rand(SHAPE, generator=g, dtype=torch.float64) for _ in range(2))
    valid = torch.rand(SHAPE, generator=g) < 0.7
    metric = RootMeanSquareError()
    metric.update(preds, target, valid)
    assert float(metric.compute()) == pytest.approx(root_mean_squared_error(target[valid], preds[valid]), abs=1e-12)


def test_angles_are_exact_where_acos_is_not():
    angle = 1e-4
    a = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    b = torch.tensor([np.cos(angle), np.sin(angle), 0], dtype=torch.float32).view(1, 3, 1, 1)
    assert float(angular_error(a, 5 * b)) == pytest.approx(np.rad2deg(angle), rel=1e-4)
    assert float(angular_error(a, -a)) == pytest.approx(180)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_merr_equals_numpy(seed):
    rng = np.random.default_rng(seed)
    p, t = (rng.normal(size=(2, 3, 4, 5)) for _ in range(2))
    valid = rng.random((2, 4, 5)) < 0.7
    cosine = (p * t).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(t, axis=1)
    metric = MeanAngularError()
    metric.update(*map(torch.from_numpy, (p, t, valid)))
    assert float(metric.compute()) == pytest.approx(np.rad2deg(np.arccos(cosine))[valid].mean(), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_maxf_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    probability, truth, valid = rng.random(SHAPE), rng.random(SHAPE) < 0.4, rng.random(SHAPE) < 0.8
    scores = []
    for threshold in np.arange(1, 20) / 20:
        mask = (probability > threshold)[valid]
        hit = (mask & truth[valid]).sum()
        precision, recall = hit / max(mask.sum(), 1), hit / max(truth[valid].sum(), 1)
        scores.append(1.3 * precision * recall / max(0.3 * precision + recall, 1e-12))
    metric = MaxFMeasure()
    metric.update(torch.from_numpy(probability), torch.from_numpy(truth).long(), torch.from_numpy(valid))
    assert float(metric.compute()) == pytest.approx(max(scores), abs=1e-6)


@pytest.mark.parametrize("make", [lambda: MeanIoU(4), RootMeanSquareError, MaxFMeasure])
def test_a_metric_over_split_batches_equals_the_whole(make):
    preds, target, valid = _labels(0, 2)
    if not isinstance(make(), MeanIoU):
        preds = preds.float() * 0.3 + 0.1
        target = target.float() if isinstance(make(), RootMeanSquareError) else target
    whole, split, other = make(), make(), make()
    whole.update(preds, target, valid)
    split.update(preds[:1], target[:1], valid[:1])
    other.update(preds[1:], target[1:], valid[1:])
    split.merge_state(other)
    assert split.compute() == whole.compute()


@pytest.mark.parametrize("make", [lambda: MeanIoU(4), RootMeanSquareError, MaxFMeasure])
def test_invalid_pixels_change_nothing(make):
    preds, target, valid = _labels(1, 2)
    if not isinstance(make(), MeanIoU):
        preds = preds.float() * 0.3 + 0.1
        target = target.float() if isinstance(make(), RootMeanSquareError) else target
    one, other = make(), make()
    one.update(preds, target, valid)
    other.update(torch.where(valid, preds, 1 - preds), torch.where(valid, target, 1 - target), valid)
    assert one.compute() == other.compute()


def test_delta_m_takes_the_sign_from_the_metric():
    better = {"semseg": True, "depth": False}
    base = {"semseg": 0.4, "depth": 0.6}
    assert delta_m(base, base, better) == 0
    assert delta_m({"semseg": 0.5, "depth": 0.6}, base, better) == pytest.approx(12.5)
    assert delta_m({"semseg": 0.4, "depth": 0.3}, base, better) == pytest.approx(25)
    with pytest.raises(UserError, match="no baseline result for task 'normals'"):
        delta_m({"normals": 1.0}, base, better)


def test_delta_m_reproduces_the_papers_table_1():
    better = {"semseg": True, "depth": False, "normals": False, "edge": True}
    single = {"semseg": 38.02, "depth": 0.6104, "normals": 20.94, "edge": 76.22}
    multi = {"semseg": 36.35, "depth": 0.6284, "normals": 21.02, "edge": 76.36}
    atrc = {"semseg": 38.90, "depth": 0.6010, "normals": 20.48, "edge": 76.34}
    assert delta_m(multi, single, better) == pytest.approx(-1.89, abs=0.01)  # the table prints rounded metrics
    assert delta_m(atrc, single, better) == pytest.approx(1.56, abs=0.01)
