"""Distillation at every level instead of the finest only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from atrc.distillation.base import Distillation
from atrc.necks import Levels, resize

# b batch


class MultiScale(Distillation):
    """One distillation module per level of the neck, before the heads read the levels.

    With the gated messages of MTI-Net this is MTI-Net's decoder. With ATRC it is what Sec. 3.1 offers ("e.g., across
    multiple scales") and does not measure. One auxiliary prediction A_n per task serves all levels.

    Source: Vandenhende et al., MTI-Net, ECCV 2020, Sec. 3.3; Sec. 3.1.
    """

    def __init__(self, levels: Sequence[Distillation]) -> None:
        super().__init__()
        self.levels: Sequence[Distillation] = nn.ModuleList(levels)  # type: ignore[assignment]
        self.label_tasks, self.genotype = levels[0].label_tasks, levels[0].genotype

    def forward(  # type: ignore[override]
        self, features: Mapping[str, Levels], auxiliary: Mapping[str, Float[Tensor, "b _ _ _"]] | None = None
    ) -> dict[str, Levels]:
        """Return refined levels of every task.

        Args:
            features: The levels of every task.
            auxiliary: A_n of the tasks in `label_tasks`, of any size; resized to every level.
        """
        refined = [module(*inputs) for module, *inputs in self.by_level(features, auxiliary or {})]
        return {task: [level[task] for level in refined] for task in features}

    def contexts(
        self, features: Mapping[str, Levels], auxiliary: Mapping[str, Tensor] | None = None
    ) -> dict[tuple[str, str], Levels]:
        """Return the contexts of every pair at every level, if the modules are ATRC."""
        by_level = [module.contexts(*inputs) for module, *inputs in self.by_level(features, auxiliary or {})]
        return {pair: [contexts[pair] for contexts in by_level] for pair in by_level[0]}

    def refine(self, features: Mapping[str, Levels], contexts: Mapping[tuple[str, str], Levels]) -> dict[str, Levels]:
        """Refine the levels of some targets by given contexts, if the modules are ATRC."""
        refined = [
            module.refine({task: own[i] for task, own in features.items()}, {p: c[i] for p, c in contexts.items()})  # type: ignore[operator]
            for i, module in enumerate(self.levels)
        ]
        return {task: [level[task] for level in refined] for task in features}

    def blocks(self) -> Iterator[tuple[tuple[str, str], nn.Module]]:
        """Yield ((target, source), block) of the finest level; all levels have the same contexts."""
        return self.levels[0].blocks()  # type: ignore[operator]

    def parts(self) -> Iterator[nn.Module]:
        for level in self.levels:
            yield from level.parts()

    def by_level(self, features: Mapping[str, Levels], auxiliary: Mapping[str, Tensor]) -> list[tuple[Any, Any, Any]]:
        inputs = []
        for i, module in enumerate(self.levels):
            own = {task: levels[i] for task, levels in features.items()}
            resized = {task: resize(logits, own[task]) for task, logits in auxiliary.items()}
            inputs.append((module, own, resized))
        return inputs
