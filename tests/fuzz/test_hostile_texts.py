"""YAML, JSON and lists of ids."""

from __future__ import annotations

import json
from pathlib import Path

import mutations
import pytest
import yaml
from hypothesis import strategies as st
from readers import Reader, check_slice

from atrc.branching import Branching
from atrc.data.files import read_list, rooms_settings
from atrc.data.folder import Description
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.studies.cells import Cell
from atrc.studies.study import Study
from atrc.training.evaluation.evaluate import read_measurement
from atrc.training.recipe import Recipe
from atrc.training.recipe.files import read_recipe

OWN = {
    "name": "own",
    "images": "images",
    "splits": {"train": "train.txt", "val": ["a", "b"]},
    "tasks": {
        "semseg": {"classes": ["floor", "wall"], "ignore": 255, "colours": {"floor": [1, 2, 3]}, "weight": 2.0},
        "depth": {"labels": "depth", "unit": "mm", "invalid": [0, "nan"], "nearest": 0.5, "farthest": 9, "bins": 8},
        "material": {"kind": "semseg", "labels": "semseg", "classes": {"a": 1, "b": [2, 3]}, "ignore": "others"},
        "edge": {"labels": "edge", "threshold": 127, "ignore": [7], "positive_weight": 0.9, "max_dist": 0.01},
        "normals": {"labels": "depth", "flip": ["x", "y"]},
        "sal": {"labels": "edge"},
    },
}
FOLDER = {f"{name}/a.png": b"" for name in ("images", "semseg", "depth", "edge")} | {"train.txt": b"a\nb\n"}


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


RECIPE = plain(Recipe().to_dict())
SMALL = {
    "data": {"root": "x", "crop": [64, 96], "tasks": ["semseg"]},
    "optim": {"lr": 0.1, "steps": 7},
    "precision": "16",
}
ROW = {"name": "one", "recipes": ["network/global"], "set": {"optim.lr": 0.1}, "paper": {"semseg": 1.5}, "search": []}
STUDY = {
    "title": "t",
    "layout": "nyud",
    "rows": [ROW, ROW | {"name": "two"}],
    "recipes": ["data/nyud"],
    "seeds": [0, 1],
}
CELL = {
    "row": "one", "seed": 0, "task": None, "stages": [{"name": "train", "search": False, "recipe": RECIPE}],
}  # fmt: skip
TASKS = ("semseg", "depth")
GENOTYPES = [
    {"format": "atrc-genotype", "version": 1, "step": 5, "contexts": {t: dict.fromkeys(TASKS, "local") for t in TASKS}},
    {"data": {t: dict.fromkeys(TASKS, 3) for t in TASKS}, "step": 40000},
]
BRANCHING = {"format": "atrc-branching", "version": 1, "groups": [[list(TASKS)], [["semseg"], ["depth"]]]}
RESULT = {"metric": "mIoU", "value": 0.5, "unit": "%", "higher_is_better": True}
RESULTS = {"step": 5, "seconds": 1.5, "results": {"semseg": RESULT}, "protocol": {"split": "val"}}
ROOMS = {"version": 1, "profile": "indoor", "seed": 0, "classes": ["floor", "wall"], "splits": {"train": 1}}


def read_own(folder: Path) -> None:
    description = Description.load(folder)
    for split in description.splits:
        description.ids(split)


def read_recipes(folder: Path) -> None:
    recipe = read_recipe([folder / "a.yaml"])
    assert isinstance(recipe, Recipe)
    assert isinstance(recipe.optim.lr, float)


def read_study(folder: Path) -> None:
    study = Study.load(folder / "a.yaml")
    for row in study.rows:
        study.recipe(row)


def read_cell(folder: Path) -> None:
    cell = Cell.load(folder)
    assert cell.steps + cell.devices + cell.nodes + len(cell.state)


def read_json(folder: Path) -> None:
    """Read as everything that is JSON; it is refused if it is by all."""
    path, refusals = folder / "a.json", []
    readers = (Genotype.load, Branching.load, read_measurement, lambda path: rooms_settings(path.parent), read_list)
    for read in readers:
        try:
            str(read(path))
        except UserError as error:
            refusals.append(error)
    if len(refusals) >= len(readers) - 1:
        raise refusals[0]


def text(document: object) -> bytes:
    return yaml.safe_dump(document).encode()


def named(name: str, cases: st.SearchStrategy[bytes], **files: bytes) -> st.SearchStrategy[dict[str, bytes]]:
    return st.builds(lambda content: {name: content, **files}, cases)


own = st.builds(lambda a: {"dataset.yaml": a} | FOLDER, mutations.of_yaml([OWN, OWN, OWN | {"tasks": {"sal": None}}]))
json_cases = mutations.of_json([*GENOTYPES, BRANCHING, RESULTS, ROOMS, [[]]])
json_files = st.builds(lambda content: {"a.json": content, "rooms.json": content}, json_cases)
snippets = st.sampled_from(mutations.SNIPPETS).map(lambda text: text.encode("utf-8", "surrogatepass"))

READERS = [
    Reader("dataset.yaml", own | named("dataset.yaml", snippets), read_own, {"dataset.yaml": text(OWN)} | FOLDER, 8),
    Reader(
        "recipes",
        named("a.yaml", mutations.of_yaml([SMALL, SMALL, RECIPE]) | snippets),
        read_recipes,
        {"a.yaml": text(SMALL)},
        1,
    ),
    Reader("studies", named("a.yaml", mutations.of_yaml([STUDY]) | snippets), read_study, {"a.yaml": text(STUDY)}, 1),
    Reader("cells", named("cell.yaml", mutations.of_yaml([CELL]) | snippets), read_cell, {"cell.yaml": text(CELL)}, 1),
    Reader("JSON", json_files, read_json, {"a.json": json.dumps(GENOTYPES[0]).encode()}, 16),
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_texts_are_read_or_refused(reader, tmp_path):
    check_slice(reader, tmp_path, 15 if reader.share < 4 else 40)
