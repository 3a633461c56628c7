"""Every context: its equation against an independent form, its attention map and its multiply-adds."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrc.contexts import CONTEXTS, get_context
from atrc.contexts.global_ import Global
from atrc.contexts.label import TLabel, prototypes, spatial_softmax
from atrc.contexts.local import Local
from atrc.distillation import ContextPooling
from atrc.errors import UserError
from atrc.search.cost import block_multiply_adds

B, C, D, R, H, W = 2, 6, 4, 5, 11, 13
BLOCKS = [name for name in CONTEXTS if name != "none"]


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def test_the_linear_global_context_equals_the_quadratic_form():
    q, k, v = rand(B, D, H, W), rand(B, D, H, W), rand(B, C, H, W)
    similarity = torch.einsum("bdn,bdm->bnm", q.flatten(2), k.flatten(2))
    attention = similarity / similarity.sum(2, keepdim=True)
    expected = torch.einsum("bnm,bcm->bcn", attention, v.flatten(2)).view_as(v)
    torch.testing.assert_close(Global.attend(q, k, v), expected, rtol=1e-9, atol=1e-12)


def test_the_local_context_is_a_softmax_over_the_neighbours_that_exist():
    q, k, v = rand(1, D, H, W), rand(1, D, H, W), rand(1, C, H, W)
    context = Local.attend(q, k, v)
    for y, x in [(0, 0), (5, 6), (10, 3)]:
        rows, columns = slice(max(0, y - 4), y + 5), slice(max(0, x - 4), x + 5)
        weights = (torch.einsum("d,dyx->yx", q[0, :, y, x], k[0, :, rows, columns]) / D**0.5).flatten().softmax(0)
        torch.testing.assert_close(context[0, :, y, x], v[0, :, rows, columns].flatten(1) @ weights)


def test_the_label_context_is_a_softmax_over_regions():
    q, k, v = rand(B, D, H, W), rand(B, D, R, 1), rand(B, C, R, 1)
    attention = (torch.einsum("bdn,bdr->bnr", q.flatten(2), k[..., 0]) / D**0.5).softmax(2)
    expected = torch.einsum("bnr,bcr->bcn", attention, v[..., 0]).view(B, C, H, W)
    torch.testing.assert_close(TLabel.attend(q, k, v), expected, rtol=1e-9, atol=1e-12)


def test_prototypes_of_a_hard_partition_are_the_means_of_its_regions():
    labels = torch.tensor([[[0, 0, 1], [1, 1, 2]]])
    logits = torch.where(torch.arange(3).view(1, 3, 1, 1) == labels[:, None], 0.0, -1e4)
    features = torch.arange(6.0).view(1, 1, 2, 3)
    assert prototypes(spatial_softmax(logits), features).flatten().tolist() == pytest.approx([0.5, 3, 5])


def test_spatial_densities_add_up_to_one_per_region():
    densities = spatial_softmax(torch.randn(B, R, H, W))
    torch.testing.assert_close(densities.sum((2, 3)), torch.ones(B, R))


def make(name, *, batch=1):
    """Return a block whose BNs do something, features of target and source, and their densities."""
    block = ContextPooling(name, C, D).double().eval()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.weight, 0.5, 1)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    features = torch.randn(2, batch, C, H, W, dtype=torch.float64)
    densities = [spatial_softmax(3 * torch.randn(batch, r, H, W, dtype=torch.float64)) for r in (R, R + 2)]
    return block, *features, *densities


@pytest.mark.parametrize("name", BLOCKS)
class TestEveryContext:
    def test_has_what_figures_and_the_explorer_show(self, name):
        context = get_context(name)
        assert context.name == name
        assert len(context.letter) == 1
        assert len(context.colour) == 7
        assert context.title
        assert context.meaning

    @pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 9)])
    def test_works_at_any_size_forward_and_backward(self, name, size):
        block = ContextPooling(name, C, D)
        target, source = torch.randn(B, C, *size, requires_grad=True), torch.randn(B, C, *size, requires_grad=True)
        regions = spatial_softmax(torch.randn(B, R, *size))
        output = block(target, source, regions, regions)
        assert output.shape == (B, D, *size)
        assert output.isfinite().all()
        output.square().sum().backward()
        assert target.grad.isfinite().all()
        assert source.grad.isfinite().all()

    @pytest.mark.parametrize("pixel", [(0, 0), (5, 6), (10, 12), (3, 12)])
    @torch.no_grad()
    def test_the_values_weighted_by_the_attention_map_are_the_output(self, name, pixel):
        block, target, source, *densities = make(name)
        attended = block.context.gather(source, block.choose(*densities))
        query, key, value = block.query(target)[0, :, *pixel], block.key(attended)[0], block.value(attended)[0]
        attention = block.context.attention(query, key, *pixel)
        assert float(attention.sum()) == pytest.approx(1)
        expected = block(target, source, *densities)[0, :, *pixel]
        torch.testing.assert_close(torch.einsum("yx,cyx->c", attention, value), expected, rtol=1e-9, atol=1e-9)
        assert expected.abs().max() > 0.01  # not zeros on both sides

    def test_outputs_are_convex_combinations_of_values(self, name):
        block, target, source, *densities = make(name, batch=B)
        values = block.value(block.context.gather(source, block.choose(*densities))).flatten(2)
        output = block(target, source, *densities).flatten(2)
        assert (output >= values.amin(2, keepdim=True) - 1e-9).all()
        assert (output <= values.amax(2, keepdim=True) + 1e-9).all()

    def test_its_multiply_adds_are_those_that_are_counted(self, name):
        block, target, source, *densities = make(name)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            block(target, source, *densities)
        chosen = block.choose(*densities).shape[1] if block.context.regions else 0
        assert block_multiply_adds(name, H * W, chosen, C, D) == counter.get_total_flops() // 2


@pytest.mark.parametrize("name", ["global", "t_label"])
def test_the_order_of_pixels_does_not_matter_to_global_and_label_contexts(name):
    block, target, source, densities, _ = make(name)
    target, source, densities = (x.flatten(2)[:, :, None] for x in (target, source, densities))
    order = torch.randperm(H * W)
    permuted = block(target[..., order], source[..., order], densities[..., order])
    torch.testing.assert_close(permuted, block(target, source, densities)[..., order])


def test_t_label_reads_the_regions_of_the_target_and_s_label_those_of_the_source():
    t_label, target, source, one, other = make("t_label")
    s_label = ContextPooling("s_label", C, D).double().eval()
    s_label.load_state_dict(t_label.state_dict())
    torch.testing.assert_close(t_label(target, source, one, other), s_label(target, source, other, one))


def test_the_golden_layout_of_a_block():
    block = ContextPooling("global", 67, 33)
    assert sum(p.numel() for p in block.parameters()) == 9141
    assert isinstance(block.query[-1], nn.Softplus)
    assert isinstance(block.key[2], nn.ReLU)
    assert sum(p.numel() for p in ContextPooling("local", 67, 33, affine_value=False).parameters()) == 9075


def test_the_published_integers_keep_their_meaning():
    assert list(CONTEXTS)[:5] == ["none", "global", "local", "t_label", "s_label"]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="unknown context 'everywhere'.*global, local, t_label, s_label"):
        ContextPooling("everywhere", C, D)
    with pytest.raises(UserError, match="label context needs the label regions"):
        ContextPooling("t_label", C, D)(torch.randn(B, C, H, W), torch.randn(B, C, H, W))
