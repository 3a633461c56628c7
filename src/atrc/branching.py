"""Which tasks share which stages of a backbone. Needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atrc.errors import UserError, require_format
from atrc.files import write_atomic

FORMAT = "atrc-branching"
VERSION = 1

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Branching:
    """A tree of stages: for every stage after the first, the groups of tasks that share it.

    Groups only split from stage to stage: tasks that share a stage share all stages before it.

    >>> branching = Branching.at(2, ["semseg", "depth"], stages=3)
    >>> branching.groups
    ((('semseg', 'depth'),), (('semseg',), ('depth',)))

    Source: Sec. 4.5; Bruggemann et al., Automated Search for Resource-Efficient Branched Multi-Task Networks,
    BMVC 2020.
    """

    groups: tuple[Groups, ...]

    def __post_init__(self) -> None:
        if not self.groups or not self.groups[0]:
            raise UserError("a branching needs the groups of at least one stage")
        tasks = sorted(set(self.tasks))
        for i, stage in enumerate(self.groups):
            if sorted(task for group in stage for task in group) != tasks or not all(stage):
                raise UserError(
                    f"stage {i + 2}: every task must be in exactly one group; the tasks are {', '.join(tasks)}"
                )
        for i, (stage, later) in enumerate(zip(self.groups, self.groups[1:], strict=False)):
            for group in later:
                if not any(set(group) <= set(shared) for shared in stage):
                    raise UserError(f"stage {i + 3} joins {', '.join(group)}, which stage {i + 2} has split already")

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks."""
        return tuple(task for group in self.groups[0] for task in group)

    @property
    def stages(self) -> int:
        """Number of stages of the backbone; the first is always shared."""
        return len(self.groups) + 1

    def parent(self, stage: int, group: int) -> int:
        """Return the group of the stage before that a group of `groups[stage]` goes on from."""
        task = self.groups[stage][group][0]
        return next(i for i, shared in enumerate(self.groups[stage - 1]) if task in shared)

    @classmethod
    def at(cls, shared: int, tasks: Sequence[str], stages: int) -> Branching:
        """Share the first `shared` stages among all tasks; after them every task has its own."""
        together, apart = (tuple(tasks),), tuple((task,) for task in tasks)
        return cls(tuple(together if stage < shared else apart for stage in range(1, stages)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Branching:
        """Read our JSON.

        Raises:
            UserError: No such file, or not a branching.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"branching file '{path}' cannot be read as JSON: {error}") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(
                f"branching file '{path}': not a branching; `atrc search --search.space branches` makes one"
            )
        require_format(content.get("version"), VERSION, f"branching file '{path}'")
        try:
            return cls(tuple(tuple(tuple(map(str, group)) for group in stage) for stage in content["groups"]))
        except (KeyError, TypeError):
            raise UserError(
                f"branching file '{path}': \"groups\" must list the groups of tasks of every stage"
            ) from None
        except UserError as error:
            raise UserError(f"branching file '{path}': {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write our JSON, atomically."""
        content = {"format": FORMAT, "version": VERSION, "groups": self.groups}
        write_atomic(path, json.dumps(content, indent=2) + "\n")

    def __str__(self) -> str:
        lines = [" | ".join(", ".join(group) for group in stage) for stage in self.groups]
        return "\n".join(f"stage {i + 2}: {line}" for i, line in enumerate(lines))
