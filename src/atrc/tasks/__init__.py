"""Tasks: one file per kind of dense prediction. A new task is a new file and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atrc.errors import UserError
from atrc.tasks.base import Task
from atrc.tasks.colours import PROBABILITY, Bar
from atrc.tasks.depth import Depth
from atrc.tasks.edge import Boundaries
from atrc.tasks.human_parts import HumanParts
from atrc.tasks.normals import SurfaceNormals
from atrc.tasks.sal import Saliency
from atrc.tasks.semseg import SemanticSegmentation

TASKS: dict[str, type[Task]] = {
    "semseg": SemanticSegmentation,
    "human_parts": HumanParts,
    "sal": Saliency,
    "normals": SurfaceNormals,
    "edge": Boundaries,
    "depth": Depth,
}

__all__ = [
    "PROBABILITY",
    "TASKS",
    "Bar",
    "Boundaries",
    "Depth",
    "HumanParts",
    "Saliency",
    "SemanticSegmentation",
    "SurfaceNormals",
    "Task",
    "select_tasks",
    "tasks_from_dicts",
    "tasks_to_dicts",
]


def select_tasks(available: Sequence[Task], names: Sequence[str] | None) -> tuple[Task, ...]:
    """Pick tasks by name, in the order of `names`; None takes all."""
    by_name = {task.name: task for task in available}
    for name in names or ():
        if name not in by_name:
            raise UserError(f"unknown task '{name}'; this data set has {', '.join(by_name)}")
    return tuple(by_name[name] for name in names) if names else tuple(available)


def tasks_to_dicts(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Describe tasks by plain values, for checkpoints and configurations."""
    kinds = {kind: key for key, kind in TASKS.items()}
    return [{"kind": kinds[type(task)], **task.to_dict()} for task in tasks]


def tasks_from_dicts(dicts: Sequence[Mapping[str, Any]]) -> tuple[Task, ...]:
    """Undo `tasks_to_dicts`."""
    return tuple(_from_dict(dict(entry)) for entry in dicts)


def _from_dict(entry: dict[str, Any]) -> Task:
    kind = entry.pop("kind", None)
    if kind not in TASKS:
        raise UserError(f"unknown kind of task '{kind}'; choose from {', '.join(TASKS)}")
    try:
        return TASKS[kind](**{key: _frozen(value) for key, value in entry.items()})
    except TypeError as error:
        raise UserError(f"task '{kind}': {error}") from None


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
