"""The kernels against the plain contexts, and everything with the kernels switched off."""

import copy

import pytest
import torch
from torch import nn

from atrc.distillation import ATRC
from atrc.distillation.mixture import combined_atrc
from atrc.genotype import Genotype
from atrc.network import NetworkConfig, build_network
from atrc.ops import KERNELS
from atrc.search import Supergraph, supergraph

REGIONS = {"semseg": 5, "depth": 4, "normals": 5, "edge": 2}
B, C, H, W = 2, 10, 7, 9


def searched():
    module = supergraph(["semseg", "depth", "edge"])(C)
    found = Supergraph(module)
    for i, choice in enumerate(found):  # some are fixed
        with torch.no_grad():
            choice.alpha[i % len(choice.contexts)] = 4.0 * (i < 4)
    found.fix(0.3)
    found.sample(0.7, 3)
    for choice in found:
        choice.weights = choice.weights.detach().double()
    return module


MODULES = {
    "published": lambda: ATRC(Genotype.published("nyud_hrnet18"), C, 6, dropout=0.0),
    "local": lambda: ATRC(Genotype.uniform(["semseg", "depth"], "local"), C, dropout=0.0),
    "search": searched,
    "static": lambda: combined_atrc("atrc_static", ["semseg", "depth"], C, dropout=0.0),
}


def awake(module):
    """Give every BN weights, so that every block reaches the output."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return module


def run(module, features, auxiliary):
    """Return outputs, gradients of features, auxiliary predictions and weights, and the state afterwards."""
    refined = module(features, auxiliary)
    wanted = {**{f"F {t}": x for t, x in features.items()}, **{f"A {t}": x for t, x in auxiliary.items()}}
    wanted |= dict(module.named_parameters())
    loss = sum((x * torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view_as(x)).sum() for x in refined.values())
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True, materialize_grads=True)
    return {**refined, **dict(zip(wanted, gradients, strict=True)), **module.state_dict()}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", MODULES)
def test_kernels_equal_the_textbook_forward_and_backward(name, training, monkeypatch):
    module = awake(MODULES[name]()).double().train(training)
    twin = copy.deepcopy(module)
    tasks = module.genotype.targets
    features = {t: torch.randn(B, C, H, W, dtype=torch.float64, requires_grad=True) for t in tasks}
    auxiliary = {t: torch.randn(B, REGIONS[t], H, W, dtype=torch.float64, requires_grad=True) for t in tasks}
    fast = run(module, features, auxiliary)
    with monkeypatch.context() as patch:
        for context in list(KERNELS):
            patch.delitem(KERNELS, context)
        plain = run(twin, features, auxiliary)
    for key, truth in plain.items():
        torch.testing.assert_close(fast[key], truth, rtol=1e-9, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_over_all_pixels_do_not_overflow_half_precision(dtype):
    module = awake(ATRC(Genotype.uniform(["a", "b"], "global"), 8, 4, dropout=0.0))
    features = {task: torch.randn(1, 8, 90, 120).relu() for task in ("a", "b")}
    truth = module(features)
    with torch.autocast("cpu", dtype):
        refined = module(features)
    for task, x in refined.items():
        assert x.isfinite().all()
        assert (x - truth[task]).abs().mean() < 0.1 * truth[task].abs().mean()
    assert all(buffer.isfinite().all() for buffer in module.buffers())


@pytest.mark.parametrize("kernels", [True, False], ids=["fast", "textbook"])
def test_a_network_trains_predicts_and_exports_with_and_without_kernels(nyud_tasks, kernels, monkeypatch):
    if not kernels:
        for context in list(KERNELS):
            monkeypatch.delitem(KERNELS, context)
    genotype = Genotype.random([task.name for task in nyud_tasks], 5)
    assert all(genotype.counts().values())
    network = build_network(NetworkConfig(backbone="timm:test_resnet", distillation="atrc"), nyud_tasks, genotype)
    output = network(torch.rand(2, 3, 33, 49))
    sum(x.square().mean() for x in (*output.predictions.values(), *output.auxiliary.values())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.distillation.parameters())
    image = torch.rand(1, 3, 64, 64)
    program = torch.export.export(network.eval(), (image,)).module()
    for task, prediction in network(image).predictions.items():
        torch.testing.assert_close(program(image).predictions[task], prediction, rtol=1e-3, atol=1e-3)
