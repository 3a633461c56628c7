"""The torchmetrics class of the boundary F-measure."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from atrc.errors import UserError
from atrc.metrics import BoundaryFMeasure, BoundaryProtocol, boundary_counts, boundary_scores

scene = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "boundaries.py"))["scene"]


def scenes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    probabilities, truths = zip(*(scene(seed, 60, 80, objects=10) for seed in range(count)), strict=True)
    return torch.from_numpy(np.stack(probabilities)), torch.from_numpy(np.stack(truths))


def test_merged_metrics_equal_the_whole():
    probabilities, truths = scenes(5)
    whole, first, second = (BoundaryFMeasure(0.02, per_image=True) for _ in range(3))
    whole.update(probabilities, truths)
    first.update(probabilities[:2], truths[:2])
    second.update(probabilities[2:], truths[2:])
    first.merge_state(second)
    assert first.scores() == whole.scores()
    assert float(first.compute()) == pytest.approx(whole.scores().ods_f)


def test_the_metric_agrees_with_the_functions_and_resets():
    probabilities, truths = scenes(2)
    metric = BoundaryFMeasure(0.02, mode="nested")
    rules = BoundaryProtocol.named("seism", max_dist=0.02, mode="nested")
    assert metric.scores().ods_f == 0
    valid = probabilities < 0.9
    for _ in range(2):
        metric.update(probabilities, truths, valid)
        images = zip(probabilities.numpy(), truths.numpy(), valid.numpy(), strict=True)
        expected = boundary_scores(np.stack([boundary_counts(p, t, rules, v) for p, t, v in images]), rules, False)
        assert metric.scores() == expected
        metric.reset()
    assert not metric.totals.any()


def test_the_tolerance_has_no_default_and_is_checked():
    with pytest.raises(TypeError, match="max_dist"):
        BoundaryFMeasure()  # type: ignore[call-arg]
    with pytest.raises(UserError, match="fraction of the image diagonal"):
        BoundaryFMeasure(1.0)
