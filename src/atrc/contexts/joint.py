"""All context pooling blocks of one target at once, by the equations of each.

What reads the same features shares a matrix product; the label contexts are one attention. The textbook form, block by
block, is `ContextPooling.forward`; the tests hold both equal.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from atrc.contexts.attention import global_product, prototypes, single_precision
from atrc.contexts.pooling import ContextPooling
from atrc.contexts.projection import project
from atrc.errors import UserError
from atrc.ops import label_attention, local_attention

# b batch, p blocks, c feature channels, d attention channels, h w feature grid, r label regions

Features = Mapping[str, Float[Tensor, "b c h w"]]
Prototypes = Mapping[tuple[str, str], Float[Tensor, "b c _"]]  # by task of the regions, source
Kind = Callable[[Tensor, list["Term"], Features, Prototypes], Tensor]


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

    @property
    def pooled(self) -> tuple[str, str]:
        """The task whose regions a label block pools over, and the source that it pools."""
        return self.target if self.block.context == "t_label" else self.source, self.source


class Pooled(NamedTuple):
    """The contexts of some blocks of one target, stacked.

    Attributes:
        parts: The source of every block, and what its context is multiplied by; None for 1.
        contexts: What the blocks give.
    """

    parts: list[tuple[str, Tensor | None]]
    contexts: Float[Tensor, "b p d h w"]


def pool_regions(terms: Iterable[Term], features: Features, densities: Mapping[str, Tensor]) -> Prototypes:
    """Return what the label blocks attend to, once for all that share it. Source: Eq. 5.

    Args:
        terms: Blocks of any targets.
        features: F_n of every source.
        densities: Of the label regions (b r h w) of the tasks that the blocks ask for.

    Raises:
        UserError: Densities of a task are missing.
    """
    asked = sorted({term.pooled for term in terms if _is_label(term)})
    for task, _ in asked:
        if task not in densities:
            raise UserError(f"a label context needs the label regions of '{task}'")
    return {(task, source): prototypes(densities[task], features[source]) for task, source in asked}


def pool(
    target: Float[Tensor, "b c h w"], terms: Iterable[Term], features: Features, means: Prototypes
) -> list[Pooled]:
    """Return the contexts of one target, by kind of context.

    Args:
        target: Features F_T.
        terms: Its blocks.
        features: F_n of every source.
        means: What `pool_regions` returns for these blocks, or more.
    """
    kinds: dict[Kind, list[Term]] = defaultdict(list)
    for term in terms:
        kinds[_KINDS[term.block.context]].append(term)
    pooled = []
    for kind, some in kinds.items():
        if kind is _label:
            some.sort(key=lambda term: means[term.pooled].shape[2])
        query = project(target.flatten(2), [term.block.query for term in some]).unflatten(-1, target.shape[2:])
        pooled.append(Pooled([(term.source, term.weight) for term in some], kind(query, some, features, means)))
    return pooled


def _global(query: Tensor, terms: list[Term], features: Features, means: Prototypes) -> Float[Tensor, "b p d h w"]:
    """Eq. 3, in the order that never forms the attention map; see `global_context`."""
    contexts = []
    for rows, (key, value) in zip(query.flatten(3).unbind(1), _keys_and_values(terms, features), strict=True):
        with single_precision(rows):
            contexts.append(global_product(rows, key, value).to(value.dtype))
    return torch.stack(contexts, 1).view_as(query)


def _local(query: Tensor, terms: list[Term], features: Features, means: Prototypes) -> Float[Tensor, "b p d h w"]:
    parts = zip(query.unbind(1), _keys_and_values(terms, features), strict=True)
    return torch.stack([local_attention(q, k.view_as(q), v.view_as(q)) for q, (k, v) in parts], 1)


def _label(query: Tensor, terms: list[Term], features: Features, means: Prototypes) -> Float[Tensor, "b p d h w"]:
    """Eq. 2; the blocks are sorted by the number of their regions: equal ones are projected together."""
    keys: list[Tensor] = []
    values: list[Tensor] = []
    counts: list[int] = []
    for count, group in itertools.groupby(terms, key=lambda term: means[term.pooled].shape[2]):
        some = list(group)
        x = torch.stack([means[term.pooled] for term in some], 1)
        keys += project(x, [term.block.key for term in some]).unbind(1)
        values += project(x, [term.block.value for term in some]).unbind(1)
        counts += [count] * len(some)
    return label_attention(query, _stack(keys), _stack(values), counts)


_KINDS: dict[str, Kind] = {"global": _global, "local": _local, "t_label": _label, "s_label": _label}


def _keys_and_values(terms: list[Term], features: Features) -> list[tuple[Tensor, Tensor]]:
    """Return key and value of every block (b d n): projections of its source's pixels."""
    rows = [(term.block, features[term.source].flatten(2)) for term in terms]
    return [(project(x, [block.key]).squeeze(1), project(x, [block.value]).squeeze(1)) for block, x in rows]


def _is_label(term: Term) -> bool:
    return _KINDS[term.block.context] is _label


def _stack(parts: Sequence[Float[Tensor, "b d _"]]) -> Float[Tensor, "b p d r"]:
    """Stack what has different numbers of regions; the rest is 0."""
    most = max(part.shape[2] for part in parts)
    return torch.stack([F.pad(part, (0, most - part.shape[2])) for part in parts], 1)
