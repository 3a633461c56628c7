import pytest
import torch
from torch import nn

from atrc.backbones import Backbone, build_backbone
from atrc.contexts import CONTEXTS
from atrc.distillation import ATRC
from atrc.genotype import Genotype
from atrc.necks import build_neck
from atrc.network import MultiTaskNetwork
from atrc.search import Cost, Supergraph, count_cost, supergraph
from atrc.tasks import Depth, SemanticSegmentation
from atrc.training.loop import fit
from atrc.training.phases.search import ContextSearch
from atrc.training.recipe import DataConfig, OptimConfig, Recipe, SearchConfig
from atrc.training.resources import count_multiply_adds

TASKS = SemanticSegmentation(num_classes=5), Depth()
NAMES = [task.name for task in TASKS]
SIZE = (18, 27)  # features of 5 x 7 pixels


class Tiny(Backbone):
    """Two levels of one convolution each."""

    channels, strides = (12, 20), (4, 8)

    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3, c, s, s) for c, s in zip(self.channels, self.strides, strict=True))

    def forward(self, image):
        image = nn.functional.pad(image, (0, -image.shape[3] % 8, 0, -image.shape[2] % 8))
        return [level(image) for level in self.levels]


def network(make, neck=None, **options):
    return MultiTaskNetwork(TASKS, Tiny(), make, neck, **options)


def fixed(genotype):
    return network(lambda channels: ATRC(genotype, channels))


def one_hot(cost, genotype):
    return {pair: torch.tensor([float(c == genotype[pair]) for c in row]) for pair, row in cost.blocks.items()}


GENOTYPES = [Genotype.uniform(NAMES, c) for c in list(CONTEXTS)[:4]] + [
    Genotype.random(NAMES, seed) for seed in range(6)
]


@pytest.mark.parametrize("genotype", GENOTYPES, ids=str)
def test_a_genotypes_cost_is_what_its_own_network_takes_more_than_one_without_contexts(genotype):
    cost = count_cost(network(supergraph(NAMES)), SIZE)
    without = count_multiply_adds(fixed(Genotype.uniform(NAMES, "none")), SIZE)
    assert cost.of(genotype) == count_multiply_adds(fixed(genotype), SIZE) - without
    assert float(cost(one_hot(cost, genotype))) * cost.most == pytest.approx(cost.of(genotype), rel=1e-5)
    assert cost.of(genotype) <= cost.most


def test_s_label_on_the_diagonal_costs_as_t_label():
    cost = count_cost(network(supergraph(NAMES)), SIZE)
    everywhere = Genotype.uniform(NAMES, "s_label")
    without = count_multiply_adds(fixed(Genotype.uniform(NAMES, "none")), SIZE)
    assert cost.of(everywhere) == count_multiply_adds(fixed(everywhere), SIZE) - without


def test_the_counts_by_hand():
    c, d, n, r, shared = 8, 4, 6 * 8, 40, 32  # n pixels of features, r bins of depth; the tiny backbone pads
    cost = count_cost(network(supergraph(NAMES)), (24, 32))
    query = n * (c * d + d * d)
    fuse = n * d * c
    attended = {
        "none": 0,
        "global": 2 * query + n * c * d + 2 * n * d * d + n * d + fuse,
        "local": 2 * query + n * c * d + 2 * n * 81 * d + fuse,
        "t_label": query + n * r * c + r * (c * d + d * d + c * d) + 2 * n * r * d + fuse,
    }
    assert {context: cost.blocks["depth", "semseg"][context] for context in attended} == attended
    assert cost.joins == dict.fromkeys(NAMES, n * c * c)
    assert cost.heads["depth"] == n * (shared * shared + shared * r)
    assert cost.blocks["depth", "depth"]["t_label"] == attended["t_label"]


def test_the_genotypes_of_nyud_cost_what_the_papers_networks_do(nyud_tasks):
    names = [task.name for task in nyud_tasks]
    net = MultiTaskNetwork(nyud_tasks, build_backbone("hrnet18"), supergraph(names))
    cost = count_cost(net, (425, 560))
    multi_task = 17.48e9 + 4 * 67 * 67 * 107 * 140  # and the joins, which read a target's own features alone
    total = {name: (multi_task + cost.of(Genotype.uniform(names, name))) / 1e9 for name in ("global", "t_label")}
    assert total == pytest.approx({"global": 21.18, "t_label": 25.17}, abs=0.011)
    published = cost.of(Genotype.published("nyud_hrnet18"))
    assert (multi_task + published) / 1e9 == pytest.approx(25.05, abs=0.011)


def test_costs_of_several_levels_add_up():
    neck = build_neck("fpm", Tiny.channels, Tiny.strides, TASKS)
    net = network(supergraph(NAMES), neck, distil_at="all")
    cost = count_cost(net, (24, 32))
    fine, coarse = 6 * 8, 3 * 4
    assert cost.joins["depth"] == fine * 12 * 12 + coarse * 20 * 20
    assert cost.heads["depth"] == fine * (32 * 32 + 32 * 40)


def test_counting_leaves_the_network_and_the_random_numbers_alone():
    net = network(supergraph(NAMES))
    before, random = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    count_cost(net, SIZE)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_the_gradient_of_two_candidates_by_hand():
    # The share is p_global (6 + 2) / 8 = p_global, as the join is needed with the block. d p / d alpha = p (1 - p).
    cost = Cost({("a", "a"): {"none": 0, "global": 6}}, {"a": 2}, {"a": 0})
    alpha = torch.tensor([0.0, 3.0]).log1p().requires_grad_()  # p = 1/5, 4/5
    share = cost({("a", "a"): alpha.softmax(0)})
    share.backward()
    assert share.item() == pytest.approx(0.8)
    torch.testing.assert_close(alpha.grad, torch.tensor([-0.16, 0.16]))


def test_what_is_shared_is_paid_once():
    # Two sources, each kept with probability 1/2, both by T-label: the head and the join with probability 3/4.
    blocks = {("a", s): {"none": 0, "t_label": 10} for s in ("a", "b")}
    cost = Cost(blocks, {"a": 8}, {"a": 72, "b": 0})
    half = dict.fromkeys(blocks, torch.tensor([0.5, 0.5]))
    assert cost.most == 100
    assert cost(half).item() == pytest.approx((10 + 6 + 54) / 100)


def test_a_fixed_choice_costs_what_it_was_fixed_to():
    found = Supergraph(network(supergraph(NAMES)))
    cost = Cost({p: dict.fromkeys(c.contexts, 0) | {"local": 5} for p, c in found.choices.items()},
                dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0))  # fmt: skip
    with torch.no_grad():
        for choice in found:
            choice.alpha[2] = 2
    assert cost.expected(found).item() < 0.7
    found.fix(0.3)
    assert cost.expected(found).item() == 1
    assert not cost.expected(found).requires_grad


def recipe(weight, **rest):
    return Recipe(
        data=DataConfig(crop=SIZE),
        search=SearchConfig(lr=0.1, cost_weight=weight, entropy_weight=(0.0, 0.0)),
        accelerator="cpu",
        precision="32",
        **rest,
    )


def test_by_the_cost_alone_a_search_drifts_to_none():
    phase = ContextSearch(network(supergraph(NAMES)), recipe(100.0))
    before = phase.traces(0)["cost"]
    for step in range(40):
        phase.before(step)
        if (loss := phase.regulariser(step)).requires_grad:  # not once everything is fixed
            loss.backward()
        phase.alpha_optimizer.step()
        phase.alpha_optimizer.zero_grad()
        phase.after(step)
    assert phase.genotype(40) == Genotype.uniform(NAMES, "none")
    assert phase.traces(40)["cost"] == 0 < before < 1
    assert phase.traces(40)["fixed"] == 4


def test_without_a_weight_the_search_is_the_papers():
    phase = ContextSearch(network(supergraph(NAMES)), recipe(0.0))
    assert phase.cost is None
    assert "cost" not in phase.traces(0)
    phase = ContextSearch(network(supergraph(NAMES)), Recipe())
    assert torch.equal(phase.regulariser(0), -0.02 * phase.supergraph.entropy())


def test_a_whole_search_traces_its_cost_and_a_large_weight_ends_at_none(tmp_path, nyud_folder):
    what = recipe(1000.0, out=str(tmp_path / "run"), optim=OptimConfig(steps=6), validate_every=0, log_every=1)
    what.data = DataConfig(root=str(nyud_folder), tasks=["depth", "edge"], crop=(32, 32), batch_size=2, workers=0)
    what.search.lr = 0.5  # the first steps of Adam have equal sizes: only later ones tell "none" from "local"
    fit(what, search=True, progress=False)
    header, *rows = [line.split(",") for line in (tmp_path / "run/train.csv").read_text().splitlines()]
    costs = [float(row[header.index("cost")]) for row in rows]
    assert costs == sorted(costs, reverse=True)
    assert 0 < costs[-1] < costs[0] < 1
    assert Genotype.load(tmp_path / "run/genotype.json") == Genotype.uniform(["depth", "edge"], "none")
