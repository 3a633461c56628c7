"""ATRC: refine the features of each task by those of all tasks, each pair in its own relational context.

Read `ATRC.forward`, `Row.forward` and `ContextPooling.forward`; then Eq. 3 in `contexts/global_.py`, Eq. 4 in
`contexts/local.py`, Eq. 5 and 2 in `contexts/label.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts import get_context
from atrc.contexts.label import spatial_softmax
from atrc.distillation.base import Distillation, in_order, projection
from atrc.errors import UserError
from atrc.genotype import Genotype, SearchSpace
from atrc.ops import KERNELS

# b batch, c feature channels, d attention channels, h w feature grid, t / s target / source label regions

MakeBlock = Callable[[str, str], nn.Module | None]
Features = Mapping[str, Float[Tensor, "b c h w"]]
Densities = Mapping[str, Float[Tensor, "b _ h w"]]


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
        """Make the blocks of a genotype, or those that `make_block` returns.

        Args:
            genotype: The context of every pair. A search gives its `SearchSpace`.
            channels: Channels c of the features of every task.
            attention_channels: Channels d inside the blocks; by default half of `channels`.
            make_block: `(target, source) -> block`, None for no block. By default the contexts of the genotype.
            dropout: Probability of Dropout2d on the refined features.

        Raises:
            UserError: A search space without `make_block`, or no channels.
        """
        super().__init__()
        d = attention_channels or max(1, channels // 2)
        if min(channels, d) < 1:
            raise UserError(f"ATRC needs at least 1 channel, not {channels} with {d} for attention")
        self.genotype, self.channels, self.label_tasks = genotype, channels, genotype.label_tasks
        make_block = make_block or _fixed_blocks(genotype, channels, d)
        self.rows: Mapping[str, Row] = nn.ModuleDict()  # type: ignore[assignment]
        for target in genotype.targets:
            blocks = {source: make_block(target, source) for source in genotype.sources}
            self.rows[target] = Row(target, {s: b for s, b in blocks.items() if b is not None}, channels, d, dropout)  # type: ignore[index]

    def forward(self, features: Features, auxiliary: Densities | None = None) -> dict[str, Float[Tensor, "b c h w"]]:
        """Refine the features of every target.

        Args:
            features: F_n of every task.
            auxiliary: A_n of the tasks in `label_tasks`: logits over their label regions.

        Raises:
            UserError: Features or auxiliary predictions of a task are missing, or their shapes do not match.
        """
        densities = self.densities(features, auxiliary)
        return {target: row(features, densities) for target, row in self.rows.items()}

    def densities(self, features: Features, auxiliary: Densities | None = None) -> dict[str, Float[Tensor, "b _ h w"]]:
        """Return the spatial densities of the label regions. Source: Sec. 3.2.3."""
        _check(self, features, auxiliary or {})
        return {task: spatial_softmax(logits) for task, logits in (auxiliary or {}).items()}

    def contexts(
        self, features: Features, auxiliary: Densities | None = None
    ) -> dict[tuple[str, str], Float[Tensor, "b d h w"]]:
        """Return the context of every (target, source) that has a block. Arguments are those of `forward`."""
        densities = self.densities(features, auxiliary)
        rows = {target: row.contexts(features, densities) for target, row in self.rows.items()}
        return {(target, source): context for target, row in rows.items() for source, context in row.items()}

    def refine(
        self, features: Features, contexts: Mapping[tuple[str, str], Float[Tensor, "b d h w"]]
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        """Refine the features of some targets by given contexts; `forward` is this with `contexts`."""
        rows = {target: self.rows[target] for target in features}
        return {t: row.refine(features[t], {s: contexts[t, s] for s in row.blocks}) for t, row in rows.items()}

    def blocks(self) -> Iterator[tuple[tuple[str, str], nn.Module]]:
        """Yield ((target, source), block) for every pair that has a block."""
        return (((target, source), block) for target, row in self.rows.items() for source, block in row.blocks.items())

    def parts(self) -> Iterator[nn.Module]:
        """Yield the rows: recomputation keeps one target at a time."""
        yield from self.rows.values()


class Row(nn.Module):
    """All blocks of one target, their fusion, and the join with the features of the target. Source: Fig. 2."""

    def __init__(self, target: str, blocks: Mapping[str, nn.Module], c: int, d: int, dropout: float) -> None:
        super().__init__()
        self.target, self.blocks = target, nn.ModuleDict(blocks)
        joined = 2 * c if blocks else c
        if blocks:
            norm = nn.BatchNorm2d(c)
            nn.init.zeros_(norm.weight)  # refinement starts at 0 and grows
            self.fuse = nn.Sequential(nn.Conv2d(len(blocks) * d, c, 1, bias=False), norm)
        self.join = nn.Sequential(
            nn.Conv2d(joined, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(), nn.Dropout2d(dropout)
        )

    def forward(self, features: Features, densities: Densities) -> Float[Tensor, "b c h w"]:
        return self.refine(features[self.target], self.contexts(features, densities))

    def contexts(self, features: Features, densities: Densities) -> dict[str, Float[Tensor, "b d h w"]]:
        """Return the context of every source that has a block."""
        target = self.target
        return {
            source: block(features[target], features[source], densities.get(target), densities.get(source))
            for source, block in self.blocks.items()
        }

    def refine(
        self, own: Float[Tensor, "b c h w"], contexts: Mapping[str, Float[Tensor, "b d h w"]]
    ) -> Float[Tensor, "b c h w"]:
        """Fuse the contexts and join them with the target's own features."""
        if not contexts:
            return self.join(own)
        fused = self.fuse(torch.cat(list(contexts.values()), 1))
        return self.join(torch.cat([own, fused], 1))


class ContextPooling(nn.Module):
    """The context pooling (CP) block of one source-target pair. Source: Sec. 3.2, Eq. 1 and 2."""

    def __init__(self, context: str, channels: int, attention_channels: int, *, affine_value: bool = True) -> None:
        """Make the projections.

        Args:
            context: A name in `atrc.contexts.CONTEXTS`.
            channels: Channels c of the target and source features.
            attention_channels: Channels d of query, key, value and output.
            affine_value: Give the BN of the value weights. Candidates of a search have none, so their scales are equal.

        Raises:
            UserError: The context is unknown.
        """
        super().__init__()
        self.context = get_context(context)
        c, d, last = channels, attention_channels, self.context.activation
        self.query = nn.Sequential(*projection(c, d), *projection(d, d, last))
        self.key = nn.Sequential(*projection(c, d), *projection(d, d, last))
        self.value = nn.Sequential(*projection(c, d, affine=affine_value))

    def forward(
        self,
        target: Float[Tensor, "b c h w"],
        source: Float[Tensor, "b c h w"],
        target_densities: Float[Tensor, "b t h w"] | None = None,
        source_densities: Float[Tensor, "b s h w"] | None = None,
    ) -> Float[Tensor, "b d h w"]:
        """Return the context of every target pixel.

        Args:
            target: Features F_T, which make the queries.
            source: Features F_S, which make the keys and values.
            target_densities: Of the target's label regions, for T-label.
            source_densities: Of the source's label regions, for S-label.
        """
        attended = self.context.gather(source, self.choose(target_densities, source_densities))  # Eq. 5 (labels)
        query, key, value = self.query(target), self.key(attended), self.value(attended)  # Eq. 1
        attend = KERNELS.get(self.context.name, self.context.attend)  # without `atrc.ops`: attend = self.context.attend
        return attend(query, key, value)  # Eq. 2, 3 or 4

    def choose(self, target: Tensor | None, source: Tensor | None) -> Tensor | None:
        """Return what belongs to the task whose label regions the context attends to."""
        return target if self.context.regions == "target" else source


def _fixed_blocks(genotype: Genotype | SearchSpace, channels: int, attention_channels: int) -> MakeBlock:
    if not isinstance(genotype, Genotype):
        raise UserError("a search space needs make_block; give a Genotype for fixed blocks")

    def make_block(target: str, source: str) -> nn.Module | None:
        context = genotype[target, source]
        return None if context == "none" else ContextPooling(context, channels, attention_channels)

    return make_block


def _check(module: ATRC, features: Mapping[str, Tensor], auxiliary: Mapping[str, Tensor]) -> None:
    """Refuse inputs that are missing or whose shapes do not match."""
    tasks = list(dict.fromkeys((*module.genotype.targets, *module.genotype.sources)))
    first, *_ = in_order(features, tasks)
    for task in module.label_tasks:
        if task not in auxiliary:
            given = ", ".join(auxiliary) or "none"
            raise UserError(f"the genotype uses the label regions of '{task}'; got auxiliary predictions of: {given}")
    inputs = [("features", task, features[task], module.channels) for task in tasks]
    inputs += [("auxiliary", task, auxiliary[task], 0) for task in module.label_tasks]
    for what, task, x, channels in inputs:
        same_grid = x.dim() == 4 and (x.shape[0], *x.shape[2:]) == (first.shape[0], *first.shape[2:])
        if not same_grid or channels not in (0, x.shape[1]):
            expected = f"(b, {channels or 'regions'}, h, w) with b, h and w as the features of '{tasks[0]}'"
            raise UserError(f"{what} of '{task}' have shape {tuple(x.shape)}; expected {expected}")
