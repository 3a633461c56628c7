"""From configuration to network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from atrc.backbones import Backbone, build_backbone
from atrc.backbones.branched import BranchedBackbone, TaskBackbone
from atrc.branching import Branching
from atrc.contexts import CONTEXTS
from atrc.distillation import ATRC, GATES, Distillation, build_distillation, combined_atrc
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.necks import FPM, build_neck
from atrc.network.config import NetworkConfig
from atrc.network.network import MultiTaskNetwork
from atrc.tasks import Task

MakeDistillation = Callable[[int], Distillation]


def build_network(
    config: NetworkConfig,
    tasks: Sequence[Task],
    genotype: Genotype | None = None,
    branching: Branching | None = None,
    *,
    seed: int = 0,
) -> MultiTaskNetwork:
    """Put a network together. It keeps what it was built from, so it can be saved.

    Args:
        config: What it is made of.
        tasks: The tasks to predict.
        genotype: Used instead of `config.genotype`.
        branching: Used instead of `config.branching`.
        seed: The run's, for the genotype "random".

    Raises:
        UserError: Parts that do not fit together.
    """
    names = [task.name for task in tasks]
    if genotype is None or config.distillation != "atrc":
        genotype = configured_genotype(config, names, seed)
    make = make_distillation(config, names, genotype)
    shared = configured_backbone(config)
    backbone: Backbone | TaskBackbone = shared
    if branching is None and config.branching is not None:
        branching = resolve_branching(config.branching, names, len(shared.stages()))
    if branching is not None:
        backbone = BranchedBackbone(shared, branching)
    network = assemble(config, tasks, backbone, make)
    network.config, network.branching = config, branching
    return network


def configured_backbone(config: NetworkConfig) -> Backbone:
    """Make the backbone of a configuration, shared by all tasks."""
    options = {key: getattr(config, key) for key in ("drop_path", "hrnet_upsampling", "vit_layers")}
    return build_backbone(config.backbone, config.pretrained, **options)


def make_distillation(config: NetworkConfig, tasks: Sequence[str], genotype: Genotype | None) -> MakeDistillation:
    """Return what makes the distillation module once the channels of its features are known.

    Args:
        config: Which, and its options.
        tasks: Names of the tasks.
        genotype: The contexts of "atrc".

    Raises:
        UserError: A genotype of other tasks.
    """
    d, dropout = config.attention_channels, config.dropout
    if genotype is not None:
        _require_tasks("this genotype", genotype, tasks)
        return functools.partial(ATRC, genotype, attention_channels=d, dropout=dropout)
    if config.distillation in GATES:
        return functools.partial(combined_atrc, config.distillation, tasks, attention_channels=d, dropout=dropout)
    return functools.partial(build_distillation, config.distillation, tasks, own_weight=config.own_weight)


def assemble(
    config: NetworkConfig, tasks: Sequence[Task], backbone: Backbone | TaskBackbone, make: MakeDistillation
) -> MultiTaskNetwork:
    """Put backbone, neck, heads and distillation together.

    Args:
        config: Which neck, and where to distil.
        tasks: The tasks to predict.
        backbone: Shared by all tasks, or branched.
        make: Channels of the features -> distillation module.

    Raises:
        UserError: Distillation at levels that the neck does not make.
    """
    neck = build_neck(config.neck, backbone.channels, backbone.strides, tasks, config.fpm_softmax)
    if config.distil_at == "all" and not isinstance(neck, FPM):
        raise UserError(
            f"network.distil_at all needs levels of every task's own, which network.neck {config.neck} does not make; "
            "use network.neck fpm, or network.distil_at finest"
        )
    return MultiTaskNetwork(tasks, backbone, make, neck, distil_at=config.distil_at)


def configured_genotype(config: NetworkConfig, tasks: Sequence[str], seed: int = 0) -> Genotype | None:
    """Return the genotype that a configuration names; None for a distillation that has none.

    Raises:
        UserError: A genotype is missing, has no use, or is not to be found.
    """
    if config.distillation == "atrc":
        if config.genotype is None:
            raise UserError("network.distillation atrc needs network.genotype: a file, a published name or a context")
        return resolve_genotype(config.genotype, tasks, seed)
    if config.genotype is not None:
        raise UserError(
            f"network.genotype {config.genotype} goes with network.distillation atrc, not with "
            f"{config.distillation}; leave one of them out"
        )
    return None


def resolve_genotype(spec: str, tasks: Sequence[str], seed: int = 0) -> Genotype:
    """Turn a recipe's genotype into one: a context for all pairs, "random:SEED", a published name or a file.

    Args:
        spec: The recipe's genotype.
        tasks: Targets and sources.
        seed: What "random" without a seed of its own is drawn by: that of the run.

    Raises:
        UserError: Nothing of that name, or a genotype of other tasks.
    """
    if spec in CONTEXTS:
        return Genotype.uniform(tasks, spec)
    if spec == "random":
        return Genotype.random(tasks, seed)
    kind, _, own = spec.partition(":")
    if kind == "random":
        if not own.isdigit():
            raise UserError(f"genotype '{spec}': write random:SEED with a whole number, for example random:0")
        return Genotype.random(tasks, int(own))
    genotype = Genotype.load(spec)
    _require_tasks(f"genotype '{spec}'", genotype, tasks)
    return genotype


def resolve_branching(spec: str, tasks: Sequence[str], stages: int) -> Branching:
    """Turn a recipe's branching into one: "at:N" or a file.

    Raises:
        UserError: Nothing of that name, or a branching of other tasks.
    """
    kind, _, shared = spec.partition(":")
    if kind == "at":
        if not shared.isdigit() or not 1 <= int(shared) <= stages:
            raise UserError(f"branching '{spec}': write at:N, with N from 1 to {stages}, the stages of the backbone")
        return Branching.at(int(shared), tasks, stages)
    branching = Branching.load(spec)
    if set(branching.tasks) != set(tasks):
        raise UserError(
            f"branching '{spec}' is for the tasks {', '.join(branching.tasks)}; the network predicts {', '.join(tasks)}"
        )
    return branching


def _require_tasks(what: str, genotype: Genotype, tasks: Sequence[str]) -> None:
    for given in (genotype.targets, genotype.sources):
        if set(given) != set(tasks):
            raise UserError(f"{what} is for the tasks {', '.join(given)}; the network predicts {', '.join(tasks)}")
