"""Many context pooling blocks at once, by the equations of each.

Blocks that read one task's features share matrix products; the label contexts of a target are one attention. The
textbook form, block by block, is `ContextPooling.forward`; the tests hold both equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from atrc.contexts.attention import prototypes
from atrc.contexts.pooling import ContextPooling
from atrc.contexts.projection import project
from atrc.errors import UserError
from atrc.ops import label_attention, local_attention

# b batch, p blocks, c feature channels, d attention channels, h w feature grid, r label regions

T = TypeVar("T")


class Term(NamedTuple):
    """A context pooling block in its place.

    Attributes:
        target: The task that asks.
        source: The task that is attended to.
        block: Its projections.
        weight: What its output is multiplied by, a scalar; None for 1.
    """

    target: str
    source: str
    block: ContextPooling
    weight: Tensor | None = None


class Pooled(NamedTuple):
    """The contexts of some blocks of one target, stacked.

    Attributes:
        parts: The source of every block, and what its context is multiplied by; None for 1.
        contexts: What the blocks give.
    """

    parts: list[tuple[str, Tensor | None]]
    contexts: Float[Tensor, "b p d h w"]


class Joint:
    """The contexts of a set of blocks, for the features and label regions of one forward pass."""

    def __init__(
        self,
        terms: Sequence[Term],
        features: Mapping[str, Float[Tensor, "b c h w"]],
        densities: Mapping[str, Float[Tensor, "b _ h w"]],
    ) -> None:
        self.terms, self.features, self.densities = terms, features, densities
        self.flat = {task: x.flatten(2) for task, x in features.items()}

    def pool(self) -> dict[str, list[Pooled]]:
        """Return the contexts of every target, by kind of context."""
        pooled = defaultdict(list)
        for kind in (self._global, self._local, self._label):
            for target, found in kind().items():
                pooled[target].append(found)
        return pooled

    def _queries(self, terms: list[Term]) -> dict[str, tuple[list[Term], Float[Tensor, "b p d n"]]]:
        by_target = _group(terms, lambda term: term.target)
        return {t: (some, project(self.flat[t], [x.block.query for x in some])) for t, some in by_target.items()}

    def _keys_and_values(self, terms: list[Term]) -> dict[int, tuple[Tensor, Tensor]]:
        """Return key and value of every term, by its identity: projections of the source's pixels."""
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for source, some in _group(terms, lambda term: term.source).items():
            keys = project(self.flat[source], [term.block.key for term in some])
            values = project(self.flat[source], [term.block.value for term in some])
            found |= {id(t.block): (k, v) for t, k, v in zip(some, keys.unbind(1), values.unbind(1), strict=True)}
        return found

    def _global(self) -> dict[str, Pooled]:
        """Eq. 3, in the order that never forms the attention map; see `global_context`."""
        terms = [term for term in self.terms if term.block.context == "global"]
        sources = self._keys_and_values(terms)
        pooled = {}
        for target, (some, query) in self._queries(terms).items():
            keys, values = zip(*(sources[id(term.block)] for term in some), strict=True)
            summary = torch.stack([torch.bmm(value, key.mT) for key, value in zip(keys, values, strict=True)], 1)
            total = torch.stack([key.sum(2) for key in keys], 1)[:, :, None]
            context = torch.matmul(summary, query) / torch.matmul(total, query).clamp(min=1e-12)
            pooled[target] = Pooled(_parts(some), self._grid(target, context))
        return pooled

    def _local(self) -> dict[str, Pooled]:
        terms = [term for term in self.terms if term.block.context == "local"]
        sources = self._keys_and_values(terms)
        pooled = {}
        for target, (some, query) in self._queries(terms).items():
            contexts = []
            for term, q in zip(some, query.unbind(1), strict=True):
                k, v = sources[id(term.block)]
                contexts.append(local_attention(self._grid(target, q), self._grid(target, k), self._grid(target, v)))
            pooled[target] = Pooled(_parts(some), torch.stack(contexts, 1))
        return pooled

    def _label(self) -> dict[str, Pooled]:
        terms = [term for term in self.terms if term.block.context in ("t_label", "s_label")]
        regions = self._keys_and_values_of_regions(terms)
        pooled = {}
        for target, (some, query) in self._queries(terms).items():
            keys, values = zip(*(regions[id(term.block)] for term in some), strict=True)
            counts = [key.shape[2] for key in keys]
            context = label_attention(self._grid(target, query), _stack(keys), _stack(values), counts)
            pooled[target] = Pooled(_parts(some), context)
        return pooled

    def _keys_and_values_of_regions(self, terms: list[Term]) -> dict[int, tuple[Tensor, Tensor]]:
        """Return key and value of every term, by its identity: projections of prototypes (Eq. 5)."""
        asked = {(_region_task(term), term.source) for term in terms}
        pooled = {pair: prototypes(self._densities(pair[0]), self.features[pair[1]]) for pair in sorted(asked)}
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for some in _group(terms, lambda term: pooled[_region_task(term), term.source].shape[2]).values():
            x = torch.stack([pooled[_region_task(term), term.source] for term in some], 1)
            keys = project(x, [term.block.key for term in some]).unbind(1)
            values = project(x, [term.block.value for term in some]).unbind(1)
            found |= {id(t.block): (k, v) for t, k, v in zip(some, keys, values, strict=True)}
        return found

    def _densities(self, task: str) -> Tensor:
        if task not in self.densities:
            raise UserError(f"a label context needs the label regions of '{task}'")
        return self.densities[task]

    def _grid(self, target: str, x: Float[Tensor, "b *p d n"]) -> Float[Tensor, "b *p d h w"]:
        return x.unflatten(-1, self.features[target].shape[2:])


def _parts(terms: Sequence[Term]) -> list[tuple[str, Tensor | None]]:
    return [(term.source, term.weight) for term in terms]


def _region_task(term: Term) -> str:
    return term.target if term.block.context == "t_label" else term.source


def _stack(parts: Sequence[Float[Tensor, "b d _"]]) -> Float[Tensor, "b p d r"]:
    """Stack what has different numbers of regions; the rest is 0."""
    most = max(part.shape[2] for part in parts)
    return torch.stack([F.pad(part, (0, most - part.shape[2])) for part in parts], 1)


def _group(terms: Iterable[Term], key: Callable[[Term], T]) -> dict[T, list[Term]]:
    groups: dict[T, list[Term]] = defaultdict(list)
    for term in terms:
        groups[key(term)].append(term)
    return groups
