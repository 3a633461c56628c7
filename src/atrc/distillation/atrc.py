"""ATRC: refine each task's features by every task's features, each pair in its own relational context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts import ContextPooling, spatial_softmax
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
            UserError: A search space without `make_block`.
        """
        super().__init__()
        self.genotype = genotype
        self.label_tasks = genotype.label_tasks
        attention_channels = attention_channels or channels // 2
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
            UserError: Features or regions of a task are missing.
        """
        self._check(features, regions or {})
        densities = {task: spatial_softmax(logits) for task, logits in (regions or {}).items()}
        return {target: row(target, features, densities) for target, row in self.rows.items()}

    def _check(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor]) -> None:
        for task in (*self.genotype.targets, *self.genotype.sources):
            if task not in features:
                raise UserError(f"no features of task '{task}'; got {', '.join(features)}")
        for task in self.label_tasks:
            if task not in regions:
                given = ", ".join(regions) or "none"
                raise UserError(f"the genotype uses the label regions of '{task}'; got regions of: {given}")


class _Row(nn.Module):
    """All blocks of one target, their fusion, and the join with the target's own features."""

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
        self, target: str, features: Mapping[str, Tensor], densities: Mapping[str, Tensor]
    ) -> Float[Tensor, "b c h w"]:
        own = features[target]
        contexts = [
            block(own, features[source], densities.get(target), densities.get(source))
            for source, block in self.blocks.items()
        ]
        if not contexts:
            return self.join(own)
        return self.join(torch.cat([own, self.fuse(torch.cat(contexts, 1))], 1))


def _fixed_blocks(genotype: Genotype | SearchSpace, channels: int, attention_channels: int) -> MakeBlock:
    if not isinstance(genotype, Genotype):
        raise UserError("a search space needs make_block; give a Genotype for fixed blocks")

    def make_block(target: str, source: str) -> nn.Module | None:
        context = genotype[target, source]
        return None if context == "none" else ContextPooling(context, channels, attention_channels)

    return make_block
