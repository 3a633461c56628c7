"""The two kinds of run: training fixed blocks, and searching over mixtures. They differ only in these hooks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from atrc.backbones.branched import BranchedBackbone
from atrc.branching import Branching
from atrc.data.sampling import hash_seed
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.search import Supergraph, count_cost
from atrc.search.schedule import linear
from atrc.training.balancing import build_balancing
from atrc.training.folder import RunFolder, naming
from atrc.training.optimizer import Joint, polynomial, sgd
from atrc.training.recipe import Recipe


class TrainPhase:
    """Training of a network whose blocks are fixed."""

    name = "train"

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        self.network, self.recipe = network, recipe
        self.weights = self.find_weights()
        self.sgd = sgd(self.weights, recipe.optim)
        self.balancing = build_balancing(recipe.optim.balancing, network.tasks, self.weights)
        if learned := list(self.balancing.parameters()):
            self.sgd.add_param_group({"params": learned, "weight_decay": 0.0})

    def find_weights(self) -> list[torch.nn.Parameter]:
        """Return the parameters that SGD trains."""
        return list(self.network.parameters())

    def optimizer(self) -> Optimizer:
        """Return what steps after every backward pass."""
        return self.sgd

    @property
    def clip(self) -> float | None:
        """Largest norm of the weights' gradient."""
        return self.recipe.optim.clip

    def before(self, step: int) -> None:
        """Prepare a step."""
        for group in self.sgd.param_groups:
            group["lr"] = polynomial(self.recipe.optim, step)

    def regulariser(self, step: int) -> Tensor | None:
        """Return what is added to the task losses."""
        return None

    def after(self, step: int) -> list[str]:
        """Finish a step; return what is worth telling."""
        return []

    def traces(self, step: int) -> dict[str, float]:
        """Return scalars of the step to log."""
        weights = {f"weight/{task}": weight for task, weight in self.balancing.weights().items()}
        return {"lr": self.sgd.param_groups[0]["lr"], **weights}

    def probabilities(self) -> dict[str, float]:
        """Return the probabilities of the candidates; none outside a search."""
        return {}

    def genotype(self, step: int) -> Genotype | None:
        """Return the genotype of the network, if it has one."""
        found = self.network.genotype
        return found if isinstance(found, Genotype) else None

    def branching(self) -> Branching | None:
        """Return the tree of the backbone, if it branches."""
        return self.network.backbone.branching if isinstance(self.network.backbone, BranchedBackbone) else None

    def save_found(self, folder: RunFolder, step: int) -> None:
        """Write the genotype and the branching, where there is one."""
        if (genotype := self.genotype(step)) is not None:
            with naming(folder.genotype):
                genotype.save(folder.genotype)
        if (branching := self.branching()) is not None:
            with naming(folder.branching):
                branching.save(folder.branching)


class SearchPhase(TrainPhase):
    """The differentiable search: weights and architecture parameters in one backward pass. Source: Sec. 3.3."""

    name = "search"

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        self.supergraph = Supergraph(network)
        if not self.supergraph.choices:
            raise UserError("nothing to search: the network has no mixtures of contexts")
        super().__init__(network, recipe)
        self.adam = torch.optim.Adam(self.supergraph.alphas(), recipe.search.lr)
        self.cost = count_cost(network, recipe.data.crop) if recipe.search.cost_weight else None

    def find_weights(self) -> list[torch.nn.Parameter]:
        """Return all parameters but alpha."""
        alphas = set(self.supergraph.alphas())
        return [parameter for parameter in self.network.parameters() if parameter not in alphas]

    def optimizer(self) -> Optimizer:
        """Return SGD on the weights with Adam on alpha."""
        return Joint(self.sgd, self.adam)

    @property
    def clip(self) -> float | None:
        """Largest norm of the weights' gradient."""
        return self.recipe.search.clip

    def before(self, step: int) -> None:
        """Draw the weights of the candidates."""
        super().before(step)
        self.supergraph.sample(self._temperature(step), hash_seed(self.recipe.seed, 3, step))

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
            "temperature": self._temperature(step),
            "entropy_weight": self._entropy_weight(step),
            "entropy": float(self.supergraph.entropy().detach()),
            "fixed": sum(choice.decided is not None for choice in self.supergraph),
        }
        if self.cost is not None:
            traces["cost"] = float(self.cost.expected(self.supergraph).detach())
        return traces

    def probabilities(self) -> dict[str, float]:
        """Return p_alpha of every candidate of every pair."""
        return self.supergraph.probabilities()

    def genotype(self, step: int) -> Genotype:
        """Return the most probable context of every pair."""
        return self.supergraph.genotype(step)

    def _temperature(self, step: int) -> float:
        return linear(self.recipe.search.temperature, step, self.recipe.optim.steps)

    def _entropy_weight(self, step: int) -> float:
        return linear(self.recipe.search.entropy_weight, step, self.recipe.optim.steps)
