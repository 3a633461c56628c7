"""From a search for branches to a trained branched network, with ATRC on top."""

import pytest
import torch

from atrc.branching import Branching
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network.build import build_network, resolve_branching
from atrc.training.loading import load
from atrc.training.loop import fit
from atrc.training.recipe import NetworkConfig, SearchConfig
from atrc.training.run.folder import read_table
from runs import break_at, same_run, tiny

TASKS = ["semseg", "depth"]


def recipe(out, data, space="branches", **network):
    what = tiny(out, data, tasks=TASKS, backbone="timm:test_resnet", **network)
    what.search = SearchConfig(space=space, lr=0.3, cost_weight=0.5)
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
    assert 0.5 < float(train[0]["cost"]) < 1
    assert float(train[-1]["temperature"]) == pytest.approx(0.2875)
    assert not (searched / "genotype.json").exists()


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
