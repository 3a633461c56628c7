"""Attention of a trained network: one forward pass, then the maps of any target pixel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts import get_context
from atrc.distillation import ATRC
from atrc.distillation.mixture import heaviest
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork, Output
from atrc.tasks import Task

# h w image, y x feature grid, r label regions


class ContextMap(NamedTuple):
    """The attention of one target pixel: a row of the map A of Eq. 2.

    The map of a label context over pixels is that of its regions: each spreads its attention over its density.

    Attributes:
        context: The context type.
        pixels: Over the source's pixels; sums to 1.
        regions: Over the label regions; sums to 1. None for contexts without regions.
    """

    context: str
    pixels: Float[Tensor, "y x"]
    regions: Float[Tensor, " r"] | None = None


class Inspection:
    """What the pixels of one image attend to.

    Of a network that distils at every level it is the finest; of a search's supergraph every pair's best candidate; of
    a combination of contexts every pair's heaviest.

    Source: Fig. 3.

    Attributes:
        module: The ATRC module that is looked into.
        tasks: The network's tasks, by name.
        output: What the network returned, of a batch of one.
        grid: Height and width of the feature grid [px].
    """

    output: Output

    def __init__(self, network: MultiTaskNetwork, image: Float[Tensor, "3 h w"]) -> None:
        """Run the network once, in evaluation mode.

        Args:
            network: A network with ATRC; evaluation mode stays on.
            image: RGB in [0, 1].

        Raises:
            UserError: The network has no ATRC module.
        """
        self.tasks: dict[str, Task] = {task.name: task for task in network.tasks}
        self.image_size = int(image.shape[1]), int(image.shape[2])
        with torch.no_grad():
            encoded = network.eval().encode(image[None])
            self.module, features, auxiliary = network.distillation.by_level(encoded.features, encoded.auxiliary)[0]
            if not isinstance(self.module, ATRC):
                raise UserError(
                    "the network has no ATRC module, so nothing attends; train one with a recipe such as network/global"
                )
            refined = network.distillation(encoded.features, encoded.auxiliary)
            refined, predictions = network.decode(refined, image[None])
            self.output = Output(predictions, encoded.auxiliary, refined, encoded.initial)
            densities = self.module.densities(features, auxiliary)
        self.features = {task: x[0] for task, x in features.items()}
        self.densities = {task: x[0] for task, x in densities.items()}
        self.grid = tuple(int(n) for n in next(iter(self.features.values())).shape[1:])

    @property
    def targets(self) -> tuple[str, ...]:
        """The tasks that attend."""
        return self.module.genotype.targets

    @torch.no_grad()
    def maps(self, target: str, row: int, column: int) -> dict[str, ContextMap | None]:
        """Return what one pixel of a target attends to, by source; None where there is no context.

        Args:
            target: The task that attends.
            row: The pixel's row in the image [px].
            column: The pixel's column in the image [px].

        Raises:
            UserError: No such target, or the pixel is outside the image.
        """
        if target not in self.targets:
            raise UserError(f"no target '{target}'; the network has {', '.join(self.targets)}")
        y, x = self.place(row, column)
        blocks = dict(self.module.blocks())
        return {source: self._map(blocks.get((target, source)), target, source, y, x) for source in self._sources}

    def place(self, row: int, column: int) -> tuple[int, int]:
        """Return the cell of the feature grid that holds a pixel of the image.

        Raises:
            UserError: The pixel is outside the image.
        """
        (h, w), (grid_h, grid_w) = self.image_size, self.grid
        if not (0 <= row < h and 0 <= column < w):
            raise UserError(f"pixel [{row},{column}] is not in the image of {h}x{w}; rows and columns count from 0")
        # The cell whose square of the image holds the pixel's centre.
        return (2 * row + 1) * grid_h // (2 * h), (2 * column + 1) * grid_w // (2 * w)

    @property
    def _sources(self) -> tuple[str, ...]:
        return self.module.genotype.sources

    def _map(self, block: nn.Module | None, target: str, source: str, y: int, x: int) -> ContextMap | None:
        own, other = self.features[target][None], self.features[source][None]
        chosen = None if block is None else heaviest(block, own, other)
        if chosen is None:
            return None
        context = chosen.context
        densities = chosen.choose(self.densities.get(target), self.densities.get(source))
        query = chosen.query(own[..., y : y + 1, x : x + 1]).flatten()
        attended = context.gather(other, None if densities is None else densities[None])
        weights = context.attention(query, chosen.key(attended)[0], y, x)
        if context.regions is None or densities is None:
            return ContextMap(context.name, weights.cpu())
        pixels = torch.einsum("r,ryx->yx", weights.flatten(), densities)
        return ContextMap(context.name, pixels.cpu(), weights.flatten().cpu())


def region_task(found: ContextMap, target: str, source: str) -> str:
    """Return the task whose label regions a label context attends to."""
    return target if get_context(found.context).regions == "target" else source
