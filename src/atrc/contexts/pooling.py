"""The context pooling (CP) block of one source-target pair."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts.attention import global_context, label_context, prototypes
from atrc.errors import UserError
from atrc.ops import local_attention

# b batch, c feature channels, d attention channels, t / s target / source label regions, h w feature grid

Regions = Float[Tensor, "*_ _ h w"]  # densities, of a batch or of one image
CONTEXTS = ("global", "local", "t_label", "s_label")


class ContextPooling(nn.Module):
    """Attend from every target pixel to the source task's features in one kind of context.

    Source: Sec. 3.2, Eq. 1 to 5.
    """

    def __init__(self, context: str, channels: int, attention_channels: int, *, affine_value: bool = True) -> None:
        """Make the projections of one block.

        Args:
            context: One of "global", "local", "t_label", "s_label".
            channels: Channels c of the target and source features.
            attention_channels: Channels d of queries, keys and values, and of the output.
            affine_value: Let the value's BN scale; candidates of a search do not, to keep one scale.

        Raises:
            UserError: The context is unknown.
        """
        super().__init__()
        if context not in CONTEXTS:
            raise UserError(f"unknown context '{context}'; a block is one of {', '.join(CONTEXTS)}")
        self.context = context
        last = nn.Softplus if context == "global" else nn.ReLU  # keeps the kernel of Eq. 3 positive
        c, d = channels, attention_channels
        self.query = nn.Sequential(*projection(c, d), *projection(d, d, last))
        self.key = nn.Sequential(*projection(c, d), *projection(d, d, last))
        self.value = nn.Sequential(*projection(c, d, affine=affine_value))

    def forward(
        self,
        target: Float[Tensor, "b c h w"],
        source: Float[Tensor, "b c h w"],
        target_regions: Float[Tensor, "b t h w"] | None = None,
        source_regions: Float[Tensor, "b s h w"] | None = None,
    ) -> Float[Tensor, "b d h w"]:
        """Return the context of every target pixel.

        Args:
            target: Features F_T, which ask.
            source: Features F_S, which are attended to.
            target_regions: Densities of the target's label regions (`spatial_softmax`), for T-label.
            source_regions: Densities of the source's label regions, for S-label.
        """
        query = self.query(target)
        if self.context in ("global", "local"):
            attend = global_context if self.context == "global" else local_attention
            return attend(query, self.key(source), self.value(source))
        regions = self.choose_regions(target_regions, source_regions)
        pooled = prototypes(regions, source)[..., None]  # b c r 1: an image that is r pixels high
        return label_context(query, self.key(pooled)[..., 0], self.value(pooled)[..., 0])

    def choose_regions(self, target_regions: Regions | None, source_regions: Regions | None) -> Regions:
        """Return the densities of the label regions that a label context pools over.

        Raises:
            UserError: They are not given.
        """
        regions = target_regions if self.context == "t_label" else source_regions
        if regions is None:
            raise UserError(f"a {self.context} block needs the label regions of its task")
        return regions


def projection(
    inputs: int, outputs: int, activation: type[nn.Module] = nn.ReLU, *, affine: bool = True
) -> tuple[nn.Module, ...]:
    """Return 1x1 conv - BN - activation, starting Xavier-uniform."""
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    return conv, nn.BatchNorm2d(outputs, affine=affine), activation()
