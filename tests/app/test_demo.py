import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from atrc.app import demo


@pytest.fixture
def tiny(monkeypatch):
    numbers = {"SIZE": (48, 64), "TRAIN": 4, "VAL": 2, "STEPS": 2, "SEARCH_STEPS": 2}
    for name, value in {**numbers, "BACKBONE": "timm:test_resnet"}.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo, "write_rooms", partial(demo.write_rooms, workers=1))  # in this process


def test_the_demo_runs_end_to_end_and_again_without_training(tmp_path, tiny, capsys):
    photo = tmp_path / "me & you.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)).save(photo)
    demo.run_demo(tmp_path / "demo", photo, seed=0)
    shown = capsys.readouterr().out
    for name in ("best constant", "multi-task baseline", "ATRC, searched"):
        assert re.search(rf"^{name} ", shown, re.M)
    page = (tmp_path / "demo/report.html").read_text()
    assert page.count("<img") == 2 * (1 + 3 * 4) + 1 + 2 * 4  # two val images with truth and two networks; the photo
    assert "me &amp; you.jpg" in page
    assert "http://" not in re.sub(r'"http://www\.w3\.org[^"]*"|http://purl\S*|"http://creative\S*"', "", page)
    assert page.count('<td class="context"') == 16
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("last.ckpt")}
    assert len(stamps) == 3
    demo.run_demo(tmp_path / "demo", None, seed=0)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("last.ckpt")} == stamps
