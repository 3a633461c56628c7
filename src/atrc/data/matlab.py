"""The structs that PASCAL-Part and PASCAL-Context keep in MAT files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32
from scipy.sparse import issparse

from atrc.errors import UserError
from atrc.matfile import load_variables

STRANGE = "it is not a file of this data set"


def load_variable(path: Path, name: str) -> Any:
    """Return a variable, in the form of `load_variables`.

    Raises:
        UserError: The file cannot be read, or has no such variable.
    """
    try:
        return load_variables(path, [name])[name]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the split lists this id but its label is not there") from None
    except KeyError:
        raise UserError(f"{path}: has no variable '{name}'; {STRANGE}") from None


def entries(value: Any, where: str, path: Path) -> list[dict[str, Any]]:
    """Return the structs of a struct array or a cell array; an empty matrix holds none."""
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return [entry for item in value for entry in entries(item, where, path)]
    if isinstance(value, np.ndarray) and value.size == 0:
        return []
    raise UserError(f"{path}: '{where}' is not a struct array; {STRANGE}")


def field(entry: dict[str, Any], name: str, where: str, path: Path) -> Any:
    """Return a field of a struct."""
    if name not in entry:
        raise UserError(f"{path}: '{where}' has no field '{name}'; {STRANGE}")
    return entry[name]


def text(value: Any, where: str, path: Path) -> str:
    """Return text."""
    if not isinstance(value, str):
        raise UserError(f"{path}: '{where}' is not text; {STRANGE}")
    return value


def integer(value: Any, where: str, path: Path) -> int:
    """Return a whole number of any numeric class."""
    number = np.asarray(value)
    if number.dtype.kind not in "biuf" or number.size != 1 or not float(number).is_integer():
        raise UserError(f"{path}: '{where}' is not a whole number; {STRANGE}")
    return int(number)


def mask(value: Any, where: str, path: Path) -> Bool[np.ndarray, "h w"]:
    """Return where a matrix, logical or numeric, dense or sparse, is positive."""
    values = value.toarray() if issparse(value) else np.asarray(value)
    if values.dtype.kind not in "biuf" or values.ndim != 2 or not values.size:
        raise UserError(f"{path}: '{where}.mask' is not a matrix of pixels; {STRANGE}")
    return values > 0


def label_map(path: Path) -> Int32[np.ndarray, "h w"]:
    """Return `LabelMap`, the class of every pixel, saved as whole numbers of any numeric class."""
    array = np.asarray(load_variable(path, "LabelMap"))
    usable = array.dtype.kind in "biuf" and array.ndim == 2 and array.size and np.isfinite(array).all()
    if not usable or (array != np.round(array)).any() or array.min() < 0 or array.max() > 2**31 - 1:
        raise UserError(f"{path}: 'LabelMap' is not a matrix of class numbers; {STRANGE}")
    return array.astype(np.int32)
