"""That docs/guarantees.md names tests that are there, and shows code that runs."""

import re
from pathlib import Path

import pytest

from atrc.errors import UserError
from atrc.tasks import Depth
from atrc.training.loop import fit
from runs import tiny

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")


def test_every_test_that_holds_a_promise_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_the_kept_step_is_opened_as_the_page_says(tmp_path, nyud_folder, monkeypatch, capsys):
    monkeypatch.setattr(Depth, "loss", lambda self, logits, *_: logits.sum() * float("nan"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="step 1: the loss of depth"):
        fit(tiny(Path("runs/run"), nyud_folder), progress=False)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(code, "guarantees.md", "exec"), {})
    assert capsys.readouterr().out.startswith("the loss of depth {'semseg': ")
