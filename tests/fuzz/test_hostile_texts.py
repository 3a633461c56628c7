"""YAML, JSON and lists of ids: each is read, or refused by a `UserError`."""

from __future__ import annotations

from contextlib import suppress

import mutations
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atrc.branching import Branching
from atrc.data.folder.dataset import Description
from atrc.data.labels import read_list, rooms_settings
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


snippets = st.sampled_from(mutations.SNIPPETS).map(lambda text: text.encode("utf-8", "surrogatepass"))


def text(document: object) -> bytes:
    return yaml.safe_dump(document).encode()


@mutations.few
@given(mutations.of_yaml([OWN, OWN, OWN | {"tasks": {"sal": None}}]) | snippets)
def test_descriptions_of_own_data_are_read_or_refused(content):
    with mutations.folder({"dataset.yaml": content} | FOLDER) as folder, suppress(UserError):
        description = Description.load(folder)
        for split in description.splits:
            description.ids(split)


@mutations.few
@given(mutations.of_yaml([SMALL, SMALL, RECIPE]) | snippets)
def test_recipes_are_read_or_refused(content):
    with mutations.folder({"a.yaml": content}) as folder, suppress(UserError):
        assert isinstance(read_recipe([folder / "a.yaml"]).optim.lr, float)


@mutations.few
@given(mutations.of_yaml([STUDY]) | snippets)
def test_studies_are_read_or_refused(content):
    with mutations.folder({"a.yaml": content}) as folder, suppress(UserError):
        study = Study.load(folder / "a.yaml")
        for row in study.rows:
            study.recipe(row)


@mutations.few
@given(mutations.of_yaml([CELL]) | snippets)
def test_cells_of_studies_are_read_or_refused(content):
    with mutations.folder({"cell.yaml": content}) as folder, suppress(UserError):
        cell = Cell.load(folder)
        assert cell.steps + cell.devices + cell.nodes + len(cell.state)


@mutations.few
@given(mutations.of_json([*GENOTYPES, BRANCHING, RESULTS, ROOMS, [[]]]))
def test_json_is_read_or_refused(content):
    readers = (Genotype.load, Branching.load, read_measurement, lambda path: rooms_settings(path.parent), read_list)
    with mutations.folder({"a.json": content, "rooms.json": content}) as folder:
        for read in readers:
            with suppress(UserError):
                str(read(folder / "a.json"))
