"""What a kind of run does in a step, as hooks of the loop: here training; searches are in `search_phases.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from atrc.backbones.branched import BranchedBackbone
from atrc.branching import Branching
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.training.balancing import build_balancing
from atrc.training.optim.optimizers import polynomial, sgd
from atrc.training.recipe import Recipe
from atrc.training.run.folder import RunFolder


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
            genotype.save(folder.genotype)
        if (branching := self.branching()) is not None:
            branching.save(folder.branching)
