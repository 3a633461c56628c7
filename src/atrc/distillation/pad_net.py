"""PAD-Net's distillation modules B and C, and MTI-Net's: messages from every other task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from atrc.distillation.base import Distillation, in_order

# b batch, c feature channels, h w feature grid


def conv3x3(channels: int) -> nn.Conv2d:
    """Return the convolution of a message or a gate; no bias, as the paper's counts say."""
    return nn.Conv2d(channels, channels, 3, padding=1, bias=False)


class GatedMessage(nn.Module):
    """The message of one source to one target, gated by the source."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.message, self.gate = conv3x3(channels), conv3x3(channels)

    def forward(self, source: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.message(source) * self.gate(source).sigmoid()


class Messages(Distillation):
    """Add a message of every other task to the target's features."""

    def __init__(self, tasks: Sequence[str], channels: int, make_message: Callable[[int], nn.Module] = conv3x3) -> None:
        """Make one message per pair of different tasks.

        Args:
            tasks: The tasks to refine.
            channels: Channels c of every task's features.
            make_message: Channels -> module that makes the message of the source's features.
        """
        super().__init__()
        self.messages: Mapping[str, Mapping[str, nn.Module]] = nn.ModuleDict(  # type: ignore[assignment]
            {t: nn.ModuleDict({s: make_message(channels) for s in tasks if s != t}) for t in tasks}
        )

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        auxiliary: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        in_order(features, tuple(self.messages))
        return {
            target: sum((message(features[source]) for source, message in row.items()), features[target])
            for target, row in self.messages.items()
        }


class GatedMessages(Messages):
    """The messages of MTI-Net, which uses them at every level: each gated by its source.

    The gate is made of the source's features, as ATRC's Sec. 2 says of both networks. Neither biases nor, other than
    in PAD-Net, a convolution after the sum: that gives MTI-Net's parameters to the unit.

    Source: Vandenhende et al., MTI-Net, ECCV 2020.
    """

    def __init__(self, tasks: Sequence[str], channels: int) -> None:
        super().__init__(tasks, channels, GatedMessage)


class PADNetB(Distillation):
    """Messages of all other tasks, then a 1x1 convolution per target.

    The last convolution starts as the identity, so the targets start with their own features plus the messages.
    No biases and no BN: that gives the parameters of Table 1.

    Source: Xu et al., PAD-Net, CVPR 2018, module B.
    """

    messages_type: type[Messages] = Messages

    def __init__(self, tasks: Sequence[str], channels: int) -> None:
        super().__init__()
        self.messages = self.messages_type(tasks, channels)
        self.last = nn.ModuleDict({task: _identity(channels) for task in tasks})

    def forward(
        self,
        features: Mapping[str, Float[Tensor, "b c h w"]],
        auxiliary: Mapping[str, Float[Tensor, "b _ h w"]] | None = None,
    ) -> dict[str, Float[Tensor, "b c h w"]]:
        return {target: self.last[target](f) for target, f in self.messages(features).items()}


class PADNetC(PADNetB):
    """As `PADNetB`, every message gated by sigmoid(3x3 conv(source)).

    Source: Xu et al., PAD-Net, CVPR 2018, module C (attention-guided message passing).
    """

    messages_type = GatedMessages


def _identity(channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    nn.init.dirac_(conv.weight)
    return conv
