import tempfile

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sklearn.metrics import confusion_matrix as sk_confusion
from sklearn.metrics import fbeta_score, jaccard_score, root_mean_squared_error

from atrc.errors import UserError
from atrc.metrics.boundary_measure import BoundaryFMeasure
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


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 180 - 1e-3))
def test_merr_is_the_angle_of_scipys_rotation(seed, degrees):
    rng = np.random.default_rng(seed)
    target, other = rng.normal(size=(2, 3))
    axis = np.cross(target, other)  # at a right angle to the target
    turned = Rotation.from_rotvec(axis / np.linalg.norm(axis) * degrees, degrees=True).apply(target)
    metric = MeanAngularError()
    p, t = (torch.from_numpy(vector).view(1, 3, 1, 1) for vector in (3 * turned, target))
    metric.update(p, t, torch.ones(1, 1, 1, dtype=torch.bool))
    assert float(metric.compute()) == pytest.approx(degrees, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_maxf_equals_scikit_learn(seed, share):
    rng = np.random.default_rng(seed)
    probability, truth, valid = rng.random(SHAPE), rng.random(SHAPE) < share, rng.random(SHAPE) < 0.8
    p, t = probability[valid], truth[valid]
    scores = [fbeta_score(t, p > threshold, beta=0.3**0.5, zero_division=0) for threshold in np.arange(1, 20) / 20]
    metric = MaxFMeasure()
    metric.update(torch.from_numpy(probability), torch.from_numpy(truth).long(), torch.from_numpy(valid))
    assert float(metric.compute()) == pytest.approx(max(scores), abs=1e-6)


def case(name, seed):
    """Return a fresh metric and random arguments with invalid pixels."""
    rng = np.random.default_rng(seed)
    valid = torch.from_numpy(rng.random((4, 9, 11)) < 0.7)
    labels = torch.from_numpy(rng.integers(0, 2, (4, 9, 11)))
    numbers = torch.from_numpy(rng.random((2, 4, 9, 11)).astype(np.float32))
    vectors = torch.from_numpy(rng.normal(size=(2, 4, 3, 9, 11)))
    return {
        "mIoU": (MeanIoU(3), (labels, labels.roll(1), valid)),
        "RMSE": (RootMeanSquareError(), (*numbers, valid)),
        "mErr": (MeanAngularError(), (*vectors, valid)),
        "maxF": (MaxFMeasure(), (numbers[0], labels, valid)),
        "odsF": (BoundaryFMeasure(0.05), (numbers[0], labels > 0, valid)),
    }[name]


def score(name, seed, images):
    metric, arguments = case(name, seed)
    metric.update(*(argument[images] for argument in arguments))
    return metric


each_metric = pytest.mark.parametrize("name", ["mIoU", "RMSE", "mErr", "maxF", "odsF"])


@each_metric
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_metric_merged_from_three_parts_equals_the_whole(name, seed):
    whole = score(name, seed, slice(None))
    parts = [score(name, seed, images) for images in (slice(0, 1), slice(1, 3), slice(3, 4))]
    for part in parts[1:]:
        parts[0].merge_state(part)
    assert float(parts[0].compute()) == pytest.approx(float(whole.compute()), rel=1e-12)


def _process(rank, store, name, result):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    metric = score(name, 0, slice(0, 3) if rank else slice(3, 4))
    result[rank] = float(metric.compute())
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forks beside threads
@each_metric
def test_a_metric_over_two_processes_equals_one(name):
    with tempfile.TemporaryDirectory() as folder:
        result = torch.zeros(2, dtype=torch.float64).share_memory_()
        mp.start_processes(_process, (f"{folder}/store", name, result), nprocs=2, start_method="fork")
    assert result.tolist() == pytest.approx([float(score(name, 0, slice(None)).compute())] * 2, rel=1e-6)


@each_metric
def test_images_without_a_valid_pixel_change_nothing(name):
    metric, (preds, target, valid) = case(name, 1)
    metric.update(preds, target, valid)
    before = float(metric.compute())
    metric.update(preds.flip(-1), target, torch.zeros_like(valid))
    assert float(metric.compute()) == before


@pytest.mark.parametrize(("name", "empty"), [("mIoU", np.nan), ("RMSE", np.nan), ("mErr", np.nan), ("maxF", 0)])
def test_without_any_valid_pixel_there_is_no_score(name, empty):
    metric, (preds, target, valid) = case(name, 1)
    metric.update(preds, target, torch.zeros_like(valid))
    assert np.array_equal(float(metric.compute()), empty, equal_nan=True)


def test_maxf_of_masks_without_a_salient_pixel_is_zero():
    metric = MaxFMeasure()
    metric.update(torch.rand(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long), torch.ones(1, 4, 4, dtype=torch.bool))
    assert metric.compute() == 0


@each_metric
def test_invalid_pixels_change_nothing(name):
    metric, (preds, target, valid) = case(name, 2)
    other, _ = case(name, 2)
    mask = valid[:, None].expand_as(preds) if preds.ndim == 4 else valid
    metric.update(preds, target, valid)
    changed = (torch.where(mask, x, x.roll(1, 0)) for x in (preds, target))
    other.update(*changed, valid)
    assert metric.compute() == other.compute()


def test_delta_m_takes_the_sign_from_the_metric():
    better = {"semseg": True, "depth": False}
    base = {"semseg": 0.4, "depth": 0.6}
    assert delta_m(base, base, better) == 0
    assert delta_m({"semseg": 0.5, "depth": 0.6}, base, better) == pytest.approx(12.5)
    assert delta_m({"semseg": 0.4, "depth": 0.3}, base, better) == pytest.approx(25)
    with pytest.raises(UserError, match="no baseline result for task 'normals'; the baseline has semseg, depth"):
        delta_m({"normals": 1.0}, base, better)


@pytest.mark.parametrize(
    ("value", "base", "said"),
    [
        (0.4, 0.0, "the baseline's semseg is 0: no gain is relative to that"),
        (0.0, 0.0, "the baseline's semseg is 0"),
        (0.4, np.nan, "the baseline's semseg is nan"),
        (np.inf, 0.4, "semseg is inf: there is no gain without a number"),
    ],
)
def test_delta_m_needs_numbers_and_a_baseline_above_zero(value, base, said):
    with pytest.raises(UserError, match=said):
        delta_m({"semseg": value}, {"semseg": base}, {"semseg": True})


def test_delta_m_reproduces_the_papers_table_1():
    better = {"semseg": True, "depth": False, "normals": False, "edge": True}
    single = {"semseg": 38.02, "depth": 0.6104, "normals": 20.94, "edge": 76.22}
    multi = {"semseg": 36.35, "depth": 0.6284, "normals": 21.02, "edge": 76.36}
    atrc = {"semseg": 38.90, "depth": 0.6010, "normals": 20.48, "edge": 76.34}
    assert delta_m(multi, single, better) == pytest.approx(-1.89, abs=0.01)  # the table prints rounded metrics
    assert delta_m(atrc, single, better) == pytest.approx(1.56, abs=0.01)
