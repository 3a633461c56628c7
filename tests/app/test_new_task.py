"""The task of docs/extend/task.md: a file of its own, and pictures and the explorer know what its colours mean."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from atrc.app.data.sheet import draw_sheet
from atrc.app.predict.files import write_raw
from atrc.tasks.legends import describe_legend, describe_value, draw_legend, present, to_css

PAGE = Path(__file__).parents[2] / "docs/extend/task.md"


@pytest.fixture
def height(monkeypatch):
    module = types.ModuleType("height")
    monkeypatch.setitem(sys.modules, "height", module)  # dataclasses look their annotations up there
    exec(PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], module.__dict__)
    return module.Height()


def test_its_legend_is_a_bar_in_its_colours(height):
    key = np.asarray(draw_legend(height, np.ones((2, 2), np.float32), 400))
    for column, metres in ((6, 0.0), (393, height.highest)):
        np.testing.assert_array_equal(key[6, column], height.colour(np.array([[metres]], np.float32))[0, 0])


def test_the_explorer_shows_its_name_its_bar_and_its_numbers(height):
    legend = describe_legend(height)
    assert (height.title, legend["kind"], legend["unit"]) == ("height", "bar", "m")
    assert legend["ticks"] == [(0.0, "0"), (0.5, "1.5"), (1.0, "3")]
    assert legend["colours"][0] == to_css(height.colour(np.zeros((1, 1), np.float32))[0])[0]
    assert describe_value(height, np.array(1.234)) == "1.23 m"
    assert present(height, np.ones((2, 2))) == []


def test_its_numbers_are_written_as_they_are(height, tmp_path):
    file = write_raw(height, torch.full((1, 2, 3), 1.25), (4, 6), tmp_path / "height")
    np.testing.assert_array_equal(np.load(file), np.full((4, 6), 1.25, np.float32))


def test_a_contact_sheet_is_drawn(height):
    truth, valid = torch.ones(8, 8), torch.ones(8, 8, dtype=torch.bool)
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    sheet = draw_sheet([height], [{"id": "1", "image": image, "truth": {"height": truth}, "valid": {"height": valid}}])
    assert np.asarray(sheet).std() > 0
