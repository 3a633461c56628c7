"""Recomputation, memory format and compilation leave the numbers alone."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from atrc.app.cli import main
from atrc.backbones import build_backbone
from atrc.distillation import ATRC
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork, build_network
from atrc.search import Supergraph, supergraph
from atrc.training.execution import arrange, default_recompute, parts, recompute
from atrc.training.loop import fit
from atrc.training.recipe import NetworkConfig, Recipe
from atrc.training.run.folder import read_table
from runs import last, tiny


def make(tasks, backbone="timm:test_efficientnet", *, search=False):
    torch.manual_seed(0)
    names = [task.name for task in tasks]
    if search:
        network = MultiTaskNetwork(tasks, build_backbone(backbone), supergraph(names))
        Supergraph(network).sample(1.0, 0)
        for choice in Supergraph(network):
            choice.weights = choice.weights.detach()
        return network
    genotype = Genotype.random(names, 3)
    return MultiTaskNetwork(tasks, build_backbone(backbone), lambda c: ATRC(genotype, c))


def step(network, image):
    """Return the gradients and the state after a training step, and the bytes kept for its backward pass."""
    kept = {}

    def pack(x):
        if not isinstance(x, torch.nn.Parameter):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    torch.manual_seed(1)
    with saved_tensors_hooks(pack, lambda x: x):
        output = network(image)
        loss = sum(x.square().mean() for x in (*output.predictions.values(), *output.auxiliary.values()))
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return gradients, network.state_dict(), sum(kept.values())


@pytest.mark.parametrize("search", [False, True])
def test_recomputing_keeps_a_fraction_and_changes_no_bit(nyud_tasks, search):
    plain = make(nyud_tasks, search=search)
    saving = copy.deepcopy(plain)
    recompute(saving)
    image = torch.rand(2, 3, 64, 96)
    gradients, state, bytes_plain = step(plain, image)
    others, state_after, bytes_saving = step(saving, image)
    assert bytes_saving < bytes_plain / 3
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=0, atol=0, msg=name)
    for name, value in state.items():
        torch.testing.assert_close(state_after[name], value, rtol=0, atol=0, msg=name)


def test_a_search_recomputes_its_distillation_by_default(nyud_tasks):
    plain = make(nyud_tasks, search=True)
    saving = copy.deepcopy(plain)
    arrange(saving, Recipe())
    image = torch.rand(2, 3, 64, 96)
    gradients, _, bytes_plain = step(plain, image)
    others, _, bytes_saving = step(saving, image)
    assert bytes_saving < bytes_plain / 2
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=0, atol=0, msg=name)


def test_a_training_recomputes_nothing_by_default(nyud_tasks):
    network = make(nyud_tasks)
    assert default_recompute(network) == "nothing"


def test_evaluation_and_no_grad_do_not_recompute(nyud_tasks):
    network = make(nyud_tasks[:1])
    image = torch.rand(1, 3, 32, 32)
    expected = network.eval()(image).predictions["semseg"]
    recompute(network)
    with torch.no_grad():
        torch.testing.assert_close(network(image).predictions["semseg"], expected, rtol=0, atol=0)


@pytest.mark.parametrize("distil_at", ["finest", "all"])
def test_recomputation_runs_every_target_of_every_level_twice(nyud_tasks, distil_at):
    tasks = nyud_tasks[1:3]
    genotype = Genotype.random([task.name for task in tasks], 3)
    config = NetworkConfig("timm:test_resnet", neck="fpm", distillation="atrc", distil_at=distil_at)
    network = build_network(config, tasks, genotype)
    rows = list(network.distillation.parts())
    assert len(rows) == 2 * (len(network.neck.level_channels) if distil_at == "all" else 1)
    calls = []
    for row in rows:
        row.join.register_forward_pre_hook(lambda module, _: calls.append(module))
    recompute(network, "distillation")
    sum(x.square().mean() for x in network(torch.rand(2, 3, 64, 64)).predictions.values()).backward()
    assert len(calls) == 2 * len(rows)


@pytest.mark.parametrize("backbone", ["hrnet18", "resnet50", "swin_tiny", "convnext_tiny", "dinov3_small"])
def test_the_parts_hold_nearly_all_parameters_and_none_twice(nyud_tasks, backbone):
    network = make(nyud_tasks[1:2], backbone)
    found = list(parts(network))
    inside = [id(p) for part in found for p in part.parameters()]
    assert len(inside) == len(set(inside))
    sizes = {id(p): p.numel() for p in network.parameters()}
    assert sum(sizes[i] for i in inside) > 0.9 * sum(sizes.values())
    assert len(found) > 8


def test_channels_last_gives_the_same_gradients(nyud_tasks):
    plain = make(nyud_tasks).double()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    image = torch.rand(2, 3, 32, 48, dtype=torch.float64)
    gradients, *_ = step(plain, image)
    others, *_ = step(last, image.to(memory_format=torch.channels_last))
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            others[name], gradient, rtol=1e-7, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_a_run_that_recomputes_or_has_channels_last_is_the_same_run(tmp_path, nyud_folder):
    states = {}
    for name, options in {"plain": {}, "saving": {"recompute": "network"}, "last": {"channels_last": True}}.items():
        settings = {"distillation": "atrc", "genotype": "random", "precision": "64", "validate_every": 0, **options}
        fit(tiny(tmp_path / name, nyud_folder, 2, **settings), progress=False)
        states[name] = last(tmp_path / name).network
    for name, value in states["plain"].items():
        assert torch.equal(states["saving"][name], value), name
        assert torch.allclose(states["last"][name], value, rtol=1e-5, atol=1e-7), name


# The checks of shapes that the tests weave in cannot be traced: a process of its own is without them.
WHOLE_GRAPH = """
import torch
from atrc.data.nyud import nyud_tasks
from atrc.network import MultiTaskNetwork, build_network
from atrc.backbones import build_backbone
from atrc.distillation import ATRC
from atrc.genotype import Genotype

tasks = nyud_tasks()[:2]
one, other = (task.name for task in tasks)
genotype = Genotype({one: {one: "global", other: "local"}, other: {one: "s_label", other: "t_label"}})
network = MultiTaskNetwork(tasks, build_backbone("timm:test_efficientnet"), lambda c: ATRC(genotype, c, dropout=0.0))
image = torch.rand(2, 3, 33, 49)


def gradients(network):
    predictions = network(image).predictions
    loss = sum(x.square().mean() for x in predictions.values())
    return dict(zip(names, torch.autograd.grad(loss, [p for _, p in parameters], allow_unused=True)))


parameters = list(network.named_parameters())
names = [name for name, _ in parameters]
expected = gradients(network)
found = gradients(torch.compile(network, fullgraph=True, backend="aot_eager"))
scale = max(float(x.abs().max()) for x in expected.values() if x is not None)
for name, gradient in expected.items():
    if gradient is not None:
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * scale)
print("one graph")
"""


@pytest.mark.release
def test_a_run_that_compiles_is_the_same_run(tmp_path, nyud_folder):
    arguments = ["train", "--data.root", str(nyud_folder), "--data.crop", "[32,32]", "--data.batch_size", "2"]
    arguments += ["--optim.steps", "2", "--log_every", "1", "--accelerator", "cpu"]
    arguments += ["--network.backbone", "timm:test_resnet", "--data.tasks", "[depth]"]  # the next test has all
    main([*arguments, "--out", str(tmp_path / "plain")])
    command = [sys.executable, "-m", "atrc", *arguments, "--out", str(tmp_path / "compiled"), "--compile", "aot_eager"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    plain, compiled = (
        [float(row["loss"]) for row in read_table(tmp_path / name / "train.csv")] for name in ("plain", "compiled")
    )
    assert compiled == pytest.approx(plain, rel=1e-3)
    assert last(tmp_path / "compiled").build() is not None


@pytest.mark.slow
def test_the_whole_network_is_one_graph_forward_and_backward():
    run = subprocess.run(
        [sys.executable, "-c", WHOLE_GRAPH], capture_output=True, text=True, timeout=500, cwd=Path(__file__).parent
    )
    assert run.stdout.strip() == "one graph", run.stderr[-3000:]
