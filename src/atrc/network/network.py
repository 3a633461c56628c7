"""The one main idea: image -> backbone -> neck -> heads -> distillation -> predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.backbones import Backbone
from atrc.backbones.branched import TaskBackbone
from atrc.branching import Branching
from atrc.distillation import ATRC, Distillation, NoDistillation
from atrc.genotype import Genotype, SearchSpace
from atrc.heads import auxiliary_head, final_layer, main_head
from atrc.necks import ConcatNeck, Neck, resize
from atrc.network.config import NetworkConfig
from atrc.tasks import Task

# b batch, h w image


class Output(NamedTuple):
    """What a network returns: dictionaries by task.

    Attributes:
        predictions: P_n, unnormalised, at image size.
        auxiliary: A_n, logits over label regions at feature size, for the tasks that need them.
        features: Refined features at feature size.
        initial: Unnormalised predictions of every level of a neck that makes some, at the level's size.
    """

    predictions: dict[str, Float[Tensor, "b _ h w"]]
    auxiliary: dict[str, Float[Tensor, "b _ _ _"]]
    features: dict[str, Float[Tensor, "b _ _ _"]]
    initial: dict[str, list[Float[Tensor, "b _ _ _"]]]


class MultiTaskNetwork(nn.Module):
    """One network, several dense predictions. Source: Fig. 2.

    With one task it is the single-task baseline, with `NoDistillation` the multi-task baseline.

    Attributes:
        config: What `build_network` built it from, so that it can be saved; else None.
        branching: Groups of tasks by stage of the backbone; None if all tasks share it.
        size: Height and width of the training crops [px], if known; images of about that size suit it best.
    """

    config: NetworkConfig | None = None
    branching: Branching | None = None
    size: tuple[int, int] | None = None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Backbone | TaskBackbone,
        make_distillation: Callable[[int], Distillation] | None = None,
        neck: Neck | None = None,
    ) -> None:
        """Put a network together.

        Args:
            tasks: The tasks to predict.
            backbone: Shared by all tasks, or branched.
            make_distillation: Channels c of every F_n -> distillation module; none by default.
            neck: What is between backbone and heads; all levels concatenated by default.
        """
        super().__init__()
        self.tasks = tuple(tasks)
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)
        self.neck = neck or ConcatNeck(backbone.channels)
        shared, channels = self.neck.channels, self.neck.channels // 4
        self.distillation = make_distillation(channels) if make_distillation else NoDistillation()
        labelled = [task for task in self.tasks if task.name in self.distillation.label_tasks]
        self.heads = nn.ModuleDict({t.name: main_head(shared, channels) for t in self.tasks})
        self.auxiliary = nn.ModuleDict({t.name: auxiliary_head(shared, t.region_count) for t in labelled})
        self.final = nn.ModuleDict({t.name: final_layer(channels, t.channels) for t in self.tasks})

    @property
    def genotype(self) -> Genotype | SearchSpace | None:
        """The contexts of its ATRC modules, if it has some."""
        return next((module.genotype for module in self.modules() if isinstance(module, ATRC)), None)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Output:
        """Predict every task for RGB images in [0, 1] of any size."""
        levels = self.backbone((image - self.mean) / self.std)
        by_task = levels if isinstance(levels, dict) else {task.name: levels for task in self.tasks}
        shared, initial, auxiliary = self.neck(by_task)
        features = {name: head(shared[name]) for name, head in self.heads.items()}
        auxiliary = auxiliary | {name: head(shared[name].detach()) for name, head in self.auxiliary.items()}
        refined = self.distillation(features, auxiliary)
        predictions = {name: resize(layer(refined[name]), image) for name, layer in self.final.items()}
        return Output(predictions, auxiliary, refined, initial)
