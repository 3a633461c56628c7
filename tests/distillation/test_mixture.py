import pytest
import torch

from atrc.contexts import CONTEXTS
from atrc.contexts.label import spatial_softmax
from atrc.distillation import ATRC, GATES, Mixture, build_distillation, combined_atrc
from atrc.distillation.mixture import DynamicGate, StaticGate
from atrc.errors import UserError
from atrc.genotype import Genotype, SearchSpace
from atrc.network import build_network
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import NetworkConfig, Recipe
from atrc.training.resources import count_multiply_adds, count_parameters

TASKS = ("a", "b")
B, C, D, R, H, W = 2, 8, 4, 3, 5, 6


def block_of(gate, contexts=CONTEXTS):
    return Mixture(tuple(contexts), C, D, gate(tuple(contexts), C))


@pytest.fixture(params=GATES)
def name(request):
    return request.param


@pytest.fixture
def inputs():
    target, source = torch.rand(B, C, H, W), torch.rand(B, C, H, W)
    return target, source, spatial_softmax(torch.randn(B, R, H, W)), spatial_softmax(torch.randn(B, R, H, W))


def features_and_regions(h=H, w=W, batch=B, dtype=torch.float32):
    features = {task: torch.rand(batch, C, h, w, dtype=dtype) for task in TASKS}
    return features, {task: torch.randn(batch, R + i, h, w, dtype=dtype) for i, task in enumerate(TASKS)}


def awake(name, **options):
    """Make a module whose contexts reach the output: the fuse's BN starts at 0."""
    module = combined_atrc(name, TASKS, C, dropout=0.0, **options)
    for row in module.rows.values():
        torch.nn.init.ones_(row.fuse[1].weight)
    return module


def stir(module):
    """Move the weights away from their equal start."""
    for parameter_name, parameter in module.named_parameters():
        if "logits" in parameter_name or "gate" in parameter_name:
            torch.nn.init.normal_(parameter)
    return module


def set_weights(block, weights):
    logits = torch.tensor(weights).log().clamp(min=-1e4)
    (block.gate.linear.bias if isinstance(block.gate, DynamicGate) else block.gate.logits).data.copy_(logits)


@pytest.mark.parametrize("make", GATES.values())
def test_a_combination_starts_as_the_mean_of_its_contexts_and_nothing(make, inputs):
    block = block_of(make)
    parts = [candidate(*inputs) for candidate in block.candidates.values()]
    assert len(parts) == 4
    torch.testing.assert_close(block(*inputs), sum(parts) / 5)


@pytest.mark.parametrize("make", GATES.values())
def test_a_combination_is_the_weighted_sum(make, inputs):
    block = block_of(make)
    set_weights(block, [0.4, 0.1, 0.2, 0.05, 0.25])
    parts = {candidate.context.name: candidate(*inputs) for candidate in block.candidates.values()}
    expected = 0.1 * parts["global"] + 0.2 * parts["local"] + 0.05 * parts["t_label"] + 0.25 * parts["s_label"]
    torch.testing.assert_close(block(*inputs), expected)


@pytest.mark.parametrize("make", GATES.values())
def test_all_weight_on_one_context_is_that_context_and_on_none_is_zero(make, inputs):
    block = block_of(make)
    for i, context in enumerate(CONTEXTS):
        set_weights(block, [float(i == k) for k in range(5)])
        if context == "none":
            assert block(*inputs).eq(0).all()
        else:
            torch.testing.assert_close(block(*inputs), block.candidates[f"{context}_context"](*inputs))


def test_static_weights_are_the_same_for_every_image_and_dynamic_ones_its_own(inputs):
    static, dynamic = stir(block_of(StaticGate)).gate, stir(block_of(DynamicGate)).gate
    weights = torch.stack(list(dynamic(*inputs[:2]).values()), 1)[..., 0, 0, 0]
    assert not torch.allclose(*weights)
    torch.testing.assert_close(weights.sum(1), torch.ones(B))
    assert sum(static(*inputs[:2]).values()).item() == pytest.approx(1)


def test_dynamic_weights_by_hand():
    gate = DynamicGate(("none", "global"), 1)
    with torch.no_grad():
        gate.linear.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
    target, source = torch.tensor([[0.0, 4.0]]).view(1, 1, 1, 2), torch.tensor([[-3.0, 1.0]]).view(1, 1, 1, 2)
    # The means are 2 and -1: the logit of global is 2 - 2 = 0, that of none 0.
    assert gate(target, source)["global"].item() == pytest.approx(0.5)
    assert gate(target, -source)["global"].item() == pytest.approx(torch.tensor(4.0).sigmoid().item())


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 9)])
def test_shapes_stay_at_any_size_and_the_gradient_reaches_every_parameter(name, size):
    module = awake(name)
    features, regions = features_and_regions(*size)
    refined = module(features, regions)
    assert {t: f.shape for t, f in refined.items()} == {t: f.shape for t, f in features.items()}
    sum(f.square().sum() for f in refined.values()).backward()
    assert [key for key, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_the_weights_of_the_contexts_learn(name):
    module = awake(name)
    sum(f.square().sum() for f in module(*features_and_regions()).values()).backward()
    learnt = [p for key, p in module.named_parameters() if "logits" in key or "gate" in key]
    assert len(learnt) == 4 * (1 if name == "atrc_static" else 2)
    assert all(p.grad.abs().sum() > 0 for p in learnt)


def test_every_image_of_a_batch_is_refined_alone(name):
    module = stir(awake(name)).eval()
    features, regions = features_and_regions()
    whole = module(features, regions)
    for i in range(B):
        alone = module(*({t: x[i : i + 1] for t, x in given.items()} for given in (features, regions)))
        torch.testing.assert_close(alone, {t: f[i : i + 1] for t, f in whole.items()})


def test_it_works_in_double_precision_and_under_autocast(name):
    module = stir(awake(name)).eval()
    features, regions = features_and_regions()
    exact = module.double()(*({t: x.double() for t, x in given.items()} for given in (features, regions)))
    module.float()
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(features, regions)
    for task, f in exact.items():
        torch.testing.assert_close(module(features, regions)[task].double(), f, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rough[task].double(), f, rtol=0.05, atol=0.05)


def test_it_exports_with_sizes_left_open(name):
    module = stir(awake(name)).eval()
    height, width = torch.export.Dim("height", min=1), torch.export.Dim("width", min=1)
    sizes = {task: {2: height, 3: width} for task in TASKS}
    shapes = {"features": sizes, "auxiliary": sizes}
    exported = torch.export.export(module, features_and_regions(), dynamic_shapes=shapes).module()
    for size in [(13, 10), (2, 3)]:
        given = features_and_regions(*size)
        torch.testing.assert_close(exported(*given), module(*given), rtol=1e-4, atol=1e-5)


def test_the_names_of_its_state_are_these(name):
    module = combined_atrc(name, TASKS, C)
    own = "gate.logits" if name == "atrc_static" else "gate.linear.weight"
    row = set(module.state_dict())
    assert f"rows.a.blocks.b.{own}" in row
    assert "rows.a.blocks.b.candidates.s_label_context.query.0.weight" in row
    assert "rows.a.blocks.a.candidates.t_label_context.value.0.weight" in row
    assert not any("blocks.a.candidates.s_label_context" in key for key in row if key.startswith("rows.a."))
    assert not any(".none_" in key for key in row)
    copy = awake(name).eval()
    copy.load_state_dict(module.state_dict())
    given = features_and_regions()
    torch.testing.assert_close(copy(*given), module.eval()(*given), rtol=0, atol=0)


def test_missing_regions_are_named(name):
    features, regions = features_and_regions()
    with pytest.raises(UserError, match="label regions of 'b'; got auxiliary predictions of: a"):
        combined_atrc(name, TASKS, C)(features, {"a": regions["a"]})


def test_recipes_take_it_with_their_channels_and_dropout_and_train_it_as_any_network(name, nyud_tasks):
    config = NetworkConfig(distillation=name, attention_channels=10, dropout=0.25)
    network = build_network(config, nyud_tasks)
    module = network.distillation
    assert isinstance(module, ATRC)
    assert isinstance(module.genotype, SearchSpace)
    assert list(network.auxiliary) == [task.name for task in nyud_tasks]
    assert module.rows["depth"].fuse[0].in_channels == 4 * 10
    assert module.rows["depth"].join[3].p == 0.25
    phase = TrainPhase(network, Recipe(network=config))
    assert len(phase.find_weights()) == len(list(network.parameters()))
    assert phase.genotype(0) is None
    with pytest.raises(UserError, match=f"goes with network.distillation atrc, not with {name}"):
        build_network(NetworkConfig(distillation=name, genotype="global"), nyud_tasks)


def test_by_name_it_has_the_default_channels(name):
    module = build_distillation(name, TASKS, C)
    assert module.rows["a"].fuse[0].in_channels == 2 * (C // 2)


# The supergraph of facts has 5 459 314 parameters, 76 of them alpha and none of the values' BN affine.
@pytest.mark.parametrize(("kind", "parameters"), [("static", 5_459_314), ("dynamic", 5_459_314 - 76 + 76 * 135)])
def test_its_size_is_the_supergraphs_and_all_candidates_are_paid_for(nyud_tasks, kind, parameters):
    names, size = [task.name for task in nyud_tasks], (32, 48)
    config = NetworkConfig(distillation=f"atrc_{kind}")
    network = build_network(config, nyud_tasks)
    assert count_parameters(network) == parameters

    def cost(genotype):
        fixed = NetworkConfig(distillation="atrc")
        return count_multiply_adds(build_network(fixed, nyud_tasks, genotype), size)

    none = cost(Genotype.uniform(names, "none"))
    uniform = {context: cost(Genotype.uniform(names, context)) - none for context in list(CONTEXTS)[1:]}
    # Every uniform network has the fuse and the join, those by labels the heads; on the diagonal S-label is T-label.
    pixels, regions = 8 * 12, (40, 40, 40, 2)
    around = 4 * pixels * 67 * 67 + 16 * pixels * 33 * 67
    heads = sum(pixels * (270 * 270 + 270 * r) for r in regions)
    query, both = pixels * (67 * 33 + 33 * 33), 67 * 33 + 33 * 33 + 67 * 33
    diagonal = sum(query + pixels * r * 67 + r * both + 2 * pixels * r * 33 for r in regions)
    every = sum(uniform.values()) - 3 * around - heads - diagonal
    gates = 16 * 134 * 5 - 4 * 134 if kind == "dynamic" else 0
    assert count_multiply_adds(network, size) - none == every + gates


def test_a_single_task_has_one_block_of_its_own(name, nyud_tasks):
    network = build_network(NetworkConfig(distillation=name), nyud_tasks[1:2])
    assert [pair for pair, _ in network.distillation.blocks()] == [("depth", "depth")]
    assert network(torch.rand(2, 3, 33, 47)).predictions["depth"].shape == (2, 1, 33, 47)
