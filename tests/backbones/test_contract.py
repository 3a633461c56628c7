"""What every backbone promises; the tests run on every entry of `BACKBONES` and `GOLDEN`."""

import copy
import functools
import zlib
from pathlib import Path

import pytest
import torch
from torch import nn

from atrc.backbones import BACKBONES, build_backbone
from atrc.errors import UserError

PAGE = Path(__file__).parents[2] / "docs/extend/backbone.md"

# Parameters, a checksum of the names in the state dict (users' checkpoints depend on them), number of stages, and
# timm's name of the pretrained weights
GOLDEN = {
    "hrnet18": (3_860_720, 1_008_569_989, 4, "hrnet_w18_small_v2.ms_in1k"),
    "hrnet48": (65_325_120, 1_472_443_706, 4, "hrnet_w48.ms_in1k"),
    "resnet50": (23_508_032, 555_816_024, 4, "resnet50.tv_in1k"),
    "convnext_tiny": (27_818_592, 2_878_371_780, 4, "convnext_tiny.fb_in1k"),
    "swin_tiny": (27_517_818, 1_949_598_537, 4, "swin_tiny_patch4_window7_224.ms_in1k"),
    "dinov2_small": (22_471_584, 3_447_918_733, 0, "vit_small_patch14_dinov2.lvd142m"),
    "dinov3_small": (22_002_336, 812_621_320, 0, "vit_small_patch16_dinov3.lvd1689m"),
    "efficientnet_lite0": (2_958_848, 3_111_201_253, 4, "tf_efficientnet_lite0.in1k"),
    "efficientnet_lite1": (3_723_520, 4_014_558_991, 4, "tf_efficientnet_lite1.in1k"),
    "efficientnet_lite2": (4_357_952, 4_014_558_991, 4, "tf_efficientnet_lite2.in1k"),
}
STAGED = [name for name, (_, _, stages, _) in GOLDEN.items() if stages]
SIZES = [(33, 47), (65, 129), (1, 1)]


@functools.cache
@torch.inference_mode(False)  # whoever asks first: weights made in inference mode cannot be trained or exported
def built(name):
    torch.manual_seed(0)
    return build_backbone(name).eval()


def folded(stages, image):
    state = [image]
    for stage in stages:
        state = stage(state)
    return state


def assert_near(one, two):
    """Untrained weights make levels of any magnitude."""
    torch.testing.assert_close(one / two.abs().max(), two / two.abs().max(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
class TestEveryBackbone:
    @pytest.mark.parametrize("size", SIZES)
    def test_gives_the_channels_and_strides_it_states_at_any_size(self, name, size):
        backbone = built(name)
        with torch.inference_mode():
            levels = backbone(torch.randn(1, 3, *size))
        sizes = [tuple(-(-side // stride) for side in size) for stride in backbone.strides]
        expected = [(c, *size) for c, size in zip(backbone.channels, sizes, strict=True)]
        assert [level.shape[1:] for level in levels] == expected
        assert all(level.isfinite().all() for level in levels)

    def test_states_the_finest_level_first_and_the_colours_of_its_weights(self, name):
        backbone = built(name)
        assert backbone.strides[0] == 4
        assert list(backbone.strides) == sorted(set(backbone.strides))
        assert len(backbone.mean) == len(backbone.std) == 3
        assert all(0 < value < 1 for value in (*backbone.mean, *backbone.std))

    def test_has_no_parameter_that_the_levels_do_not_use(self, name):
        backbone = copy.deepcopy(built(name)).train()
        sum(level.square().mean() for level in backbone(torch.randn(2, 3, 40, 48))).backward()
        assert [key for key, p in backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []

    def test_gives_an_image_the_same_levels_alone_and_in_a_batch(self, name):
        images = torch.randn(2, 3, 40, 48)
        with torch.inference_mode():
            together, alone = built(name)(images), built(name)(images[1:])
        for batch, single in zip(together, alone, strict=True):
            assert_near(batch[1:], single)

    def test_keeps_its_parameters_and_their_names(self, name):
        parameters, names, *_ = GOLDEN[name]
        assert sum(p.numel() for p in built(name).parameters()) == parameters
        found = zlib.crc32("\n".join(built(name).state_dict()).encode())
        assert found == names

    def test_names_its_pretrained_weights_as_its_docs_do(self, name):
        backbone, weights = built(name), GOLDEN[name][3]
        config = backbone.model.pretrained_cfg
        assert f"{config['architecture']}.{config['tag']}" == weights
        row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}` |"))
        levels = f"{', '.join(map(str, backbone.channels))} ({', '.join(map(str, backbone.strides))})"
        for cell in (f"{GOLDEN[name][0]:,}", levels, f"`{weights}`"):
            assert f"| {cell} |" in row

    def test_is_the_same_again_from_its_state_dict(self, name):
        image, other = torch.randn(1, 3, 33, 47), build_backbone(name).eval()
        other.load_state_dict(built(name).state_dict())
        with torch.inference_mode():
            for one, two in zip(built(name)(image), other(image), strict=True):
                assert torch.equal(one, two)


@pytest.mark.parametrize("name", STAGED)
class TestEveryBackboneMadeOfStages:
    @pytest.mark.parametrize("size", [(64, 64), (33, 47)])
    def test_equals_its_stages_one_after_the_other(self, name, size):
        stages, image = built(name).stages(), torch.randn(1, 3, *size)
        assert len(stages) == GOLDEN[name][2]
        with torch.inference_mode():
            for one, two in zip(folded(stages, image), built(name)(image), strict=True):
                assert torch.equal(one, two)

    def test_has_all_its_parameters_in_its_stages_each_in_one(self, name):
        inside = [p for stage in built(name).stages() for p in stage.parameters()]
        assert len(inside) == len({id(p) for p in inside})
        assert {id(p) for p in inside} == {id(p) for p in built(name).parameters()}

    def test_can_branch_before_every_stage(self, name):
        stages, image = built(name).stages(), torch.randn(1, 3, 33, 47)
        with torch.inference_mode():
            for at in range(1, len(stages)):
                shared = folded(stages[:at], image)
                before = [tensor.clone() for tensor in shared]
                other = nn.Sequential(*copy.deepcopy(stages[at:]))(shared)
                assert all(torch.equal(one, two) for one, two in zip(before, shared, strict=True))
                for one, two in zip(other, built(name)(image), strict=True):
                    assert torch.equal(one, two)


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - set(STAGED)))
def test_the_others_say_that_they_have_no_stages(name):
    with pytest.raises(
        UserError,
        match="not made of stages, so it cannot branch or be frozen by stages; those of HRNet, ResNet, ConvNeXt",
    ):
        built(name).stages()


EXPORTED = ["hrnet18", "timm:test_convnext", "dinov2_small", "efficientnet_lite0"]


@pytest.mark.parametrize("name", [*EXPORTED, pytest.param("swin_tiny", marks=pytest.mark.slow)])
def test_a_backbone_of_every_family_exports_for_any_batch(name):
    backbone, batch = built(name), torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(backbone, (torch.randn(2, 3, 33, 47),), dynamic_shapes={"image": {0: batch}})
    images = torch.randn(3, 3, 33, 47)
    with torch.inference_mode():
        for one, two in zip(program.module()(images), backbone(images), strict=True):
            assert_near(one, two)


def test_every_backbone_has_golden_numbers():
    assert list(GOLDEN) == list(BACKBONES)
