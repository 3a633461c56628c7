"""What a study is: rows of recipes, seeds, and the numbers of a paper next to them."""

from __future__ import annotations

from argparse import ArgumentError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from atrc.data.nyud import nyud_tasks
from atrc.data.pascal import pascal_tasks
from atrc.errors import UserError
from atrc.files import read_yaml
from atrc.tasks import Task
from atrc.training.recipe import Recipe
from atrc.training.recipe.files import read_recipe, recipe_path, shipped_recipes

LAYOUTS = {"nyud": nyud_tasks, "pascal": pascal_tasks}


@dataclass(frozen=True)
class Row:
    """One system of a study.

    Attributes:
        name: Unique within the study.
        recipes: Recipes over those of the study, the later winning.
        set: Dotted keys over all recipes.
        single_task: Train one network for every task instead of one for all; the study's Delta_m is against it.
        search: Recipes of searches that every seed begins with, in this order; what each finds replaces the recipe's
            genotype or branching.
        paper: What a paper reports: task -> value, delta_m [%], parameters [M], multiply_adds [G].
    """

    name: str
    recipes: list[str] = field(default_factory=list)
    set: dict[str, Any] = field(default_factory=dict)
    single_task: bool = False
    search: list[str] = field(default_factory=list)
    paper: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A grid of rows and seeds on one data set.

    Attributes:
        title: For tables and figures.
        layout: "nyud" or "pascal": the tasks, also where the data set is not available.
        rows: The systems.
        recipes: Recipes under those of every row.
        set: Dotted keys over the recipes of every row.
        seeds: Every row is run with each of them.
        control: Name of the row that the others are compared with, within seeds.
        folder: Where recipes are looked up first.
    """

    title: str
    layout: str
    rows: list[Row]
    recipes: list[str] = field(default_factory=list)
    set: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    control: str | None = None
    folder: Path = Path()

    @classmethod
    def load(cls, path: str | Path) -> Study:
        """Read a study's YAML file, or a shipped study by its name.

        Raises:
            UserError: No such file, or something in it cannot be used.
        """
        file = _find(path)
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: a study is a mapping of keys to values, not {type(content).__name__}")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, as_group=False)
        try:
            values = parser.instantiate(parser.parse_object(content | {"folder": str(file.parent)}))
        except ArgumentError as error:
            raise UserError(f"{file}: {' '.join(str(error).split())}") from None
        study = cls(**vars(values))
        study.check(file)
        return study

    def check(self, file: Path) -> None:
        """Refuse a study that cannot be run."""
        if self.layout not in LAYOUTS:
            raise UserError(f"{file}: unknown layout '{self.layout}'; choose from {', '.join(LAYOUTS)}")
        if not self.rows or not self.seeds:
            raise UserError(f"{file}: a study needs at least one row and one seed")
        names = [row.name for row in self.rows]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{file}: two rows are named '{twice[0]}'; names must be unique")
        if self.control is not None and self.control not in names:
            raise UserError(f"{file}: control: no row '{self.control}'; there are {', '.join(names)}")

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the study's layout."""
        return LAYOUTS[self.layout]()

    def recipe(self, row: Row, search: str | None = None) -> Recipe:
        """Return the recipe of a row, or of one of its searches, for all tasks and the recipe's own seed."""
        names = (*self.recipes, *row.recipes, *([search] if search else []))
        paths = [recipe_path(name, self.folder) for name in names]
        return read_recipe(paths, {**self.set, **row.set})


def _find(path: str | Path) -> Path:
    shipped = shipped_recipes() / "study"
    file = next((p for p in (Path(path), shipped / f"{path}.yaml") if p.is_file()), None)
    if file is None:
        names = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
        raise UserError(f"no study '{path}'; give a YAML file or one of {names}")
    return file
