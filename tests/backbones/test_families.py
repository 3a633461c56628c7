"""Families of backbones, and timm's models and weights."""

import pickle
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN
from timm.layers import DropPath
from torch import nn

from atrc.backbones import BackboneOptions, build_backbone
from atrc.backbones.base import crop, pad
from atrc.backbones.pyramid import Pyramid
from atrc.backbones.vit import PlainViT, _reassemble, _simple_level
from atrc.errors import UserError


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
def test_resnet50_is_torchvisions_dilated_in_the_last_stage(size):
    ours = build_backbone("resnet50").eval()
    theirs = torchvision.models.resnet50(replace_stride_with_dilation=[False, False, True]).eval()
    theirs.load_state_dict(ours.model.state_dict(), strict=False)
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        skip, deep = ours(image)
        expected = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image)))))
        torch.testing.assert_close(skip, expected)
        torch.testing.assert_close(deep, theirs.layer4(theirs.layer3(theirs.layer2(expected))))


def test_padding_and_cropping_count_up():
    image = torch.ones(1, 1, 5, 8)
    padded = pad(image, 4)
    assert padded.shape == (1, 1, 8, 8)
    assert padded[0, 0, :, 0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert [level.shape[-2:] for level in crop([padded, padded], (1, 4), image)] == [(5, 8), (2, 2)]


@pytest.mark.parametrize("name", ["swin_tiny", "convnext_tiny"])
def test_a_padded_image_gives_timms_own_levels(name):
    backbone = build_backbone(name).eval()
    image, padded = torch.randn(1, 3, 33, 47), torch.zeros(1, 3, 64, 64)
    padded[..., :33, :47] = image
    with torch.inference_mode():
        theirs = backbone.model(padded)[0]
        theirs = theirs.permute(0, 3, 1, 2) if name == "swin_tiny" else theirs
        assert torch.equal(backbone(image)[0], theirs[..., :9, :12])


@pytest.mark.parametrize(("patch", "stride", "seen"), [(14, 16, (28, 42)), (16, 16, (32, 48)), (8, 8, (32, 40))])
@pytest.mark.parametrize("layers", ["four", "last"])
def test_a_plain_vit_sees_the_image_at_a_scale_that_lines_its_patches_up(patch, stride, seen, layers):
    backbone = PlainViT(_Grid(patch), layers)
    levels = backbone(torch.rand(1, 3, 30, 38))
    assert backbone.stride == stride
    assert backbone.model.seen == seen
    assert [level.shape[-2:] for level in levels] == [(8, 10), (4, 5), (2, 3), (1, 2)]


@pytest.mark.parametrize(("layers", "changed"), [("four", [False, True, False, False]), ("last", [False] * 4)])
def test_a_level_of_a_plain_vit_is_made_from_its_own_map_or_the_last_one(layers, changed):
    backbone, image = PlainViT(_Grid(16), layers), torch.rand(1, 3, 32, 32)
    before = backbone(image)
    backbone.model.scales[1] = 5.0
    assert [not torch.equal(x, y) for x, y in zip(before, backbone(image), strict=True)] == changed


@pytest.mark.parametrize("name", ["timm:test_vit", "dinov2_small"])  # six layers, twelve
def test_the_levels_of_a_vit_come_from_evenly_spaced_layers(name):
    model = build_backbone(name).model
    depth = len(model.model.blocks)
    assert list(model.out_indices) == [depth // 4 - 1, depth // 2 - 1, depth * 3 // 4 - 1, depth - 1]


@pytest.mark.parametrize(("name", "parameters"), [("dinov2_small", 22_821_984), ("dinov3_small", 22_352_736)])
def test_the_last_layer_alone_makes_the_pyramid_that_it_always_made(name, parameters):
    backbone = build_backbone(name, vit_layers="last")
    assert sum(p.numel() for p in backbone.parameters()) == parameters


@pytest.mark.parametrize("wanted", [4, 8, 16, 32])
@pytest.mark.parametrize("make", [_simple_level, _reassemble])
def test_a_level_shows_a_place_where_it_is(make, wanted):
    torch.manual_seed(0)
    level, tokens = make(8, 2, 16, wanted), torch.randn(1, 8, 6, 8, requires_grad=True)
    other = tokens.detach().clone()
    other[..., 3, 5] += 9.0
    row, column = ((level(tokens) - level(other)).abs().sum(1) > 1e-6).nonzero()[:, 1:].T.unique(dim=1)
    begin, end = 3 * 16 // wanted, max(4 * 16 // wanted, 3 * 16 // wanted + 1)
    widened = make is _reassemble and wanted == 32  # a 3x3 convolution of stride 2
    assert row.unique().tolist() == list(range(begin, end + widened))
    begin, end = 5 * 16 // wanted, max(6 * 16 // wanted, 5 * 16 // wanted + 1)
    assert column.unique().tolist() == list(range(begin, end + widened))


class _Grid(nn.Module):
    """Stands for a transformer: four maps with one token of 8 numbers per patch."""

    pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # noqa: RUF012

    def __init__(self, patch):
        super().__init__()
        self.feature_info = timm.models.FeatureInfo([{"num_chs": 8, "reduction": patch, "module": ""}], (0,))
        self.patches, self.scales = nn.Conv2d(3, 8, patch, patch), [1.0, 2.0, 3.0, 4.0]

    def forward(self, image):
        self.seen = tuple(image.shape[-2:])
        return [scale * self.patches(image) for scale in self.scales]


@pytest.mark.parametrize(
    ("name", "kind", "mean"),
    [
        ("test_convnext", Pyramid, (0.5, 0.5, 0.5)),
        ("test_efficientnet.r160_in1k", Pyramid, IMAGENET_DEFAULT_MEAN),
        ("test_vit", PlainViT, (0.5, 0.5, 0.5)),
    ],
)
def test_any_model_of_timm_is_a_backbone_with_the_colours_of_its_weights(name, kind, mean):
    backbone = build_backbone(f"timm:{name}")
    assert isinstance(backbone, kind)
    assert backbone.strides == (4, 8, 16, 32)
    assert backbone.mean == mean
    assert backbone.training
    assert backbone(torch.rand(2, 3, 33, 47))[0].shape == (2, backbone.channels[0], 9, 12)


def test_an_hrnet_of_timm_gives_its_resolutions_without_the_classifiers_layers():
    assert build_backbone("timm:hrnet_w18_small").channels == (16, 32, 64, 128)


@pytest.mark.parametrize("name", ["timm:test_convnext", "timm:test_vit", "efficientnet_lite0"])
def test_drop_path_rises_to_its_rate_and_acts_in_training_only(name):
    backbone, image = build_backbone(name, drop_path=0.5), torch.rand(8, 3, 32, 32)
    rates = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    assert rates == sorted(rates)
    assert 0.3 < rates[-1] <= 0.5
    assert not torch.equal(backbone(image)[-1], backbone(image)[-1])
    backbone.eval()
    assert torch.equal(backbone(image)[-1], backbone(image)[-1])


@pytest.mark.parametrize("name", ["hrnet18", "timm:vgg11"])
def test_a_model_without_drop_path_says_so(name):
    with pytest.raises(UserError, match="has no drop path; set network.drop_path to 0"):
        build_backbone(name, drop_path=0.1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vgg", "unknown backbone 'vgg'; choose from hrnet18, .*, or timm:NAME"),
        ("timm:convnext_tiyn", "timm has no model 'convnext_tiyn'; did you mean convnext_tiny"),
        ("timm:####", "timm has no model '####'; timm.list_models"),
        ("timm:test_vit.nothing", "timm has no weights 'nothing' for 'test_vit'; choose from test_vit.r160_in1k"),
        ("timm:coatnet_pico_rw_224", "'coatnet_pico_rw_224' does not take images of any size: "),
        ("timm:inception_v3", "'inception_v3' cannot be a backbone: levels of 97 x 65 pixels are "),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(name, said):
    with pytest.raises(UserError, match=said):
        build_backbone(name)


def test_a_model_without_levels_is_refused(monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("features_only not implemented for it.")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UserError, match="'test_vit' has no feature levels: features_only not implemented"):
        build_backbone("timm:test_vit")


def test_a_backbone_without_stages_says_so():
    with pytest.raises(UserError, match="this backbone is not made of stages, so it cannot branch"):
        build_backbone("timm:test_vit").stages()


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "hrnet_w18_small"])
def test_weights_come_from_a_file_under_timms_names(tmp_path, name, ending):
    model = timm.create_model(name)  # with the classifier, as timm publishes them
    path = tmp_path / f"weights{ending}"
    save_file(model.state_dict(), path) if ending == ".safetensors" else torch.save(model.state_dict(), path)
    backbone = build_backbone(f"timm:{name}", str(path))
    published = {key.replace(".", "_"): value for key, value in model.state_dict().items()}
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, published[key.removeprefix("model.").replace(".", "_")])
    assert "state_dict" not in backbone.model.pretrained_cfg


@pytest.fixture
def weights():
    return timm.create_model("test_convnext").state_dict()


def test_weights_that_do_not_fit_are_refused(tmp_path, weights):
    path = tmp_path / "weights.pth"
    torch.save({key: value for key, value in weights.items() if not key.startswith("stages.2")}, path)
    with pytest.raises(UserError, match=r"do not fit 'test_convnext': \d+ are missing, 'stages_2"):
        build_backbone("timm:test_convnext", str(path))
    torch.save({key: value[:1] for key, value in weights.items()}, path)
    with pytest.raises(UserError, match="weights.pth' do not fit 'test_convnext': .*size mismatch"):
        build_backbone("timm:test_convnext", str(path))
    torch.save({"something": torch.zeros(1)}, path)
    with pytest.raises(
        UserError, match="do not fit 'hrnet_w18_small_v2.ms_in1k': 432 are missing, 'conv1.weight' first"
    ):
        build_backbone("hrnet18", str(path))


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="no file of pretrained weights 'nowhere.pth'"):
        build_backbone("hrnet18", "nowhere.pth")
    for name, content in [("a.safetensors", b"nonsense"), ("b.pth", pickle.dumps(print)), ("c.pth", b"nonsense")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"cannot read weights from '.*{name}'"):
            build_backbone("hrnet18", str(tmp_path / name))


def test_weights_that_cannot_be_fetched_name_the_ways_out(monkeypatch):
    def offline(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        UserError, match="no pretrained weights for 'hrnet_w18_small_v2.ms_in1k' .*go online once.*false"
    ):
        build_backbone("hrnet18", True)


def test_a_model_that_timm_has_no_weights_of_says_so():
    name = next(name for name in timm.list_models("convnext*") if not timm.is_model_pretrained(name))
    with pytest.raises(UserError, match=f"timm has no weights for '{name}'"):
        build_backbone(f"timm:{name}", True)


def test_the_example_of_the_docs_keeps_the_contract():
    page = Path(__file__).parents[2] / "docs" / "extend" / "backbone.md"
    example = {"__name__": "small"}
    exec(page.read_text().split("```python\n")[1].split("```")[0], example)
    backbone, state = example["small"](BackboneOptions()), [torch.rand(2, 3, 33, 47)]
    levels = backbone(state[0])
    for stage in backbone.stages():
        state = stage(state)
    for level, other, c, s in zip(levels, state, backbone.channels, backbone.strides, strict=True):
        torch.testing.assert_close(level, other)
        assert level.shape == (2, c, -(-33 // s), -(-47 // s))
