"""The C++ kernel of local attention: threads, and numbers that are none."""

import subprocess
import sys

import pytest
import torch

from atrc.ops import local_attention, native
from atrc.ops import local_attention_native as kernel


@pytest.fixture
def compiler():
    if not kernel.available(torch.float32, 3):
        pytest.skip("no C++ compiler")


def test_the_number_of_threads_does_not_change_a_bit(compiler):
    query, key, value, grad = torch.randn(4, 2, 5, 31, 20)
    results = []
    threads = torch.get_num_threads()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append([kernel.forward(query, key, value, 3), *kernel.backward(grad, query, key, value, 3)])
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


def test_without_openmp_the_kernel_starts_threads_of_its_own(compiler):
    library = native.library("local_attention", torch.float32, window=3)._name
    subprocess.run([sys.executable, "-c", WITHOUT_PYTORCH, library], check=True)
