"""What a step does with CUDA tensors, on machines without a GPU: on tensors that have no data.

They know their device as real ones do: what is made on another one is an error, and so is reading a number, for which a
real step would wait. Without a driver there is no backward pass of "cuda" tensors; "meta" tensors have one, and are
taken for such of a GPU.
"""

import contextlib

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from atrc.backbones import build_backbone
from atrc.contexts import CONTEXTS
from atrc.distillation import ATRC
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.search import supergraph
from atrc.training.distributed import processes
from atrc.training.execution import default_recompute, recompute
from atrc.training.losses import task_losses
from atrc.training.phases.search import ContextSearch
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import Recipe

SIZE = (65, 97)


@contextlib.contextmanager
def bfloat16():
    """`torch.autocast` refuses where there is no GPU."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


@pytest.fixture(params=["cuda", "meta"])
def device(request, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda x: x.device.type == request.param))
    with FakeTensorMode(allow_non_fake_inputs=True):  # torch 2.11 makes plain ones on "meta"
        yield request.param


def make_phase(tasks, device, *, search):
    names = [task.name for task in tasks]
    genotype = Genotype.random(names, 3)
    assert genotype.counts().keys() == set(CONTEXTS)
    with torch.device(device):
        make = supergraph(names) if search else lambda channels: ATRC(genotype, channels)
        network = MultiTaskNetwork(tasks, build_backbone("timm:test_efficientnet"), make)
    recompute(network, default_recompute(network))
    return (ContextSearch if search else TrainPhase)(network, Recipe())


def labels(tasks, device):
    truth = {
        "semseg": torch.zeros(2, *SIZE, dtype=torch.long, device=device),
        "depth": torch.ones(2, *SIZE, device=device),
        "normals": torch.ones(2, 3, *SIZE, device=device),
        "edge": torch.zeros(2, *SIZE, dtype=torch.long, device=device),
    }
    return truth, {task.name: torch.ones(2, *SIZE, dtype=torch.bool, device=device) for task in tasks}


@pytest.mark.parametrize("search", [False, True])
def test_a_step_stays_on_its_device_and_reads_no_number(nyud_tasks, device, search):
    phase = make_phase(nyud_tasks, device, search=search)
    image = torch.rand(2, 3, *SIZE, device=device).to(memory_format=torch.channels_last)
    phase.before(0)
    half = device == "cuda"
    with bfloat16() if half else contextlib.nullcontext():
        output = phase.network(image)
    assert {x.dtype for x in output.features.values()} == {torch.bfloat16 if half else torch.float32}
    losses = task_losses(output, *labels(nyud_tasks, device), nyud_tasks)
    total = phase.balancing.total(losses)
    if (extra := phase.regulariser(0)) is not None:
        total = total + extra
    assert total.device.type == device
    if device == "meta":
        total.backward()
        assert {p.grad.device.type for p in phase.network.parameters() if p.grad is not None} == {device}
        phase.optimizer.step()


def test_what_is_made_on_another_device_is_an_error(device):
    with pytest.raises(RuntimeError, match=r"device|devices"):
        torch.ones(2, device=device) + torch.ones(2, device="cpu")


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_chosen_for_gpus_that_have_it_and_not_for_those_that_emulate_it(monkeypatch, has, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has or including_emulation)
    asked: dict = {}
    fabric = processes.Fabric(accelerator="cpu")
    monkeypatch.setattr(processes, "Fabric", lambda **options: asked.update(options) or fabric)
    processes.make_fabric(Recipe(accelerator="gpu"), search=False)
    assert asked["precision"] == precision
