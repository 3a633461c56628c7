"""Fixtures: tiny data sets in the real formats, and the task sets of both benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from atrc.tasks import Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals, Task
from folders import write_nyud, write_pascal

# The same examples in every run; HYPOTHESIS_PROFILE=default looks for new ones.
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "seeded"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def nyud_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nyud(tmp_path_factory.mktemp("nyud") / "NYUD_MT")


@pytest.fixture(scope="session")
def pascal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pascal(tmp_path_factory.mktemp("pascal") / "PASCAL_MT")


@pytest.fixture(scope="session")
def nyud_tasks() -> tuple[Task, ...]:
    return SemanticSegmentation(num_classes=40), Depth(), SurfaceNormals(), Boundaries()


@pytest.fixture(scope="session")
def pascal_tasks() -> tuple[Task, ...]:
    return SemanticSegmentation(num_classes=21), HumanParts(), Saliency(), SurfaceNormals(), Boundaries()
