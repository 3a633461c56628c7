"""Tiny runs, and whether two of them are the same to the bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from atrc.training.recipe import DataConfig, NetworkConfig, OptimConfig, Recipe, SearchConfig
from atrc.training.run.checkpoint import Checkpoint, checkpoint_path
from atrc.training.run.folder import read_table
from atrc.training.step import Stepper

NETWORK, OPTIM = ({field.name for field in fields(kind)} for kind in (NetworkConfig, OptimConfig))


def tiny(out: Path, data: Path, steps: int = 4, **options: Any) -> Recipe:
    """Return a recipe of seconds: a tiny backbone, 32x32 crops, a checkpoint every second step.

    Options are keys of the recipe, of `network` and of `optim`, and the `tasks`.
    """
    tasks = options.pop("tasks", [])
    network = {"backbone": "timm:test_efficientnet"} | {key: options.pop(key) for key in NETWORK & set(options)}
    optim = {key: options.pop(key) for key in OPTIM & set(options)}
    settings: dict[str, Any] = {"accelerator": "cpu", "precision": "32", "validate_every": 2, "log_every": 1, **options}
    return Recipe(
        out=str(out),
        data=DataConfig(root=str(data), tasks=tasks, crop=(32, 32), batch_size=2, workers=0),
        network=NetworkConfig(**network),
        optim=OptimConfig(steps=steps, **optim),
        search=SearchConfig(lr=0.3),
        **settings,
    )


def break_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Interrupt runs when a step begins, counted from 0, until the patch is undone."""
    take = Stepper.take

    def broken(self: Stepper, number: int, batch: Any) -> Any:
        if number == step:
            raise KeyboardInterrupt
        return take(self, number, batch)

    monkeypatch.setattr(Stepper, "take", broken)


def last(run: Path) -> Checkpoint:
    return Checkpoint.load(checkpoint_path(run))


def same(one: Any, other: Any) -> bool:
    """Say whether plain values and tensors are equal, to the bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def same_run(one: Path, other: Path) -> bool:
    """Say whether two finished runs have the same checkpoint, genotype, metrics and curves."""
    ours, theirs = last(one), last(other)
    parts = ("step", "tasks", "genotype", "branching", "network", "training")
    tables = [name for name in ("train.csv", "val.csv", "search.csv") if (one / name).exists()]
    return all(same(getattr(ours, part), getattr(theirs, part)) for part in parts) and all(
        read_table(one / name) == read_table(other / name) for name in tables
    )
