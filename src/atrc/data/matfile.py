"""Reading MAT files of version 5 to 7, with every length checked.

Data sets arrive damaged, and SciPy's reader crashes the process on some damaged files. This one reads what data sets
are made of: numbers, text, cells and structs. Source: MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MATRIX, COMPRESSED, UTF8, UTF16, UTF32 = 14, 15, 16, 17, 18
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CELL, STRUCT, CHAR, SPARSE = 1, 2, 4, 5
NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
LOGICAL, COMPLEX = 0x0200, 0x0800  # flags
DEEPEST = 16  # cells and structs within each other
CHUNK = 1 << 24  # that is unpacked at once [bytes]
LARGEST = 1 << 28  # of what is unpacked, and of a matrix [bytes]
MOST = 1 << 20  # elements of a file
DIMENSIONS = 32

Value = Any
"""A matrix of numbers or of characters, the list of what a cell array holds, the tuple of a struct array's dicts.

Cells and structs are in MATLAB's order, columns first. None is what is not read here, such as objects.
"""


class HDF5Error(ValueError):
    """The file is of version 7.3, which is HDF5."""


def read_mat(path: Path, name: str) -> Value:
    """Return a variable of a file.

    Raises:
        KeyError: There is no such variable.
        HDF5Error: The file is of version 7.3.
        ValueError: The file is no MAT file, damaged or cut off.
        OSError: The file cannot be opened.
    """
    content = path.read_bytes()
    if content[:8] == b"\x89HDF\r\n\x1a\n":
        raise HDF5Error("version 7.3")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("no header of a MAT file")
    if struct.unpack_from(f"{order}H", content, 124)[0] == 0x0200:
        raise HDF5Error("version 7.3")
    elements, room = _Elements(memoryview(content)[128:], order), LARGEST
    while elements:
        kind, data = elements.take()
        if kind == COMPRESSED:
            unpacked = _unzip(data, room)
            room -= len(unpacked)
            kind, data = elements.within(unpacked).take()
        if kind == MATRIX and data:
            matrix = _Matrix(elements.within(data))
            if matrix.name == name:
                return matrix.value(0)
    raise KeyError(name)


def _unzip(data: memoryview, room: int) -> memoryview:
    unzip, rest, unpacked = zlib.decompressobj(), bytes(data), bytearray()
    try:
        while rest and not unzip.eof and len(unpacked) <= room:
            unpacked += unzip.decompress(rest, CHUNK)
            rest = unzip.unconsumed_tail
    except zlib.error as error:
        unpacked.clear()  # or the error would hold it
        raise ValueError(str(error)) from None
    if not unzip.eof or len(unpacked) > room:
        unpacked.clear()
        raise ValueError("compressed data are cut off or too large")
    return memoryview(unpacked)


class _Elements:
    """Data elements that follow each other, each a type and its bytes."""

    def __init__(self, data: memoryview, order: str, taken: Iterator[int] | None = None) -> None:
        self.data, self.order, self.at = data, order, 0
        self.taken = taken or itertools.count()  # counts the elements of the whole file

    def within(self, data: memoryview) -> _Elements:
        """Return the elements that make up one of these."""
        return _Elements(data, self.order, self.taken)

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def take(self) -> tuple[int, memoryview]:
        """Return the next element."""
        if len(self.data) - self.at < 8:
            raise ValueError("cut off")
        if next(self.taken) > MOST:
            raise ValueError(f"more than {MOST} elements")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
        start, small = self.at + 8, kind >> 16
        if small:  # up to four bytes lie within the tag
            kind, size, start = kind & 0xFFFF, small, self.at + 4
        if size > (4 if small else len(self.data) - start):
            raise ValueError("cut off")
        self.at = self.at + 8 if small else start + size
        if kind != COMPRESSED:
            self.at += -self.at % 8
        return kind, self.data[start : start + size]

    def numbers(self) -> np.ndarray:
        """Return the next element, which is numbers."""
        kind, data = self.take()
        if kind not in STORED:
            raise ValueError(f"numbers of unknown type {kind}")
        return np.frombuffer(data, np.dtype(self.order + STORED[kind]))

    def whole(self) -> np.ndarray:
        """Return the next element, which is whole numbers."""
        numbers = self.numbers()
        if numbers.dtype.kind == "f":
            raise ValueError("fractions in the place of whole numbers")
        return numbers

    def text(self) -> str:
        """Return the next element, which is characters."""
        kind, data = self.take()
        end = "le" if self.order == "<" else "be"
        codecs = {1: "latin-1", 2: "latin-1", 4: f"utf-16-{end}", UTF8: "utf-8", UTF16: f"utf-16-{end}"}
        if kind == UTF32:
            return bytes(data).decode(f"utf-32-{end}")
        if kind not in codecs:
            raise ValueError(f"text of unknown type {kind}")
        return bytes(data).decode(codecs[kind])


class _Matrix:
    """One matrix: its name is read at once, its content when asked for."""

    def __init__(self, elements: _Elements) -> None:
        self.elements = elements
        flags = elements.whole()
        if len(flags) < 1:
            raise ValueError("no flags of a matrix")
        self.kind, self.flags = int(flags[0]) & 0xFF, int(flags[0])
        size = elements.whole()
        if not 2 <= len(size) <= DIMENSIONS or size.min() < 0:
            raise ValueError(f"a matrix of size {tuple(size[:DIMENSIONS].tolist())}")
        self.size: tuple[int, ...] = tuple(size.tolist())
        self.name = elements.text()
        self.count = math.prod(self.size)

    def value(self, depth: int) -> Value:
        """Return what the matrix holds; `depth` counts the cells and structs around it."""
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        if self.kind == CELL:
            return self._matrices(self.count, depth)
        if self.kind == STRUCT:
            return self._structs(depth)
        if self.count > LARGEST // 8:
            raise ValueError("too large")
        if self.kind == CHAR:
            return self._shaped(np.array(list(self.elements.text()), "U1"))
        if self.flags & COMPLEX:
            return None
        if self.kind == SPARSE:
            return self._sparse()
        if self.kind not in NUMERIC:
            return None
        values = self._shaped(self.elements.numbers())
        with np.errstate(invalid="ignore", over="ignore"):  # of numbers that their class does not hold
            values = values.astype(NUMERIC[self.kind])
        return values.astype(bool) if self.flags & LOGICAL else values

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        if len(values) != self.count:
            raise ValueError(f"{len(values)} elements in a matrix of size {self.size}")
        return values.reshape(self.size, order="F")

    def _matrices(self, count: int, depth: int) -> list[Value]:
        if count > len(self.elements.data) // 8:  # each takes a tag at least
            raise ValueError("cut off")
        values = []
        for _ in range(count):
            kind, data = self.elements.take()
            if kind != MATRIX:
                raise ValueError(f"an element of type {kind} in the place of a matrix")
            values.append(_Matrix(self.elements.within(data)).value(depth + 1) if data else np.zeros((0, 0)))
        return values

    def _structs(self, depth: int) -> tuple[dict[str, Value], ...]:
        length, joined = self.elements.whole(), bytes(self.elements.take()[1])
        if len(length) != 1 or length[0] < 1 or len(joined) % length[0]:
            raise ValueError("field names of unequal length")
        step = int(length[0])
        fields = [joined[at : at + step].split(b"\0")[0].decode() for at in range(0, len(joined), step)]
        if not fields and self.count:
            raise ValueError("structs without fields")
        values = iter(self._matrices(self.count * len(fields), depth))
        return tuple({field: next(values) for field in fields} for _ in range(self.count))

    def _sparse(self) -> np.ndarray:
        rows, starts, values = self.elements.whole(), self.elements.whole(), self.elements.numbers()
        if len(self.size) != 2 or len(starts) != self.size[1] + 1:
            raise ValueError(f"a sparse matrix of size {self.size}")
        counts = starts[1:].astype(np.int64) - starts[:-1].astype(np.int64)
        if starts[0] or (counts < 0).any() or starts[-1] > min(len(rows), len(values)):
            raise ValueError("columns of a sparse matrix that do not follow each other")
        total = int(starts[-1])
        if total and not (rows[:total].min() >= 0 and rows[:total].max() < self.size[0]):
            raise ValueError("rows of a sparse matrix beyond its size")
        full = np.zeros(self.size)
        full[rows[:total], np.repeat(np.arange(self.size[1]), counts)] = values[:total]
        return full
