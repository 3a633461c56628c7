"""The feature propagation module (FPM) of MTI-Net: tasks exchange features from coarse levels to fine ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.necks.base import Levels, Neck, NeckOutput, resize

if TYPE_CHECKING:
    from atrc.tasks import Task

# b batch, c channels of a level, s tasks * c, h w level

Over = Literal["tasks", "channels"]


class FPM(Neck):
    """Feature propagation. Every task gets levels of its own, each with an initial prediction to supervise.

    From the coarsest level on, the task features of a level are made from the backbone's level and the features
    propagated from the coarser one. The sizes reproduce the paper's parameter counts.

    Source: Sec. 4.3; Vandenhende et al., MTI-Net, ECCV 2020, Sec. 3.4.
    """

    def __init__(self, channels: Sequence[int], tasks: Sequence[Task], over: Over = "tasks") -> None:
        """Make the blocks of every level and task.

        Args:
            channels: Channels of the backbone's levels, finest first.
            tasks: The tasks; their numbers of outputs size the initial predictions.
            over: The attention is a softmax over "tasks" (the text of MTI-Net), or over as many neighbouring
                "channels" as there are tasks (its released code).
        """
        super().__init__()
        self.level_channels = tuple(channels)
        self.features, self.initial, self.propagation = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for c, coarser in zip(channels, [*channels[1:], 0], strict=True):
            blocks = {t.name: nn.Sequential(BasicBlock(c + coarser, c), BasicBlock(c, c)) for t in tasks}
            self.features.append(nn.ModuleDict(blocks))
            self.initial.append(nn.ModuleDict({t.name: nn.Conv2d(c, t.channels, 1) for t in tasks}))
        for c in channels[1:]:
            self.propagation.append(_Propagation(c, [task.name for task in tasks], over))

    def forward(self, levels: Mapping[str, Levels]) -> NeckOutput:
        features: list[dict[str, Tensor]] = []
        propagated: dict[str, Tensor] = {}
        for i in reversed(range(len(self.features))):
            inputs = {task: _append(own[i], propagated.get(task)) for task, own in levels.items()}
            features.insert(0, {task: block(inputs[task]) for task, block in self.features[i].items()})  # type: ignore[operator]
            if i:
                propagated = self.propagation[i - 1](features[0])
        initial = {t: [heads[t](level[t]) for heads, level in zip(self.initial, features, strict=True)] for t in levels}  # type: ignore[index]
        return NeckOutput({task: [level[task] for level in features] for task in levels}, initial)


class _Propagation(nn.Module):
    """Combine all tasks' features of a level by attention, and add the result to each task's own by gates."""

    def __init__(self, c: int, tasks: Sequence[str], over: Over) -> None:
        super().__init__()
        n, s = len(tasks), len(tasks) * c
        self.groups, self.axis = ((n, c), 1) if over == "tasks" else ((c, n), 2)
        self.attention = nn.Sequential(BasicBlock(s, s // 4), BasicBlock(s // 4, s // 4), nn.Conv2d(s // 4, s, 1))
        self.shared = BasicBlock(s, c)
        self.gates = nn.ModuleDict({task: SqueezeExcitation(c) for task in tasks})

    def forward(self, features: Mapping[str, Float[Tensor, "b c h w"]]) -> dict[str, Float[Tensor, "b c h w"]]:
        joined = torch.cat([features[task] for task in self.gates], 1)
        weights = self.attention(joined).unflatten(1, self.groups).softmax(self.axis).flatten(1, 2)
        shared = self.shared(weights * joined)
        return {task: features[task] + gate(shared) for task, gate in self.gates.items()}


class BasicBlock(nn.Module):
    """The residual block of ResNet-18, with a 1x1 shortcut where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        return torch.relu(self.body(x) + self.shortcut(x))


class SqueezeExcitation(nn.Module):
    """Scale every channel by a gate computed from the means of all. Source: Hu et al., CVPR 2018."""

    def __init__(self, c: int, reduction: int = 16) -> None:
        super().__init__()
        narrow = max(1, c // reduction)
        self.gate = nn.Sequential(nn.Linear(c, narrow), nn.ReLU(), nn.Linear(narrow, c), nn.Sigmoid())

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x * self.gate(x.mean((2, 3)))[..., None, None]


def _append(level: Tensor, propagated: Tensor | None) -> Tensor:
    return level if propagated is None else torch.cat([level, resize(propagated, level)], 1)
