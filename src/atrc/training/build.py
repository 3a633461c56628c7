"""From configuration to network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atrc.backbones import build_backbone
from atrc.distillation import ATRC, Distillation
from atrc.errors import UserError
from atrc.genotype import CONTEXTS, Genotype
from atrc.network import MultiTaskNetwork
from atrc.search import supergraph
from atrc.tasks import Task
from atrc.training.recipe import NetworkConfig


def resolve_genotype(spec: str, tasks: Sequence[str]) -> Genotype:
    """Turn a recipe's genotype into one: a context for all pairs, "random:SEED", a published name or a file.

    Raises:
        UserError: Nothing of that name, or a genotype of other tasks.
    """
    if spec in CONTEXTS:
        return Genotype.uniform(tasks, spec)
    kind, _, seed = spec.partition(":")
    if kind == "random":
        if not seed.isdigit():
            raise UserError(f"genotype '{spec}': write random:SEED with a whole number, for example random:0")
        return Genotype.random(tasks, int(seed))
    genotype = Genotype.load(spec)
    for given in (genotype.targets, genotype.sources):
        if set(given) != set(tasks):
            raise UserError(
                f"genotype '{spec}' is for the tasks {', '.join(given)}; the network predicts {', '.join(tasks)}"
            )
    return genotype


def build_network(
    config: NetworkConfig, tasks: Sequence[Task], genotype: Genotype | None = None, *, search: bool = False
) -> MultiTaskNetwork:
    """Put a network together.

    Args:
        config: Backbone and distillation.
        tasks: The tasks to predict.
        genotype: Used in place of `config.genotype`, by checkpoints that carry theirs.
        search: Make the supergraph instead of fixed blocks.

    Raises:
        UserError: Parts that do not fit together.
    """
    names = [task.name for task in tasks]
    make: Callable[[int], Distillation] | None = None
    if search:
        make = supergraph(names, config.attention_channels)
    elif config.distillation == "atrc":
        if genotype is None and config.genotype is None:
            raise UserError("network.distillation atrc needs network.genotype: a file, a published name or a context")
        fixed = genotype or resolve_genotype(str(config.genotype), names)

        def make(channels: int) -> Distillation:
            return ATRC(fixed, channels, config.attention_channels, dropout=config.dropout)

    return MultiTaskNetwork(tasks, build_backbone(config.backbone, config.pretrained), make)
