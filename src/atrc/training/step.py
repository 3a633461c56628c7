"""One training step: forward pass, losses, backward pass, clipping, update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from timm.utils import ModelEmaV3
from torch import Tensor

from atrc.data.sample import Batch, network_input
from atrc.data.sampling import hash_seed
from atrc.training.losses import task_losses
from atrc.training.nonfinite import Attempt, Guard
from atrc.training.phases.train import TrainPhase

Losses = dict[str, Tensor]


class Stepper:
    """Takes the steps of a run.

    With `optim.accumulate` the images of a step go through the network in parts. The loss of a task in a part counts
    by the part's share of the valid pixels, so that the gradient is that of the whole batch. Batch normalisation, and
    losses that balance their classes, see one part at a time.
    """

    def __init__(
        self, fabric: Fabric, phase: TrainPhase, network: Any, optimizer: Any, guard: Guard, ema: ModelEmaV3 | None
    ) -> None:
        """Prepare.

        Args:
            fabric: Devices and processes.
            phase: What is trained.
            network: The phase's network, set up by Fabric.
            optimizer: The phase's optimiser, set up by Fabric.
            guard: Checks the numbers.
            ema: The moving average to update, if any.
        """
        self.fabric, self.phase, self.network, self.optimizer = fabric, phase, network, optimizer
        self.guard, self.ema = guard, ema

    def take(self, step: int, batch: Batch) -> Losses:
        """Take a step, counted from 0; return its losses. A step that overflows in float16 changes no weight."""
        parts, found = self.phase.recipe.optim.accumulate, dict[str, Tensor]()
        for i, (part, shares) in enumerate(self._parts(batch, parts)):
            with self.fabric.no_backward_sync(self.network, enabled=i < parts - 1):
                losses, finite = self._accumulate(step, i, part, shares)
            found = {name: found[name] + loss if found else loss for name, loss in losses.items()}
            if not finite:
                break
        else:
            self._update(Attempt(step, batch, self._seed(step), found))
        self.optimizer.zero_grad()
        return found

    def _parts(self, batch: Batch, count: int) -> Iterator[tuple[Batch, Losses]]:
        """Yield the parts of a batch with their shares of each task's valid pixels."""
        if count == 1:
            yield batch, {}
            return
        size = len(batch["id"]) // count
        slices = [slice(i * size, (i + 1) * size) for i in range(count)]
        pixels = {task: self._pixels(valid, slices) for task, valid in batch["valid"].items()}
        for i, images in enumerate(slices):
            part: Any = {
                key: {task: x[images] for task, x in value.items()} if isinstance(value, dict) else value[images]
                for key, value in dict[str, Any](batch).items()
            }
            yield part, {task: found[i] / found.sum().clamp(min=1) for task, found in pixels.items()}

    def _pixels(self, valid: Tensor, slices: list[slice]) -> Tensor:
        return self.across(torch.stack([valid[images].sum().float() for images in slices]))

    def _seed(self, step: int, part: int = 0) -> int:
        return hash_seed(self.phase.recipe.seed, 2, step, self.fabric.global_rank, *([part] if part else []))

    def _accumulate(self, step: int, number: int, part: Batch, shares: Losses) -> tuple[Losses, bool]:
        """Add the gradient of a part; return its losses, and whether they are finite."""
        phase, seed = self.phase, self._seed(step, number)
        torch.manual_seed(seed)
        phase.before(step)
        output = self.network(network_input(part))
        losses = task_losses(output, part["truth"], part["valid"], phase.network.tasks, self.across)
        if shares:
            losses = {name: shares[name.partition("/")[0]] * loss for name, loss in losses.items()}
        total = phase.balancing.total(losses)
        if (extra := phase.regulariser(step)) is not None:
            total = total + extra / phase.recipe.optim.accumulate
        finite = self.guard.passes(Attempt(step, part, seed, losses), total, phase.network)
        if finite:
            phase.balancing.backward(total, losses, self.fabric.backward, self.across)
        return {"loss": total.detach(), **{name: loss.detach() for name, loss in losses.items()}}, finite

    def _update(self, attempt: Attempt) -> None:
        """Clip the gradient, and let the optimiser and the moving average step."""
        phase, scale = self.phase, self.guard.scale
        self.guard.check_gradients(attempt, phase.network)
        if phase.clip is not None:
            self.fabric.strategy.precision.unscale_gradients(phase.optimizer)
            torch.nn.utils.clip_grad_norm_(phase.clipped, phase.clip)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(phase.network, attempt.step + 1)
        self.guard.after(attempt, scale)

    def across(self, count: Tensor) -> Tensor:
        """Return the mean over processes."""
        if self.fabric.world_size == 1:
            return count
        count = count.clone()
        dist.all_reduce(count)
        return count / self.fabric.world_size
