"""Numbers that are not finite: the run stops at that step and keeps it, so that it can be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

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
from atrc.search.schedule import linear
from atrc.sharing.weights import load_weights
from atrc.training.losses import task_losses
from atrc.training.run.checkpoint import Checkpoint, read_tensors, write_tensors
from atrc.training.run.folder import RunFolder

FORMAT, VERSION = "atrc-nonfinite", 1

# Skipped steps in a row that end a float16 run. The scale starts at 2^16 and is halved by each: after 16 it is 1, and
# the gradients themselves overflow.
MOST_SKIPPED = 20


@dataclass(frozen=True)
class Failure:
    """A step that gave a loss or a gradient that is not finite, as it was before any weight changed.

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
        """Read one without running any code that it holds.

        Raises:
            UserError: No such file, or not such a file.
        """
        content = read_tensors(path)
        if not isinstance(content, dict) or (content.pop("format", None), content.pop("version", None)) != (
            FORMAT,
            VERSION,
        ):
            raise UserError(f"{path}: not a step that atrc kept; it is called nonfinite.pt, beside the checkpoints")
        return cls(**{**content, "checkpoint": Checkpoint(**content["checkpoint"])})

    def replay(self) -> tuple[MultiTaskNetwork, dict[str, Tensor]]:
        """Take the forward pass again, on the CPU: return the network, in training mode, and the losses with gradients.

        In the precision of the weights, without autocast; of a distributed run over the images of this process alone.
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
            temperature = linear(tuple(recipe["search"]["temperature"]), self.checkpoint.step, recipe["optim"]["steps"])
            branches = isinstance(network.backbone, BranchSupergraph)
            supergraph = network.backbone if branches else Supergraph(network)
            supergraph.sample(temperature, hash_seed(recipe["seed"], 3, self.checkpoint.step))  # type: ignore[operator]
        return network


class Guard:
    """Looks at the numbers of every step.

    In float16 numbers overflow now and then: such a step is skipped and counted, and the gradient scaler scales less.
    """

    def __init__(self, fabric: Fabric, folder: RunFolder, seed: int, state: Callable[[int], Checkpoint]) -> None:
        """Take up a run.

        Args:
            fabric: Of the run.
            folder: Where a failure is kept.
            seed: That of the run.
            state: Returns the checkpoint of a step.
        """
        self.fabric, self.folder, self.seed, self.state = fabric, folder, seed, state
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)
        self.skipped = self.in_a_row = 0

    def passes(self, step: int, batch: Batch, losses: dict[str, Tensor], total: Tensor, network: nn.Module) -> bool:
        """Return whether the losses are finite; if not, the step is to be skipped.

        Raises:
            UserError: They are not, and it is not float16 that overflowed.
        """
        values = torch.stack([*(loss.detach() for loss in losses.values()), total.detach()])
        if self._agree(values.isfinite().all()):
            return True
        bad = [name for name, loss in losses.items() if not loss.isfinite()]
        bad = bad or ([] if total.isfinite() else ["their weighed sum"])
        # An overflow before a batch norm has spoilt its running statistics: nothing is left to go on with.
        sound = all(bool(x.isfinite().all()) for x in network.buffers() if x.is_floating_point())
        if self.scaler is None or not self._agree(torch.tensor(sound, device=values.device)):
            self._stop(step, batch, losses, "the loss of", bad)
        self._skip(step, batch, losses)
        return False

    def check_gradients(self, step: int, batch: Batch, losses: dict[str, Tensor], network: nn.Module) -> None:
        """Refuse gradients that are not finite, before they reach the weights; the scaler of float16 does that itself.

        Raises:
            UserError: Names their parameters.
        """
        if self.scaler is not None:
            return
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        if bool(get_total_norm(gradients.values()).isfinite()):
            return
        bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        self._stop(step, batch, losses, "the gradient of", bad or ["all weights together"])

    def after(self, step: int, batch: Batch, losses: dict[str, Tensor], scale: float) -> None:
        """Count the step if the scaler skipped it: then it scales less than it did.

        Raises:
            UserError: It was one of too many in a row.
        """
        if self.scaler is None:
            return
        if self.scaler.get_scale() < scale:
            self._skip(step, batch, losses)
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
                    "lower optim.lr or set optim.clip, and train afresh with another --out"
                )

    def _skip(self, step: int, batch: Batch, losses: dict[str, Tensor]) -> None:
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if self.in_a_row >= MOST_SKIPPED:
            what = f"at a loss scale of {self.scale:g}, float16 in {self.in_a_row} steps in a row:"
            self._stop(step, batch, losses, what, ["a loss or a gradient"], "set precision bf16 or 32, lower optim.lr")

    def _agree(self, flag: Tensor) -> bool:
        """Return whether it is true in all processes: they stop together, or none does."""
        if self.fabric.world_size > 1:
            flag = flag.int()
            dist.all_reduce(flag, dist.ReduceOp.MIN)
        return bool(flag)

    def _stop(
        self, step: int, batch: Batch, losses: dict[str, Tensor], what: str, bad: Sequence[str], cure: str = ""
    ) -> NoReturn:
        kept = self._keep(step, batch, losses, f"{what} {', '.join(bad)}") if bad else ""
        found = self._gather((list(bad), batch["id"], kept))
        names = dict.fromkeys(name for bad, _, _ in found for name in bad)
        shown = [*names][:8] + ["..."] * (len(names) > 8)
        images = [id for bad, ids, _ in found for id in ids if bad]
        cure = cure or "lower optim.lr, set optim.clip"
        raise UserError(
            f"step {step + 1}: {what} {', '.join(shown)} is not a finite number, images {', '.join(images)}; "
            f"{cure}, or look at these images with their labels; {'; '.join(kept for *_, kept in found if kept)}"
        )

    def _keep(self, step: int, batch: Batch, losses: dict[str, Tensor], reason: str) -> str:
        rank, path = self.fabric.global_rank, self.folder.nonfinite
        path = path.with_stem(f"{path.stem}-{rank}") if rank else path
        rng = torch.Generator().manual_seed(hash_seed(self.seed, 2, step, rank)).get_state()
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        here: Batch = map_tensors(batch, lambda x: x.cpu())  # type: ignore[assignment, arg-type]
        try:
            Failure(self.state(step), rank, reason, values, here, rng).save(path)
        except OSError as error:
            return f"the step could not be kept ({error.filename}: {error.strerror})"
        return f"the step is kept in {path}"

    def _gather(self, mine: tuple[list[str], list[str], str]) -> list[tuple[list[str], list[str], str]]:
        if self.fabric.world_size == 1:
            return [mine]
        found: list[tuple[list[str], list[str], str]] = [mine] * self.fabric.world_size
        dist.all_gather_object(found, mine)
        return found
