"""Numbers that are not finite: the run stops at that step and keeps it for inspection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
import torch.distributed as dist
from jaxtyping import UInt8
from lightning.fabric import Fabric
from lightning.fabric.plugins import DoublePrecision, Precision
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from atrc.data.sample import Batch, map_tensors, network_input
from atrc.data.sampling import hash_seed
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork
from atrc.search import Supergraph
from atrc.search.branches import BranchSupergraph
from atrc.search.schedule import temperature
from atrc.sharing.weights import load_weights
from atrc.training.losses import task_losses
from atrc.training.run.checkpoint import Checkpoint, write_tensors
from atrc.training.run.folder import RunFolder
from atrc.training.run.safe_load import safe_load

FORMAT, VERSION = "atrc-nonfinite", 1

# Skipped steps in a row that end a float16 run. The scale starts at 2^16 and is halved by each: after 16 it is 1, and
# the gradients themselves overflow.
MOST_SKIPPED = 20


@dataclass(frozen=True)
class Failure:
    """A step whose loss or gradient was not finite, before any weight changed.

    Attributes:
        checkpoint: The state of the run; its `step` counts the steps before this one.
        process: Rank of the process whose images these are.
        reason: What was not finite.
        losses: The losses, by name.
        batch: The images and labels of the step, augmented.
        rng: State of PyTorch's random numbers at its start.
    """

    checkpoint: Checkpoint
    process: int
    reason: str
    losses: dict[str, float]
    batch: Batch
    rng: UInt8[Tensor, " n"]

    def save(self, path: Path) -> None:
        """Write atomically.

        Raises:
            OSError: It could not be written.
        """
        content = {**vars(self), "checkpoint": vars(self.checkpoint)}
        write_tensors(path, {"format": FORMAT, "version": VERSION, **content})

    @classmethod
    def load(cls, path: str | Path) -> Failure:
        """Read a kept step without running any code in the file.

        Raises:
            UserError: No such file, or not such a file.
        """
        content = safe_load(path)
        if not isinstance(content, dict) or (content.pop("format", None), content.pop("version", None)) != (
            FORMAT,
            VERSION,
        ):
            raise UserError(f"{path}: not a step that atrc kept; it is called nonfinite.pt, next to the checkpoints")
        return cls(**{**content, "checkpoint": Checkpoint(**content["checkpoint"])})

    def replay(self) -> tuple[MultiTaskNetwork, dict[str, Tensor]]:
        """Repeat the forward pass on the CPU; return the network, in training mode, and the losses with gradients.

        It runs in the precision of the weights, without autocast. Of a distributed run it has the images of one
        process.
        """
        network = self._network().train()
        torch.set_rng_state(self.rng)
        double = next(network.parameters()).dtype == torch.float64
        precision = DoublePrecision() if double else Precision()  # as in the run
        with precision.forward_context():
            output = network(precision.convert_input(network_input(self.batch)))
        output = precision.convert_output(output)
        return network, task_losses(output, self.batch["truth"], self.batch["valid"], network.tasks)

    def _network(self) -> MultiTaskNetwork:
        network, state, recipe = self.checkpoint.build(), self.checkpoint.network, self.checkpoint.recipe
        if any(value.dtype == torch.float64 for value in state.values()):
            load_weights(network.double(), state, "kept step")
        if self.checkpoint.phase == "search":
            step, branches = self.checkpoint.step, isinstance(network.backbone, BranchSupergraph)
            supergraph: Any = network.backbone if branches else Supergraph(network)
            warmth = temperature(recipe["search"], step, recipe["optim"]["steps"])
            supergraph.sample(warmth, hash_seed(recipe["seed"], 3, step))
        return network


class Attempt(NamedTuple):
    """A forward pass of a step.

    Attributes:
        step: The step, counted from 0.
        batch: Its images and labels.
        seed: Seed of PyTorch's random numbers at its start.
        losses: Its losses, by name.
    """

    step: int
    batch: Batch
    seed: int
    losses: dict[str, Tensor]


class Guard:
    """Checks the numbers of every step.

    float16 overflows now and then. Such a step is skipped and counted, and the gradient scaler lowers its scale.
    """

    def __init__(self, fabric: Fabric, folder: RunFolder, state: Callable[[int], Checkpoint]) -> None:
        """Prepare.

        Args:
            fabric: Devices and processes.
            folder: Where a failure is kept.
            state: Returns the checkpoint of a step.
        """
        self.fabric, self.folder, self.state = fabric, folder, state
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)
        self.skipped = self.in_a_row = 0

    def passes(self, attempt: Attempt, total: Tensor, network: nn.Module) -> bool:
        """Return whether the losses are finite; if not, the step is to be skipped.

        Raises:
            UserError: They are not, and the cause is not an overflow in float16.
        """
        losses = attempt.losses
        values = torch.stack([*(loss.detach() for loss in losses.values()), total.detach()])
        if self._agree(values.isfinite().all()):
            return True
        bad = [name for name, loss in losses.items() if not loss.isfinite()]
        bad = bad or ([] if total.isfinite() else ["their weighted sum"])
        # An overflow before a batch norm spoils its running statistics: the run cannot go on.
        sound = all(bool(x.isfinite().all()) for x in network.buffers() if x.is_floating_point())
        if self.scaler is None or not self._agree(torch.tensor(sound, device=values.device)):
            self._stop(attempt, "the loss of", bad)
        self._skip(attempt)
        return False

    def check_gradients(self, attempt: Attempt, network: nn.Module) -> None:
        """Refuse gradients that are not finite before they reach the weights; in float16 the scaler does that.

        Raises:
            UserError: Names their parameters.
        """
        if self.scaler is not None:
            return
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        if bool(get_total_norm(gradients.values()).isfinite()):
            return
        bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        self._stop(attempt, "the gradient of", bad or ["all weights together"])

    def after(self, attempt: Attempt, scale: float) -> None:
        """Count the step if the scaler skipped it, which shows in a lower scale.

        Raises:
            UserError: Too many steps were skipped in a row.
        """
        if self.scaler is None:
            return
        if self.scaler.get_scale() < scale:
            self._skip(attempt)
        else:
            self.in_a_row = 0

    @property
    def scale(self) -> float:
        """The factor of the losses in float16."""
        return self.scaler.get_scale() if self.scaler is not None else 1.0

    def traces(self) -> dict[str, float]:
        """Return scalars to log: in float16 the number of skipped steps."""
        return {} if self.scaler is None else {"skipped": float(self.skipped)}

    def check_weights(self, step: int, network: nn.Module) -> None:
        """Refuse to save weights that are not finite: the last checkpoint is better.

        Raises:
            UserError: Names one of them.
        """
        for name, value in network.state_dict().items():
            if value.is_floating_point() and not value.isfinite().all():
                raise UserError(
                    f"step {step}: {name} is not finite, so this state is not saved and the last checkpoint stands; "
                    "lower optim.lr or set optim.clip, and train again with another --out"
                )

    def _skip(self, attempt: Attempt) -> None:
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if self.in_a_row >= MOST_SKIPPED:
            what = f"at a loss scale of {self.scale:g}, float16 in {self.in_a_row} steps in a row:"
            self._stop(attempt, what, ["a loss or a gradient"], "set precision bf16 or 32, lower optim.lr")

    def _agree(self, flag: Tensor) -> bool:
        """Return whether the flag is true in all processes, so that they stop together."""
        if self.fabric.world_size > 1:
            flag = flag.int()
            dist.all_reduce(flag, dist.ReduceOp.MIN)
        return bool(flag)

    def _stop(self, attempt: Attempt, what: str, bad: Sequence[str], cure: str = "") -> NoReturn:
        kept = self._keep(attempt, f"{what} {', '.join(bad)}") if bad else ""
        found = self._gather((list(bad), attempt.batch["id"], kept))
        names = dict.fromkeys(name for bad, _, _ in found for name in bad)
        shown = [*names][:8] + ["..."] * (len(names) > 8)
        images = [id for bad, ids, _ in found for id in ids if bad]
        cure = cure or "lower optim.lr, set optim.clip"
        raise UserError(
            f"step {attempt.step + 1}: {what} {', '.join(shown)} is not a finite number, images {', '.join(images)}; "
            f"{cure}, or look at these images with their labels; {'; '.join(kept for *_, kept in found if kept)}"
        )

    def _keep(self, attempt: Attempt, reason: str) -> str:
        rank, path = self.fabric.global_rank, self.folder.nonfinite
        path = path.with_stem(f"{path.stem}-{rank}") if rank else path
        rng = torch.Generator().manual_seed(attempt.seed).get_state()
        values = {name: float(loss.detach()) for name, loss in attempt.losses.items()}
        here: Batch = map_tensors(attempt.batch, lambda x: x.cpu())  # type: ignore[assignment, arg-type]
        try:
            Failure(self.state(attempt.step), rank, reason, values, here, rng).save(path)
        except OSError as error:
            return f"the step could not be kept ({error.filename}: {error.strerror})"
        return f"the step is kept in {path}"

    def _gather(self, mine: tuple[list[str], list[str], str]) -> list[tuple[list[str], list[str], str]]:
        if self.fabric.world_size == 1:
            return [mine]
        found: list[tuple[list[str], list[str], str]] = [mine] * self.fabric.world_size
        dist.all_gather_object(found, mine)
        return found
