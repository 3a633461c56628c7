"""Memory stays constant over images and epochs: a small slice of benchmarks/memory.py."""

import contextlib
import ctypes
import gc
import importlib.util
import sys
from pathlib import Path

import pytest

from atrc.data.layouts import open_dataset
from folders import write_nyud

FILE = Path(__file__).parents[2] / "benchmarks/memory.py"
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


@pytest.fixture(scope="module")
def memory():
    spec = importlib.util.spec_from_file_location("benchmark_memory", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_free_memory():
    """Give back what earlier tests left free: what is kept would find room there, unseen."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # of other C libraries than glibc
        ctypes.CDLL(None).malloc_trim(0)


def test_predicting_holds_constant_memory(memory, tmp_path, nyud_tasks):
    readings = memory.of_predicting(tmp_path, nyud_tasks, 40, side=96)
    assert len(readings) == 40
    assert memory.growth(readings) < 15  # kept outputs would be 39 MB; of smaller images they find room that is free


def test_loading_holds_constant_memory(memory, tmp_path):
    dataset = open_dataset(write_nyud(tmp_path / "NYUD_MT", train=8, val=1, h=240, w=320), "train")
    readings = memory.of_loading(dataset, 12, 0, batch=2)
    assert len(readings) == 12
    assert memory.growth(readings) < 5  # kept images would be 16 MB, labels more


def test_what_grows_is_seen(memory):
    assert memory.growth([100.0 + i for i in range(50)]) == pytest.approx(35)
    assert memory.growth([50.0, 80.0] + [100.0] * 48) == 0
