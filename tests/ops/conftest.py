import importlib
import inspect
from collections.abc import Callable

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """On a busy machine, threads that wait for each other take longer than these small maps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def unchecked(monkeypatch) -> Callable[..., None]:
    """Take the tests' checks of types out of modules: Dynamo does not trace them in every version."""

    def take_out(*names: str) -> None:
        for module in map(importlib.import_module, names):
            for name, value in list(vars(module).items()):
                if inspect.isfunction(value):
                    monkeypatch.setattr(module, name, inspect.unwrap(value))

    return take_out
