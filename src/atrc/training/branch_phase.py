"""The search for a branched backbone (BMTAS)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from atrc.branching import Branching
from atrc.data.sampling import hash_seed
from atrc.network import MultiTaskNetwork
from atrc.search.branches import BranchSupergraph
from atrc.search.schedule import linear
from atrc.training.optimizer import Joint
from atrc.training.phase import TrainPhase
from atrc.training.recipe import Recipe


class BranchPhase(TrainPhase):
    """Weights and edges in one backward pass; the loss has the expected cost of the tree.

    Source: Bruggemann et al., BMVC 2020, Sec. 3.3 and 3.4.
    """

    name = "search"

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        self.supergraph: BranchSupergraph = network.backbone  # type: ignore[assignment]
        super().__init__(network, recipe)
        self.adam = torch.optim.Adam([self.supergraph.alpha], recipe.search.lr)

    def find_weights(self) -> list[torch.nn.Parameter]:
        """Return all parameters but alpha."""
        return [parameter for parameter in self.network.parameters() if parameter is not self.supergraph.alpha]

    def optimizer(self) -> Optimizer:
        """Return SGD on the weights with Adam on alpha."""
        return Joint(self.sgd, self.adam)

    @property
    def clip(self) -> float | None:
        """Largest norm of the weights' gradient."""
        return self.recipe.search.clip

    def before(self, step: int) -> None:
        """Draw the weights of the edges."""
        super().before(step)
        self.supergraph.sample(self._temperature(step), hash_seed(self.recipe.seed, 3, step))

    def regulariser(self, step: int) -> Tensor:
        """Return the weighed expected cost."""
        return self.recipe.search.cost_weight * self.supergraph.cost()

    def traces(self, step: int) -> dict[str, float]:
        """Return the schedule and the state of the search."""
        return super().traces(step) | {
            "temperature": self._temperature(step),
            "entropy": float(self.supergraph.entropy().detach()),
            "cost": float(self.supergraph.cost().detach()),
        }

    def probabilities(self) -> dict[str, float]:
        """Return the probability of every edge."""
        return self.supergraph.probabilities()

    def branching(self) -> Branching:
        """Return the most probable tree."""
        return self.supergraph.branching()

    def _temperature(self, step: int) -> float:
        return linear(self.recipe.search.temperature, step, self.recipe.optim.steps)
