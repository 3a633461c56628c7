"""Everything a run depends on: typed, and the same in YAML, on the command line and in a checkpoint."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from atrc.network.config import EARLIER, NetworkConfig

__all__ = [
    "DataConfig",
    "LossConfig",
    "NetworkConfig",
    "OptimConfig",
    "Recipe",
    "SearchConfig",
    "differences",
    "flatten",
]


@dataclass
class DataConfig:
    """Where the images come from and how they are augmented.

    Attributes:
        root: Data set folder: NYUD_MT, PASCAL_MT, Rooms, or one's own with a dataset.yaml. An archive next to it
            is unpacked first.
        url: Where to download the archive of a folder that is not there.
        tasks: Tasks to predict; all that the data set labels if empty.
        crop: Height and width of training crops; evaluation pads to it [px].
        batch_size: Images of a step, over all devices.
        scale: Range of the random rescale.
        distortion: Strength of the photometric distortion: 1 as in the paper, 0 for none.
        labels: How crops treat labels: "exact" resizes them by the centres of the pixels, and what shows no human part
            is background; "released" does as the released code: OpenCV's corner rule, and a crop without human parts
            is ignored for that task. The recipes of the paper set it.
        centroids: NPY file of 40 unit vectors, the label regions of normals: a published network needs those that it
            was trained with. By default they are computed from the training normals.
        workers: Loader processes per device; 0 loads in the training process. By default 0 on a CPU, where a loader
            would only take cores from the training, and up to 8 on a GPU.
    """

    root: str = "data/rooms"
    url: str | None = None
    tasks: list[str] = field(default_factory=list)
    crop: tuple[int, int] = (425, 560)
    batch_size: int = 8
    scale: tuple[float, float] = (0.5, 2.0)
    distortion: float = 1.0
    labels: Literal["exact", "released"] = "exact"
    centroids: str | None = None
    workers: int | None = None

    def loader_workers(self, device_type: str, devices: int = 1) -> int:
        """Return the number of loader processes of each device."""
        if self.workers is not None:
            return self.workers
        return 0 if device_type == "cpu" else min(8, (os.cpu_count() or 1) // devices)


@dataclass
class LossConfig:
    """Losses that differ from the paper's, by name of a task with classes. A `dataset.yaml` may set them too.

    Attributes:
        class_weights: Weights of the classes: a list of numbers, or "median_frequency" for the median frequency of a
            class over its own, in the training images.
        label_smoothing: Share of the loss that goes to all classes alike, such as 0.1.
    """

    class_weights: dict[str, list[float] | Literal["median_frequency"]] = field(default_factory=dict)
    label_smoothing: dict[str, float] = field(default_factory=dict)


@dataclass
class OptimConfig:
    """How the network's weights are trained. Source: Sec. A and the released settings.

    Attributes:
        steps: Iterations.
        lr: Learning rate at the start of the schedule.
        optimizer: "sgd" (the paper), "nesterov", "adam", "adamw", "nadamw", "adan", "lamb", "lion", "muon" or
            "rmsprop".
        momentum: Momentum of the optimisers that have it: sgd, nesterov, muon, rmsprop.
        weight_decay: Weight decay.
        decay_all: Whether norms and biases decay too, as in the paper.
        schedule: "polynomial" (the paper), "cosine" or "constant" learning rate.
        power: Power of the polynomial (1 - step / steps) ** power.
        warmup: Steps over which the learning rate first rises linearly; the schedule takes the remaining ones.
        backbone_lr_factor: Factor of the learning rate of the backbone.
        layer_decay: Factor of the learning rate from one layer of the backbone to the layer below it; 1 for none.
        clip: Largest norm of the weights' gradient; unlimited if not given.
        accumulate: Parts in which the images of a step go through the network, to save memory.
        ema: Decay of a moving average of the weights, such as 0.999, which is then evaluated and shared in place of
            the weights; none if not given.
        balancing: How the tasks' losses become one gradient: "fixed" weights (the paper), "uncertainty" (learned
            weights), or "torchjd:AGGREGATOR", such as torchjd:UPGrad, with the extra atrc[balancing].
    """

    steps: int = 40_000
    lr: float = 0.01
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_all: bool = True
    schedule: str = "polynomial"
    power: float = 0.9
    warmup: int = 0
    backbone_lr_factor: float = 1.0
    layer_decay: float = 1.0
    clip: float | None = None
    accumulate: int = 1
    ema: float | None = None
    balancing: str = "fixed"


@dataclass
class SearchConfig:
    """How the genotype is searched. Source: Sec. 3.3 and the released settings.

    Attributes:
        space: "contexts" for a genotype, or "branches" for a branched backbone (BMTAS).
        lr: Learning rate of Adam on the architecture parameters.
        temperature: Gumbel-softmax temperature at the first and the last step.
        entropy_weight: Weight of the mean entropy in the loss at the first and the last step.
        lead: A block is fixed once its best probability leads the second by this much.
        clip: Largest norm of the gradient of weights and architecture parameters together; unlimited if null.
        cost_weight: Weight, in the loss, of the expected cost of what is searched. For contexts: multiply-adds as a
            share of those of the most expensive genotype; the paper has none, which is 0. For branches: GFLOPs of an
            image, for every task (0.05 in the recipe search/branches).
        warmup: Share of the steps before the architecture parameters are trained, for branches.
    """

    space: Literal["contexts", "branches"] = "contexts"
    lr: float = 5e-4
    temperature: tuple[float, float] = (1.0, 0.05)
    entropy_weight: tuple[float, float] = (-0.02, 0.06)
    lead: float = 0.3
    clip: float | None = 10.0
    cost_weight: float = 0.0
    warmup: float = 0.0


@dataclass
class Recipe:
    """One run.

    Attributes:
        out: The run's folder.
        data: Images and augmentation.
        network: What is trained.
        loss: Losses that differ from the paper's.
        optim: How its weights are trained.
        search: How a genotype is searched (`atrc search` only).
        seed: Fixes initial weights, batches, augmentation and sampling.
        validate_every: Steps between validations and checkpoints; only at the end if 0.
        log_every: Steps between rows of train.csv.
        log: Where curves go: "csv" (tables in the run's folder), "tensorboard", "wandb" and "mlflow"; the last two
            need the extra atrc[log].
        precision: "32", "64", "bf16", "16" (mixed), or "auto": bf16 on GPUs that have it, else 32.
        accelerator: As in Lightning: "auto", "cpu", "gpu" ..
        devices: Number of devices, of every node.
        nodes: Number of nodes; more than one are started by torchrun or Slurm's srun.
        timeout: Seconds that a process of a distributed run waits for another before the run ends: more than the
            slowest takes to start, or to evaluate its share [s].
        deterministic: Use only deterministic kernels (on a GPU set CUBLAS_WORKSPACE_CONFIG=:4096:8 too).
        recompute: What to compute again in the backward pass instead of keeping it, for the same numbers in less memory
            and more time: "nothing", the "distillation" (ATRC's, target by target) or the whole "network", part by
            part. By default the distillation of a search, else nothing.
        channels_last: Keep feature maps with their channels last, which convolutions on GPUs in bf16 or fp16 prefer.
        compile: Backend of torch.compile to train with, such as inductor; not for searches, whose graph changes.
    """

    out: str = "runs/run"
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    seed: int = 0
    validate_every: int = 2000
    log_every: int = 50
    log: list[str] = field(default_factory=lambda: ["csv", "tensorboard"])
    precision: Literal["auto", "32", "64", "bf16", "16"] = "auto"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    timeout: int = 600
    deterministic: bool = False
    recompute: Literal["nothing", "distillation", "network"] | None = None
    channels_last: bool = False
    compile: str | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.out)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


# What a continuation may change: where and on what it runs. (Dropout is drawn per process, so another number of
# devices is the same run only in distribution.)
FREE = (
    "out",
    "data.root",
    "data.url",
    "data.workers",
    "accelerator",
    "devices",
    "nodes",
    "timeout",
    "log_every",
    "log",
    "recompute",
)


EARLIER_DATA = {"distortion": None}  # images were distorted and padded in another way


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Name the keys, dotted, in which two recipes differ, leaving out what does not change the result."""
    # For keys that a recipe of an older atrc does not have yet
    defaults = flatten(Recipe().to_dict()) | flatten({"network": EARLIER, "data": EARLIER_DATA})
    a, b = defaults | flatten(one), defaults | flatten(other)
    return [key for key in dict.fromkeys([*a, *b]) if key not in FREE and a.get(key) != b.get(key)]


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dictionaries into dotted keys; tuples become lists, as in YAML and JSON."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
