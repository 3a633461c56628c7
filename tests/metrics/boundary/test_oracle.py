"""The BSDS matching code, where pyEdgeEval is installed: it is a test oracle only, never a dependency."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from atrc.metrics.boundary import suppress
from atrc.metrics.boundary.suppression import _normals

oracle = pytest.importorskip("pyEdgeEval._lib")
benchmark = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "boundaries.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NYUD", "PASCAL"])
def test_f_agrees_with_the_bsds_code_within_a_thousandth(name: str) -> None:
    result = benchmark["compare"](name, images=2, every=20)
    assert result["largest difference of F at a threshold, summed counts"] <= 0.001
    assert result["their matches / ours"] <= 1


@pytest.mark.parametrize("seed", range(3))
def test_suppression_keeps_the_pixels_that_the_original_keeps(seed: int) -> None:
    probability, _ = benchmark["scene"](seed, 425, 560)
    across_x, across_y = _normals(probability)
    angle = np.mod(np.arctan(across_y.astype(float) / across_x), np.pi)
    expected = oracle.nms(probability.astype(float), angle, 1, 5, 1.01)
    np.testing.assert_allclose(suppress(probability), expected, atol=1e-6)
