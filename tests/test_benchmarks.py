"""The benchmarks' GPU forms on a CPU or on tensors without data: that they run, and compute the same."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import local_attention_gpu as gpu
import network

from atrc.ops import local_attention


def na2d(query, key, value, kernel_size, scale):
    """What NATTEN computes far from the border, of (b h w heads d)."""
    assert query.shape[4] % 8 == 0
    q, k, v = (x[..., 0, :].permute(0, 3, 1, 2) for x in (query * scale * math.sqrt(query.shape[4]), key, value))
    return local_attention(q, k, v, kernel_size).permute(0, 2, 3, 1)[..., None, :]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("form", [form for form in gpu.FORMS if form != "unfold"])
def test_the_forms_of_local_attention_on_a_gpu_agree(form, monkeypatch):
    monkeypatch.setitem(sys.modules, "natten", SimpleNamespace(na2d=na2d))
    query, key, value = torch.randn(3, 2, 17, 12, 11)
    torch.testing.assert_close(gpu.FORMS[form](query, key, value), gpu.unfold(query, key, value), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_form_that_cannot_run_says_why_and_the_others_are_measured(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "HEIGHT", 5)
    monkeypatch.setattr(gpu, "WIDTH", 6)
    monkeypatch.setattr(gpu, "peak_megabytes", lambda *_: 7.0)
    monkeypatch.setattr(gpu.make_step, "__defaults__", (5, "cpu"))
    monkeypatch.setitem(sys.modules, "natten", None)
    rows = gpu.compare("float32", 1, 16, bandwidth=1e9, repeats=1)
    assert [row["form"] for row in rows] == ["floor", "unfold", "FlexAttention", "NATTEN", "atrc"]
    assert rows[0]["ms"] == pytest.approx(1e3 * 11 * 16 * 5 * 6 * 4 / 1e9)
    assert "ModuleNotFoundError" in rows[3]["reason"]
    assert "reason" in rows[2]  # FlexAttention on a CPU has no backward pass
    assert all(row["of_floor"] > 0 and row["peak_mb"] == 7 for row in (rows[1], rows[4]))
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.parametrize("form", network.FORMS)
def test_the_module_is_made_on_the_device(form):
    network.make_module(form, 1, (8, 8), device="meta")()


@pytest.mark.parametrize("form", ["multi-task", "ATRC", "ATRC, textbook", "ATRC, recompute", "search", "search, keep"])
def test_the_whole_step_is_made_on_the_device(form):
    network.make_step(form, 2, (32, 32), "meta")()
