"""Loader processes, whose failures are told in one line: PyTorch's would be a traceback of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from atrc.data.sample import Sample
from atrc.errors import UserError

Loaded = TypeVar("Loaded", covariant=True)


class Loader(DataLoader[Loaded]):
    """A DataLoader that raises the UserError of a loader process as it is."""

    def __init__(self, dataset: Dataset[Sample], collate_fn: Callable[[list[Sample]], Loaded], **options: Any) -> None:
        """Load a data set.

        Args:
            dataset: The samples.
            collate_fn: Makes a batch of some.
            options: As of a DataLoader.
        """
        super().__init__(_Told(dataset), collate_fn=_Passing(collate_fn), **options)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Loaded]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


class _Told(Dataset[Sample]):
    """Gives a UserError in the place of samples: raised in a loader process, it would become that one's traceback."""

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitems__(self, indices: list[Any]) -> list[Sample] | UserError:
        try:
            return [self.dataset[index] for index in indices]
        except UserError as error:
            return error


class _Passing:
    """Passes a UserError on, where samples would be made a batch."""

    def __init__(self, collate: Callable[[list[Sample]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Sample] | UserError) -> Any:
        return samples if isinstance(samples, UserError) else self.collate(samples)
