"""From configuration to network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from atrc.backbones import Backbone, build_backbone
from atrc.backbones.branched import BranchedBackbone, TaskBackbone
from atrc.branching import Branching
from atrc.distillation import ATRC, COMBINATIONS, Distillation, MultiScale, build_distillation, combined_atrc
from atrc.errors import UserError
from atrc.genotype import CONTEXTS, Genotype
from atrc.necks import FPM, build_neck
from atrc.network import MultiTaskNetwork
from atrc.search import supergraph
from atrc.search.branches import BranchSupergraph
from atrc.tasks import Task
from atrc.training.recipe import NetworkConfig


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
    for given in (genotype.targets, genotype.sources):
        if set(given) != set(tasks):
            raise UserError(
                f"genotype '{spec}' is for the tasks {', '.join(given)}; the network predicts {', '.join(tasks)}"
            )
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


def build_network(
    config: NetworkConfig,
    tasks: Sequence[Task],
    genotype: Genotype | None = None,
    branching: Branching | None = None,
    *,
    search: str | None = None,
    seed: int = 0,
) -> MultiTaskNetwork:
    """Put a network together.

    Args:
        config: Backbone and distillation.
        tasks: The tasks to predict.
        genotype: Used in place of `config.genotype`, by checkpoints that carry theirs.
        branching: Used in place of `config.branching`, likewise.
        search: Make the supergraph of "contexts" or "branches" instead.
        seed: The run's, for the genotype "random".

    Raises:
        UserError: Parts that do not fit together.
    """
    names = [task.name for task in tasks]
    make: Callable[[int], Distillation]
    if search == "contexts":
        make = supergraph(names, config.attention_channels)
    else:
        make = _fixed(config, names, genotype, seed)
    backbone = _backbone(config, names, branching, search == "branches")
    neck = build_neck(config.neck, backbone.channels, backbone.strides, tasks)
    if config.distil_at == "finest":
        return MultiTaskNetwork(tasks, backbone, make, neck)
    if not isinstance(neck, FPM):
        raise UserError(
            f"network.distil_at all needs levels of every task's own, which network.neck {config.neck} does not make; "
            "take network.neck fpm, or network.distil_at finest"
        )
    return MultiTaskNetwork(tasks, backbone, neck=MultiScale(neck, make, tasks))


def _backbone(
    config: NetworkConfig, tasks: Sequence[str], branching: Branching | None, search: bool
) -> Backbone | TaskBackbone:
    backbone = build_backbone(config.backbone, config.pretrained)
    if search:
        return BranchSupergraph(backbone, tasks)
    if branching is None and config.branching is None:
        return backbone
    return BranchedBackbone(
        backbone, branching or resolve_branching(str(config.branching), tasks, len(backbone.stages()))
    )


def _fixed(
    config: NetworkConfig, tasks: Sequence[str], genotype: Genotype | None, seed: int
) -> Callable[[int], Distillation]:
    if config.distillation != "atrc":
        if config.genotype is not None:
            raise UserError(
                f"network.genotype {config.genotype} goes with network.distillation atrc, not with "
                f"{config.distillation}; leave one of them out"
            )
        if config.distillation not in COMBINATIONS:
            return functools.partial(build_distillation, config.distillation, tasks)
        return functools.partial(
            combined_atrc,
            config.distillation,
            tasks,
            attention_channels=config.attention_channels,
            dropout=config.dropout,
        )
    if genotype is None and config.genotype is None:
        raise UserError("network.distillation atrc needs network.genotype: a file, a published name or a context")
    fixed = genotype or resolve_genotype(str(config.genotype), tasks, seed)
    return functools.partial(ATRC, fixed, attention_channels=config.attention_channels, dropout=config.dropout)
