"""Normalising quickly."""

import pytest
import torch
import torch.nn.functional as F

from atrc.tasks.normals import unit_length


@pytest.mark.parametrize("length", [0.0, 1e-13, 1e-6, 1.0, 1e4])
def test_unit_length_is_that_of_pytorch_with_its_gradient(length):
    x = F.normalize(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)), dim=1) * length
    x.requires_grad_()
    cotangent = torch.linspace(-1, 1, x.numel()).view_as(x)
    results = [f(x) for f in (unit_length, lambda x: F.normalize(x, dim=1))]
    torch.testing.assert_close(*results)
    grads = [torch.autograd.grad((y * cotangent).sum(), x)[0] for y in results]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-6)
