"""The fast form of ATRC, all blocks at once, against the textbook form, block by block."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrc.distillation import ATRC
from atrc.distillation.combination import combined_atrc
from atrc.genotype import CONTEXTS, PUBLISHED, Genotype
from atrc.search import Supergraph, supergraph
from textbook import textbook

REGIONS = {"semseg": 5, "depth": 4, "normals": 5, "edge": 2, "human_parts": 3, "sal": 2}
B, C, H, W = 2, 10, 7, 9


def uniform(context):
    return lambda: ATRC(Genotype.uniform(["semseg", "depth", "edge"], context), C, dropout=0.0)


def searched(fixed):
    def make():
        module = supergraph(["semseg", "depth", "edge"])(C)
        found = Supergraph(module)
        for i, choice in enumerate(found):  # some are fixed, to every context
            if i < fixed:
                with torch.no_grad():
                    choice.alpha[i % len(choice.contexts)] = 4
        found.fix(0.3)
        found.sample(0.7, 3)
        for choice in found:
            choice.weights = choice.weights.detach().double()
        return module

    return make


MODULES = {context: uniform(context) for context in CONTEXTS}
MODULES |= {name: lambda name=name: ATRC(Genotype.published(name), C, 6, dropout=0.0) for name in PUBLISHED}
MODULES |= {
    f"random {seed}": lambda seed=seed: ATRC(Genotype.random(list(REGIONS), seed), C, dropout=0.0) for seed in (0, 1)
}
MODULES |= {"search": searched(0), "search, some fixed": searched(6)}
MODULES |= {
    kind: lambda kind=kind: combined_atrc(kind, ["semseg", "depth"], C, dropout=0.0)
    for kind in ("atrc_static", "atrc_dynamic")
}


def awake(module):
    """Give every BN weights, so that every block has a say."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return module


def inputs(module, dtype):
    tasks = module.genotype.targets
    features = {t: torch.randn(B, C, H, W, dtype=dtype, requires_grad=True) for t in tasks}
    regions = {t: torch.randn(B, REGIONS[t], H, W, dtype=dtype, requires_grad=True) for t in tasks}
    return features, regions


def run(form, module, features, regions):
    """Return outputs, gradients of features, regions and weights, and the module's state afterwards."""
    refined = form(features, regions)
    wanted = {**{f"F {t}": x for t, x in features.items()}, **{f"A {t}": x for t, x in regions.items()}}
    wanted |= dict(module.named_parameters())
    loss = sum((refined[t] * torch.linspace(-1, 2, refined[t].numel()).view_as(refined[t])).sum() for t in refined)
    grads = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    grads = {name: torch.zeros_like(x) if g is None else g for (name, x), g in zip(wanted.items(), grads, strict=True)}
    return refined, grads, module.state_dict()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", MODULES)
def test_all_blocks_at_once_equal_block_by_block(name, training):
    module = awake(MODULES[name]()).double().train(training)
    twin = copy.deepcopy(module)
    features, regions = inputs(module, torch.float64)
    fast = run(module, module, features, regions)
    slow = run(lambda f, r: textbook(twin, f, r), twin, features, regions)
    for kind, other in zip(fast, slow, strict=True):
        assert kind.keys() == other.keys()
        for key in kind:
            torch.testing.assert_close(
                kind[key], other[key], rtol=1e-9, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}"
            )


@pytest.mark.parametrize("name", ["nyud_hrnet18", "nyud_hrnet48"])
def test_single_precision_agrees_to_a_ten_thousandth_forward_and_backward(name):
    module = awake(MODULES[name]())
    twin = copy.deepcopy(module).double()
    features, regions = inputs(module, torch.float32)
    doubled = ({task: x.detach().double().requires_grad_() for task, x in some.items()} for some in (features, regions))
    fast = run(module, module, features, regions)[:2]
    slow = run(lambda f, r: textbook(twin, f, r), twin, *doubled)[:2]
    for kind, other in zip(fast, slow, strict=True):
        least = 1e-2 * max(
            float(x.detach().abs().max()) for x in other.values()
        )  # some gradients are 0 but for rounding
        for key, truth in other.items():
            scale = max(float(truth.detach().abs().max()), least)
            assert float((kind[key] - truth).detach().abs().max()) <= 1e-4 * scale, key


def test_the_weights_of_a_search_get_the_gradient_of_the_textbook():
    module = awake(supergraph(["semseg", "depth"])(C)).double()
    found = Supergraph(module)
    features, regions = inputs(module, torch.float64)
    grads = []
    for form in (module, lambda f, r: textbook(module, f, r)):
        found.sample(0.5, 1)
        loss = sum(x.square().sum() for x in form(features, regions).values())
        grads.append(torch.cat(torch.autograd.grad(loss, found.alphas())))
    torch.testing.assert_close(*grads, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_memory_format_will_do(memory_format):
    module = awake(ATRC(Genotype.published("nyud_hrnet18"), C, dropout=0.0)).eval()
    features, regions = inputs(module, torch.float32)
    moved = {task: x.detach().to(memory_format=memory_format) for task, x in features.items()}
    for task, refined in module(moved, regions).items():
        torch.testing.assert_close(refined, module(features, regions)[task], rtol=1e-5, atol=1e-5)


def test_prototypes_that_several_targets_share_are_pooled_once():
    module = ATRC(Genotype.uniform(["semseg", "depth", "edge"], "s_label"), C).eval()
    features, regions = inputs(module, torch.float32)
    counts = []
    for form in (module, lambda f, r: textbook(module, f, r)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            form(features, regions)
        counts.append(counter.get_total_flops() // 2)
    pooled = B * H * W * C * sum(REGIONS[task] for task in features)  # of one target; the other two save theirs
    assert counts[1] - counts[0] == 2 * pooled


def test_refining_by_the_contexts_of_all_blocks_is_the_forward_pass():
    module = awake(ATRC(Genotype.published("nyud_hrnet48"), C, dropout=0.0)).double().eval()
    features, regions = inputs(module, torch.float64)
    contexts = module.contexts(features, regions)
    assert contexts.keys() == {pair for pair, _ in module.blocks()}
    refined = module.refine(features, contexts)
    for task, truth in module(features, regions).items():
        torch.testing.assert_close(refined[task], truth, rtol=1e-9, atol=1e-9)
    alone = {pair: x for pair, x in contexts.items() if pair[0] == "depth"}
    assert list(module.refine(features, alone)) == ["depth"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_over_all_pixels_do_not_overflow_half_precision(dtype, training):
    module = awake(ATRC(Genotype.uniform(["a", "b"], "global"), 8, 4, dropout=0.0)).train(training)
    features = {task: torch.randn(1, 8, 90, 120).relu() for task in ("a", "b")}
    truth = module(features)
    for form in (module, lambda x: module.refine(x, module.contexts(x))):
        with torch.autocast("cpu", dtype):
            refined = form(features)
        for task, x in refined.items():
            assert x.isfinite().all()
            assert (x - truth[task]).abs().mean() < 0.1 * truth[task].abs().mean()
    assert all(buffer.isfinite().all() for buffer in module.buffers())


def test_it_runs_in_mixed_precision():
    module = awake(ATRC(Genotype.published("nyud_hrnet18"), C, dropout=0.0))
    features, regions = inputs(module, torch.float32)
    expected = module(features, regions)
    with torch.autocast("cpu", torch.bfloat16):
        refined = module(features, regions)
        sum(x.float().square().mean() for x in refined.values()).backward()
    for task, truth in expected.items():
        torch.testing.assert_close(refined[task].float(), truth, rtol=0.1, atol=0.1 * float(truth.detach().abs().max()))
