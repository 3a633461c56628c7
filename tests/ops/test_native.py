"""Building, caching and falling back of the C++ kernels."""

import ctypes
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from atrc.ops import label_attention, local_attention, native

KERNELS = {"local_attention": {"window": 3}, "label_attention": {}}


def available(kernel: str) -> bool:
    return native.available(kernel, torch.float32, **KERNELS[kernel])


def attend(kernel: str) -> torch.Tensor:
    x = torch.linspace(-1, 1, 120).view(1, 2, 6, 10)
    if kernel == "local_attention":
        return local_attention(x, x, x, 3)
    return label_attention(x, x[:, :, 0, :4], x[:, :, 3, :4])


@pytest.fixture(params=KERNELS)
def kernel(request):
    return request.param


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache, on disk and in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ATRC_NO_COMPILER", raising=False)
    caches = native.library, native._cache_folder
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "atrc"
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def compiler():
    try:
        native._compiler()
    except RuntimeError:
        pytest.skip("no C++ compiler")


def test_the_library_is_built_once_and_nothing_else_is_left(fresh, compiler, kernel):
    assert available(kernel)
    (library,) = fresh.iterdir()
    built = library.stat()
    native.library.cache_clear()
    assert available(kernel)
    assert list(fresh.iterdir()) == [library]
    assert library.stat().st_mtime_ns == built.st_mtime_ns


def test_a_change_of_what_the_kernels_share_makes_another_library(monkeypatch, tmp_path, kernel):
    native._compiler()
    for source in native._SOURCES.glob("*.?pp"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(native, "_SOURCES", tmp_path)
    before = native._library_name(kernel, torch.float32, {})
    with (tmp_path / "kernel.hpp").open("a") as header:
        header.write("// changed")
    assert native._library_name(kernel, torch.float32, {}) != before


def test_builds_at_the_same_time_do_not_disturb_each_other(fresh, compiler, kernel):
    fresh.mkdir()
    file = fresh / "library.so"
    with ThreadPoolExecutor() as pool:
        builds = [pool.submit(native._build, file, kernel, torch.float32, KERNELS[kernel]) for _ in range(2)]
    assert [build.result() for build in builds] == [None, None]
    assert list(fresh.iterdir()) == [file]
    assert getattr(ctypes.CDLL(str(file)), kernel)


@pytest.mark.parametrize("source", sorted(native._SOURCES.glob("*.cpp")), ids=lambda source: source.stem)
def test_the_sources_compile_without_a_warning(tmp_path, compiler, source):
    definitions = [f"-D{name.upper()}={number}" for name, number in KERNELS.get(source.stem, {}).items()]
    for scalar in native._SCALARS.values():
        command = [native._compiler(), "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-DSCALAR={scalar}"]
        subprocess.run([*command, *definitions, source, "-c", "-o", tmp_path / "kernel.o"], check=True)


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(fresh, compiler, kernel, monkeypatch):
    occupied = fresh.parent / "file"
    occupied.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(occupied))
    assert available(kernel)
    assert native._cache_folder().name.startswith("atrc-")


def test_without_a_compiler_one_line_is_logged_and_the_result_is_the_same(fresh, compiler, kernel, monkeypatch, caplog):
    truth = attend(kernel)
    native.library.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            torch.testing.assert_close(attend(kernel), truth)
    (record,) = caplog.records
    name = kernel.replace("_", " ")
    reason = "runs without its C++ kernel, several times slower: no C++ compiler was found"
    assert record.getMessage() == f"{name} {reason}"


def test_a_build_that_fails_falls_back(fresh, kernel, monkeypatch, caplog):
    monkeypatch.setenv("CXX", sys.executable)  # knows --version, not -std=c++17
    assert not available(kernel)
    assert len(caplog.records) == 1
    assert not any(fresh.iterdir())
