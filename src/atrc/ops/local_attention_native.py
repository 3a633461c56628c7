"""Local attention by the C++ kernel beside this file, compiled on first use with the system's compiler.

The kernel has no dependency but the C++ standard library, so that it builds in about a second. Libraries are
kept in `$XDG_CACHE_HOME/atrc` or `~/.cache/atrc`, one for every source, compiler, processor, scalar type and
window: `-march=native` code never meets another processor. `ATRC_NO_COMPILER=1` turns the kernel off.
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
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("local_attention.cpp")
_SCALARS = {torch.float32: "float", torch.float64: "double"}


def available(dtype: torch.dtype, window: int) -> bool:
    """Whether the kernel is there for this type and window; builds it the first time."""
    return not os.environ.get("ATRC_NO_COMPILER") and _library(dtype, window) is not None


def forward(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Local attention of contiguous tensors, all of one type."""
    out = torch.empty_like(value)
    _call("local_attention", (query, key, value, out), query, value, window)
    return out


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `forward` for query, key and value; the weights are computed again."""
    grads = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
    _call("local_attention_backward", (grad, query, key, value, *grads), query, value, window)
    return grads


def _call(function: str, tensors: tuple[Tensor, ...], query: Tensor, value: Tensor, window: int) -> None:
    batch, d, height, width = query.shape
    getattr(_library(query.dtype, window), function)(
        *(ctypes.c_void_p(x.data_ptr()) for x in tensors),
        *(ctypes.c_int64(n) for n in (batch, d, value.shape[1], height, width)),
        ctypes.c_int(torch.get_num_threads()),
    )


@functools.cache
def _library(dtype: torch.dtype, window: int) -> ctypes.CDLL | None:
    try:
        file = _cache_folder() / _library_name(dtype, window)
        if not file.exists():
            _build(file, dtype, window)
        return ctypes.CDLL(str(file))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        log.warning("local attention runs without its C++ kernel, some five times slower: %s", error)
        return None


def _build(file: Path, dtype: torch.dtype, window: int) -> None:
    """Compile to a folder of our own, then move into place: other processes may build the same file."""
    options = ["-std=c++17", "-O3", "-shared", "-fPIC", "-pthread"]
    definitions = [f"-DSCALAR={_SCALARS[dtype]}", f"-DWINDOW={window}"]
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        built = Path(folder) / file.name
        command = [_compiler(), *options, *definitions, str(_SOURCE), "-o", str(built)]
        tuned = subprocess.run([*command, "-march=native"], capture_output=True, timeout=300)
        if tuned.returncode != 0:
            subprocess.run(command, capture_output=True, timeout=300, check=True)
        built.replace(file)


def _library_name(dtype: torch.dtype, window: int) -> str:
    version = subprocess.run([_compiler(), "--version"], capture_output=True, timeout=60, check=True).stdout
    key = hashlib.sha256(_SOURCE.read_bytes() + version + _processor().encode()).hexdigest()[:16]
    return f"local_attention-{_SCALARS[dtype]}-{window}-{key}.so"


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
