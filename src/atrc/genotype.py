"""Which relational context every source-target pair uses. Reading and writing one needs no torch."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atrc.contexts import CONTEXTS, get_context
from atrc.errors import UserError, require_format
from atrc.files import write_atomic

FORMAT = "atrc-genotype"
VERSION = 1


@dataclass(frozen=True)
class SearchSpace:
    """The candidates of every pair, before a search has chosen.

    On the diagonal S-label equals T-label, so it is no candidate there. Source: Sec. 3.3.
    """

    tasks: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """The tasks whose features are refined."""
        return self.tasks

    @property
    def sources(self) -> tuple[str, ...]:
        """The tasks that are attended to."""
        return self.tasks

    @property
    def label_tasks(self) -> tuple[str, ...]:
        """The tasks whose label regions some candidate uses: all of them."""
        return self.tasks

    def candidates(self, target: str, source: str) -> tuple[str, ...]:
        """The contexts that this pair may choose from."""
        return tuple(c for c in CONTEXTS if target != source or get_context(c).regions != "source")


@dataclass(frozen=True)
class Genotype:
    """One context for every (target, source) pair; immutable.

    >>> genotype = Genotype.uniform(["semseg", "depth"], "global")
    >>> genotype["semseg", "depth"]
    'global'
    >>> genotype.counts()["global"]
    4
    """

    contexts: Mapping[str, Mapping[str, str]]
    step: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        _check(self.contexts)
        sources = list(next(iter(self.contexts.values())))
        ordered = {t: {s: row[s] for s in sources} for t, row in self.contexts.items()}
        object.__setattr__(self, "contexts", ordered)

    def __getitem__(self, pair: tuple[str, str]) -> str:
        target, source = pair
        return self.contexts[target][source]

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def items(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield ((target, source), context), row by row."""
        for target, row in self.contexts.items():
            for source, context in row.items():
                yield (target, source), context

    @property
    def targets(self) -> tuple[str, ...]:
        """The tasks whose features are refined."""
        return tuple(self.contexts)

    @property
    def sources(self) -> tuple[str, ...]:
        """The tasks that are attended to."""
        return tuple(next(iter(self.contexts.values())))

    @property
    def label_tasks(self) -> tuple[str, ...]:
        """The tasks whose label regions some block uses; only these need an auxiliary head."""
        regions = [(target, source, get_context(context).regions) for (target, source), context in self.items()]
        used = {target if of == "target" else source for target, source, of in regions if of}
        return tuple(task for task in dict.fromkeys(self.targets + self.sources) if task in used)

    def counts(self) -> dict[str, int]:
        """How often each context is used, every context named."""
        counter = Counter(context for _, context in self.items())
        return {context: counter[context] for context in CONTEXTS}

    def agreement(self, other: Genotype) -> float:
        """Return the share of pairs, in [0, 1], for which both chose the same context.

        Source: Sec. 4.4 (percentage agreement; chance agreement is not removed).
        """
        if self.targets != other.targets or self.sources != other.sources:
            raise UserError(
                f"genotypes of different tasks cannot be compared: targets {list(self.targets)} and sources "
                f"{list(self.sources)} against {list(other.targets)} and {list(other.sources)}"
            )
        pairs = list(self.items())
        return sum(other[pair] == context for pair, context in pairs) / len(pairs)

    @classmethod
    def uniform(cls, tasks: Sequence[str], context: str) -> Genotype:
        """Use one context everywhere."""
        return cls({t: dict.fromkeys(tasks, context) for t in tasks})

    @classmethod
    def random(cls, tasks: Sequence[str], seed: int) -> Genotype:
        """Draw every pair uniformly from its candidates; the control for a search."""
        space, rng = SearchSpace(tuple(tasks)), random.Random(seed)
        return cls({t: {s: rng.choice(space.candidates(t, s)) for s in tasks} for t in tasks})

    @classmethod
    def published(cls, name: str) -> Genotype:
        """Return a genotype that the authors released; `PUBLISHED` has the names."""
        if name not in PUBLISHED:
            raise UserError(f"no published genotype '{name}'; there are: {', '.join(PUBLISHED)}")
        (tasks, rows), names = PUBLISHED[name], list(CONTEXTS)
        contexts = {t: [names[i] for i in row] for t, row in zip(tasks, rows, strict=True)}
        return cls({target: dict(zip(tasks, row, strict=True)) for target, row in contexts.items()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Genotype:
        """Read our JSON or the published integer form `{"data": {target: {source: int}}, "step": int}`.

        A name from `PUBLISHED` is taken too.
        """
        if str(path) in PUBLISHED:
            return cls.published(str(path))
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"no genotype file '{path}'; published ones by name: {', '.join(PUBLISHED)}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"genotype file '{path}' cannot be read as JSON: {error}") from None
        try:
            return cls(*_parse(content))
        except UserError as error:
            raise UserError(f"genotype file '{path}': {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write our JSON, atomically."""
        content = {"format": FORMAT, "version": VERSION, "step": self.step, "contexts": self.contexts}
        write_atomic(path, json.dumps(content, indent=2) + "\n")

    def __str__(self) -> str:
        width = max(map(len, (*self.targets, *self.sources, *CONTEXTS))) + 2
        lines = ["target".ljust(width) + "".join(s.ljust(width) for s in self.sources)]
        lines += [t.ljust(width) + "".join(c.ljust(width) for c in row.values()) for t, row in self.contexts.items()]
        return "\n".join(line.rstrip() for line in lines)


def mean_agreement(genotypes: Sequence[Genotype]) -> float:
    """Return the agreement, in [0, 1], averaged over all pairs of genotypes: how reliable a search is.

    >>> runs = [Genotype.uniform(["semseg", "depth"], context) for context in ("global", "global", "local")]
    >>> round(mean_agreement(runs), 3)  # one pair of three agrees
    0.333

    Source: Sec. 4.4 (percentage agreement between all pairs of search runs).

    Raises:
        UserError: Fewer than two genotypes, or genotypes of different tasks.
    """
    pairs = _run_pairs(genotypes)
    return sum(one.agreement(other) for one, other in pairs) / len(pairs)


def block_agreement(genotypes: Sequence[Genotype]) -> dict[str, dict[str, float]]:
    """Return, by target and source, the share of pairs of genotypes that chose the same context there.

    The mean over all blocks is `mean_agreement`.

    Source: Sec. 4.4 (percentage agreement between all pairs of search runs).

    Raises:
        UserError: Fewer than two genotypes, or genotypes of different tasks.
    """
    pairs, first = _run_pairs(genotypes), genotypes[0]
    return {
        t: {s: sum(one[t, s] == other[t, s] for one, other in pairs) / len(pairs) for s in first.sources}
        for t in first.targets
    }


def _run_pairs(genotypes: Sequence[Genotype]) -> list[tuple[Genotype, Genotype]]:
    if len(genotypes) < 2:
        raise UserError(f"agreement is between runs: it needs two genotypes or more, got {len(genotypes)}")
    for other in genotypes[1:]:
        genotypes[0].agreement(other)  # refuses other tasks
    return list(itertools.combinations(genotypes, 2))


def _parse(content: object) -> tuple[dict[str, dict[str, str]], int]:
    rows = content.get("contexts", content.get("data")) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(rows, dict):
        raise UserError('expected an object with "contexts" (context names) or "data" (published integers)')
    require_format(content.get("version", VERSION), VERSION, "a genotype")
    if not all(isinstance(row, dict) for row in rows.values()):
        raise UserError("every target needs an object {source: context}")
    step = content.get("step", 0)
    if not isinstance(step, int):
        raise UserError(f"step {step!r} is not an integer")
    return {t: {s: _context_name(t, s, c) for s, c in row.items()} for t, row in rows.items()}, step


def _context_name(target: str, source: str, context: object) -> str:
    if isinstance(context, int) and not isinstance(context, bool) and 0 <= context < len(CONTEXTS):
        return list(CONTEXTS)[context]
    if isinstance(context, str):
        return context
    choices = f"an integer from 0 to {len(CONTEXTS) - 1} or one of {', '.join(CONTEXTS)}"
    raise UserError(f"context {context!r} of target '{target}', source '{source}': expected {choices}")


def _check(contexts: Mapping[str, Mapping[str, str]]) -> None:
    if not contexts or not all(contexts.values()):
        raise UserError("a genotype needs at least one target and one source")
    sources = dict.fromkeys(source for row in contexts.values() for source in row)
    for target, row in contexts.items():
        for source in sources:
            if source not in row:
                raise UserError(f"the pair target '{target}', source '{source}' is missing; add its context")
            if row[source] not in CONTEXTS:
                raise UserError(
                    f"unknown context '{row[source]}' of target '{target}', source '{source}'; "
                    f"choose from {', '.join(CONTEXTS)}"
                )


_NYUD = ("semseg", "depth", "normals", "edge")
_PASCAL = ("semseg", "human_parts", "sal", "normals", "edge")

# Rows are targets, columns sources; integers index CONTEXTS. Source: the genotypes the authors released.
PUBLISHED: dict[str, tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]] = {
    "nyud_hrnet18": (_NYUD, ((3, 3, 4, 4), (4, 3, 4, 4), (4, 3, 3, 4), (3, 3, 1, 3))),
    "nyud_hrnet48": (_NYUD, ((3, 0, 0, 4), (4, 1, 1, 4), (4, 1, 1, 4), (3, 3, 3, 3))),
    "pascal_hrnet18": (
        _PASCAL,
        ((3, 3, 4, 0, 4), (3, 3, 4, 3, 4), (3, 3, 3, 4, 3), (3, 3, 3, 3, 4), (3, 3, 3, 1, 3)),
    ),
}
