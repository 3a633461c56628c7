"""What a kind of run does in a step, as hooks of the loop: here training; searches are in `search.py`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import Optimizer

from atrc.backbones.branched import BranchedBackbone
from atrc.branching import Branching
from atrc.data.sampling import StepSampler
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.training.balancing import build_balancing
from atrc.training.optim import build_optimizer, build_schedule, parameter_groups
from atrc.training.recipe import Recipe
from atrc.training.run.folder import RunFolder


class TrainPhase:
    """Training of a network whose blocks are fixed.

    Attributes:
        weights: The parameters that the recipe's optimiser trains.
        optimizer: Steps after every backward pass.
        clipped: The parameters whose gradient is clipped.
        clip: Largest norm of their gradient; unlimited if None.
    """

    name = "train"

    def __init__(self, network: MultiTaskNetwork, recipe: Recipe) -> None:
        self.network, self.recipe, config = network, recipe, recipe.optim
        self.weights = [parameter for parameter in self.find_weights() if parameter.requires_grad]
        self.balancing = build_balancing(config.balancing, network.tasks, self.weights)
        groups = parameter_groups(network, self.weights, config)
        if learned := list(self.balancing.parameters()):
            groups.append({"params": learned, "weight_decay": 0.0})
        self.weight_optimizer = build_optimizer(
            config.optimizer, groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
        self.optimizer: Optimizer = self.weight_optimizer
        self.clipped, self.clip = self.weights, config.clip
        self.set_learning_rate = build_schedule(self.weight_optimizer, config)

    def find_weights(self) -> list[nn.Parameter]:
        """Return the parameters of the network, without those of an architecture."""
        return list(self.network.parameters())

    def sampler(self, images: int, **ranks: int) -> StepSampler:
        """Return what draws batches from a number of images; `ranks` are `start`, `rank` and `world` of the sampler."""
        recipe = self.recipe
        return StepSampler(images, recipe.data.batch_size, recipe.optim.steps, recipe.seed, **ranks)

    def before(self, step: int) -> None:
        """Prepare a step."""
        self.set_learning_rate(step)

    def regulariser(self, step: int) -> Tensor | None:
        """Return what is added to the task losses."""
        return None

    def after(self, step: int) -> list[str]:
        """Finish a step; return messages for the user."""
        return []

    def traces(self, step: int) -> dict[str, float]:
        """Return scalars of the step to log; the learning rate is that of the heads."""
        weights = {f"weight/{task}": weight for task, weight in self.balancing.weights().items()}
        return {"lr": max(group["lr"] for group in self.weight_optimizer.param_groups), **weights}

    def probabilities(self) -> dict[str, float]:
        """Return the probabilities of the candidates; empty outside a search."""
        return {}

    def genotype(self, step: int) -> Genotype | None:
        """Return the genotype of the network, if it has one."""
        found = self.network.genotype
        return found if isinstance(found, Genotype) else None

    def branching(self) -> Branching | None:
        """Return the tree of the backbone, if it branches."""
        return self.network.backbone.branching if isinstance(self.network.backbone, BranchedBackbone) else None

    def save_found(self, folder: RunFolder, step: int) -> None:
        """Write the genotype and the branching, if there are any."""
        if (genotype := self.genotype(step)) is not None:
            genotype.save(folder.genotype)
        if (branching := self.branching()) is not None:
            branching.save(folder.branching)
