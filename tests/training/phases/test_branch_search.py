"""From a search for branches to a trained branched network, with ATRC on top."""

import pytest
import torch

from atrc.branching import Branching
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network.build import build_network, resolve_branching
from atrc.search.build import build_supergraph
from atrc.training.loading import load
from atrc.training.loop import fit
from atrc.training.phases.search import BranchSearch
from atrc.training.recipe import NetworkConfig, SearchConfig
from atrc.training.run.folder import read_table
from runs import break_at, same_run, tiny

TASKS = ["semseg", "depth"]


def recipe(out, data, space="branches", **network):
    what = tiny(out, data, tasks=TASKS, backbone="timm:test_resnet", **network)
    what.search = SearchConfig(space, lr=0.3, temperature=(5.0, 0.1))
    if space == "branches":
        what.search.cost_weight, what.search.warmup = 0.5, 0.25
    return what


@pytest.fixture(scope="module")
def searched(tmp_path_factory, nyud_folder):
    out = tmp_path_factory.mktemp("branches") / "search"
    fit(recipe(out, nyud_folder), search=True, progress=False)
    return out


def test_a_branch_search_writes_its_tree_and_traces(searched):
    branching = Branching.load(searched / "branching.json")
    assert branching.tasks == tuple(TASKS)
    assert branching.stages == 4
    rows = read_table(searched / "search.csv")
    assert len(rows) == 4
    assert float(rows[-1]["2/depth/semseg"]) + float(rows[-1]["2/depth/depth"]) == pytest.approx(1)
    train = read_table(searched / "train.csv")
    assert float(train[0]["cost"]) > 0
    assert [float(row["temperature"]) for row in train] == pytest.approx([5.0, 5.0, 5 - 4.9 / 3, 5 - 4.9 * 2 / 3])
    assert not (searched / "genotype.json").exists()


@pytest.fixture
def phase(nyud_tasks):
    what = recipe("out", "data")
    what.optim.optimizer, what.optim.steps = "adam", 8
    network = build_supergraph(what.network, nyud_tasks[:2], "branches")
    found = BranchSearch(network, what)
    found.sampler(10, start=0, rank=0, world=1)  # warm-up of two steps, then one of alpha and four of weights
    return found


def step(phase, number):
    phase.before(number)
    for parameter in phase.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    phase.optimizer.step()


def test_a_step_trains_either_alpha_or_the_weights(phase):
    (alpha,), weight = phase.supergraph.alphas(), phase.weights[0]
    for number, trains_alpha in enumerate([False, False, True, False, False, False, False, True]):
        before = alpha.clone(), weight.clone()
        step(phase, number)
        assert torch.equal(alpha, before[0]) != trains_alpha
        assert torch.equal(weight, before[1]) == trains_alpha
        assert (phase.supergraph.weights is None) == (number < 2)
        assert (phase.regulariser(number) is None) != trains_alpha
    assert phase.alpha_optimizer.param_groups[0]["weight_decay"] == 5e-5


def test_when_the_weights_are_trained_again_their_optimiser_and_batch_norms_start_afresh(phase):
    norm = next(module for module in phase.supergraph.later.modules() if isinstance(module, torch.nn.BatchNorm2d))
    for number in range(4):
        norm.running_mean.fill_(7)
        step(phase, number)
        found = phase.weight_optimizer.state[phase.weights[0]]["step"], norm.running_mean[0].item()
        assert found == [(1, 0.0), (2, 7.0), (2, 7.0), (1, 0.0)][number]


def test_the_cost_is_the_expected_operations_for_every_task(phase):
    nodes = torch.tensor([1.5, 1.75, 1.875])  # two tasks differ in 1/2, 3/4, 7/8 of all cases
    assert phase.supergraph.expected_nodes().tolist() == pytest.approx(nodes.tolist())
    expected = 0.5 * 2 * (phase.gflops * nodes).sum()
    assert phase.regulariser(2).item() == pytest.approx(expected.item())


def test_a_branch_search_needs_two_images(phase):
    with pytest.raises(UserError, match="data: search.space branches needs two training images or more"):
        phase.sampler(1, start=0, rank=0, world=1)


def test_a_broken_branch_search_resumes_as_if_unbroken(searched, tmp_path, nyud_folder, monkeypatch):
    again = recipe(tmp_path / "run", nyud_folder)
    with monkeypatch.context() as patch:
        break_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            fit(again, search=True, progress=False)
    fit(again, search=True, resume=True, progress=False)
    assert same_run(searched, tmp_path / "run")


def test_contexts_are_searched_and_trained_on_top_of_found_branches(searched, tmp_path, nyud_folder):
    branching = str(searched / "branching.json")
    fit(recipe(tmp_path / "contexts", nyud_folder, "contexts", branching=branching), search=True, progress=False)
    genotype = tmp_path / "contexts/genotype.json"
    assert Genotype.load(genotype).targets == tuple(TASKS)
    fit(
        recipe(tmp_path / "run", nyud_folder, branching=branching, distillation="atrc", genotype=str(genotype)),
        progress=False,
    )
    assert Branching.load(tmp_path / "run/branching.json") == Branching.load(branching)
    network = load(tmp_path / "run")
    assert network.backbone.branching == Branching.load(branching)
    assert network(torch.rand(1, 3, 33, 47)).predictions["depth"].shape == (1, 1, 33, 47)


def test_a_branching_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(UserError, match="branching 'at:5': write at:N, with N from 1 to 4"):
        resolve_branching("at:5", TASKS, 4)
    Branching.at(2, ["sal", "edge"], 4).save(tmp_path / "b.json")
    with pytest.raises(UserError, match="is for the tasks sal, edge; the network predicts semseg, depth"):
        resolve_branching(str(tmp_path / "b.json"), TASKS, 4)


def test_a_backbone_without_stages_cannot_branch(nyud_tasks):
    with pytest.raises(UserError, match="is not made of stages, so it cannot branch or be frozen by stages"):
        build_network(NetworkConfig(backbone="dinov3_small", branching="at:2"), nyud_tasks)
