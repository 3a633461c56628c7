"""Label files of one's own data; every failure names the file, the reason and the cure."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Integer, Shaped
from numpy import ndarray

from atrc.data.dataset import Label
from atrc.data.labels import read_normals
from atrc.errors import UserError
from atrc.images import read_values, single_channel

# h w image, c channels of the file

LOWEST, HIGHEST = -(2**15), 2**16 - 1  # values that class labels may have
UNKNOWN, IGNORED = -2, -1


class LabelReader(abc.ABC):
    """Reads the label files of one task."""

    dtype: ClassVar[type] = np.uint8
    channels: ClassVar[tuple[int, ...]] = ()

    @abc.abstractmethod
    def read(self, path: Path) -> Label:
        """Return the truth of a file, and where it is valid."""

    def absent(self, h: int, w: int) -> Label:
        """Return the label of an image that has none: valid nowhere."""
        return np.zeros((*self.channels, h, w), self.dtype), np.zeros((h, w), bool)


@dataclass(frozen=True)
class ClassLabels(LabelReader):
    """Class indices: the value that each class has in the files, and the values that count as no class.

    Attributes:
        key: The key in `dataset.yaml`, for messages.
        values: Value in the files -> class.
        ignored: Values that are valid nowhere; None ignores all that are no class.
        names: The classes.
    """

    key: str
    values: dict[int, int]
    ignored: tuple[int, ...] | None
    names: tuple[str, ...]

    def read(self, path: Path) -> Label:
        array = single_channel(read_values(path), path)
        if array.dtype.kind not in "iu":
            raise UserError(f"{path}: class labels are whole numbers, these are {array.dtype}; save class indices")
        classes = self._classes(array)
        if self.ignored is not None and (unknown := classes == UNKNOWN).any():
            self._refuse(path, int(array[unknown][0]), float(unknown.mean()))
        valid = classes >= 0
        return np.where(valid, classes, 0).astype(np.uint8 if len(self.names) <= 256 else np.int32), valid

    def _classes(self, array: Integer[ndarray, "h w"]) -> Integer[ndarray, "h w"]:
        """Look up the class of every pixel."""
        if array.dtype in (np.uint8, np.uint16):
            return self._table[array]
        inside = (array >= LOWEST) & (array <= HIGHEST)
        return np.where(inside, self._table[np.where(inside, array, 0)], UNKNOWN)

    @cached_property
    def _table(self) -> Integer[ndarray, " k"]:
        """The class of every value from 0 up, then of the negative ones: so an index means itself."""
        table = np.full(HIGHEST - LOWEST + 1, UNKNOWN, np.int32)
        table[list(self.ignored or ())] = IGNORED
        table[list(self.values)] = list(self.values.values())
        return table

    def _refuse(self, path: Path, value: int, share: float) -> None:
        held = f"{min(self.values)} to {max(self.values)}" if len(self.values) > 1 else f"{min(self.values)}"
        raise UserError(
            f"{path}: holds the value {value} ({share:.1%} of its pixels), which is none of the {len(self.names)} "
            f"classes ({held}) and not ignored; correct the label, or classes or ignore of {self.key} in dataset.yaml"
        )


@dataclass(frozen=True)
class DepthLabels(LabelReader):
    """Depth: metres of one file value, and the values that mark unknown pixels."""

    dtype: ClassVar[type] = np.float32

    key: str
    scale: float
    invalid: tuple[float, ...]

    def read(self, path: Path) -> Label:
        array = single_channel(read_values(path), path)
        unknown = np.zeros(array.shape, bool)
        for value in self.invalid:
            unknown |= np.isnan(array) if math.isnan(value) else array == value
        with np.errstate(over="ignore", invalid="ignore"):
            metres = (array * np.float64(self.scale)).astype(np.float32)
        wrong = ~unknown & ~(np.isfinite(metres) & (metres > 0))
        if wrong.any():
            raise UserError(
                f"{path}: holds the value {array[wrong][0]} ({wrong.mean():.1%} of its pixels), which is no depth; "
                f"correct the file, or add it to {self.key}.invalid in dataset.yaml if it marks unknown pixels"
            )
        return np.where(unknown, np.float32(0), metres), ~unknown


@dataclass(frozen=True)
class NormalLabels(LabelReader):
    """Normals, x right, y up, z towards the viewer once the signs of the axes are applied."""

    dtype: ClassVar[type] = np.float32
    channels: ClassVar[tuple[int, ...]] = (3,)

    signs: tuple[float, float, float]

    def read(self, path: Path) -> Label:
        unit, valid = read_normals(path)
        return unit * np.array(self.signs, np.float32)[:, None, None], valid


@dataclass(frozen=True)
class MaskLabels(LabelReader):
    """Yes or no: 0 and one other value, or what is above a threshold."""

    key: str
    threshold: float | None
    ignored: tuple[int, ...]

    def read(self, path: Path) -> Label:
        array = single_channel(read_values(path, brightness=True), path)
        if not np.isfinite(array).all():
            raise UserError(f"{path}: holds numbers that are not finite; save a mask of 0 and 255")
        valid = ~np.isin(array, self.ignored)
        if self.threshold is None:
            self._require_two_values(array[valid], path)
        return (valid & (array > (self.threshold or 0))).astype(np.uint8), valid

    def _require_two_values(self, values: Shaped[ndarray, " n"], path: Path) -> None:
        others = values[values != 0]
        if len(others) and (others.min() < 0 or others.min() != others.max()):
            raise UserError(
                f"{path}: holds {len(np.unique(values))} values from {values.min()} to {values.max()}, a mask has 0 "
                f"and one other; correct it, or give {self.key}.threshold in dataset.yaml, above which a pixel counts"
            )
