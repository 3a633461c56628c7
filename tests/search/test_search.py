import copy
import math

import pytest
import torch

from atrc.contexts import CONTEXTS
from atrc.contexts.label import spatial_softmax
from atrc.distillation import ATRC, ContextPooling, Mixture
from atrc.genotype import Genotype
from atrc.search import Choice, Supergraph, supergraph
from atrc.search.schedule import linear

B, C, D, R, H, W = 2, 8, 4, 3, 5, 6


@pytest.fixture
def inputs():
    target, source = torch.randn(B, C, H, W), torch.randn(B, C, H, W)
    return target, source, spatial_softmax(torch.randn(B, R, H, W)), spatial_softmax(torch.randn(B, R, H, W))


def mixture_of(contexts):
    return Mixture(tuple(contexts), C, D, Choice(tuple(contexts)))


def one_hot(mixture, context):
    mixture.gate.weights = torch.tensor([float(c == context) for c in mixture.gate.contexts])


@pytest.mark.parametrize("context", list(CONTEXTS)[1:])
def test_a_one_hot_mixture_equals_the_fixed_block(context, inputs):
    mixture = mixture_of(CONTEXTS)
    fixed = ContextPooling(context, C, D, affine_value=False)
    fixed.load_state_dict(mixture.candidate(context).state_dict())
    one_hot(mixture, context)
    torch.testing.assert_close(mixture(*inputs), fixed(*inputs))


def test_choosing_none_gives_zeros(inputs):
    mixture = mixture_of(CONTEXTS)
    one_hot(mixture, "none")
    assert mixture(*inputs).eq(0).all()
    mixture.eval()
    torch.nn.init.constant_(mixture.gate.alpha[:1], 0)
    with torch.no_grad():
        mixture.gate.alpha[0] = 5
    assert mixture(*inputs).eq(0).all()
    assert mixture(*inputs).shape == (B, D, H, W)


def test_a_mixture_is_the_weighted_sum_of_its_candidates(inputs):
    mixture = mixture_of(CONTEXTS)
    mixture.gate.weights = torch.tensor([0.4, 0.1, 0.2, 0.0, 0.3])
    parts = {context: mixture.candidate(context)(*inputs) for context in list(CONTEXTS)[1:]}
    expected = 0.1 * parts["global"] + 0.2 * parts["local"] + 0.3 * parts["s_label"]
    torch.testing.assert_close(mixture(*inputs), expected)


def test_evaluation_runs_the_most_probable_candidate_alone(inputs):
    mixture = mixture_of(CONTEXTS).eval()
    with torch.no_grad():
        mixture.gate.alpha[3] = 1
    torch.testing.assert_close(mixture(*inputs), mixture.candidate("t_label")(*inputs))


def test_gumbel_samples_follow_the_probabilities():
    mixture = mixture_of(("none", "global", "local"))
    with torch.no_grad():
        mixture.gate.alpha.copy_(torch.tensor([0.5, 0.3, 0.2]).log() + 1)
    counts = torch.zeros(3)
    g = torch.Generator().manual_seed(0)
    for _ in range(4000):
        noise = -(-torch.rand(3, generator=g).log()).log()
        mixture.gate.sample(noise, 0.05)
        counts[mixture.gate.weights.argmax()] += 1
    torch.testing.assert_close(counts / 4000, torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0)


def test_low_temperature_samples_are_nearly_one_hot_and_high_ones_are_flat():
    mixture = mixture_of(CONTEXTS)
    noise = torch.tensor([0.1, 0.5, 2.0, -1.0, 0.3])
    mixture.gate.sample(noise, 0.05)
    assert mixture.gate.weights.max() > 0.999
    mixture.gate.sample(noise, 1000.0)
    torch.testing.assert_close(mixture.gate.weights, torch.full((5,), 0.2), atol=1e-3, rtol=0)


def test_alpha_gets_gradients_from_the_sample_and_the_entropy(inputs):
    mixture = mixture_of(CONTEXTS)
    mixture.gate.sample(torch.randn(5), 1.0)
    mixture(*inputs).square().sum().backward()
    assert mixture.gate.alpha.grad.abs().sum() > 0


def test_entropy_by_hand():
    mixture = mixture_of(CONTEXTS)
    assert mixture.gate.entropy().item() == pytest.approx(math.log(5))
    with torch.no_grad():
        mixture.gate.alpha[0] = 100
    assert mixture.gate.entropy().item() == pytest.approx(0, abs=1e-6)


def test_a_block_is_fixed_for_good_once_the_margin_is_large_enough(inputs):
    mixture = mixture_of(CONTEXTS)
    probabilities = torch.tensor([0.1, 0.5, 0.2, 0.1, 0.1])
    with torch.no_grad():
        mixture.gate.alpha.copy_(probabilities.log())
    assert not mixture.gate.fix_if_decided(0.31)
    assert mixture.gate.fix_if_decided(0.3 - 1e-6)
    assert not mixture.gate.fix_if_decided(0.1)
    mixture.gate.sample(torch.randn(5), 1.0)
    torch.testing.assert_close(mixture(*inputs), mixture.candidate("global")(*inputs))
    assert not mixture.gate.entropy().requires_grad


def test_a_fixed_block_runs_its_chosen_candidate_alone(inputs):
    mixture = mixture_of(CONTEXTS)
    with torch.no_grad():
        mixture.gate.alpha[2] = 3
    mixture.gate.fix_if_decided(0.3)
    ran = []
    for name in list(CONTEXTS)[1:]:
        mixture.candidate(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    mixture.gate.sample(torch.randn(5), 1.0)
    mixture(*inputs).sum().backward()
    assert ran == ["local"]
    assert mixture.gate.alpha.grad is None
    assert all(p.grad is None for p in mixture.candidate("global").parameters())


def test_a_loaded_choice_is_as_fixed_as_the_saved_one():
    saved, loaded = Choice(tuple(CONTEXTS)), Choice(tuple(CONTEXTS))
    undecided = copy.deepcopy(saved.state_dict())
    with torch.no_grad():
        saved.alpha[2] = 9
    saved.fix_if_decided(0.3)
    loaded.load_state_dict(saved.state_dict())
    assert loaded.decided == loaded.best == list(CONTEXTS)[2]
    loaded.load_state_dict(undecided)
    assert loaded.decided is None
    assert not loaded.fixed


def test_the_supergraph_has_the_published_sizes_of_alpha_and_no_dropout():
    module = supergraph(["a", "b", "c", "d"])(67)
    found = Supergraph(module)
    assert sorted(len(alpha) for alpha in found.alphas()) == [4] * 4 + [5] * 12
    assert all(m.p == 0 for m in module.modules() if isinstance(m, torch.nn.Dropout2d))
    values = [block.value[1] for _, m in module.blocks() for block in m.candidates.values()]
    assert all(norm.weight is None for norm in values)


def test_a_searched_supergraph_in_evaluation_equals_its_genotypes_fixed_module():
    tasks = ("a", "b")
    module = supergraph(tasks)(C).eval()
    found = Supergraph(module)
    choices = {("a", "a"): "t_label", ("a", "b"): "s_label", ("b", "a"): "global", ("b", "b"): "local"}
    with torch.no_grad():
        for pair, choice in found.choices.items():
            choice.alpha[choice.contexts.index(choices[pair])] = 1
        for row in module.rows.values():
            row.fuse[1].weight.fill_(1)
    genotype = found.genotype(7)
    assert dict(genotype.items()) == choices
    assert genotype.step == 7
    fixed = ATRC(genotype, C).eval()
    for (pair, block), (_, mixture) in zip(fixed.blocks(), module.blocks(), strict=True):
        block.load_state_dict(mixture.candidate(choices[pair]).state_dict(), strict=False)
    for name, row in fixed.rows.items():
        row.fuse.load_state_dict(module.rows[name].fuse.state_dict())
        row.join.load_state_dict(module.rows[name].join.state_dict())
    features = {task: torch.randn(B, C, H, W) for task in tasks}
    regions = {task: torch.randn(B, R, H, W) for task in tasks}
    for task, refined in fixed(features, regions).items():
        torch.testing.assert_close(refined, module(features, regions)[task])


def test_a_supergraph_can_be_copied_within_a_step(inputs):
    choice = Choice(tuple(CONTEXTS))
    choice.sample(torch.zeros(len(CONTEXTS)), 1.0)
    copied = copy.deepcopy(choice)
    assert torch.equal(copied.alpha, choice.alpha)
    assert torch.equal(copied.weights, choice.weights)
    assert choice.weights.requires_grad


def test_the_same_seed_draws_the_same_sample_and_another_seed_another():
    found = Supergraph(supergraph(["a", "b"])(C))

    def weights(seed):
        found.sample(1.0, seed)
        return torch.cat([choice.weights for choice in found])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_fixing_names_the_blocks_and_probabilities_name_every_candidate():
    found = Supergraph(supergraph(["a", "b"])(C))
    assert found.fix(0.3) == []
    with torch.no_grad():
        found.choices["b", "a"].alpha[1] = 4
    assert found.fix(0.3) == [("b", "a", "global")]
    assert isinstance(found.genotype(), Genotype)
    names = found.probabilities()
    assert len(names) == 5 + 5 + 4 + 4
    assert names["b/a/global"] > 0.9


def test_schedules_run_over_all_steps_and_end_after_the_last():
    assert [linear((1.0, 0.0), step, 4) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    weights = [linear((-0.02, 0.06), step, 100) for step in range(100)]
    assert [w < -1e-12 for w in weights].index(False) == 25  # negative for the first quarter
