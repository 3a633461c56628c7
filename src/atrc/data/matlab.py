"""PASCAL-Part's structs and PASCAL-Context's maps, whichever way they were saved again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from atrc.data.matfile import HDF5Error, read_mat
from atrc.errors import UserError

STRANGE = "it is not a file of this data set"


def load_variable(path: Path, name: str) -> Any:
    """Return a variable of a MAT file of version 5 to 7."""
    try:
        return read_mat(path, name)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the split lists this id but its label is not there") from None
    except HDF5Error:
        raise UserError(f"{path}: a MATLAB v7.3 file; save it again in MATLAB with the flag '-v7'") from None
    except KeyError:
        raise UserError(f"{path}: has no variable '{name}'; {STRANGE}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable MAT file ({error}); copy it again") from None


def load_struct(path: Path, name: str) -> dict[str, Any]:
    """Return a variable that is one struct."""
    found = entries(load_variable(path, name), name, path)
    if len(found) != 1:
        raise UserError(f"{path}: '{name}' holds {len(found)} structs, not one; {STRANGE}")
    return found[0]


def entries(value: Any, where: str, path: Path) -> list[dict[str, Any]]:
    """Return the structs of a struct array of any shape, or of a cell array; an empty matrix holds none."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, list):
        return [entry for item in value for entry in entries(item, where, path)]
    if isinstance(value, np.ndarray) and value.size == 0:
        return []
    raise UserError(f"{path}: '{where}' is no struct array; {STRANGE}")


def field(entry: dict[str, Any], name: str, where: str, path: Path) -> Any:
    """Return a field of a struct, out of its cell where it lies in one."""
    if name not in entry:
        raise UserError(f"{path}: '{where}' has no field '{name}'; {STRANGE}")
    value = entry[name]
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def text(value: Any, where: str, path: Path) -> str:
    """Return a row of characters."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "U" or value.ndim != 2 or len(value) != 1:
        raise UserError(f"{path}: '{where}' is no text; {STRANGE}")
    return "".join(value[0])


def integer(value: Any, where: str, path: Path) -> int:
    """Return a whole number, of whichever numeric class."""
    if not _numeric(value) or value.size != 1 or not float(value.item()).is_integer():
        raise UserError(f"{path}: '{where}' is no whole number; {STRANGE}")
    return int(value.item())


def mask(value: Any, where: str, path: Path) -> Bool[np.ndarray, "h w"]:
    """Return where a matrix, logical or numeric, is positive."""
    if not _numeric(value) or value.ndim != 2 or not value.size:
        raise UserError(f"{path}: '{where}.mask' is no matrix of pixels; {STRANGE}")
    return value > 0


def label_map(path: Path) -> Int32[np.ndarray, "h w"]:
    """Return `LabelMap`, the class of every pixel, saved as whole numbers of any numeric class."""
    array = load_variable(path, "LabelMap")
    usable = _numeric(array) and array.ndim == 2 and array.size and np.isfinite(array).all()
    if not usable or (array != np.round(array)).any() or array.min() < 0 or array.max() > 2**31 - 1:
        raise UserError(f"{path}: 'LabelMap' is no matrix of class numbers; {STRANGE}")
    return array.astype(np.int32)


def _numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
