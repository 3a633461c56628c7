"""Rows and columns of arrays, compiled. Imports numba."""

from __future__ import annotations

from typing import no_type_check

from atrc.jit import jit


@jit(nogil=True)
@no_type_check
def gather(source, rows, columns, result):
    """Take rows and columns; a row taken again is copied."""
    width = columns.size
    for c in range(source.shape[0]):
        for y in range(rows.size):
            if y and rows[y] == rows[y - 1]:
                for x in range(width):
                    result[c, y, x] = result[c, y - 1, x]
            else:
                row = rows[y]
                for x in range(width):
                    result[c, y, x] = source[c, row, columns[x]]
