"""The Triton kernels without a GPU: run in Triton's interpreter, and compiled for real devices.

Each in a process of its own: the interpreter is chosen before they are imported, and the tests' checks of types that
are woven into modules are nothing that Triton compiles.
"""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

INTERPRET = """
import torch
from atrc.ops import local_attention_tiles as tiles, local_attention_triton as kernels

for (b, d, c, h, w), window, dtype, tolerance in [
    ((2, 3, 4, 2, 18), 3, torch.float32, 1e-5),
    ((1, 2, 2, 2, 1), 9, torch.float32, 1e-5),
    ((1, 33, 20, 11, 10), 9, torch.float32, 1e-5),
    ((1, 70, 3, 3, 9), 11, torch.float32, 1e-5),
    ((1, 2, 2, 3, 4), 1, torch.float32, 1e-5),
    ((1, 2, 2, 3, 4), 3, torch.float16, 2e-3),
    ((1, 17, 5, 7, 9), 9, torch.bfloat16, 2e-2),
]:
    torch.manual_seed(0)
    query, key, value, grad = (torch.randn(b, n, h, w, dtype=dtype) for n in (d, d, c, c))
    actual = [kernels.forward(query, key, value, window), *kernels.backward(grad, query, key, value, window)]
    query, key, value, grad = (x.float() for x in (query, key, value, grad))
    truth = [tiles.forward(query, key, value, window), *tiles.backward(grad, query, key, value, window)]
    for a, t in zip(actual, truth, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.float(), t, rtol=tolerance, atol=tolerance)
"""

# Shared memory of a block: 99 kB on compute capability 8.6 and 8.9, the least of today's; 163 on 8.0, 227 on 9.0.
# A size of 1 is a constant to Triton.
COMPILE = """
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from atrc.ops import local_attention_triton as kernels

NAMES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}


def build(kernel, capability, dtype, channels, sizes):
    maps = torch.empty(1, channels, 9, 9, dtype=dtype, device="meta")
    constants = kernels.constants_of(maps, maps, 9) | sizes
    types = dict.fromkeys(kernel.arg_names, NAMES[dtype]) | {"normalizer": "*fp32", "mean": "*fp32"}
    types |= {"height": "i32", "width": "i32", "scale": "fp32"} | dict.fromkeys(constants, "constexpr")
    types = {name: types[name] for name in kernel.arg_names}
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(ASTSource(kernel, types, constants), target=target, options=kernels.LAUNCH)


one = {"height": 1, "width": 1}
for case in [(80, torch.float32, 33, {}), (90, torch.bfloat16, 64, {}), (80, torch.float32, 1, one)]:
    for kernel in (kernels._forward, kernels._backward_query, kernels._backward_key_value):
        built = build(kernel, *case)
        assert built.asm["cubin"]
        assert built.metadata.shared < 99 * 1024, (case, kernel.__name__, built.metadata.shared)
        assert "mma" in built.asm["ptx"], "no tensor cores"
        assert "i64" in built.asm["ttir"], "where an image begins does not fit in 32 bits"
"""


def run(script: str, **environment: str) -> str:
    environment = {**os.environ, "TRITON_DEFAULT_FP_FUSION": "1", **environment}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_agrees_with_tiles_in_the_interpreter():
    run(INTERPRET, TRITON_INTERPRET="1")


def test_compiles_for_real_devices(tmp_path):
    run(COMPILE, TRITON_CACHE_DIR=str(tmp_path))


FALL_BACK = """
import sys
from types import SimpleNamespace
import torch
from atrc.ops import local_attention_triton as kernels

dispatch = sys.modules["atrc.ops.local_attention"]
device = torch.device("cpu")  # for which Triton has no driver
maps = SimpleNamespace(is_cuda=True, device=device, dtype=torch.float32, shape=(1, 33, 9, 9))
assert dispatch._kernels(maps, maps, 9) is not kernels
kernels.available = lambda device: True
assert dispatch._kernels(maps, maps, 9) is kernels
maps.shape = (1, 300, 9, 9)
assert dispatch._kernels(maps, maps, 9) is not kernels
"""


def test_without_a_working_triton_or_with_too_many_channels_other_kernels_run():
    warned = run(FALL_BACK)
    assert warned.count("local attention runs without its Triton kernels") == 1
