"""The Triton kernels in Triton's interpreter, which is chosen before they are imported: in a process of its own."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SCRIPT = """
import torch
from atrc.ops import local_attention_tiles as tiles, local_attention_triton as kernels

for (b, d, c, h, w), window, dtype, tolerance in [
    ((2, 3, 4, 2, 18), 3, torch.float32, 1e-5),
    ((1, 2, 2, 2, 1), 9, torch.float32, 1e-5),
    ((1, 2, 2, 3, 4), 3, torch.float16, 1e-2),
]:
    query, key, value, grad = (torch.randn(b, n, h, w, dtype=dtype) for n in (d, d, c, c))
    actual = [kernels.forward(query, key, value, window), *kernels.backward(grad, query, key, value, window)]
    query, key, value, grad = (x.float() for x in (query, key, value, grad))
    truth = [tiles.forward(query, key, value, window), *tiles.backward(grad, query, key, value, window)]
    for a, t in zip(actual, truth, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.float(), t, rtol=tolerance, atol=tolerance)
"""


def test_agrees_with_tiles_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
