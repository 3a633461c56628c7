"""ATRC: refine each task's features by every task's features, each pair in its own relational context."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts import ContextPooling, Pooled, Term, pool, pool_regions, spatial_softmax
from atrc.contexts.joint import Prototypes
from atrc.contexts.projection import join
from atrc.distillation.base import Distillation
from atrc.errors import UserError
from atrc.genotype import Genotype, SearchSpace

# b batch, c feature channels, d attention channels, r label regions, h w feature grid

MakeBlock = Callable[[str, str], nn.Module | None]


class ATRC(Distillation):
    """Adaptive task-relational context: one context pooling block for every source-target pair.

    A drop-in refinement for any network with one feature map per task:

    >>> module = ATRC(Genotype.uniform(["semseg", "depth"], "global"), channels=8, attention_channels=4)
    >>> features = {"semseg": torch.randn(2, 8, 6, 5), "depth": torch.randn(2, 8, 6, 5)}
    >>> {task: tuple(f.shape) for task, f in module(features).items()}
    {'semseg': (2, 8, 6, 5), 'depth': (2, 8, 6, 5)}

    Source: Sec. 3.1, Fig. 2.
    """

    genotype: Genotype | SearchSpace

    def __init__(
        self,
        genotype: Genotype | SearchSpace,
        channels: int,
        attention_channels: int | None = None,
        *,
        make_block: MakeBlock | None = None,
        dropout: float = 0.05,
    ) -> None:
        """Make the blocks of a genotype, or whatever `make_block` makes of each pair.

        Args:
            genotype: The context of every pair; a search gives its `SearchSpace` instead.
            channels: Channels c of every task's features.
            attention_channels: Channels d inside the blocks; half of `channels` if not given.
            make_block: `(target, source) -> block`, None for no block. By default the genotype's contexts.
            dropout: Probability of Dropout2d on the refined features.

        Raises:
            UserError: A search space without `make_block`, or no channels.
        """
        super().__init__()
        self.genotype, self.channels = genotype, channels
        self.label_tasks = genotype.label_tasks
        attention_channels = attention_channels or max(1, channels // 2)
        if min(channels, attention_channels) < 1:
            raise UserError(f"ATRC needs 1 channel at least, not {channels} and {attention_channels} of attention")
        make_block = make_block or _fixed_blocks(genotype, channels, attention_channels)
        rows = {}
        for target in genotype.targets:
            blocks = {source: make_block(target, source) for source in genotype.sources}
            kept = {source: block for source, block in blocks.items() if block is not None}
            rows[target] = _Row(kept, channels, attention_channels, dropout)
        self.rows: Mapping[str, _Row] = nn.ModuleDict(rows)  # type: ignore[assignment]

    def blocks(self) -> Iterator[tuple[tuple[str, str], nn.Module]]:
        """Yield ((target, source), block) for every pair that has a block."""
        for target, row in self.rows.items():
            for source, block in row.blocks.items():
                yield (target, source), block

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        regions: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        """Refine the features of every target.

        Args:
            features: F_n of every task.
            regions: Logits over the label regions of the tasks in `genotype.label_tasks`: A_n.

        Raises:
            UserError: Features or regions of a task are missing, or their shapes do not fit.
        """
        densities = self._densities(features, regions)
        terms = {target: self._terms(target) for target in self.rows}
        means = pool_regions(itertools.chain(*terms.values()), features, densities)
        return {target: self.refine_target(target, terms[target], features, densities, means) for target in self.rows}

    def refine_target(
        self,
        target: str,
        terms: Sequence[Term],
        features: Mapping[str, Float[Tensor, "b c h w"]],
        densities: Mapping[str, Float[Tensor, "b _ h w"]],
        means: Prototypes,
    ) -> Float[Tensor, "b c h w"]:
        """Refine one target; between the targets of a forward pass nothing goes but the arguments.

        Args:
            target: Task.
            terms: Its context pooling blocks in use.
            features: F_n of every task.
            densities: Of the label regions of the tasks that have them.
            means: Prototypes of the label regions, pooled once for all targets.
        """
        return self.rows[target](target, features, densities, pool(features[target], terms, features, means))

    def contexts(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        regions: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[tuple[str, str], Float[Tensor, "b d h w"]]:
        """Return what every block gives, by (target, source); for studies of single blocks.

        Args:
            features: As for the forward pass.
            regions: Likewise.
        """
        densities = self._densities(features, regions)
        return {
            (target, source): block(features[target], features[source], densities.get(target), densities.get(source))
            for (target, source), block in self.blocks()
        }

    def refine(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        contexts: Mapping[tuple[str, str], Float[Tensor, "b d h w"]],
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        """Refine by the given contexts: `refine(features, contexts(features, regions))` is the forward pass.

        Args:
            features: F_n of every target that has contexts.
            contexts: The contexts of all blocks of a target; targets without are left out.
        """
        return {
            target: row.refine(features[target], [contexts[target, source] for source in row.blocks])
            for target, row in self.rows.items()
            if all((target, source) in contexts for source in row.blocks)
        }

    def _densities(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor] | None
    ) -> dict[str, Float[Tensor, "b _ h w"]]:
        """Return where in the image the label regions are."""
        self._check(features, regions or {})
        return {task: spatial_softmax(logits) for task, logits in (regions or {}).items()}

    def _terms(self, target: str) -> list[Term]:
        """List a target's context pooling blocks in use; a block made of several says which by `terms()`."""
        terms = []
        for source, block in self.rows[target].blocks.items():
            parts = [(block, None)] if isinstance(block, ContextPooling) else getattr(block, "terms", list)()
            terms += [Term(target, source, part, weight) for part, weight in parts]
        return terms

    def _check(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> None:
        for task in (*self.genotype.targets, *self.genotype.sources):
            if task not in features:
                raise UserError(f"no features of task '{task}'; got {', '.join(features)}")
        for task in self.label_tasks:
            if task not in regions:
                given = ", ".join(regions) or "none"
                raise UserError(f"the genotype uses the label regions of '{task}'; got regions of: {given}")
        self._check_shapes(features, regions)

    def _check_shapes(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> None:
        first = self.genotype.targets[0]
        given = (*self.genotype.targets, *self.genotype.sources)
        asked: list[tuple[str, str, Tensor, int | None]]
        asked = [("features", task, features[task], self.channels) for task in given]
        asked += [("regions", task, regions[task], None) for task in self.label_tasks]
        b, _, *grid = features[first].shape
        for what, task, x, channels in asked:
            if x.dim() != 4 or channels not in (None, x.shape[1]) or (x.shape[0], *x.shape[2:]) != (b, *grid):
                wanted = f"(b, {channels or 'regions'}, h, w) with b, h and w those of the features of '{first}'"
                raise UserError(f"{what} of '{task}' have shape {tuple(x.shape)}, not {wanted}")


class _Row(nn.Module):
    """All blocks of one target, their fusion, and the join with the target's own features."""

    blocks: nn.ModuleDict
    fuse: nn.Sequential
    join: nn.Sequential

    def __init__(self, blocks: Mapping[str, nn.Module], c: int, d: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(blocks)
        if blocks:
            norm = nn.BatchNorm2d(c)
            nn.init.zeros_(norm.weight)  # refinement starts at nothing and grows
            self.fuse = nn.Sequential(nn.Conv2d(len(blocks) * d, c, 1, bias=False), norm)
        joined = 2 * c if blocks else c
        self.join = nn.Sequential(
            nn.Conv2d(joined, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(), nn.Dropout2d(dropout)
        )

    def forward(
        self,
        target: str,
        features: Mapping[str, Tensor],
        densities: Mapping[str, Tensor],
        pooled: Sequence[Pooled],
    ) -> Float[Tensor, "b c h w"]:
        own = features[target]
        if not self.blocks:
            return self.join(own)
        pooled = [*pooled, *self._others(target, features, densities)]
        contexts = [x.flatten(1, 2).flatten(2) for _, x in pooled]
        columns = [self._columns(parts) for parts, _ in pooled]
        if contexts:
            context = join(contexts, columns, self.fuse[1], relu=False)
        else:  # every block chose none
            context = self.fuse[1](torch.zeros_like(own)).flatten(2)
        left, right = cast(Tensor, self.join[0].weight).flatten(1).chunk(2, 1)
        joined = join([own.flatten(2), context], [left, right], self.join[1], relu=True)
        return self.join[3](joined.view_as(own))

    def refine(
        self, own: Float[Tensor, "b c h w"], contexts: Sequence[Float[Tensor, "b d h w"]]
    ) -> Float[Tensor, "b c h w"]:
        """Fuse and join contexts that are given."""
        return self.join(torch.cat([own, self.fuse(torch.cat(list(contexts), 1))], 1) if contexts else own)

    def _others(self, target: str, features: Mapping[str, Tensor], densities: Mapping[str, Tensor]) -> Iterator[Pooled]:
        """Run the blocks that are not context pooling blocks, nor made of some."""
        for source, block in self.blocks.items():
            if not isinstance(block, ContextPooling) and not hasattr(block, "terms"):
                context = block(features[target], features[source], densities.get(target), densities.get(source))
                yield Pooled([(source, None)], context[:, None])

    def _columns(self, parts: Sequence[tuple[str, Tensor | None]]) -> Float[Tensor, "c pd"]:
        """Return the columns of the fuse that read some blocks, times the blocks' weights."""
        weight = cast(Tensor, self.fuse[0].weight).flatten(1)
        columns = dict(zip(self.blocks, weight.chunk(len(self.blocks), 1), strict=True))
        return torch.cat([columns[source] if w is None else columns[source] * w for source, w in parts], 1)


def _fixed_blocks(genotype: Genotype | SearchSpace, channels: int, attention_channels: int) -> MakeBlock:
    if not isinstance(genotype, Genotype):
        raise UserError("a search space needs make_block; give a Genotype for fixed blocks")

    def make_block(target: str, source: str) -> nn.Module | None:
        context = genotype[target, source]
        return None if context == "none" else ContextPooling(context, channels, attention_channels)

    return make_block
