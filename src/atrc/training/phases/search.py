"""The two kinds of search: for the contexts of a genotype, and for the branches of a backbone."""

from __future__ import annotations

import torch
from torch import Tensor

from atrc.branching import Branching
from atrc.data.sampling import BilevelSampler, Rounds, StepSampler, hash_seed
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.search import Supergraph, count_cost
from atrc.search.branches import BranchSupergraph
from atrc.search.schedule import linear, temperature
from atrc.training.optim import Joint, build_optimizer
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import Recipe


class SearchPhase(TrainPhase):
    """A differentiable search of architecture parameters alpha, with samples of a supergraph. Source: Sec. 3.3.

    Attributes:
        supergraph: What the search chooses from.
        alpha_decay: Weight decay of alpha.
    """

    name = "search"
    alpha_decay = 0.0
    optimizer: Joint
    supergraph: Supergraph | BranchSupergraph

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        alphas, lr = self.supergraph.alphas(), recipe.search.lr
        self.alpha_optimizer = build_optimizer("adam", alphas, lr=lr, weight_decay=self.alpha_decay)
        self.optimizer = Joint(self.weight_optimizer, self.alpha_optimizer)
        self.clipped, self.clip = [*self.weights, *alphas], recipe.search.clip

    def find_weights(self) -> list[torch.nn.Parameter]:
        """Return all parameters but alpha."""
        alphas = set(self.supergraph.alphas())
        return [parameter for parameter in self.network.parameters() if parameter not in alphas]

    def before(self, step: int) -> None:
        """Draw the weights of what can be chosen."""
        super().before(step)
        self.supergraph.sample(self._temperature(step), hash_seed(self.recipe.seed, 3, step))  # type: ignore[arg-type]

    def traces(self, step: int) -> dict[str, float]:
        """Return the temperature and the entropy too."""
        entropy = float(self.supergraph.entropy().detach())
        sharpness = self._temperature(step) or self.recipe.search.temperature[0]
        return super().traces(step) | {"temperature": sharpness, "entropy": entropy}

    def probabilities(self) -> dict[str, float]:
        """Return p_alpha of everything that can be chosen."""
        return self.supergraph.probabilities()

    def _temperature(self, step: int) -> float | None:
        return temperature(vars(self.recipe.search), step, self.recipe.optim.steps)


class ContextSearch(SearchPhase):
    """The search for a genotype: one backward pass trains weights and alpha. Source: Sec. 3.3."""

    supergraph: Supergraph

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        self.supergraph = Supergraph(network)
        if not self.supergraph.choices:
            raise UserError("nothing to search: the network has no mixtures of contexts")
        super().__init__(network, recipe)
        self.cost = count_cost(network, recipe.data.crop) if recipe.search.cost_weight else None

    def regulariser(self, step: int) -> Tensor:
        """Return the weighted mean entropy of the blocks, and the weighted cost if the recipe asks for it."""
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
    """The search for a branched backbone: passes over some images for alpha, then over the others for the weights.

    As alpha changes, the optimiser of the weights and the batch norms of the operators forget what they have seen.

    Source: Bruggemann et al., BMVC 2020, Sec. 3.3 and 3.4 (BMTAS), and its code.
    """

    alpha_decay = 5e-5
    supergraph: BranchSupergraph
    rounds: Rounds

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        self.supergraph = network.backbone  # type: ignore[assignment]
        super().__init__(network, recipe)
        self.gflops = self.supergraph.count_gflops(recipe.data.crop)

    def sampler(self, images: int, **ranks: int) -> StepSampler:
        """Divide the images; raise `UserError` if there is only one."""
        if images < 2:
            raise UserError(f"{self.recipe.data.root}: search.space branches needs two training images or more")
        recipe = self.recipe
        self.rounds = Rounds(images, recipe.data.batch_size, round(recipe.search.warmup * recipe.optim.steps))
        return BilevelSampler(self.rounds, recipe.optim.steps, recipe.seed, **ranks)

    def before(self, step: int) -> None:
        """Select the optimiser of the step; at the beginning of a pass, make it forget its state."""
        super().before(step)
        alpha, _ = self.rounds.at(step)
        chosen = self.alpha_optimizer if alpha else self.weight_optimizer
        self.optimizer.active = (chosen,)
        if self.rounds.begins(step):
            chosen.state.clear()
            if not alpha:
                self.supergraph.reset_statistics()

    def regulariser(self, step: int) -> Tensor | None:
        """Return the weighted expected cost for steps of alpha; the paper's code adds it once for every task."""
        if not self.rounds.at(step)[0]:
            return None
        return self.recipe.search.cost_weight * len(self.supergraph.tasks) * self._cost()

    def traces(self, step: int) -> dict[str, float]:
        """Return the schedule, the state of the search, and the expected cost [GFLOP]."""
        return super().traces(step) | {"cost": float(self._cost().detach())}

    def branching(self) -> Branching:
        """Return the most probable tree."""
        return self.supergraph.branching()

    def _cost(self) -> Tensor:
        nodes = self.supergraph.expected_nodes()
        return (self.gflops.to(nodes) * nodes).sum()
