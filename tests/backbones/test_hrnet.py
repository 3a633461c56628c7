"""HRNet's exchange units against their definition, written out with matrices."""

import pytest
import timm
import torch
from timm.models.hrnet import HighResolutionModule
from torch import nn

from atrc.backbones import build_backbone
from atrc.network import NetworkConfig
from atrc.sharing.architecture import Architecture
from atrc.tasks import Depth
from atrc.training.loading import load, shipped_networks
from atrc.training.recipe import Recipe
from atrc.training.recipe.config import differences


def bilinear(size, wanted):
    """A matrix that resizes rows: pixel centres align, and beyond the outermost centres the values stay."""
    matrix = torch.zeros(wanted, size, dtype=torch.float64)
    for i in range(wanted):
        at = min(max((i + 0.5) * size / wanted - 0.5, 0.0), size - 1.0)
        below = int(at)
        matrix[i, below] += 1 - (at - below)
        matrix[i, min(below + 1, size - 1)] += at - below
    return matrix


def resized(x, h, w):
    return bilinear(x.shape[-2], h) @ x @ bilinear(x.shape[-1], w).T


def exchange(unit, levels):
    """Upsample coarse branches by their stride, then to the finer branch's size; downsample by convolutions; add."""
    levels = [branch(level) for branch, level in zip(unit.branches, levels, strict=True)]
    if unit.num_branches == 1:
        return levels
    fused = []
    for i, (own, paths) in enumerate(zip(levels, unit.fuse_layers, strict=True)):
        total = own
        for j, (level, path) in enumerate(zip(levels, paths, strict=True)):
            if j > i:
                x = path[1](path[0](level))
                x = resized(x, x.shape[-2] * 2 ** (j - i), x.shape[-1] * 2 ** (j - i))
                total = total + resized(x, *own.shape[-2:])
            elif j < i:
                total = total + path(level)
        fused.append(total.relu())
    return fused


@pytest.mark.parametrize("size", [(64, 96), (45, 70)])
def test_the_form_of_the_paper_upsamples_bilinearly_and_once_more_where_sizes_differ(size, monkeypatch):
    ours, image = build_backbone("hrnet18").double().eval(), torch.randn(1, 3, *size, dtype=torch.float64)
    theirs = timm.create_model("hrnet_w18_small_v2", features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
    theirs.load_state_dict(ours.model.state_dict())
    monkeypatch.setattr(HighResolutionModule, "forward", exchange)
    with torch.inference_mode():
        for mine, reference in zip(ours(image), theirs.double().eval()(image), strict=True):
            torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize(
    ("upsampling", "expected"),
    # 1 3 upsampled to 1 1.5 2.5 3 and resized to three pixels; or repeated to 1 1 3 3 and cropped to three
    [("bilinear", [13 / 12, 2.0, 35 / 12]), ("nearest", [1.0, 1.0, 3.0])],
)
def test_an_exchange_by_hand(upsampling, expected):
    unit = build_backbone("timm:hrnet_w18_small", hrnet_upsampling=upsampling).model.stage2[0]
    unit.branches = nn.ModuleList([nn.Identity(), nn.Identity()])
    upsample = unit.fuse_layers[0][1][2]
    unit.fuse_layers = nn.ModuleList([nn.ModuleList([nn.Identity(), upsample])])
    (fused,) = unit([torch.zeros(1, 1, 3, 3), torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]]])])
    torch.testing.assert_close(fused[0, 0], torch.tensor([expected] * 3))


def test_the_form_of_timm_equals_timm_where_timm_works():
    ours = build_backbone("hrnet18", hrnet_upsampling="nearest").eval()
    theirs = timm.create_model("hrnet_w18_small_v2", features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
    theirs.load_state_dict(ours.model.state_dict())
    image = torch.randn(1, 3, 64, 96)
    for mine, reference in zip(ours(image), theirs.eval()(image), strict=True):
        torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_a_saved_network_is_built_again_with_its_form(upsampling):
    saved = Architecture(NetworkConfig(hrnet_upsampling=upsampling), (Depth(),)).to_dict()
    network = Architecture.from_dict(saved).build()
    assert {m.mode for m in network.modules() if isinstance(m, nn.Upsample)} == {upsampling}


def test_networks_from_before_there_was_a_choice_stay_as_they_were():
    saved = Architecture(NetworkConfig(), (Depth(),)).to_dict()
    del saved["network"]["hrnet_upsampling"], saved["network"]["vit_layers"]
    config = Architecture.from_dict(saved).config
    assert (config.hrnet_upsampling, config.vit_layers) == ("nearest", "last")
    old = {"network": {"backbone": "hrnet18"}}
    changed = [key for key in differences(old, Recipe().to_dict()) if key.startswith("network.")]
    assert changed == ["network.hrnet_upsampling", "network.vit_layers"]


@pytest.mark.skipif("rooms-atrc" not in shipped_networks(), reason="the network is not shipped")
def test_the_shipped_network_predicts_what_it_did_before_there_was_a_choice():
    network = load("rooms-atrc")
    assert network.config.hrnet_upsampling == "nearest"
    with torch.inference_mode():
        output = network(torch.rand(1, 3, 90, 121, generator=torch.Generator().manual_seed(0)))
    found = [output.predictions[task].square().mean().item() for task in ("semseg", "depth", "normals", "edge")]
    assert found == pytest.approx([2.19669, 5.37022, 283.8715, 0.58139], rel=1e-3)
