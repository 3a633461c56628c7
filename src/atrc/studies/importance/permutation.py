"""Permute the outputs of ATRC's blocks over a data set, in one pass and in bounded memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from tqdm import tqdm

from atrc.data.dataset import MultiTaskDataset
from atrc.data.loader import Loader
from atrc.data.sample import Batch, Window, cut, network_input
from atrc.data.transforms import collate_padded
from atrc.distillation import ContextPooling
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork
from atrc.search import Choice
from atrc.studies.importance.scores import Importance, Pair
from atrc.tasks import Task
from atrc.training.evaluation.evaluate import Meter

# k permutations, c feature channels, d attention channels, h w feature grid, y x image

Maps = Float[Tensor, "1 _ _ _"] | list[Float[Tensor, "1 _ _ _"]]  # of one image; of every level, if it distils at all
Contexts = Mapping[Pair, Maps]


@dataclass(frozen=True)
class Ring:
    """Images on a ring. In the k-th permutation each gets the context of the image `shifts[k]` places before it.

    Attributes:
        images: Indices in the data set.
        shifts: Of every permutation.
    """

    images: tuple[int, ...]
    shifts: tuple[int, ...]

    @property
    def lead(self) -> int:
        """How many images have to be seen before the first that is scored."""
        return max(self.shifts)

    @property
    def stream(self) -> list[int]:
        """The images in the order of reading: the last `lead` of the ring, which only give contexts, then all."""
        return [*self.images[len(self.images) - self.lead :], *self.images]


def draw_rings(dataset: MultiTaskDataset, crop: tuple[int, int], permutations: int, seed: int) -> list[Ring]:
    """Put the images of every padded size on a ring in random order; only they can exchange contexts.

    Args:
        dataset: The images.
        crop: Height and width that they are padded to at least [px].
        permutations: How many permutations; with more than there are other images they repeat themselves.
        seed: Fixes the order.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, id in enumerate(dataset.ids):
        h, w, _ = dataset.read_image(id).shape
        groups.setdefault((max(h, crop[0]), max(w, crop[1])), []).append(index)
    rng = np.random.default_rng(seed)
    rings = []
    for images in groups.values():
        others = len(images) - 1
        shifts = tuple(1 + k % others if others else 0 for k in range(permutations))
        rings.append(Ring(tuple(rng.permutation(images).tolist()), shifts))
    return rings


@torch.inference_mode()
def measure_importance(
    network: MultiTaskNetwork,
    dataset: MultiTaskDataset,
    crop: tuple[int, int],
    *,
    permutations: int = 5,
    seed: int = 0,
    batch_size: int = 1,
    workers: int = 0,
    device: str = "cpu",
    progress: bool = True,
) -> Importance:
    """Permute the output of one block after another over a data set, and score its target.

    With the images on a ring, every permutation gives each the context of another, and each time of a new one, while
    the network runs over the data set once and the contexts of `permutations` + 1 images are kept.

    Source: Sec. 4.4.

    Args:
        network: A network with ATRC; evaluation mode stays on.
        dataset: Held-out images, with labels of all of the network's tasks.
        crop: Height and width that the images are padded to at least [px].
        permutations: How many permutations of every block.
        seed: Fixes them.
        batch_size: Images that run through the network at once; what is measured does not depend on it.
        workers: Loader processes.
        device: Where to run.
        progress: Show a progress bar.

    Raises:
        UserError: The network has no ATRC module, or there are not enough images or no label of some task.
    """
    if permutations < 1:
        raise UserError(f"permutations is {permutations}; it takes at least one")
    tally = Tally(network.eval().to(device), permutations)
    rings = draw_rings(dataset, crop, permutations, seed)
    if not any(ring.lead for ring in rings):
        raise UserError(f"{dataset.root}: no two images of split '{dataset.split}' have one size, to be permuted")
    hidden = None if progress else True
    with tqdm(total=len(dataset), desc="importance", unit="image", disable=hidden) as bar:
        for ring in rings:
            loader: Loader[list[Batch]] = Loader(
                dataset, collate_padded(crop), batch_size=batch_size, sampler=ring.stream, num_workers=workers
            )
            tally.add(ring, look_at(network, loader, device), bar)
    return tally.importance()


class Seen(NamedTuple):
    """One image that ran through a network: padded but for its labels.

    Attributes:
        image: RGB in [0, 1].
        window: Where the image is in its padding.
        truth: By task.
        valid: By task.
        predictions: By task.
        features: What the blocks read, by task.
        contexts: What the blocks gave.
    """

    image: Float[Tensor, "1 3 y x"]
    window: Window
    truth: Mapping[str, Shaped[Tensor, "1 *_ _ _"]]
    valid: Mapping[str, Bool[Tensor, "1 _ _"]]
    predictions: Mapping[str, Float[Tensor, "1 _ y x"]]
    features: Mapping[str, Maps]
    contexts: Contexts


def look_at(network: MultiTaskNetwork, loader: Iterable[list[Batch]], device: str = "cpu") -> Iterator[Seen]:
    """Run a network over a loader's images, and yield each with the features and contexts of its distillation."""
    module: Any = network.distillation
    for batch in (batch for batches in loader for batch in batches):
        images = network_input(batch, device)
        features, auxiliary, _ = network.encode(images)
        contexts = module.contexts(features, auxiliary)
        _, predictions = network.decode(module.refine(features, contexts), images)
        for i, window in enumerate(batch["window"]):
            one = slice(i, i + 1)
            yield Seen(
                images[one],
                window,
                {task: cut(x[one], window) for task, x in batch["truth"].items()},
                {task: cut(x[one], window) for task, x in batch["valid"].items()},
                {task: x[one] for task, x in predictions.items()},
                {task: _per_level(lambda x, one=one: x[one], f) for task, f in features.items()},
                {pair: _per_level(lambda x, one=one: x[one], c) for pair, c in contexts.items()},
            )


class Tally:
    """The running scores of a network, as it is and with the output of each block permuted."""

    def __init__(self, network: MultiTaskNetwork, permutations: int) -> None:
        """Start without scores.

        Raises:
            UserError: The network has no ATRC module.
        """
        self.network, self.module = network, cast(Any, network.distillation)
        if network.genotype is None:
            raise UserError("importance needs a network with ATRC; train one with a recipe such as network/global")
        self.blocks = {pair: _context_of(block) for pair, block in self.module.blocks()}
        tasks: dict[str, Task] = {task.name: task for task in network.tasks}
        self.own = {name: Meter(task, fast=False) for name, task in tasks.items()}
        self.permuted = {pair: [Meter(tasks[pair[0]], fast=False) for _ in range(permutations)] for pair in self.blocks}

    def add(self, ring: Ring, stream: Iterable[Seen], bar: tqdm | None = None) -> None:
        """Score the images of a ring, which come in the order of its stream."""
        kept: deque[Contexts] = deque(maxlen=ring.lead + 1)
        for place, seen in enumerate(stream):
            kept.append(seen.contexts)
            if place >= ring.lead:
                self.score(seen, [kept[-1 - shift] for shift in ring.shifts])
                if bar is not None:
                    bar.update()

    def score(self, seen: Seen, donors: Sequence[Contexts]) -> None:
        """Score an image as it is, and with every block's context that of a donor, one donor for every permutation."""
        for task, meter in self.own.items():
            _score(meter, seen.predictions[task], seen)
        for (target, source), meters in self.permuted.items():
            repeat = partial(_per_level, lambda x: x.expand(len(donors), -1, -1, -1))
            contexts = {pair: repeat(x) for pair, x in seen.contexts.items() if pair[0] == target}
            given = [donor[target, source] for donor in donors]
            contexts[target, source] = _per_level(lambda *x: torch.cat(x), *given)
            refined = self.module.refine({target: repeat(seen.features[target])}, contexts)
            _, predictions = self.network.decode(refined, repeat(seen.image))
            for k, meter in enumerate(meters):
                _score(meter, predictions[target][k : k + 1], seen)

    def importance(self) -> Importance:
        """Return the scores.

        Raises:
            UserError: A task has none.
        """
        results = {task: meter.result() for task, meter in self.own.items()}
        for task, result in results.items():
            if math.isnan(result.value):
                raise UserError(f"{task}: no valid pixel to score in this split; importance is of all tasks")
        genotype = self.module.genotype
        pairs = [(target, source) for target in genotype.targets for source in genotype.sources]
        return Importance(
            {pair: self.blocks.get(pair, "none") for pair in pairs},
            results,
            {pair: [meter.result().value for meter in meters] for pair, meters in self.permuted.items()},
        )


def _score(meter: Meter, logits: Float[Tensor, "1 _ y x"], seen: Seen) -> None:
    """Add a prediction, without the padding."""
    truth, valid = seen.truth[meter.task.name], seen.valid[meter.task.name]
    meter.update(cut(logits, seen.window).float().cpu(), truth, valid)


def _per_level(function: Callable[..., Tensor], *maps: Any) -> Any:
    """Apply a function to maps, or level by level to lists of them."""
    if isinstance(maps[0], Tensor):
        return function(*maps)
    return [function(*level) for level in zip(*maps, strict=True)]


def _context_of(block: nn.Module) -> str:
    if isinstance(block, ContextPooling):
        return block.context.name
    return block.gate.best if isinstance(block.gate, Choice) else "combined"
