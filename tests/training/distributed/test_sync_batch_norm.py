from functools import partial

import pytest
import torch
import torch.multiprocessing as mp
from timm.layers import BatchNormAct2d
from torch import nn

from atrc.training.distributed.sync_batch_norm import SyncBatchNorm2d, synchronise

WORLD = 2


def _share(rank, folder, whole, weight, make):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    norm = make().double()
    synchronise(nn.Sequential(norm), "cpu")
    share = whole[rank::WORLD].clone().requires_grad_()
    output = norm(share)
    (output * weight[rank::WORLD]).sum().backward()
    grads = [p.grad.clone() for p in norm.parameters()]
    for grad in grads:
        torch.distributed.all_reduce(grad)
    torch.save([output.detach(), share.grad, norm.running_mean, norm.running_var, *grads], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on forks beside threads
@pytest.mark.parametrize("make", [partial(nn.BatchNorm2d, 3), partial(BatchNormAct2d, 3)], ids=["torch", "timm"])
def test_two_uneven_processes_equal_one_in_output_statistics_and_gradients(tmp_path, make):
    whole, weight = torch.randn(2, 5, 3, 4, 6, dtype=torch.float64)
    norm = make().double()
    expected_in = whole.clone().requires_grad_()
    expected = norm(expected_in)
    (expected * weight).sum().backward()
    mp.start_processes(_share, (tmp_path, whole, weight, make), WORLD, start_method="fork")
    for rank in range(WORLD):
        output, grad, mean, variance, *grads = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(output, expected[rank::WORLD].detach())
        torch.testing.assert_close(grad, expected_in.grad[rank::WORLD])
        torch.testing.assert_close(mean, norm.running_mean)
        torch.testing.assert_close(variance, norm.running_var)
        for ours, theirs in zip(grads, norm.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs.grad)


@pytest.fixture
def alone(tmp_path):
    """One process that is all of them."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_are_those_of_pytorch_in_any_precision_and_with_any_momentum(dtype, momentum):
    norm, ours = nn.BatchNorm2d(3, momentum=momentum), nn.BatchNorm2d(3, momentum=momentum)
    synchronise(nn.Sequential(ours), "cpu")
    for _ in range(3):
        x = (torch.randn(4, 3, 40, 50) * 3 + 2).to(dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out, truth = ours(x), norm(x)
        assert out.dtype == dtype
        torch.testing.assert_close(out, truth.to(dtype))
    for key, value in norm.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_alone_it_is_an_ordinary_batch_norm_with_the_same_state():
    norm, ours = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    synchronise(nn.Sequential(ours), "cpu")
    assert type(ours) is SyncBatchNorm2d
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(ours(x), norm(x))
    assert list(ours.state_dict()) == list(norm.state_dict())


def test_on_a_gpu_activations_that_timm_keeps_in_its_norms_stay():
    network = nn.Sequential(BatchNormAct2d(3), nn.BatchNorm2d(3))
    synchronise(network, "cuda")
    assert isinstance(network[0], nn.SyncBatchNorm)
    assert isinstance(network[0].act, nn.ReLU)
    assert type(network[1]) is nn.SyncBatchNorm
