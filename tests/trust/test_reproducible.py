"""The same seed gives the same numbers: golden loss curves, and the metrics to the bit."""

import json
from pathlib import Path

import pytest
from golden import COLUMNS, KINDS, curves

KEPT = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("golden")
    return root, curves(root)


@pytest.mark.parametrize("kind", KINDS)
def test_the_golden_loss_curve_is_met(found, kind):
    _, losses = found
    for column in COLUMNS[kind]:
        assert losses[kind][column] == pytest.approx(KEPT[kind][column], rel=KEPT["tolerance"]), column
        assert len(set(KEPT[kind][column])) > 1  # it moves
