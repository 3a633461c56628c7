"""The network: image -> backbone -> neck -> heads -> distillation -> predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from atrc.backbones import Backbone
from atrc.backbones.branched import TaskBackbone
from atrc.branching import Branching
from atrc.distillation import Distillation, MultiScale, NoDistillation
from atrc.genotype import Genotype, SearchSpace
from atrc.heads import auxiliary_head, final_layer, main_head
from atrc.necks import ConcatNeck, Neck, join, once_each, resize
from atrc.network.config import NetworkConfig
from atrc.network.inference import Inference
from atrc.network.predict import Predictions, predict
from atrc.tasks import Task

# b batch, h w image


class Output(NamedTuple):
    """What a network returns: dictionaries by task.

    Attributes:
        predictions: P_n, unnormalised, at image size.
        auxiliary: A_n, logits over label regions at feature size, for the tasks that need them.
        features: Refined features at feature size, which the final layers read.
        initial: Unnormalised predictions at every level of necks that make them, at the size of the level.
    """

    predictions: dict[str, Float[Tensor, "b _ h w"]]
    auxiliary: dict[str, Float[Tensor, "b _ _ _"]]
    features: dict[str, Float[Tensor, "b _ _ _"]]
    initial: dict[str, list[Float[Tensor, "b _ _ _"]]]


class Encoded(NamedTuple):
    """What the distillation reads: dictionaries by task.

    Attributes:
        features: F_n, or the levels of every task where the distillation is over levels.
        auxiliary: A_n, for the tasks that need them.
        initial: As in `Output`.
    """

    features: dict[str, Any]
    auxiliary: dict[str, Float[Tensor, "b _ _ _"]]
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
        *,
        distil_at: Literal["finest", "all"] = "finest",
    ) -> None:
        """Put a network together.

        Args:
            tasks: The tasks to predict.
            backbone: Shared by all tasks, or branched.
            make_distillation: Channels c of the features -> distillation module; by default none.
            neck: What is between backbone and heads; by default all levels, concatenated.
            distil_at: "finest" distils the features F_n of the heads, "all" every level before the heads.
        """
        super().__init__()
        self.tasks = tuple(tasks)
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)
        self.neck = neck or ConcatNeck(backbone.channels)
        shared, channels = self.neck.channels, self.neck.channels // 4
        make = make_distillation or (lambda channels: NoDistillation())
        self.distillation: Distillation = (
            make(channels) if distil_at == "finest" else MultiScale([make(c) for c in self.neck.level_channels])
        )
        labelled = [task for task in self.tasks if task.name in self.distillation.label_tasks]
        self.heads = nn.ModuleDict({t.name: main_head(shared, channels) for t in self.tasks})
        self.auxiliary = nn.ModuleDict({t.name: auxiliary_head(shared, t.region_count) for t in labelled})
        self.final = nn.ModuleDict({t.name: final_layer(channels, t.channels) for t in self.tasks})

    @property
    def genotype(self) -> Genotype | SearchSpace | None:
        """The contexts of ATRC, if the network has it."""
        return self.distillation.genotype

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Output:
        """Predict every task for RGB images in [0, 1] of any size."""
        features, auxiliary, initial = self.encode(image)
        refined, predictions = self.decode(self.distillation(features, auxiliary), image)
        return Output(predictions, auxiliary, refined, initial)

    def predict(
        self,
        image: str | Path | Image.Image | np.ndarray | Tensor,
        *,
        max_side: int | None = None,
        window: tuple[int, int] | None = None,
        tta: str | None = None,
    ) -> Predictions:
        """Predict one image: arrays by task, as large as the image and in the units of the tasks.

        Args:
            image: A file, a PIL image, an array (h w 3) or a tensor (3 h w): RGB as bytes, or as floats in [0, 1].
            max_side: Shrink larger images to this side for the network [px]. By default they are shrunk to its training
                size, or not at all with a window.
            window: Height and width of a sliding window [px].
            tta: Test-time augmentation: "flip", scales, or both, such as "flip,0.75,1.25".

        Raises:
            UserError: Not an image, or an invalid value.
        """
        return predict(self, image, max_side, Inference.parse(window, tta))

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Encoded:
        """Return what the distillation reads."""
        levels = self.backbone((image - self.mean) / self.std)
        by_task = levels if isinstance(levels, dict) else {task.name: levels for task in self.tasks}
        own, initial = self.neck(by_task)
        shared = once_each(own, join)
        auxiliary = {name: head(shared[name].detach()) for name, head in self.auxiliary.items()}
        if isinstance(self.distillation, MultiScale):
            return Encoded(own, auxiliary, initial)
        return Encoded({name: head(shared[name]) for name, head in self.heads.items()}, auxiliary, initial)

    def decode(
        self, refined: Mapping[str, Any], image: Float[Tensor, "b 3 h w"]
    ) -> tuple[dict[str, Float[Tensor, "b _ _ _"]], dict[str, Float[Tensor, "b _ h w"]]]:
        """Return the features that the final layers read and the predictions P_n, of the tasks in `refined`."""
        if isinstance(self.distillation, MultiScale):
            refined = {name: self.heads[name](join(levels)) for name, levels in refined.items()}
        return dict(refined), {name: resize(self.final[name](f), image) for name, f in refined.items()}
