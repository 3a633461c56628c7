import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """On a busy machine, threads that wait for each other take longer than these small maps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
