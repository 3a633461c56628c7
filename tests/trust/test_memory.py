"""Memory stays constant over images and epochs: a small slice of benchmarks/memory.py."""

import importlib.util
import sys
from pathlib import Path

import pytest

from atrc.data.layouts import open_dataset

FILE = Path(__file__).parents[2] / "benchmarks/memory.py"
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


@pytest.fixture(scope="module")
def memory():
    spec = importlib.util.spec_from_file_location("benchmark_memory", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_predicting_holds_constant_memory(memory, tmp_path, nyud_tasks):
    readings = memory.of_predicting(tmp_path, nyud_tasks, 40)
    assert len(readings) == 40
    assert memory.growth(readings) < 15  # kept outputs of one image would be 0.3 MB, its pictures more


def test_loading_holds_constant_memory(memory, nyud_folder):
    dataset = open_dataset(nyud_folder, "train")
    readings = memory.of_loading(dataset, 12, 0, batch=2)
    assert len(readings) == 12
    assert memory.growth(readings) < 5


def test_what_grows_is_seen(memory):
    assert memory.growth([100.0 + i for i in range(50)]) == pytest.approx(35)
    assert memory.growth([50.0, 80.0] + [100.0] * 48) == 0
