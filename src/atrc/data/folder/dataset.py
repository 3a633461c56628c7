"""One's own data: a folder of images and labels, and a `dataset.yaml` that says what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import nn

from atrc.data.dataset import Label, MultiTaskDataset
from atrc.data.folder.kinds import KINDS
from atrc.data.folder.labels import LabelReader
from atrc.data.folder.section import Section, nearest, read_section, show
from atrc.data.labels import read_list, read_rgb
from atrc.errors import UserError
from atrc.files import Files
from atrc.images import image_size
from atrc.tasks import Task

# h w image

FILE = "dataset.yaml"
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LABEL_ENDINGS = (".png", ".npy", ".tif", ".tiff")
LOGGED = ("loss", "lr", "step", "temperature", "entropy", "entropy_weight", "fixed")  # columns of a run's tables


@dataclass(frozen=True)
class LabelledTask:
    """A task of `dataset.yaml`, where its labels are and how they are read."""

    task: Task
    files: Files
    reader: LabelReader


@dataclass(frozen=True)
class Description:
    """What `dataset.yaml` says; the folders that it names have been listed.

    Attributes:
        path: The file.
        name: The data set's name.
        images: The images.
        splits: A text file of ids, or the ids themselves, by split.
        tasks: By name.
    """

    path: Path
    name: str
    images: Files
    splits: dict[str, Path | list[str]]
    tasks: dict[str, LabelledTask]

    @classmethod
    def load(cls, root: Path) -> Description:
        """Read a folder's file.

        Raises:
            UserError: Something in it cannot be used.
        """
        content = read_section(root / FILE)
        name = content.text("name", root.resolve().name)
        images = _files(content, "images", "images", IMAGE_ENDINGS)
        splits, tasks = content.section("splits"), content.section("tasks")
        description = cls(
            content.path, name, images, {split: _split(splits, split) for split in splits},
            {task: _task(tasks, task) for task in tasks},
        )  # fmt: skip
        content.close()
        return description

    def ids(self, split: str) -> list[str]:
        """Return the ids of a split.

        Raises:
            UserError: No such split, no ids in it, one twice, or something that is no id.
        """
        if split not in self.splits:
            raise UserError(f"{self.path}: no split '{split}'; splits has {', '.join(self.splits)}")
        given = self.splits[split]
        ids = read_list(given) if isinstance(given, Path) else given
        if twice := [id for id, count in Counter(ids).items() if count > 1]:
            where = given if isinstance(given, Path) else f"{self.path}: splits.{split}"
            raise UserError(f"{where}: id '{twice[0]}' is listed twice; list every image once")
        return ids


class FolderDataset(MultiTaskDataset):
    """A folder with `dataset.yaml`. A label that is missing is valid nowhere.

    Images are turned upright by their EXIF orientation, as whoever drew the labels saw them.

    Attributes:
        description: What `dataset.yaml` says.
    """

    layout: str

    def __init__(self, root: str | Path, split: str, tasks: Sequence[str] | None = None) -> None:
        super().__init__(root, split, tasks)
        self.layout = f"own data '{self.description.name}'"

    @cached_property
    def description(self) -> Description:
        return Description.load(self.root)

    @classmethod
    def split_names(cls, root: Path) -> tuple[str, ...]:
        return tuple(Description.load(root).splits)

    def available_tasks(self) -> tuple[Task, ...]:
        return tuple(entry.task for entry in self.description.tasks.values())

    def read_ids(self) -> list[str]:
        return self.description.ids(self.split)

    def read_image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        return read_rgb(self._image(id))

    def label_files(self, task: Task, id: str) -> list[Path]:
        path = self.description.tasks[task.name].files.find(id)
        return [path] if path else []

    def read_label(self, task: Task, id: str) -> Label:
        reader, files = self.description.tasks[task.name].reader, self.label_files(task, id)
        return reader.read(files[0]) if files else reader.absent(*(image_size(self._image(id)) or (1, 1)))

    def remarks(self) -> list[str]:
        images = self.description.images
        listed = {id for split in self.description.splits for id in self.description.ids(split)}
        found = _several(images.folder.name, sorted(set(images.paths) - listed), "in no split")
        for entry in self.description.tasks.values():
            stray = sorted(set(entry.files.paths) - set(images.paths))
            found += _several(entry.files.folder.name, stray, "named like no image")
        return found

    def _image(self, id: str) -> Path:
        images = self.description.images
        if path := images.find(id):
            return path
        ending = Path(id).stem in images.paths and Path(id).suffix.lower() in IMAGE_ENDINGS
        cure = "write ids without endings" if ending else "add the image, or take the id out of the split"
        raise UserError(f"{images.folder}: no image '{id}', which the {self.split} split lists; {cure}")


def _several(folder: str, names: list[str], reason: str) -> list[str]:
    shown = ", ".join(names[:3]) + (" .." if len(names) > 3 else "")
    count = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return [f"{folder}/: {count} {reason} ({shown})"] if names else []


def _files(section: Section, key: str, default: str, endings: Collection[str]) -> Files:
    given = section.text(key, default)
    folder = section.path.parent / given
    try:
        return Files(folder, endings)
    except (OSError, ValueError):  # also what can be no name
        beside = [path.name for path in section.path.parent.iterdir() if path.is_dir()]
        there = nearest(given, beside) if beside else "there are no folders"
        section.fail(key, f"is {show(given)}, but there is no folder {folder}; {there}")


def _split(splits: Section, name: Any) -> Path | list[str]:
    if not isinstance(name, str):
        splits.fail(name, "names a split, which must be text; put it in quotes")
    given = splits.take(name)
    if isinstance(given, str) and given:
        return splits.path.parent / given
    if not isinstance(given, list) or not given:
        splits.fail(name, f"is {show(given)}; give a text file with one id a line, or a list of ids")
    for id in given:
        if not isinstance(id, str) or id in ("", "..") or any(mark in id for mark in "/\\\0"):
            splits.fail(name, f"holds {show(id)}, which is no id; give names of images without folders and endings, "
                        "numbers in quotes")  # fmt: skip
    return list(given)


def _task(tasks: Section, name: Any) -> LabelledTask:
    _require_name(tasks, name)
    section = tasks.options(name)
    kind = section.text("kind", name)
    if kind not in KINDS:
        if "kind" in section.content:
            section.fail("kind", f"is {show(kind)}; {nearest(kind, KINDS)}")
        section.fail("kind", f"is missing, and '{name}' is no kind of its own; {nearest(kind, KINDS)}")
    task_type, describe = KINDS[kind]
    files = _files(section, "labels", name, LABEL_ENDINGS)
    common: dict[str, Any] = {"name": name}
    if "weight" in section:
        common["weight"] = section.number("weight", 1.0, 0.0)
    task, reader = describe(task_type, section, common)
    section.taken.add("weight")
    section.close()
    return LabelledTask(task, files, reader)


def _require_name(tasks: Section, name: Any) -> None:
    """Task names become names of modules, of columns and of losses."""
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        tasks.fail(name, "is no name for a task; use letters, digits and _, first a letter")
    if hasattr(nn.ModuleDict(), name) or name in LOGGED or name.endswith(("_aux", "_auxiliary")):
        tasks.fail(name, f"is no name for a task, it means something else; call it my_{name.removesuffix('_aux')}")
