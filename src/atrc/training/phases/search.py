"""The two kinds of search: for the contexts of a genotype, and for the branches of a backbone."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from atrc.branching import Branching
from atrc.data.sampling import hash_seed
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.search import Supergraph, count_cost
from atrc.search.branches import BranchSupergraph
from atrc.search.schedule import linear
from atrc.training.optim import Joint, build_optimizer
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import Recipe


class SearchPhase(TrainPhase, abc.ABC):
    """A differentiable search: weights and architecture parameters alpha in one backward pass. Source: Sec. 3.3.

    Attributes:
        supergraph: What the search chooses from.
    """

    name = "search"
    supergraph: Supergraph | BranchSupergraph

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        self.alpha_optimizer = build_optimizer("adam", self.supergraph.alphas(), lr=recipe.search.lr)
        self.optimizer = Joint(self.weight_optimizer, self.alpha_optimizer)
        self.clipped, self.clip = [*self.weights, *self.supergraph.alphas()], recipe.search.clip

    def find_weights(self) -> list[torch.nn.Parameter]:
        """Return all parameters but alpha."""
        alphas = set(self.supergraph.alphas())
        return [parameter for parameter in self.network.parameters() if parameter not in alphas]

    def before(self, step: int) -> None:
        """Draw the weights of what can be chosen."""
        super().before(step)
        self.supergraph.sample(self._temperature(step), hash_seed(self.recipe.seed, 3, step))

    @abc.abstractmethod
    def regulariser(self, step: int) -> Tensor:
        """Return what the search adds to the task losses."""

    def traces(self, step: int) -> dict[str, float]:
        """Return the temperature and the entropy too."""
        entropy = float(self.supergraph.entropy().detach())
        return super().traces(step) | {"temperature": self._temperature(step), "entropy": entropy}

    def probabilities(self) -> dict[str, float]:
        """Return p_alpha of everything that can be chosen."""
        return self.supergraph.probabilities()

    def _temperature(self, step: int) -> float:
        return linear(self.recipe.search.temperature, step, self.recipe.optim.steps)


class ContextSearch(SearchPhase):
    """The search for a genotype. Source: Sec. 3.3."""

    supergraph: Supergraph

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        self.supergraph = Supergraph(network)
        if not self.supergraph.choices:
            raise UserError("nothing to search: the network has no mixtures of contexts")
        super().__init__(network, recipe)
        self.cost = count_cost(network, recipe.data.crop) if recipe.search.cost_weight else None

    def regulariser(self, step: int) -> Tensor:
        """Return the weighed mean entropy of the blocks, and the weighed cost if the recipe asks for it."""
        entropy = self._entropy_weight(step) * self.supergraph.entropy()
        if self.cost is None:
            return entropy
        return entropy + self.recipe.search.cost_weight * self.cost.expected(self.supergraph)

    def after(self, step: int) -> list[str]:
        """Fix the blocks that have decided."""
        fixed = self.supergraph.fix(self.recipe.search.lead)
        return [f"step {step + 1}: {target} <- {source} fixed to {context}" for target, source, context in fixed]

    def traces(self, step: int) -> dict[str, float]:
        """Return the schedules and the state of the search."""
        traces = super().traces(step) | {
            "entropy_weight": self._entropy_weight(step),
            "fixed": sum(choice.decided is not None for choice in self.supergraph),
        }
        if self.cost is not None:
            traces["cost"] = float(self.cost.expected(self.supergraph).detach())
        return traces

    def genotype(self, step: int) -> Genotype:
        """Return the most probable context of every pair."""
        return self.supergraph.genotype(step)

    def _entropy_weight(self, step: int) -> float:
        return linear(self.recipe.search.entropy_weight, step, self.recipe.optim.steps)


class BranchSearch(SearchPhase):
    """The search for a branched backbone; the loss has the expected cost of the tree.

    Source: Bruggemann et al., BMVC 2020, Sec. 3.3 and 3.4 (BMTAS).
    """

    supergraph: BranchSupergraph

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        self.supergraph = network.backbone  # type: ignore[assignment]
        super().__init__(network, recipe)

    def regulariser(self, step: int) -> Tensor:
        """Return the weighed expected cost."""
        return self.recipe.search.cost_weight * self.supergraph.cost()

    def traces(self, step: int) -> dict[str, float]:
        """Return the schedule, the state of the search, and the expected cost."""
        return super().traces(step) | {"cost": float(self.supergraph.cost().detach())}

    def branching(self) -> Branching:
        """Return the most probable tree."""
        return self.supergraph.branching()
