"""MAT files of any version, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from atrc.errors import UserError, first_line, needs_extra


def load_variables(path: Path, names: list[str] | None = None) -> dict[str, Any]:
    """Return variables: structs as dicts, struct and cell arrays as lists, text as str, everything else as arrays.

    Axes of length 1 are dropped, as by `scipy.io.loadmat(..., simplify_cells=True)`.

    Args:
        path: The file.
        names: Which variables to read; by default all. Those that the file lacks are left out.

    Raises:
        UserError: The file cannot be read.
        FileNotFoundError: There is no such file.
    """
    from scipy.io import loadmat

    try:
        try:
            with path.open("rb") as file:
                found = loadmat(file, simplify_cells=True, variable_names=names)
                return {name: value for name, value in found.items() if not name.startswith("__")}
        except NotImplementedError:  # version 7.3 is HDF5
            with needs_extra("mat73", f"{path}, a MATLAB v7.3 file,"):
                import h5py
            with h5py.File(path) as tree:
                # What cell arrays refer to lies in groups with a #.
                wanted = (
                    [name for name in tree if name in names] if names else [name for name in tree if "#" not in name]
                )
                return {name: _from_hdf5(tree[name]) for name in wanted}
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:  # SciPy and h5py raise many kinds on damaged files
        raise UserError(f"{path}: not a readable MAT file ({first_line(error)}); copy it again") from None


def _from_hdf5(node: Any) -> Any:
    """Return a variable of version 7.3 in the form of `load_variables`."""
    if not hasattr(node, "shape"):  # a group: a struct, or a struct array whose fields are arrays of references
        fields = {field: _from_hdf5(value) for field, value in node.items()}
        if not any("MATLAB_class" not in value.attrs for value in node.values()):
            return fields
        return [dict(zip(fields, entry, strict=True)) for entry in zip(*fields.values(), strict=True)]
    if node.attrs.get("MATLAB_empty"):
        return np.zeros(0)
    values = node[()].T  # HDF5 has MATLAB's axes in reverse order
    if values.dtype == object:
        return [_from_hdf5(node.file[reference]) for reference in values.ravel(order="F")]
    if node.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, values.ravel()))
    return values.squeeze() if values.size > 1 else values.item()
