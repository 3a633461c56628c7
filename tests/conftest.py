"""Fixtures: tiny data sets in the real formats, and the task sets of both benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atrc.tasks import Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals, Task
from folders import write_nyud, write_pascal


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
