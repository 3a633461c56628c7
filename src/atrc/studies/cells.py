"""The cells of a study: one system trained once. A cell is a folder that holds everything about itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from atrc.errors import UserError
from atrc.files import read_yaml, write_atomic
from atrc.training.recipe import Recipe, differences, flatten
from atrc.training.run.folder import RunFolder, plain

State = Literal["done", "failed", "interrupted", "waiting"]


@dataclass(frozen=True)
class Stage:
    """One run of a cell: a search, or the training that comes last.

    Attributes:
        name: Its folder in the cell's.
        search: Whether it searches.
        recipe: What it does; files are given relative to the cell's folder, the data set is not.
    """

    name: str
    search: bool
    recipe: Recipe


@dataclass(frozen=True, eq=False)  # a cell is its folder; recipes have no hash
class Cell:
    """One system trained once.

    Attributes:
        row: Name of the study's row.
        seed: Seed of all its stages.
        task: The task of a single-task network; None for one network for all.
        folder: With cell.yaml, a run's folder for every stage, cell.log, and failed.txt if it failed.
        stages: Its runs, in order.
    """

    row: str
    seed: int
    task: str | None
    folder: Path
    stages: tuple[Stage, ...]

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}" + (f", {self.task}" if self.task else "")

    @property
    def run(self) -> RunFolder:
        """The folder of the last run, which has the results."""
        return self.stage_folder(self.stages[-1])

    @property
    def log(self) -> Path:
        """What the cell's processes printed."""
        return self.folder / "cell.log"

    @property
    def failure(self) -> Path:
        """Why it failed, if it did."""
        return self.folder / "failed.txt"

    @property
    def state(self) -> State:
        """What the folder says; it does not say whether a process works on it at this moment."""
        if self.run.results.exists():
            return "done"
        if self.failure.exists():
            return "failed"
        return "interrupted" if self.steps_done() else "waiting"

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.recipe.optim.steps for stage in self.stages)

    @property
    def devices(self) -> int:
        """Devices that it needs on every node."""
        return max(stage.recipe.devices for stage in self.stages)

    @property
    def nodes(self) -> int:
        """Nodes that it needs."""
        return max(stage.recipe.nodes for stage in self.stages)

    def stage_folder(self, stage: Stage) -> RunFolder:
        """Return the folder of a stage."""
        return RunFolder(self.folder / stage.name)

    def steps_done(self) -> int:
        """Count the steps of finished stages, and those that the current one has logged."""
        done = 0
        for stage in self.stages:
            run = self.stage_folder(stage)
            done += stage.recipe.optim.steps if run.results.exists() else _last_step(run.path / "train.csv")
        return done

    def seconds(self, stages: Sequence[Stage] | None = None) -> float:
        """Return the time that the finished ones of some stages took, of all by default, with continuations [s]."""
        files = [self.stage_folder(stage).results for stage in (self.stages if stages is None else stages)]
        return float(sum(json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in files if file.exists()))

    def reason(self) -> str | None:
        """Return why it failed; None if it did not."""
        return self.failure.read_text(encoding="utf-8").strip() if self.state == "failed" else None

    def fail(self, reason: str) -> None:
        """Write why it failed. The first of several processes knows: the others only lost that one."""
        if self.failure.exists():
            return
        write_atomic(self.failure, f"{' '.join(reason.split())}\n", shared=True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: the content of cell.yaml."""
        stages = [{"name": s.name, "search": s.search, "recipe": plain(s.recipe.to_dict())} for s in self.stages]
        return {"row": self.row, "seed": self.seed, "task": self.task, "stages": stages}

    def save(self) -> None:
        """Write cell.yaml.

        Raises:
            UserError: The folder cannot be written, or was begun with other recipes.
        """
        self.require_unchanged()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / "cell.yaml", yaml.safe_dump(self.to_dict(), sort_keys=False))
        except OSError as error:
            raise UserError(f"cannot write to {self.folder}: {error.strerror}; choose another --out") from None

    def require_unchanged(self) -> None:
        """Refuse recipes that are not those of the checkpoints in the folder."""
        if not (self.folder / "cell.yaml").exists():
            return
        begun = {stage.name: stage.recipe.to_dict() for stage in Cell.load(self.folder).stages}
        for stage in self.stages:
            now = stage.recipe.to_dict()
            if stage.name not in begun or not self.stage_folder(stage).checkpoint.exists():
                continue
            if changed := differences(begun[stage.name], now):
                key = changed[0]
                raise UserError(
                    f"{self.folder / stage.name}: was begun with {key} {flatten(begun[stage.name]).get(key)}, now the "
                    f"study has {flatten(now).get(key)}; restore the value, choose another --out, or remove the folder"
                )

    @classmethod
    def load(cls, folder: Path) -> Cell:
        """Read a cell's folder.

        Raises:
            UserError: It has no cell.yaml, or one that this version does not understand.
        """
        file = folder / "cell.yaml"
        try:
            content = read_yaml(file)
            stages = [_stage(stage) for stage in content["stages"]]
            if not stages:
                raise ValueError("no stages")
            return cls(content["row"], content["seed"], content["task"], folder, tuple(stages))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{file}: not the cell of a study ({error}); remove it and call `atrc study` again"
            ) from None


def _stage(content: Any) -> Stage:
    """Make a stage from plain values."""
    name = content["name"]
    if not (isinstance(name, str) and re.fullmatch(r"\w{1,64}", name)):
        raise ValueError(f"a stage of the name {name!r:.80}")
    return Stage(name, bool(content["search"]), _build(Recipe, content["recipe"]))


def _build(kind: type, content: dict[str, Any]) -> Any:
    """Make a recipe, or a part of one, from plain values; numbers and parts have to be such."""
    made = kind()
    for field in fields(kind):
        if field.name in content:
            now, value = getattr(made, field.name), content[field.name]
            allowed = isinstance(value, int | float) or (value is None and "None" in str(field.type))
            if is_dataclass(now) and isinstance(value, dict):
                value = _build(type(now), value)
            elif is_dataclass(now) or (isinstance(now, int | float) and not allowed):
                raise TypeError(f"{field.name} = {value!r:.80}")
            setattr(made, field.name, tuple(value) if isinstance(now, tuple) else value)
    return made


def _last_step(table: Path) -> int:
    """Return the step of the last whole row of a table; 0 if there is none."""
    try:
        with table.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().split(b"\n")[:-1]
        return int(lines[-1].split(b",")[0])
    except (OSError, IndexError, ValueError):
        return 0
