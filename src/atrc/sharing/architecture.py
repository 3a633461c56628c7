"""All that it takes to build a network again, as plain values: what checkpoints and shared folders hold."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from atrc import __version__
from atrc.branching import Branching
from atrc.errors import UserError, require_format
from atrc.genotype import Genotype, SearchSpace
from atrc.network import MultiTaskNetwork, NetworkConfig, build_network
from atrc.network.config import EARLIER
from atrc.tasks import TASKS, Task, tasks_from_dicts, tasks_to_dicts

FORMAT, VERSION = "atrc-network", 1
LARGEST = 4096  # whole number: classes, bins, channels. A file from elsewhere should not fill the memory.
MOST = 32  # tasks: there is a block for every pair
RESOLVED = ("pretrained", "genotype", "branching", "freeze", "init")  # not in a file, which has their results


@dataclass(frozen=True)
class Architecture:
    """A network without its weights. Nothing in it refers to a file, and building it fetches nothing.

    Attributes:
        config: What the network is made of.
        tasks: What it predicts.
        genotype: The contexts of ATRC, instead of `config.genotype`; None without ATRC.
        branching: Groups of tasks by stage, instead of `config.branching`; None if the backbone is shared.
        size: Height and width of the training crops [px], if known.
    """

    config: NetworkConfig
    tasks: tuple[Task, ...]
    genotype: Genotype | None = None
    branching: Branching | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        config = replace(self.config, pretrained=False, genotype=None, branching=None, freeze=None, init=None)
        object.__setattr__(self, "config", config)

    @classmethod
    def of(cls, network: MultiTaskNetwork) -> Architecture:
        """Return the architecture of a network.

        Raises:
            UserError: The network was not made by `build_network`, or is the supergraph of a search.
        """
        if network.config is None:
            raise UserError(
                "this network does not know how it was built, so nobody could load it: build it with "
                "atrc.network.build_network(NetworkConfig(..), tasks), or load that of a run; of a search's supergraph "
                "retrain the genotype or the branching, with atrc train, and save the network of that run"
            )
        genotype = network.genotype if network.config.distillation == "atrc" else None
        assert not isinstance(genotype, SearchSpace)
        return cls(network.config, network.tasks, genotype, network.branching, network.size)

    def build(self) -> MultiTaskNetwork:
        """Build the network, with fresh weights.

        Raises:
            UserError: It cannot be built.
        """
        try:
            network = build_network(self.config, self.tasks, self.genotype, self.branching)
        except UserError:
            raise
        except Exception as error:  # a file may ask for anything
            raise UserError(f"not a network that can be built ({type(error).__name__}: {error})") from error
        network.size = self.size
        return network

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        config = {key: value for key, value in asdict(self.config).items() if key not in RESOLVED}
        return {
            "format": FORMAT,
            "version": VERSION,
            "atrc": __version__,
            "network": config,
            "tasks": tasks_to_dicts(self.tasks),
            "genotype": self.genotype.contexts if self.genotype else None,
            "branching": self.branching.groups if self.branching else None,
            "size": self.size,
        }

    @classmethod
    def from_dict(cls, content: Any) -> Architecture:
        """Undo `to_dict`; every value is checked, for the file may be from anywhere.

        Raises:
            UserError: Another format, a newer version, or an invalid value.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f'not a network of atrc: "format" should be "{FORMAT}"; `atrc publish` writes one')
        require_format(content.get("version"), VERSION, f"a network of atrc {content.get('atrc')!r:.40}")
        return cls.from_values(*(content.get(key) for key in ("network", "tasks", "genotype", "branching", "size")))

    @classmethod
    def from_values(cls, network: Any, tasks: Any, genotype: Any, branching: Any, size: Any) -> Architecture:
        """Make an architecture from plain values, which may be anything.

        Raises:
            UserError: An invalid value.
        """
        config = _checked("network", network, NetworkConfig)
        if not _fits(size, tuple[int, int] | None) or (size and min(size) < 1):
            raise UserError(f"size: {size!r:.60} is not a height and a width; whole numbers end at {LARGEST}")
        return cls(
            NetworkConfig(**(EARLIER | config)),
            tasks_from_values(tasks),
            Genotype(_rows(genotype)) if genotype is not None else None,
            Branching(_groups(branching)) if branching is not None else None,
            tuple(size) if size else None,
        )


def tasks_from_values(entries: Any) -> tuple[Task, ...]:
    """Make tasks from plain values, which may be anything.

    Raises:
        UserError: An invalid value.
    """
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UserError("tasks: expected a list of tasks")
    if len(entries) > MOST:
        raise UserError(f"tasks: {len(entries)} of them; a network has at most {MOST}")
    for i, entry in enumerate(entries):
        if not isinstance(name := entry.get("kind"), str) or name not in TASKS:
            raise UserError(f"tasks[{i}].kind: unknown kind of task {name!r:.60}; choose from {', '.join(TASKS)}")
        _checked(f"tasks[{i}]", {key: value for key, value in entry.items() if key != "kind"}, TASKS[name])
    tasks = tasks_from_dicts(entries)
    names = [task.name for task in tasks]
    for task in tasks:
        if not task.name.isidentifier() or names.count(task.name) > 1:  # they name modules and files
            raise UserError(f"tasks: {task.name!r} should be a name of letters, digits and _, used by one task only")
        for key in ("class_names", "class_colours"):
            if len(getattr(task, key, ())) not in (0, task.region_count):
                raise UserError(
                    f"tasks: {task.name} has {task.region_count} classes, but {len(getattr(task, key))} {key}"
                )
    return tasks


def _rows(rows: Any) -> dict[str, dict[str, str]]:
    if not _fits(rows, dict) or not all(_fits(row, dict) for row in rows.values()):
        raise UserError("genotype: expected {target: {source: context}}")
    return {target: {source: str(context) for source, context in row.items()} for target, row in rows.items()}


def _groups(stages: Any) -> tuple[tuple[tuple[str, ...], ...], ...]:
    if not _fits(stages, tuple[tuple[tuple[str, ...], ...], ...]):
        raise UserError("branching: expected the groups of tasks of every stage")
    return tuple(tuple(tuple(group) for group in stage) for stage in stages)


def _checked(where: str, values: Any, kind: type) -> dict[str, Any]:
    """Return values for the fields of a dataclass once their types are checked."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected keys and values, not {values!r:.60}")
    hints = get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind) if field.name not in RESOLVED]
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"{where}.{key}: unknown; there are: {', '.join(fields)}")
        if not _fits(value, hints[key]):
            raise UserError(f"{where}.{key}: {value!r:.60} is invalid; whole numbers end at {LARGEST}")
    return values


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON has a type; lists count as tuples."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        kinds: Sequence[Any] = [inner[0]] * len(value) if inner[1:] == (...,) else inner
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
    return isinstance(value, Mapping if hint is dict else hint)
