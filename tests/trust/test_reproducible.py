"""The same seed gives the same numbers: golden loss curves, and the metrics to the bit."""

import json
from pathlib import Path

import pytest
import torch

from atrc.training.evaluation.evaluate import read_results
from atrc.training.loop import fit
from golden import COLUMNS, KINDS, curves
from runs import same_run, tiny

KEPT = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return curves(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_golden_loss_curve_is_met(found, kind):
    for column in COLUMNS[kind]:
        steps = zip(found[kind][column], KEPT[kind][column], KEPT["tolerances"], strict=True)
        for step, (loss, kept, tolerance) in enumerate(steps, 1):
            assert loss == pytest.approx(kept, rel=tolerance), f"{column}, step {step}"
    assert KEPT[kind]["loss"][-1] < KEPT[kind]["loss"][0]


def test_a_search_in_deterministic_mode_is_the_same_twice_to_the_bit(tmp_path, nyud_folder):
    try:
        for name in ("one", "two"):
            fit(tiny(tmp_path / name, nyud_folder, 2, deterministic=True), search=True, progress=False)
    finally:
        torch.use_deterministic_algorithms(False)
    one, two = tmp_path / "one", tmp_path / "two"
    assert same_run(one, two)
    assert (one / "genotype.json").read_bytes() == (two / "genotype.json").read_bytes()
    assert read_results(one) == read_results(two)
