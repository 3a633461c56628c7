"""Attention of a trained network: one forward pass, then the maps of any target pixel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrc.contexts import ContextPooling, spatial_softmax
from atrc.contexts.maps import ContextMap, context_map
from atrc.distillation import ATRC
from atrc.distillation.combination import Combination
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork, Output
from atrc.search.mixture import Mixture
from atrc.tasks import Task

# c feature channels, h w image, y x feature grid


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
        self.module = find_atrc(network)
        self.tasks: dict[str, Task] = {task.name: task for task in network.tasks}
        self.image_size = int(image.shape[1]), int(image.shape[2])
        given: list[tuple] = []
        hook = self.module.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
        try:
            with torch.no_grad():
                self.output = network.eval()(image[None])
        finally:
            hook.remove()
        features, regions = given[0][0], given[0][1] if len(given[0]) > 1 else None
        self.features = {task: x[0] for task, x in features.items()}
        self.regions = {task: spatial_softmax(logits)[0] for task, logits in (regions or {}).items()}
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
        features = self.features[target], self.features[source]
        chosen = None if block is None else _choose(block, *features)
        if chosen is None:
            return None
        target_regions, source_regions = self.regions.get(target), self.regions.get(source)
        found = context_map(chosen, *features, y, x, target_regions=target_regions, source_regions=source_regions)
        regions = None if found.regions is None else found.regions.cpu()
        return ContextMap(found.context, found.pixels.cpu(), regions)


def region_task(found: ContextMap, target: str, source: str) -> str:
    """Return the task whose label regions a label context attends to."""
    return target if found.context == "t_label" else source


def find_atrc(network: nn.Module) -> ATRC:
    """Return a network's ATRC module, of several that of the finest level.

    Raises:
        UserError: It has none.
    """
    found = next((module for module in network.modules() if isinstance(module, ATRC)), None)
    if found is None:
        raise UserError(
            "the network has no ATRC module, so nothing attends; train one with a recipe such as network/global"
        )
    return found


def _choose(block: nn.Module, target: Float[Tensor, "c y x"], source: Float[Tensor, "c y x"]) -> ContextPooling | None:
    """Return the context pooling block that a pair's block is, runs, or weighs most; None if it runs none."""
    if isinstance(block, ContextPooling):
        return block
    if isinstance(block, Mixture):
        return next((candidate for candidate, _ in block.terms()), None)
    if isinstance(block, Combination):
        weights = dict(zip(block.contexts, block.weights(target[None], source[None])[0].tolist(), strict=True))
        return max(block.candidates.values(), key=lambda candidate: weights[candidate.context])
    raise UserError(f"a block of kind {type(block).__name__} has no attention map")
