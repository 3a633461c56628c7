"""A run, on Lightning Fabric: devices, precision and processes are Fabric's, the loop is ours.

Everything random in a step is a function of the seed and the step. A run that resumes at a step therefore repeats
exactly what an unbroken one does there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch
from lightning.fabric import Fabric
from tqdm import tqdm

from atrc.data.centroids import with_centroids
from atrc.data.dataset import MultiTaskDataset
from atrc.data.layouts import open_dataset
from atrc.data.loader import Loader
from atrc.data.sample import Batch, collate
from atrc.data.sampling import Augmented
from atrc.errors import UserError, lost_loaders
from atrc.files import write_atomic
from atrc.network import build_network
from atrc.search.build import build_supergraph
from atrc.tasks import Task, tasks_to_dicts
from atrc.training.distributed.processes import all_or_none, make_fabric
from atrc.training.distributed.sync_batch_norm import synchronise
from atrc.training.evaluation.evaluate import (
    Result,
    evaluate,
    evaluation_loader,
    read_results,
    results_to_dict,
    to_json,
)
from atrc.training.evaluation.protocol import describe_protocol
from atrc.training.execution import arrange
from atrc.training.fine_tuning import freeze, initialise
from atrc.training.logs import Logs
from atrc.training.losses import configure_losses
from atrc.training.nonfinite import Guard
from atrc.training.optim import averaged, make_ema
from atrc.training.phases.search import BranchSearch, ContextSearch
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import Recipe
from atrc.training.recipe.requirements import require_usable
from atrc.training.run.checkpoint import Checkpoint
from atrc.training.run.folder import RunFolder, storage
from atrc.training.run.lock import lock
from atrc.training.step import Losses, Stepper

PHASES: dict[str | None, type[TrainPhase]] = {None: TrainPhase, "contexts": ContextSearch, "branches": BranchSearch}


def fit(
    recipe: Recipe, *, search: bool = False, resume: bool = False, extend: int | None = None, progress: bool = True
) -> dict[str, Result]:
    """Train a recipe, or search its genotype, into the run's folder; return the final metrics.

    Args:
        recipe: What to do.
        search: Search over mixtures instead of training fixed blocks.
        resume: Continue the folder's run from its last checkpoint, if it has one.
        extend: Continue the folder's run up to this many steps in all, in place of `recipe.optim.steps`.
        progress: Show progress bars.

    Raises:
        UserError: Something in the recipe or the data cannot be used, a loss is not a finite number, the disk is full,
            or a process of a distributed run or of a loader was lost.
    """
    if extend is not None:
        recipe, resume = replace(recipe, optim=replace(recipe.optim, steps=extend)), True
    fabric = make_fabric(recipe, search)
    require_usable(recipe, search, fabric.world_size)
    cure = "make room, or give a folder that can be written to, then continue with --resume from the last checkpoint"
    fewer = "give data.workers fewer processes or 0, then continue with --resume from the last checkpoint"
    with lost_loaders(fewer), all_or_none(fabric), storage(recipe.out, cure), ExitStack() as stack:
        folder = RunFolder(recipe.folder)
        _require_free(folder, resume)
        data = prepare_data(fabric, recipe)
        phase = build_phase(fabric, recipe, data.tasks, search=search)
        run = Fit(fabric, recipe, data, phase, folder, progress=progress and fabric.global_rank == 0)
        if fabric.global_rank == 0:
            stack.enter_context(lock(folder.path))
            _require_free(folder, resume)
        start = run.resume(extend=extend is not None)
        if fabric.global_rank == 0:
            folder.begin(recipe)
        fabric.barrier()
        return run.run(start)


def _require_free(folder: RunFolder, resume: bool) -> None:
    if folder.checkpoint.exists() and not resume:
        raise UserError(f"{folder.path} holds a run already; continue it with --resume, or choose another --out")


@dataclass(frozen=True)
class RunData:
    """The images of a run, and the tasks with what is taken from its training images."""

    train: MultiTaskDataset
    val: MultiTaskDataset
    tasks: tuple[Task, ...]


def prepare_data(fabric: Fabric, recipe: Recipe) -> RunData:
    """Open the data sets; the first process computes what the others then read."""
    data = recipe.data
    train = open_dataset(data.root, "train", data.tasks, data.url)
    val = open_dataset(data.root, "val", data.tasks)
    with fabric.rank_zero_first():
        tasks = with_centroids(train, data.centroids)
        return RunData(train, val, configure_losses(tasks, recipe.loss, train))


def build_phase(fabric: Fabric, recipe: Recipe, tasks: tuple[Task, ...], *, search: bool) -> TrainPhase:
    """Build the network with the seed's weights, arranged as the recipe says, and what trains it."""
    if recipe.deterministic:
        torch.use_deterministic_algorithms(True)
    torch.manual_seed(recipe.seed)
    space = recipe.search.space if search else None
    build = partial(build_supergraph, space=space) if space else build_network
    network = build(recipe.network, tasks, seed=recipe.seed)
    if fabric.world_size > 1:
        synchronise(network, fabric.device.type)
    freeze(network, recipe.network.freeze)  # the modules that are there to stay
    return PHASES[space](network, recipe)


class Fit:
    """The loop of a run, and what it saves."""

    def __init__(
        self, fabric: Fabric, recipe: Recipe, data: RunData, phase: TrainPhase, folder: RunFolder, *, progress: bool
    ) -> None:
        """Set up network and optimiser on the devices of the run.

        Args:
            fabric: Devices and processes.
            recipe: Of the run.
            data: Its images.
            phase: What to train.
            folder: Where to save.
            progress: Whether to show progress bars.
        """
        self.fabric, self.recipe, self.data, self.phase, self.folder = fabric, recipe, data, phase, folder
        self.progress = progress
        self.seconds, self.began = 0.0, time.perf_counter()
        self.ema = make_ema(phase.network, recipe.optim.ema)
        if self.ema is not None:
            fabric.to_device(fabric.strategy.precision.convert_module(self.ema))
        arrange(phase.network, recipe)
        self.network, self.optimizer = fabric.setup(phase.network, phase.optimizer)
        fabric.to_device(phase.balancing)
        self.guard = Guard(fabric, folder, partial(self.state, average=False))
        self.stepper = Stepper(fabric, phase, self.network, self.optimizer, self.guard, self.ema)
        self.logs: Logs | None = None  # of the first process, while the run is at work

    def resume(self, *, extend: bool) -> int:
        """Continue from the last checkpoint, or start from the weights of `network.init`; return the finished steps."""
        path, where = self.folder.checkpoint, self.recipe.network.init
        if path.exists():
            saved = Checkpoint.load(path)
            saved.require_recipe(self.recipe, self.phase.name, path, extend=extend)
            saved.require_tasks(self.data.tasks, self.recipe.data.root)
            self._load(saved)
            return saved.step
        if where is not None:
            message = initialise(self.phase.network, where)
            if self.fabric.global_rank == 0:
                tqdm.write(message, file=sys.stderr)
        return 0

    def _load(self, saved: Checkpoint) -> None:
        training = saved.training
        self.phase.network.load_state_dict(training.get("weights", saved.network))
        if self.ema is not None:
            self.ema.module.load_state_dict(saved.network)
        self.optimizer.load_state_dict(training["optimizer"])
        self.fabric.strategy.precision.load_state_dict(training["precision"])
        self.phase.balancing.load_state_dict(training.get("balancing", {}))
        self.seconds, self.guard.skipped = saved.seconds, training.get("skipped", 0)

    def run(self, start: int) -> dict[str, Result]:
        """Take the remaining steps, then evaluate; the results of a finished run are only read."""
        recipe, steps = self.recipe, self.recipe.optim.steps
        if start == steps and self.folder.results.exists():
            return read_results(self.folder.results)
        if self.fabric.global_rank == 0:
            self.logs = Logs(self.folder, recipe.log, start, steps)
        self.network.train()
        disable = None if self.progress else True  # None shows the bar on terminals only
        bar = tqdm(total=steps, initial=start, desc=self.phase.name, unit="step", disable=disable)
        self.began = time.perf_counter() - self.seconds
        for done, batch in enumerate(self._batches(start), start + 1):
            losses = self.stepper.take(done - 1, batch)
            for message in self.phase.after(done - 1):
                bar.write(message)
            if done % recipe.log_every == 0 or done == steps:
                self._log(done, losses, bar)
            if done < steps and recipe.validate_every and done % recipe.validate_every == 0:
                self._validate(done)
                self._save(done)
            bar.update()
        bar.close()
        if start < steps:
            self._save(steps)
        return self._finish()

    def _batches(self, start: int) -> Iterable[Batch]:
        data, fabric, train = self.recipe.data, self.fabric, self.data.train
        sampler = self.phase.sampler(len(train), start=start, rank=fabric.global_rank, world=fabric.world_size)
        released = data.labels == "released"
        loader = Loader(
            Augmented(train, data.crop, data.scale, distortion=data.distortion, released=released),
            collate,
            batch_sampler=sampler,
            num_workers=data.loader_workers(fabric.device.type, fabric.world_size),
            pin_memory=fabric.device.type == "cuda",
        )
        return fabric.setup_dataloaders(loader, use_distributed_sampler=False)  # type: ignore[return-value]

    def _log(self, step: int, losses: Losses, bar: tqdm) -> None:
        means = self.stepper.across(torch.stack(list(losses.values())).float()).tolist()
        if self.logs is None:
            return
        row = self.phase.traces(step - 1) | self.guard.traces() | dict(zip(losses, means, strict=True))
        self.logs.add("train", step, row)
        self.logs.add("search", step, self.phase.probabilities())
        bar.set_postfix(loss=f"{row['loss']:.3f}")

    def _validate(self, step: int, *, fast: bool = True) -> dict[str, Result]:
        data, fabric = self.recipe.data, self.fabric
        loader = evaluation_loader(
            self.data.val, data.crop, max(1, data.batch_size // fabric.world_size),
            data.loader_workers(fabric.device.type, fabric.world_size), fabric.global_rank, fabric.world_size,
        )  # fmt: skip
        with averaged(self.phase.network, self.ema):
            results = evaluate(
                self.network, self.data.tasks, loader, device=fabric.device, fast=fast, progress=self.progress
            )
        if self.logs is not None:
            self.logs.add("val", step, {f"{name}/{result.metric}": result.value for name, result in results.items()})
            self.phase.save_found(self.folder, step)
        return results

    def _save(self, step: int) -> None:
        if self.fabric.global_rank == 0:
            self.guard.check_weights(step, self.phase.network)
            self.state(step).save(self.folder.checkpoint)
        self.fabric.barrier()

    def state(self, step: int, *, average: bool = True) -> Checkpoint:
        """Return what is saved after a step.

        With a moving average, the checkpoint's network is the averaged one, and the trained weights are in `training`.

        Args:
            step: Finished steps.
            average: Whether to save the average, if there is one.
        """
        genotype, branching = self.phase.genotype(step), self.phase.branching()
        network = self.phase.network.state_dict()
        training = {
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "balancing": self.phase.balancing.state_dict(),
            "skipped": self.guard.skipped,
        }
        if average and self.ema is not None:
            training["weights"], network = network, self.ema.module.state_dict()
        return Checkpoint(
            step=step,
            seconds=time.perf_counter() - self.began,
            phase=self.phase.name,
            recipe=self.recipe.to_dict(),
            tasks=tasks_to_dicts(self.data.tasks),
            genotype=genotype.contexts if genotype else None,  # type: ignore[arg-type]
            branching=branching.groups if branching else None,
            layout=self.data.train.layout,
            network=network,
            training=training,
        )

    def _finish(self) -> dict[str, Result]:
        seconds, steps = time.perf_counter() - self.began, self.recipe.optim.steps
        results = self._validate(steps, fast=False)
        if self.logs is not None:
            content = {
                "steps": steps,
                "seconds": round(seconds, 1),
                "layout": self.data.train.layout,
                "protocol": describe_protocol(self.data.val, self.data.tasks, self.recipe.data.crop),
                "results": results_to_dict(results),
            }
            write_atomic(self.folder.results, to_json(content) + "\n")
            self.logs.close()
        self.fabric.barrier()
        return results
