"""Building, caching and falling back of the C++ kernel."""

import ctypes
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from atrc.ops import local_attention
from atrc.ops import local_attention_native as native


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache, on disk and in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ATRC_NO_COMPILER", raising=False)
    caches = native._library, native._cache_folder
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "atrc"
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def compiler(fresh):
    if not native.available(torch.float32, 3):
        pytest.skip("no C++ compiler")


def test_the_library_is_built_once_and_nothing_else_is_left(fresh, compiler):
    (library,) = fresh.iterdir()
    built = library.stat()
    native._library.cache_clear()
    assert native.available(torch.float32, 3)
    assert list(fresh.iterdir()) == [library]
    assert library.stat().st_mtime_ns == built.st_mtime_ns


def test_builds_at_the_same_time_do_not_disturb_each_other(fresh, compiler):
    file = fresh / "library.so"
    with ThreadPoolExecutor() as pool:
        builds = [pool.submit(native._build, file, torch.float32, 3) for _ in range(2)]
    assert [build.result() for build in builds] == [None, None]
    assert len(list(fresh.iterdir())) == 2  # this one and the fixture's
    assert ctypes.CDLL(str(file)).local_attention


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(fresh, compiler, monkeypatch):
    native._library.cache_clear()
    native._cache_folder.cache_clear()
    occupied = fresh.parent / "file"
    occupied.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(occupied))
    assert native.available(torch.float32, 3)
    assert native._cache_folder().name.startswith("atrc-")


def test_without_a_compiler_one_line_is_logged_and_the_result_is_the_same(fresh, compiler, monkeypatch, caplog):
    x = torch.rand(1, 2, 5, 6)
    truth = local_attention(x, x, x, 3)
    native._library.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            torch.testing.assert_close(local_attention(x, x, x, 3), truth)
    assert [record.getMessage().count("no C++ compiler was found") for record in caplog.records] == [1]


def test_a_build_that_fails_falls_back(fresh, monkeypatch, caplog):
    monkeypatch.setenv("CXX", sys.executable)  # knows --version, not -std=c++17
    assert not native.available(torch.float32, 3)
    assert len(caplog.records) == 1
    assert not any(fresh.iterdir())


def test_the_number_of_threads_does_not_change_a_bit(compiler):
    query, key, value, grad = torch.randn(4, 2, 5, 31, 20)
    results = []
    threads = torch.get_num_threads()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append([native.forward(query, key, value, 3), *native.backward(grad, query, key, value, 3)])
    torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_a_pixel_that_is_not_a_number_is_seen_by_its_window_only(compiler):
    query, key, value = torch.randn(3, 1, 4, 9, 40)
    value[0, :, 4, 20] = torch.nan
    expected = torch.zeros(9, 40, dtype=torch.bool)
    expected[3:6, 19:22] = True
    assert torch.equal(local_attention(query, key, value, 3).isnan().all(1)[0], expected)
    assert torch.equal(local_attention(query, value, key, 3).isnan().all(1)[0], expected)


WITHOUT_PYTORCH = """
import ctypes, sys
b, d, c, h, w = 2, 3, 1, 30, 20
maps = ctypes.c_float * (b * d * h * w)
query, ones, out = maps(*range(b * d * h * w)), maps(*[1] * (b * c * h * w)), maps()
sizes = [ctypes.c_int64(n) for n in (b, d, c, h, w)]
ctypes.CDLL(sys.argv[1]).local_attention(query, query, ones, out, *sizes, ctypes.c_int(3))
assert all(abs(x - 1) < 1e-5 for x in out[: b * c * h * w])
"""


def test_without_openmp_the_kernel_starts_threads_of_its_own(fresh, compiler):
    (library,) = fresh.iterdir()
    subprocess.run([sys.executable, "-c", WITHOUT_PYTORCH, str(library)], check=True)
