"""The training loop, on Lightning Fabric: devices, precision and processes are Fabric's, the steps are ours.

Everything random in a step is a function of the seed and the step, so a run that resumes at a step repeats exactly
what an unbroken one does there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from atrc.data.centroids import with_centroids
from atrc.data.layouts import open_dataset
from atrc.data.loader import Loader
from atrc.data.sample import Batch, collate, network_input
from atrc.data.sampling import Augmented, StepSampler, hash_seed
from atrc.errors import UserError, lost_loaders
from atrc.files import write_atomic
from atrc.network import build_network
from atrc.search.build import build_supergraph
from atrc.tasks import tasks_to_dicts
from atrc.training.distributed.processes import all_or_none, make_fabric
from atrc.training.distributed.sync_batch_norm import synchronise
from atrc.training.evaluation.evaluate import Result, evaluate, evaluation_loader, read_results, results_to_dict
from atrc.training.evaluation.protocol import describe_protocol
from atrc.training.execution import arrange
from atrc.training.losses import task_losses
from atrc.training.nonfinite import Guard
from atrc.training.phases.search import BranchSearch, ContextSearch
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import Recipe
from atrc.training.recipe.requirements import require_usable
from atrc.training.run.checkpoint import Checkpoint
from atrc.training.run.folder import RunFolder, Table, storage
from atrc.training.run.lock import only_one

PHASES: dict[str | None, type[TrainPhase]] = {None: TrainPhase, "contexts": ContextSearch, "branches": BranchSearch}


def fit(recipe: Recipe, *, search: bool = False, resume: bool = False, progress: bool = True) -> dict[str, Result]:
    """Train a recipe, or search its genotype, into the run's folder; return the final metrics.

    Args:
        recipe: What to do.
        search: Search over mixtures instead of training fixed blocks.
        resume: Continue the folder's run from its last checkpoint, if it has one.
        progress: Show progress bars.

    Raises:
        UserError: Something in the recipe or the data cannot be used, a loss is not a finite number, the disk is full,
            or a process of a distributed run or of a loader was lost.
    """
    fabric = make_fabric(recipe, search)
    require_usable(recipe, search, fabric.world_size)
    cure = "make room, or give a folder that can be written to, then continue with --resume from the last checkpoint"
    progress = progress and fabric.global_rank == 0
    fewer = "give data.workers fewer processes or 0, then continue with --resume from the last checkpoint"
    with lost_loaders(fewer), all_or_none(fabric), storage(recipe.out, cure), ExitStack() as held:
        return Fit(fabric, recipe, held, search=search, resume=resume, progress=progress).run()


class Fit:
    """One run: its network, data, folder and loop."""

    def __init__(
        self, fabric: Fabric, recipe: Recipe, held: ExitStack, *, search: bool, resume: bool, progress: bool
    ) -> None:
        self.fabric, self.recipe, self.progress = fabric, recipe, progress
        if recipe.deterministic:
            torch.use_deterministic_algorithms(True)
        self.train_set = open_dataset(recipe.data.root, "train", recipe.data.tasks, recipe.data.url)
        self.val_set = open_dataset(recipe.data.root, "val", recipe.data.tasks)
        self.folder = RunFolder(recipe.folder)
        self._require_free(resume)
        with fabric.rank_zero_first():
            self.tasks = with_centroids(self.train_set, recipe.data.centroids)
        torch.manual_seed(recipe.seed)
        space = recipe.search.space if search else None
        build = partial(build_supergraph, space=space) if space else build_network
        network = build(recipe.network, self.tasks, seed=recipe.seed)
        if fabric.world_size > 1:
            synchronise(network, fabric.device.type)
        arrange(network, recipe)
        self.phase = PHASES[space](network, recipe)
        self.plain_optimizer = self.phase.optimizer()
        self.network, self.optimizer = fabric.setup(network, self.plain_optimizer)
        fabric.to_device(self.phase.balancing)
        self.guard = Guard(fabric, self.folder, recipe.seed, self._state)
        if fabric.global_rank == 0:
            held.enter_context(only_one(self.folder.path))
            self._require_free(resume)
        self.start = self._resume()
        if fabric.global_rank == 0:
            self.folder.begin(recipe)
        fabric.barrier()

    def _require_free(self, resume: bool) -> None:
        if self.folder.checkpoint.exists() and not resume:
            raise UserError(
                f"{self.recipe.out} holds a run already; continue it with --resume, or choose another --out"
            )

    def _resume(self) -> int:
        path, self.seconds = self.folder.checkpoint, 0.0
        if not path.exists():
            return 0
        saved = Checkpoint.load(path)
        saved.require_recipe(self.recipe, self.phase.name, path)
        saved.require_tasks(self.tasks, f"{self.recipe.data.root}")
        self.phase.network.load_state_dict(saved.network)
        self.optimizer.load_state_dict(saved.training["optimizer"])
        self.fabric.strategy.precision.load_state_dict(saved.training["precision"])
        self.phase.balancing.load_state_dict(saved.training.get("balancing", {}))
        self.seconds, self.guard.skipped = saved.seconds, saved.training.get("skipped", 0)
        return saved.step

    def run(self) -> dict[str, Result]:
        """Take the remaining steps, then evaluate; what is finished is only read."""
        steps = self.recipe.optim.steps
        if self.start == steps and self.folder.results.exists():
            return read_results(self.folder.results)
        self._open_logs()
        self.network.train()
        shown = None if self.progress else True  # None shows it on terminals only
        bar = tqdm(total=steps, initial=self.start, desc=self.phase.name, unit="step", disable=shown)
        self.began = time.perf_counter() - self.seconds
        for step, batch in enumerate(self._batches(), self.start):
            losses = self._step(step, batch)
            done = step + 1
            for message in self.phase.after(step):
                bar.write(message)
            if done % self.recipe.log_every == 0 or done == steps:
                self._log(done, losses, bar)
            if done < steps and self.recipe.validate_every and done % self.recipe.validate_every == 0:
                self._validate(done)
                self._save(done)
            bar.update()
        bar.close()
        if self.start < steps:
            self._save(steps)
        return self._finish()

    def _batches(self) -> Iterable[Batch]:
        data, world = self.recipe.data, self.fabric.world_size
        sampler = StepSampler(
            len(self.train_set),
            data.batch_size,
            self.recipe.optim.steps,
            self.recipe.seed,
            start=self.start,
            rank=self.fabric.global_rank,
            world=world,
        )
        released = data.labels == "released"
        loader = Loader(
            Augmented(self.train_set, data.crop, data.scale, distortion=data.distortion, released=released),
            collate,
            batch_sampler=sampler,
            num_workers=data.loader_workers(self.fabric.device.type, world),
            pin_memory=self.fabric.device.type == "cuda",
        )
        return self.fabric.setup_dataloaders(loader, use_distributed_sampler=False)  # type: ignore[return-value]

    def _step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        torch.manual_seed(hash_seed(self.recipe.seed, 2, step, self.fabric.global_rank))
        self.phase.before(step)
        output = self.network(network_input(batch))
        losses = task_losses(output, batch["truth"], batch["valid"], self.tasks, self._across)
        total = self.phase.balancing.total(losses)
        if (extra := self.phase.regulariser(step)) is not None:
            total = total + extra
        if self.guard.passes(step, batch, losses, total, self.phase.network):
            self.phase.balancing.backward(total, losses, self.fabric.backward, self._across)
            self.guard.check_gradients(step, batch, losses, self.phase.network)
            if self.phase.clip is not None:
                self.fabric.strategy.precision.unscale_gradients(self.plain_optimizer)
                torch.nn.utils.clip_grad_norm_(self.phase.weights, self.phase.clip)
            scale = self.guard.scale
            self.optimizer.step()
            self.guard.after(step, batch, losses, scale)
        self.optimizer.zero_grad()
        return {"loss": total.detach(), **{name: loss.detach() for name, loss in losses.items()}}

    def _across(self, count: Tensor) -> Tensor:
        if self.fabric.world_size == 1:
            return count
        count = count.clone()
        dist.all_reduce(count)
        return count / self.fabric.world_size

    def _open_logs(self) -> None:
        if self.fabric.global_rank:
            return
        # The last validation comes after the last checkpoint: a run that was killed between them repeats it.
        last = self.start - (self.start == self.recipe.optim.steps)
        ends = {"train": self.start, "val": last, "search": self.start}
        self.tables: dict[str, Table] = {name: self.folder.table(name, end) for name, end in ends.items()}
        self.writer = SummaryWriter(str(self.folder.path), purge_step=self.start or None)

    def _log(self, step: int, losses: dict[str, Tensor], bar: tqdm) -> None:
        names, values = list(losses), torch.stack(list(losses.values())).float()
        means = self._across(values) if self.fabric.world_size > 1 else values
        if self.fabric.global_rank:
            return
        row = self.phase.traces(step - 1) | self.guard.traces() | dict(zip(names, means.tolist(), strict=True))
        self.tables["train"].add(step, row)
        for name, value in row.items():
            self.writer.add_scalar(f"train/{name}", value, step)
        bar.set_postfix(loss=f"{row['loss']:.3f}")
        if probabilities := self.phase.probabilities():
            self.tables["search"].add(step, probabilities)
            for name, value in probabilities.items():
                self.writer.add_scalar(f"search/{name}", value, step)

    def _validate(self, step: int, *, fast: bool = True) -> dict[str, Result]:
        data, fabric = self.recipe.data, self.fabric
        loader = evaluation_loader(
            self.val_set, data.crop, max(1, data.batch_size // fabric.world_size),
            data.loader_workers(fabric.device.type, fabric.world_size), fabric.global_rank, fabric.world_size,
        )  # fmt: skip
        results = evaluate(self.network, self.tasks, loader, device=fabric.device, fast=fast, progress=self.progress)
        if fabric.global_rank == 0:
            row = {f"{name}/{result.metric}": result.value for name, result in results.items()}
            self.tables["val"].add(step, row)
            for name, value in row.items():
                self.writer.add_scalar(f"val/{name}", value, step)
            self.phase.save_found(self.folder, step)
        return results

    def _save(self, step: int) -> None:
        if self.fabric.global_rank == 0:
            self.guard.check_weights(step, self.phase.network)
            self._state(step).save(self.folder.checkpoint)
        self.fabric.barrier()

    def _state(self, step: int) -> Checkpoint:
        genotype, branching = self.phase.genotype(step), self.phase.branching()
        return Checkpoint(
            step=step,
            seconds=time.perf_counter() - self.began,
            phase=self.phase.name,
            recipe=self.recipe.to_dict(),
            tasks=tasks_to_dicts(self.tasks),
            genotype=genotype.contexts if genotype else None,  # type: ignore[arg-type]
            branching=branching.groups if branching else None,
            layout=self.train_set.layout,
            network=self.phase.network.state_dict(),
            training={
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "balancing": self.phase.balancing.state_dict(),
                "skipped": self.guard.skipped,
            },
        )

    def _finish(self) -> dict[str, Result]:
        seconds = time.perf_counter() - self.began
        results = self._validate(self.recipe.optim.steps, fast=False)
        if self.fabric.global_rank == 0:
            content = {
                "steps": self.recipe.optim.steps,
                "seconds": round(seconds, 1),
                "layout": self.train_set.layout,
                "protocol": describe_protocol(self.val_set, self.tasks, self.recipe.data.crop),
                "results": results_to_dict(results),
            }
            write_atomic(self.folder.results, json.dumps(content, indent=2) + "\n")
            self.writer.close()
        self.fabric.barrier()
        return results
