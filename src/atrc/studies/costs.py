"""What networks cost: counted from recipes before a study runs, and from its checkpoints afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from atrc.errors import UserError
from atrc.network import NetworkConfig, build_network
from atrc.search import Supergraph
from atrc.search.build import build_supergraph
from atrc.studies.cells import Cell, Stage
from atrc.studies.measured import COSTS, Measured
from atrc.studies.study import Study
from atrc.tasks import Task
from atrc.training.resources import count_multiply_adds, count_parameters
from atrc.training.run.checkpoint import Checkpoint

Count = tuple[int, int]  # parameters, multiply-adds of one image
PASSES = 3  # a training step in forward passes: the backward pass takes twice as many multiply-adds


@dataclass(frozen=True)
class Estimate:
    """What training a cell takes.

    Attributes:
        images: Training images of all its stages; an image counts every time it is used.
        multiply_adds: Of all steps, forward and backward; None if a network cannot be built.
        reason: Why it cannot.
    """

    images: int
    multiply_adds: int | None
    reason: str = ""


def estimate(study: Study, cells: Iterable[Cell]) -> dict[Cell, Estimate]:
    """Return what training the cells takes, before they run.

    Searches count as if they fixed no block; what they find counts as the genotype and branching of the row's recipes.
    """
    rows, known = {row.name: row for row in study.rows}, dict[str, int | str]()
    found = {}
    for cell in cells:
        own = study.recipe(rows[cell.row]).network
        images = [stage.recipe.optim.steps * stage.recipe.data.batch_size for stage in cell.stages]
        counts = [_count_stage(study, cell, stage, own, known) for stage in cell.stages]
        unknown = next((count for count in counts if isinstance(count, str)), "")
        total = sum(PASSES * n * count for n, count in zip(images, counts, strict=True) if isinstance(count, int))
        found[cell] = Estimate(sum(images), None if unknown else total, unknown)
    return found


def _count_stage(study: Study, cell: Cell, stage: Stage, own: NetworkConfig, known: dict[str, int | str]) -> int | str:
    """Return the multiply-adds of one image in a stage's forward pass, or why its network cannot be built."""
    config, data = stage.recipe.network, stage.recipe.data
    genotype, branching = config.genotype and own.genotype, config.branching and own.branching
    config = replace(config, pretrained=False, genotype=genotype, branching=branching)
    tasks = [task for task in study.tasks if task.name in data.tasks or not data.tasks]
    space = stage.recipe.search.space if stage.search else None
    key = repr((config, data.crop, [task.name for task in tasks], space))
    if key not in known:
        try:
            known[key] = _count_training(config, tasks, data.crop, space)
        except UserError as error:
            known[key] = str(error)
    return known[key]


def _count_training(config: NetworkConfig, tasks: Sequence[Task], size: Sequence[int], space: str | None) -> int:
    with torch.device("meta"):  # counting needs no memory
        network = build_supergraph(config, tasks, space) if space else build_network(config, tasks)
    images = torch.zeros(2, 3, *size, device="meta")  # two: batch norm needs several values
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        if space:
            cast(Any, network.backbone if space == "branches" else Supergraph(network)).sample(1.0, 0)
        network.train()(images)
    return counter.get_total_flops() // 2 // len(images)


class Counter:
    """Counts the networks of finished cells; equal architectures are counted once.

    Attributes:
        tell: Called with the name of every cell that is counted.
    """

    def __init__(self, tell: Callable[[str], object] = lambda name: None) -> None:
        self.tell = tell
        self.known: dict[str, Count] = {}

    def add_to(self, row: Measured) -> list[str]:
        """Add the costs of a row's finished networks to its values; return what could not be counted, and why."""
        unknown: dict[int, str] = {}
        for seed in row.seeds:
            try:
                counts = [self.cell(cell) for cell in row.cells if cell.seed == seed]
            except UserError as error:
                unknown[seed] = str(error)
                continue
            for quantity, values in zip(COSTS, zip(*counts, strict=True), strict=True):
                row.values.setdefault(quantity.name, {})[seed] = sum(values)
        if not unknown:
            return []
        seeds, reason = ", ".join(map(str, unknown)), next(iter(unknown.values()))
        return [f"{row.name}: parameters and multiply-adds are unknown for seed {seeds}: {reason}"]

    def cell(self, cell: Cell) -> Count:
        """Count the network of a cell."""
        key = _architecture(cell)
        if key not in self.known:
            self.tell(str(cell))
            network = Checkpoint.load(cell.run.checkpoint).build()
            height, width = cell.stages[-1].recipe.data.crop
            self.known[key] = count_parameters(network), count_multiply_adds(network, (height, width))
        return self.known[key]


def _architecture(cell: Cell) -> str:
    """Return what a cell's counts depend on, as text."""
    recipe, run = cell.stages[-1].recipe, cell.run
    found = [file.read_text(encoding="utf-8") for file in (run.genotype, run.branching) if file.exists()]
    data = [recipe.data.crop, [cell.task] if cell.task else recipe.data.tasks]
    # The run's own genotype, too: the recipe may name a file, or ask for a random one. It also has the step, which
    # only costs a second count where it differs.
    return json.dumps([vars(recipe.network), data, found])
