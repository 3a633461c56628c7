"""Reading MATLAB structs as PASCAL-Part and PASCAL-Context publish them, whichever way they were saved again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32
from scipy.io import loadmat
from scipy.sparse import issparse

from atrc.errors import UserError


def load_variable(path: Path, name: str) -> Any:
    """Return a variable of a MAT file of version 4 to 7."""
    try:
        with path.open("rb") as file:
            content = loadmat(file, squeeze_me=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the split lists this id but its label is not there") from None
    except NotImplementedError:
        raise UserError(f"{path}: a MATLAB v7.3 file; save it again in MATLAB with the flag '-v7'") from None
    except Exception as error:  # scipy raises many kinds on bytes that are no MAT file
        raise UserError(f"{path}: not a readable MAT file ({error}); copy it again") from None
    if name not in content:
        raise UserError(f"{path}: has no variable '{name}'; it is not a file of this data set")
    return content[name]


def load_struct(path: Path, name: str) -> np.void:
    """Return a variable that is one struct."""
    found = entries(load_variable(path, name), name, path)
    if len(found) != 1:
        raise UserError(f"{path}: '{name}' holds {len(found)} structs, not one; it is not a file of this data set")
    return found[0]


def entries(value: Any, where: str, path: Path) -> list[np.void]:
    """Return the structs of a struct array of any shape, or of a cell array; an empty matrix holds none."""
    if isinstance(value, np.void):
        return [value]
    if isinstance(value, np.ndarray):
        if value.size == 0:
            return []
        if value.dtype == object or value.dtype.names:
            return [entry for item in value.flat for entry in entries(item, where, path)]
    raise UserError(f"{path}: '{where}' is no struct array; it is not a file of this data set")


def field(entry: np.void, name: str, where: str, path: Path) -> Any:
    """Return a field of a struct, out of its cell where it lies in one."""
    if name not in (entry.dtype.names or ()):
        raise UserError(f"{path}: '{where}' has no field '{name}'; it is not a file of this data set")
    value = entry[name]
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.flat[0]
    return value


def text(value: Any, where: str, path: Path) -> str:
    """Return a row of characters."""
    array = np.asarray(value)
    if array.dtype.kind != "U" or array.size != 1:
        raise UserError(f"{path}: '{where}' is no text; it is not a file of this data set")
    return str(array.item())


def integer(value: Any, where: str, path: Path) -> int:
    """Return a whole number, of whichever numeric class."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.size != 1 or not float(array.item()).is_integer():
        raise UserError(f"{path}: '{where}' is no whole number; it is not a file of this data set")
    return int(array.item())


def mask(value: Any, where: str, path: Path) -> Bool[np.ndarray, "h w"]:
    """Return where a matrix, logical or numeric, full or sparse, is positive."""
    array = value.toarray() if issparse(value) else np.asarray(value)
    if array.dtype.kind not in "biuf" or array.ndim != 2 or not array.size:
        raise UserError(f"{path}: '{where}.mask' is no matrix of pixels; it is not a file of this data set")
    return array > 0


def label_map(path: Path) -> Int32[np.ndarray, "h w"]:
    """Return `LabelMap`, the class of every pixel, saved as whole numbers of any numeric class."""
    array = load_variable(path, "LabelMap")
    whole = isinstance(array, np.ndarray) and array.dtype.kind in "biuf" and array.ndim == 2 and array.size
    if not whole or not np.isfinite(array).all() or (array != np.round(array)).any() or np.abs(array).max() > 2**31 - 1:
        raise UserError(f"{path}: 'LabelMap' is no matrix of class numbers; it is not a file of this data set")
    return array.astype(np.int32)
