"""Checkpoints: tensors and plain values only, written atomically, checked when read."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atrc.branching import Branching, Groups
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import Architecture, MultiTaskNetwork, NetworkConfig
from atrc.network.build import rebuild
from atrc.network.hub import load_weights
from atrc.tasks import Task, tasks_from_dicts, tasks_to_dicts
from atrc.training.build import build_supergraph
from atrc.training.recipe import Recipe, differences, flatten

FORMAT, VERSION = "atrc-checkpoint", 1


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
        network: State of the network.
        training: State of optimiser, gradient scaler and balancing.
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
        """Write atomically: a reader finds the old file or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, "version": VERSION, **vars(self)}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Checkpoint:
        """Read a checkpoint without running any code that it holds.

        Raises:
            UserError: No such file, not a checkpoint of ours, or of a newer version.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise UserError(f"{path}: no such checkpoint") from None
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path}: not a readable checkpoint ({reason[:120]})") from None
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"{path}: not a checkpoint of atrc")
        if (version := content.pop("version", None)) != VERSION:
            raise UserError(f"{path}: checkpoint version {version}, this atrc reads {VERSION}; upgrade atrc")
        return cls(**content)

    def require_recipe(self, recipe: Recipe, phase: str, path: Path) -> None:
        """Refuse to continue another run than the one that was asked for."""
        if self.phase != phase:
            raise UserError(f"{path}: belongs to `atrc {self.phase}`, not to `atrc {phase}`; choose another --out")
        changed = differences(self.recipe, recipe.to_dict())
        if changed:
            key = changed[0]
            old, new = flatten(self.recipe).get(key), flatten(recipe.to_dict()).get(key)
            raise UserError(
                f"{path}: is of another recipe: {key} was {old}, now {new}; "
                "restore the value, or start afresh with another --out"
            )

    def require_tasks(self, tasks: Sequence[Task], root: str) -> None:
        """Refuse a data set whose tasks are not those of the checkpoint."""
        for task, known in zip(tasks, self.read_tasks(), strict=True):
            ours, theirs = tasks_to_dicts([known])[0], tasks_to_dicts([task])[0]
            for key in ours:
                if ours[key] != theirs.get(key):
                    raise UserError(
                        f"{root}: {task.name} has {_short(key, theirs.get(key))}, the checkpoint "
                        f"{_short(key, ours[key])}; use the data set that it was trained on, or train afresh"
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
        if self.phase == "search":
            config = NetworkConfig(**{**self.recipe["network"], "pretrained": False})
            space, seed = self.recipe["search"]["space"], self.recipe["seed"]
            network = build_supergraph(config, self.read_tasks(), space, seed=seed)
        else:
            network = rebuild(self.architecture)
        load_weights(network, self.network, f"checkpoint of step {self.step}")
        return network.eval()

    @property
    def architecture(self) -> Architecture:
        """The network without its weights."""
        genotype = Genotype(self.genotype) if self.genotype else None
        branching = Branching(self.branching) if self.branching else None
        size = tuple(self.recipe["data"]["crop"])
        return Architecture(NetworkConfig(**self.recipe["network"]), self.read_tasks(), genotype, branching, size)

    def read_tasks(self) -> tuple[Task, ...]:
        """Return the tasks."""
        return tasks_from_dicts(self.tasks)


def checkpoint_path(path: str | Path) -> Path:
    """Return a run folder's last checkpoint; a file stays what it is."""
    path = Path(path)
    return path / "checkpoints" / "last.ckpt" if path.is_dir() else path


def _short(key: str, value: Any) -> str:
    return f"{key} of {len(value)} entries like {value[:2]}" if isinstance(value, tuple | list) else f"{key} {value}"
