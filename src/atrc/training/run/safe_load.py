"""Reading files of `torch.save` from anywhere: they are checked before torch opens them."""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from atrc.errors import UserError, first_line

# What a checkpoint consists of next to plain values. torch's own list is longer; some of it fills the memory.
_STORAGE = re.compile(r"(Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage")
_SIZES = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Short": 2}  # of an element [bytes]

FOLDER = 0x10  # MS-DOS's mark of a folder


class CodeError(ValueError):
    """The file would run code."""


def safe_load(path: str | Path) -> Any:
    """Read tensors and plain values without running any code in the file.

    Raises:
        UserError: There is no such file, it holds code, or it is not a file of `torch.save`.
    """
    try:
        _check(Path(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except CodeError as error:
        raise UserError(
            f"{path}: holds code to run ({error}), which no checkpoint of atrc does; it was not run. Get the file from "
            "a source that you trust"
        ) from None
    except Exception as error:  # zipfile, pickle and torch raise many kinds on damaged bytes
        raise UserError(f"{path}: not a readable checkpoint ({first_line(error)})") from None


def _check(path: Path) -> None:
    """Refuse a file that would run code or take more memory than its own size, or whose bytes have changed."""
    with zipfile.ZipFile(path) as file:
        entries = file.infolist()
        names = [entry.filename for entry in entries]
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        # torch reads nothing of an entry marked as a folder, and takes whatever is in memory for its numbers.
        if len(set(names)) < len(names) or not stored or any(entry.external_attr & FOLDER for entry in entries):
            raise ValueError("not written by torch.save")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its parts overlap")
        pickled = next((name for name in names if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise ValueError("not written by torch.save")
        if damaged := file.testzip():  # torch does not check the checksums that it writes
            raise ValueError(f"{damaged} is not as it was written; copy it again")
        folder = pickled.removesuffix("data.pkl") + "data/"
        sizes = {entry.filename.removeprefix(folder): entry.file_size for entry in entries}
        with file.open(pickled) as data:
            _Looker(data, sizes).load()


class _Looker(pickle._Unpickler):  # the one in C allocates whatever index the file names
    """Unpickles plain values, and calls nothing."""

    def __init__(self, file: Any, sizes: dict[str, int]) -> None:
        super().__init__(file)
        self.sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return self._parameter
        if module == "torch" and (kind := _STORAGE.fullmatch(name)):
            return _Element(_SIZES.get(kind[1], 1))
        raise CodeError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> int:
        """Return the number of elements of a tensor's storage."""
        _, element, key, _, count = pid
        if not isinstance(element, _Element) or self.sizes.get(key) != element.size * count:
            raise ValueError(f"a tensor whose {count} numbers are missing")
        return count

    def _tensor(self, stored: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> None:
        if min((offset, *size, *stride)) < 0 or offset + math.prod(size) > stored:
            raise ValueError(f"a tensor of size {size} out of {stored} numbers")

    def _parameter(self, *_: Any) -> None:
        """Stand for a parameter, whose tensor was checked already."""


class _Element(NamedTuple):
    """Stands for the type of a storage: the size of an element [bytes]."""

    size: int
