"""The C++ kernels next to this file, compiled on first use with the system's compiler.

A kernel has no dependency but the C++ standard library, so that it builds in about a second. Libraries are kept in
`$XDG_CACHE_HOME/atrc` or `~/.cache/atrc`, one for every source, compiler, processor, scalar type and set of
definitions: `-march=native` code never meets another processor. `ATRC_NO_COMPILER=1` turns all kernels off.
"""

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent
_SCALARS = {torch.float32: "float", torch.float64: "double"}


def available(kernel: str, dtype: torch.dtype, **definitions: int) -> bool:
    """Whether a kernel is there for this type and these definitions; builds it the first time."""
    return not os.environ.get("ATRC_NO_COMPILER") and library(kernel, dtype, **definitions) is not None


@functools.cache
def library(kernel: str, dtype: torch.dtype, **definitions: int) -> ctypes.CDLL | None:
    """The library of `KERNEL.cpp`, None if it cannot be had.

    Args:
        kernel: Name of the source file.
        dtype: The source's SCALAR.
        definitions: Constants of the source, in small letters.
    """
    try:
        file = _cache_folder() / _library_name(kernel, dtype, definitions)
        if not file.exists():
            _build(file, kernel, dtype, definitions)
        return ctypes.CDLL(str(file))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        name = kernel.replace("_", " ")
        log.warning("%s runs without its C++ kernel, several times slower: %s", name, error)
        return None


def call(library: ctypes.CDLL | None, function: str, tensors: Iterable[Tensor], *sizes: int) -> None:
    """Call a function of (pointers of contiguous tensors, 64 bit sizes, number of threads)."""
    getattr(library, function)(
        *(ctypes.c_void_p(x.data_ptr()) for x in tensors),
        *(ctypes.c_int64(size) for size in sizes),
        ctypes.c_int(torch.get_num_threads()),
    )


def _build(file: Path, kernel: str, dtype: torch.dtype, definitions: dict[str, int]) -> None:
    """Compile to a folder of our own, then move into place: other processes may build the same file."""
    options = ["-std=c++17", "-O3", "-shared", "-fPIC", "-pthread", f"-DSCALAR={_SCALARS[dtype]}"]
    options += [f"-D{name.upper()}={number}" for name, number in definitions.items()]
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        built = Path(folder) / file.name
        command = [_compiler(), *options, str(_source(kernel)), "-o", str(built)]
        tuned = subprocess.run([*command, "-march=native"], capture_output=True, timeout=300)
        if tuned.returncode != 0:
            subprocess.run(command, capture_output=True, timeout=300, check=True)
        built.replace(file)


def _library_name(kernel: str, dtype: torch.dtype, definitions: dict[str, int]) -> str:
    version = subprocess.run([_compiler(), "--version"], capture_output=True, timeout=60, check=True).stdout
    sources = b"".join(file.read_bytes() for file in (_source(kernel), *sorted(_SOURCES.glob("*.hpp"))))
    key = hashlib.sha256(sources + version + _processor().encode()).hexdigest()[:16]
    return "-".join([kernel, _SCALARS[dtype], *map(str, definitions.values()), f"{key}.so"])


def _source(kernel: str) -> Path:
    return _SOURCES / f"{kernel}.cpp"


def _compiler() -> str:
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        if path := shutil.which(name):
            return path
    raise RuntimeError("no C++ compiler was found")


def _processor() -> str:
    """Model and instruction sets of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().split("\n\n")[0].splitlines() if cpuinfo.exists() else []
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join([platform.platform(), platform.processor(), *(x for x in lines if x.startswith(wanted))])


@functools.cache
def _cache_folder() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atrc"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="atrc-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
