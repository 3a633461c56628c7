"""What the search of contexts trains."""

import pytest
import torch

from atrc.network import NetworkConfig
from atrc.search.build import build_supergraph
from atrc.training.phases.search import ContextSearch
from atrc.training.recipe import Recipe


@pytest.fixture
def phase(nyud_tasks):
    network = build_supergraph(NetworkConfig("timm:test_efficientnet"), nyud_tasks[:2], "contexts")
    return ContextSearch(network, Recipe())


def test_the_recipes_optimiser_has_the_weights_and_adam_the_architecture_parameters(phase):
    alphas = {id(alpha) for alpha in phase.supergraph.alphas()}
    weights = {id(parameter) for parameter in phase.weights}
    assert {id(p) for group in phase.weight_optimizer.param_groups for p in group["params"]} == weights
    assert {id(p) for group in phase.alpha_optimizer.param_groups for p in group["params"]} == alphas
    assert not weights & alphas
    assert weights | alphas == {id(parameter) for parameter in phase.network.parameters()}
    assert phase.alpha_optimizer.param_groups[0]["weight_decay"] == 0


def test_the_gradient_of_weights_and_architecture_parameters_is_clipped_at_a_norm_of_10_together(phase):
    for parameter in phase.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    for alpha in phase.supergraph.alphas():
        alpha.grad *= 1e4
    torch.nn.utils.clip_grad_norm_(phase.clipped, phase.clip)
    gradients = [parameter.grad for parameter in phase.network.parameters()]
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(10, rel=1e-4)
    assert phase.supergraph.alphas()[0].grad[0] > 1
