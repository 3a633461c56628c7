import pytest
import torch

from atrc.contexts import ContextPooling, global_context, label_context, prototypes, spatial_softmax
from atrc.contexts.pooling import CONTEXTS
from atrc.errors import UserError

B, C, D, R, H, W = 2, 6, 4, 5, 3, 7


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def test_the_linear_global_context_equals_the_quadratic_form():
    q, k, v = rand(B, D, H, W), rand(B, D, H, W), rand(B, C, H, W)
    similarity = torch.einsum("bdn,bdm->bnm", q.flatten(2), k.flatten(2))
    attention = similarity / similarity.sum(2, keepdim=True)
    expected = torch.einsum("bnm,bcm->bcn", attention, v.flatten(2)).view_as(v)
    torch.testing.assert_close(global_context(q, k, v), expected, rtol=1e-9, atol=1e-12)


def test_label_context_equals_equation_2():
    q, k, v = rand(B, D, H, W), rand(B, D, R), rand(B, C, R)
    attention = (torch.einsum("bdn,bdr->bnr", q.flatten(2), k) / D**0.5).softmax(2)
    expected = torch.einsum("bnr,bcr->bcn", attention, v).view(B, C, H, W)
    torch.testing.assert_close(label_context(q, k, v), expected, rtol=1e-9, atol=1e-12)


def test_prototypes_of_a_hard_partition_are_the_means_of_its_regions():
    labels = torch.tensor([[[0, 0, 1], [1, 1, 2]]])
    logits = torch.where(torch.arange(3).view(1, 3, 1, 1) == labels[:, None], 0.0, -1e4)
    features = torch.arange(6.0).view(1, 1, 2, 3)
    assert prototypes(spatial_softmax(logits), features).flatten().tolist() == pytest.approx([0.5, 3, 5])


def test_spatial_densities_add_up_to_one_per_region():
    densities = spatial_softmax(torch.randn(B, R, H, W))
    torch.testing.assert_close(densities.sum((2, 3)), torch.ones(B, R))


@pytest.mark.parametrize("context", ["global", "t_label"])
def test_spatial_order_does_not_matter_to_global_and_label_contexts(context):
    block = ContextPooling(context, C, D).double().eval()
    target, source, regions = rand(B, C, 1, H * W), rand(B, C, 1, H * W), spatial_softmax(rand(B, R, 1, H * W))
    order = torch.randperm(H * W)
    permuted = block(target[..., order], source[..., order], regions[..., order])
    torch.testing.assert_close(permuted, block(target, source, regions)[..., order])


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 9)])
def test_every_context_works_at_any_size_forward_and_backward(context, size):
    block = ContextPooling(context, C, D)
    target, source = torch.randn(B, C, *size, requires_grad=True), torch.randn(B, C, *size, requires_grad=True)
    regions = spatial_softmax(torch.randn(B, R, *size))
    output = block(target, source, regions, regions)
    assert output.shape == (B, D, *size)
    assert output.isfinite().all()
    output.square().sum().backward()
    assert target.grad.isfinite().all()
    assert source.grad.isfinite().all()


@pytest.mark.parametrize("context", CONTEXTS)
def test_outputs_are_convex_combinations_of_values(context):
    block = ContextPooling(context, C, D).eval()
    target, source = torch.randn(B, C, H, W), torch.randn(B, C, H, W)
    regions = spatial_softmax(torch.randn(B, R, H, W))
    values = block.value(source if context in ("global", "local") else prototypes(regions, source)[..., None])
    output = block(target, source, regions, regions).flatten(2)
    low, high = values.flatten(2).amin(2, keepdim=True), values.flatten(2).amax(2, keepdim=True)
    assert (output >= low - 1e-5).all()
    assert (output <= high + 1e-5).all()


def test_t_label_reads_the_targets_regions_and_s_label_the_sources():
    target, source = torch.randn(B, C, H, W), torch.randn(B, C, H, W)
    one, other = (spatial_softmax(torch.randn(B, R, H, W)) for _ in range(2))
    t_label, s_label = ContextPooling("t_label", C, D).eval(), ContextPooling("s_label", C, D).eval()
    s_label.load_state_dict(t_label.state_dict())
    torch.testing.assert_close(t_label(target, source, one, other), s_label(target, source, other, one))


def test_the_golden_layout_of_a_block():
    block = ContextPooling("global", 67, 33)
    assert sum(p.numel() for p in block.parameters()) == 9141
    assert isinstance(block.query[-1], torch.nn.Softplus)
    assert isinstance(block.key[2], torch.nn.ReLU)
    assert sum(p.numel() for p in ContextPooling("local", 67, 33, affine_value=False).parameters()) == 9075


def test_mistakes_are_named():
    with pytest.raises(UserError, match="unknown context 'everywhere'.*global, local, t_label, s_label"):
        ContextPooling("everywhere", C, D)
    with pytest.raises(UserError, match="t_label block needs the label regions"):
        ContextPooling("t_label", C, D)(torch.randn(B, C, H, W), torch.randn(B, C, H, W))
