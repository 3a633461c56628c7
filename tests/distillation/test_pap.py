"""Affinities in parts against all at once; that `PAP` is a module like others is in test_modules.py."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from atrc.distillation.pap import diffuse


def test_affinities_are_mixed_and_diffused_by_hand():
    # Scores of a: 0, but ln 3 of the right pixel with itself: weights (1/2, 1/2), (1/4, 3/4). Of b: all (1/2, 1/2).
    patterns = torch.tensor([[0.0, math.log(3) ** 0.5], [0.0, 0.0]]).view(1, 2, 2, 1)
    values = torch.tensor([[0.0, 8.0], [0.0, 16.0]]).view(1, 2, 2, 1)
    mixing = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    diffused = diffuse(patterns, values, mixing).view(2, 2)
    torch.testing.assert_close(diffused, torch.tensor([[4.0, 5.0], [8.0, 12.0]]))


def dense(patterns, values, mixing):
    scores = torch.einsum("bsid,bsjd->bsij", patterns, patterns) / math.sqrt(patterns.shape[-1])
    return torch.einsum("ts,bsij,btjd->btid", mixing, scores.exp() / scores.exp().sum(3, keepdim=True), values)


def affinity_inputs(pixels=30):
    patterns, values = (torch.rand(2, 3, pixels, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return patterns, values, torch.rand(3, 3, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("pairs", [1, 1000, 2**24])  # one pixel at a time, 5, all
def test_affinities_in_parts_equal_the_dense_form_forward_and_gradient(pairs):
    tensors = affinity_inputs()
    parts, whole = diffuse(*tensors, pairs=pairs), dense(*tensors)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9)
    cotangent = torch.randn_like(whole)
    gradients = [torch.autograd.grad(out, tensors, cotangent) for out in (parts, whole)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(diffuse(*tensors, pairs=pairs), whole, rtol=1e-9, atol=1e-9)


class LargestTensor(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        tensors = [x for x in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(x, torch.Tensor)]
        self.numel = max([self.numel, *(x.numel() for x in tensors)])
        return out


def test_no_more_affinities_exist_at_a_time_than_said_nor_are_kept_for_the_backward_pass():
    tensors = affinity_inputs(pixels=200)  # 2 x 3 x 200 x 200 = 240 000 affinities
    kept = {}

    def keep(x):
        kept[x.data_ptr()] = x.numel()
        return x

    with LargestTensor() as largest:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            out = diffuse(*tensors, pairs=12_000)
        out.sum().backward()
    assert largest.numel == 12_000
    assert sum(kept.values()) < 24_000
