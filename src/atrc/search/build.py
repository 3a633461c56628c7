"""From a recipe to what a search trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atrc.distillation import Distillation
from atrc.network import MultiTaskNetwork, NetworkConfig
from atrc.network.build import assemble, configured_backbone, configured_genotype, make_distillation
from atrc.search import supergraph
from atrc.search.branches import BranchSupergraph
from atrc.tasks import Task


def build_supergraph(config: NetworkConfig, tasks: Sequence[Task], space: str, *, seed: int = 0) -> MultiTaskNetwork:
    """Put the network together whose contexts or branches a search chooses.

    Args:
        config: What it is made of.
        tasks: The tasks to predict.
        space: "contexts" or "branches".
        seed: The run's, for the genotype "random" of a search of branches.

    Raises:
        UserError: Parts that do not fit together.
    """
    names = [task.name for task in tasks]
    make: Callable[[int], Distillation]
    if space == "contexts":
        make = supergraph(names, config.attention_channels)
        return assemble(config, tasks, configured_backbone(config), make)
    make = make_distillation(config, names, configured_genotype(config, names, seed))
    return assemble(config, tasks, BranchSupergraph(configured_backbone(config), names), make)
