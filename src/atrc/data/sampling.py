"""Which images make up a training step: a pure function of the seed and the step, so that any step can be redone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from atrc.data.dataset import MultiTaskDataset
from atrc.data.sample import Sample
from atrc.data.transforms import training_transform

Draw = tuple[int, int]  # image index, seed of its augmentation


class StepSampler(Sampler[list[Draw]]):
    """Batches of (image, augmentation seed), one per step, shuffled again in every pass over the images.

    Rank r of n gets items r, r + n, .. of each global batch, so n processes see together what one would see.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        steps: int,
        seed: int,
        *,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Plan the steps.

        Args:
            images: Images in the data set.
            batch_size: Images of a step, over all processes.
            steps: Steps in all.
            seed: Fixes every draw.
            start: The first step to yield, when a run resumes.
            rank: This process.
            world: Number of processes.
        """
        self.images, self.batch_size, self.steps, self.seed = images, batch_size, steps, seed
        self.start, self.rank, self.world = start, rank, world

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.start, self.steps):
            yield self.batch(step)[self.rank :: self.world]

    def batch(self, step: int) -> list[Draw]:
        """Return the global batch of a step."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [(self._image(position), hash_seed(self.seed, 1, position)) for position in positions]

    def _image(self, position: int) -> int:
        epoch, place = divmod(position, self.images)
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, 0, epoch)).permutation(self.images)
        return int(self._order[place])


@dataclass(frozen=True)
class Rounds:
    """Which steps of a bilevel search train alpha, and which the weights.

    After a warm-up of the weights come rounds: a pass over the 20 % of the images that are for alpha, then a pass over
    the 80 % that are for the weights. Incomplete batches are left out of a pass.

    >>> rounds = Rounds(images=10, batch_size=2, warmup=1)
    >>> [rounds.at(step) for step in range(7)]  # alpha or not, and how many steps of its kind were before
    [(False, 0), (True, 0), (False, 1), (False, 2), (False, 3), (False, 4), (True, 1)]

    Source: Bruggemann et al., BMVC 2020, and its code.
    """

    images: int
    batch_size: int
    warmup: int

    @property
    def for_weights(self) -> int:
        """Number of images for the weights."""
        return min(max(int(0.8 * self.images), 1), self.images - 1)

    @property
    def steps(self) -> tuple[int, int]:
        """Steps of a round: of alpha, of the weights."""
        sizes = self.images - self.for_weights, self.for_weights
        return max(sizes[0] // self.batch_size, 1), max(sizes[1] // self.batch_size, 1)

    def at(self, step: int) -> tuple[bool, int]:
        """Return whether a step trains alpha, and how many steps of its kind come before it."""
        if step < self.warmup:
            return False, step
        alpha, weights = self.steps
        done, place = divmod(step - self.warmup, alpha + weights)
        if place < alpha:
            return True, done * alpha + place
        return False, self.warmup + done * weights + place - alpha

    def begins(self, step: int) -> bool:
        """Whether a pass begins at a step."""
        return step == 0 or self.at(step)[0] != self.at(step - 1)[0]


class BilevelSampler(StepSampler):
    """Batches of a bilevel search: alpha and the weights are trained on different images."""

    def __init__(self, rounds: Rounds, steps: int, seed: int, **ranks: Any) -> None:
        """Divide the images.

        Args:
            rounds: When to draw which.
            steps: Steps in all.
            seed: Fixes every draw.
            ranks: `start`, `rank` and `world` of a `StepSampler`.
        """
        super().__init__(rounds.images, rounds.batch_size, steps, seed, **ranks)
        self.rounds = rounds
        order = np.random.default_rng((seed, 4)).permutation(rounds.images)
        self.parts = order[: rounds.for_weights], order[rounds.for_weights :]
        seeds = seed, hash_seed(seed, 4)
        self.samplers = [
            StepSampler(len(part), rounds.batch_size, steps, own) for part, own in zip(self.parts, seeds, strict=True)
        ]

    def batch(self, step: int) -> list[Draw]:
        """Return the global batch of a step."""
        alpha, number = self.rounds.at(step)
        return [(int(self.parts[alpha][i]), seed) for i, seed in self.samplers[alpha].batch(number)]


def hash_seed(*parts: int) -> int:
    """Mix integers into one 63-bit seed.

    >>> hash_seed(0, 1) == hash_seed(0, 1) != hash_seed(1, 0)
    True
    """
    low, high = np.random.SeedSequence(parts).generate_state(2, np.uint32).tolist()
    return (high << 31) ^ low


class Augmented(Dataset[Sample]):
    """A training set: random crops of a data set, drawn from the seed that comes with each index.

    Crops are chosen by semantic labels, even if a run does not train on them: so a single-task baseline sees the same
    crops as a multi-task network.
    """

    def __init__(
        self,
        dataset: MultiTaskDataset,
        crop: tuple[int, int],
        scale: tuple[float, float] = (0.5, 2.0),
        *,
        distortion: float = 1.0,
        released: bool = False,
    ) -> None:
        """Plan the augmentation.

        Args:
            dataset: The images.
            crop: Height and width of the crops [px].
            scale: Range of the scale.
            distortion: Strength of the photometric distortion; 1 is the paper's.
            released: Treat labels as the released code does: resized by the corner rule of OpenCV, and human parts
                ignored in a crop that shows none.
        """
        self.dataset, guide = dataset, dataset.crop_guide
        self.names = [task.name for task in dataset.tasks]
        self.tasks = [*dataset.tasks, *([guide] if guide and guide.name not in self.names else [])]
        parts = [task.name for task in dataset.tasks if task.labelled_by_parts]
        self.transform = training_transform(
            crop,
            scale,
            distortion=distortion,
            limited=guide.name if guide else None,
            corner=released,
            labelled_by_parts=parts if released else (),
        )

    def __getitem__(self, draw: Draw) -> Sample:
        index, seed = draw
        sample = self.dataset.read(index, self.tasks)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sample = self.transform(sample)
        truth, valid = ({name: sample[key][name] for name in self.names} for key in ("truth", "valid"))
        return {**sample, "truth": truth, "valid": valid}


class EverySampler(Sampler[int]):
    """Every image once over all processes: ranks get disjoint shares, with nothing repeated to even them out."""

    def __init__(self, images: int, rank: int = 0, world: int = 1) -> None:
        self.indices = range(rank, images, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
