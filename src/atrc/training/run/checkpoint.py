"""Checkpoints: tensors and plain values only, written atomically, checked when read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any

import torch
from torch import Tensor

from atrc.branching import Groups
from atrc.errors import UserError, require_format
from atrc.files import replacing
from atrc.network import MultiTaskNetwork
from atrc.network.config import EARLIER
from atrc.search.build import build_supergraph
from atrc.sharing.architecture import RESOLVED, Architecture, tasks_from_values
from atrc.sharing.weights import at_most, load_weights
from atrc.tasks import Task, tasks_to_dicts
from atrc.training.recipe import Recipe, differences, flatten
from atrc.training.run.safe_load import safe_load

FORMAT, VERSION = "atrc-checkpoint", 1
KINDS: dict[str, type | UnionType] = {
    "step": int, "seconds": int | float, "phase": str, "recipe": dict, "tasks": list, "genotype": dict | None,
    "branching": list | tuple | None, "layout": str, "network": dict, "training": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """What a run saves.

    Attributes:
        step: Finished steps.
        seconds: Time taken so far, over all continuations.
        phase: "train" or "search".
        recipe: The run's recipe as plain values.
        tasks: The tasks as plain values.
        genotype: Contexts by target and source; None without ATRC.
        branching: Groups of tasks by stage; None where the backbone does not branch.
        layout: What the data set was.
        network: State of the network, of its moving average if the run has one.
        training: State of optimiser, gradient scaler and balancing; `weights` are those next to a moving average.
    """

    step: int
    seconds: float
    phase: str
    recipe: dict[str, Any]
    tasks: list[dict[str, Any]]
    genotype: dict[str, dict[str, str]] | None
    branching: tuple[Groups, ...] | None
    layout: str
    network: dict[str, Any]
    training: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write atomically: a reader finds the old file or the new one.

        Raises:
            OSError: It could not be written; the old one stands.
        """
        write_tensors(path, {"format": FORMAT, "version": VERSION, **vars(self)})

    @classmethod
    def load(cls, path: str | Path) -> Checkpoint:
        """Read a checkpoint without running any code in the file.

        Raises:
            UserError: No such file, not a checkpoint of ours, or of a newer version.
        """
        content = safe_load(path)
        if not isinstance(content, dict) or not isinstance(name := content.get("format"), str) or name != FORMAT:
            raise UserError(f"{path}: not a checkpoint of atrc")
        require_format(content.get("version"), VERSION, str(path))
        for key, kind in KINDS.items():
            if key not in content or not isinstance(content[key], kind):
                raise UserError(f"{path}: not a whole checkpoint ({key} is missing or of another kind); copy it again")
        if isinstance(network := content["recipe"].get("network"), dict):
            content["recipe"] = content["recipe"] | {"network": EARLIER | network}
        return cls(**{key: content[key] for key in KINDS})

    def require_recipe(self, recipe: Recipe, phase: str, path: Path, *, extend: bool = False) -> None:
        """Refuse to continue another run than the one that was asked for.

        Args:
            recipe: The recipe now.
            phase: "train" or "search".
            path: Of the checkpoint.
            extend: Whether `optim.steps` may be larger than it was.

        Raises:
            UserError: Names the first difference.
        """
        if self.phase != phase:
            raise UserError(f"{path}: belongs to `atrc {self.phase}`, not to `atrc {phase}`; choose another --out")
        steps = recipe.optim.steps
        if extend and steps < self.step:
            raise UserError(f"--extend {steps}: {path} has {self.step} steps already; give a larger number")
        changed = [key for key in differences(self.recipe, recipe.to_dict()) if not (extend and key == "optim.steps")]
        if changed:
            key = changed[0]
            old, new = flatten(self.recipe).get(key), flatten(recipe.to_dict()).get(key)
            longer = key == "optim.steps" and new > old  # type: ignore[operator]
            raise UserError(
                f"{path}: belongs to another recipe: {key} was {old}, now {new}; "
                f"restore the value, or {'give --extend ' + str(new) if longer else 'choose another --out'}"
            )

    def require_tasks(self, tasks: Sequence[Task], root: str) -> None:
        """Refuse a data set whose tasks are not those of the checkpoint."""
        for task, known in zip(tasks, self.read_tasks(), strict=True):
            ours, theirs = tasks_to_dicts([known])[0], tasks_to_dicts([task])[0]
            for key in ours:
                if ours[key] != theirs.get(key):
                    raise UserError(
                        f"{root}: {task.name} has {_short(key, theirs.get(key))}, the checkpoint "
                        f"{_short(key, ours[key])}; use the data set that it was trained on, or train again"
                    )

    def require_outputs(self, tasks: Sequence[Task], root: str) -> None:
        """Refuse a data set that the network cannot be evaluated on: its tasks have other outputs."""
        for task, known in zip(tasks, self.read_tasks(), strict=True):
            if known.channels != task.channels:
                raise UserError(
                    f"{root}: {known.name} has {task.channels} outputs, the checkpoint {known.channels}; "
                    "evaluate it on data with the classes that it was trained for"
                )

    def build(self) -> MultiTaskNetwork:
        """Return the trained network, in evaluation mode. A search's checkpoint gives its supergraph.

        Raises:
            UserError: The state is that of another network.
        """
        weights = {key: value for key, value in self.network.items() if isinstance(value, Tensor)}
        with at_most(weights):
            network = self._supergraph() if self.phase == "search" else self.architecture.build()
        load_weights(network, weights, f"checkpoint of step {self.step}")
        return network.eval()

    def _supergraph(self) -> MultiTaskNetwork:
        architecture = self.architecture  # whose values are checked
        space, seed, genotype = (_nested(self.recipe, key) for key in ("search.space", "seed", "network.genotype"))
        if space not in ("contexts", "branches") or not isinstance(seed, int) or not isinstance(genotype, str | None):
            raise UserError("its recipe has an invalid search.space, seed or network.genotype; copy it again")
        return build_supergraph(replace(architecture.config, genotype=genotype), architecture.tasks, space, seed=seed)

    @property
    def architecture(self) -> Architecture:
        """The network without its weights."""
        network, crop = _nested(self.recipe, "network"), _nested(self.recipe, "data.crop")
        genotype, branching = self.genotype or None, self.branching or None
        if isinstance(network, dict):
            network = {key: value for key, value in network.items() if key not in RESOLVED}
        return Architecture.from_values(network, self.tasks, genotype, branching, crop)

    def read_tasks(self) -> tuple[Task, ...]:
        """Return the tasks."""
        return tasks_from_values(self.tasks)


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values atomically.

    Raises:
        OSError: It could not be written; a file that was there before stands.
    """
    with replacing(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:  # of PyTorch, about a file that is shorter than it thinks
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def checkpoint_path(path: str | Path) -> Path:
    """Return a run folder's last checkpoint; a file stays what it is."""
    path = Path(path)
    return path / "checkpoints" / "last.ckpt" if path.is_dir() else path


def _nested(values: dict[str, Any], key: str) -> Any:
    """Return what a dotted key leads to; None if it leads nowhere."""
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _short(key: str, value: Any) -> str:
    return f"{key} of {len(value)} entries like {value[:2]}" if isinstance(value, tuple | list) else f"{key} {value}"
