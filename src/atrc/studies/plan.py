"""From a study to its cells: a folder for every row, seed and task."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from atrc.contexts import CONTEXTS
from atrc.errors import UserError
from atrc.files import write_atomic
from atrc.studies.cells import Cell, Stage
from atrc.studies.study import Row, Study
from atrc.training.recipe import Recipe

# What a search finds: the recipe's key that takes it, and its file.
FOUND = {"contexts": ("genotype", "genotype.json"), "branches": ("branching", "branching.json")}


def plan(study: Study, out: Path, devices: int | None = None, nodes: int | None = None) -> list[Cell]:
    """Return the cells of a study; nothing is written yet.

    Args:
        study: Its rows and seeds.
        out: The study's folder.
        devices: Replaces the recipes' number of devices.
        nodes: Replaces the recipes' number of nodes.

    Raises:
        UserError: A recipe that cannot be used, or rows that would share a folder.
    """
    slugs = [slug(row.name) for row in study.rows]
    if twice := [row.name for row, own in zip(study.rows, slugs, strict=True) if slugs.count(own) > 1]:
        raise UserError(f"the rows '{twice[0]}' and '{twice[1]}' would share a folder; rename one of them")
    cells = []
    for row in study.rows:
        recipes = [study.recipe(row, search) for search in (*row.search, None)]
        recipes = [replace(r, devices=devices or r.devices, nodes=nodes or r.nodes) for r in recipes]
        tasks = (recipes[-1].data.tasks or [task.name for task in study.tasks]) if row.single_task else [None]
        for seed in study.seeds:
            for task in tasks:
                folder = out / slug(row.name) / f"seed{seed}" / (task or "")
                cells.append(Cell(row.name, seed, task, folder, _stages(row, recipes, seed, task, folder)))
    return cells


def save_study(study: Study, cells: Sequence[Cell], out: Path) -> None:
    """Write the folder of a study: study.yaml, and cell.yaml of every cell.

    Raises:
        UserError: The folder cannot be written, or was begun with other recipes.
    """
    for cell in cells:
        cell.require_unchanged()
    for cell in cells:
        cell.save()
    content = {key: value for key, value in asdict(study).items() if key != "folder"}
    write_atomic(out / "study.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_study(out: Path) -> tuple[Study, list[Cell]]:
    """Return the study of a folder, and its cells in the order of its rows.

    Raises:
        UserError: It is not the folder of a study.
    """
    if not (out / "study.yaml").is_file():
        raise UserError(
            f"{out}: not the folder of a study (it has no study.yaml); `atrc study FILE --out {out}` fills it"
        )
    study = Study.load(out / "study.yaml")
    cells = []
    for row in study.rows:
        for seed in study.seeds:
            folder = out / slug(row.name) / f"seed{seed}"
            folders = [folder / task.name for task in study.tasks] if row.single_task else [folder]
            cells += [Cell.load(folder) for folder in folders if (folder / "cell.yaml").exists()]
    return study, cells


def slug(name: str) -> str:
    """Turn a row's name into that of a folder.

    >>> slug("PAD-Net C / MTI-Net's")
    'pad-net-c-mti-net-s'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "row"


def _stages(row: Row, recipes: Sequence[Recipe], seed: int, task: str | None, folder: Path) -> tuple[Stage, ...]:
    """Chain the searches and the training: what a search finds, the later stages use."""
    found: dict[str, Any] = {}
    stages = []
    spaces = [recipe.search.space for recipe in recipes[:-1]]
    _check_searches(row, spaces, recipes[-1])
    for recipe, space in zip(recipes, [*spaces, None], strict=True):
        name = f"search_{space}" if space else "train"
        network = replace(_moved(recipe, folder).network, **found)
        if space == "branches":
            network = replace(network, branching=None)
            if "contexts" in spaces:  # not known yet
                network = replace(network, distillation="none", genotype=None)
        data = replace(recipe.data, root=_absolute(recipe.data.root), tasks=[task] if task else recipe.data.tasks)
        stages.append(Stage(name, space is not None, replace(recipe, out=name, seed=seed, network=network, data=data)))
        if space:
            key, file = FOUND[space]
            found[key] = f"{name}/{file}"
    return tuple(stages)


def _check_searches(row: Row, spaces: Sequence[str], last: Recipe) -> None:
    if len(set(spaces)) < len(spaces):
        raise UserError(f"row '{row.name}': searches {spaces[0]} twice; leave one of them out")
    if "contexts" in spaces and last.network.distillation != "atrc":
        raise UserError(
            f"row '{row.name}': a genotype that is searched needs network.distillation atrc, not "
            f"{last.network.distillation}; add a recipe such as network/global"
        )


def _moved(recipe: Recipe, folder: Path) -> Recipe:
    """Give the files that a recipe names relative to a cell's folder, where the stages run."""

    def relative(value: Any) -> Any:
        is_file = isinstance(value, str) and value not in CONTEXTS and Path(value).is_file()
        return os.path.relpath(value, folder) if is_file else value

    net = recipe.network
    changed = {key: relative(getattr(net, key)) for key in ("pretrained", "genotype", "branching")}
    return replace(recipe, network=replace(net, **changed))


def _absolute(root: str) -> str:
    return str(Path(root).absolute()) if Path(root).exists() else root  # it may be an address
