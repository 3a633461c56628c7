"""Feature pyramids, from timm: networks whose later stages are coarser."""

from __future__ import annotations

from jaxtyping import Float
from timm.models import FeatureInfo, FeatureListNet
from timm.models.efficientnet import EfficientNetFeatures
from torch import Tensor, nn

from atrc.backbones.base import Backbone, BackboneOptions, crop, pad
from atrc.backbones.timm import create_timm

# b batch, h w image


def resnet50(options: BackboneOptions) -> Pyramid:
    """ResNet-50, dilated to output stride 16: the skip level at stride 4 (256 channels) and the last one (2048).

    Source: Sec. 4.5. The paper does not say which weights; these are torchvision's first, the closest to He et al.
    """
    model = create_timm("resnet50.tv_in1k", options, features_only=True, output_stride=16, out_indices=(1, 4))
    return Pyramid(model, multiple=1)


class Pyramid(Backbone):
    """The levels of a timm model from stride 4 on; the later one of two with the same stride."""

    def __init__(self, model: nn.Module, multiple: int | None = None) -> None:
        """Wrap a model.

        Args:
            model: A model of timm made with `features_only=True`.
            multiple: Images are padded to multiples of it [px], and the levels cropped; the last stride by default.
        """
        super().__init__()
        info: FeatureInfo = model.feature_info  # type: ignore[assignment]
        last = {stride: index for index, stride in enumerate(info.reduction()) if stride >= 4}
        self.model, self.strides, self.chosen = model, tuple(last), tuple(last.values())
        self.channels = tuple(info.channels()[index] for index in self.chosen)
        self.mean, self.std = tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])  # type: ignore
        self.multiple = multiple or max(self.strides)
        self.levels = _Levels(self.strides, getattr(model, "output_fmt", "NCHW") == "NHWC")

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        features = self.model(pad(image, self.multiple))
        return self.levels([image, *(features[index] for index in self.chosen)])

    def stages(self) -> list[nn.Module]:
        """Cut at timm's feature levels; the stem belongs to the first stage."""
        if not (parts := _parts(self.model)):
            return super().stages()
        info: FeatureInfo = self.model.feature_info  # type: ignore[assignment]
        ends = [level["module"].replace(".", "_") for level in info.info if level["reduction"] >= 4]
        chosen = [info.module_name()[index].replace(".", "_") for index in self.chosen]
        stages: list[nn.Module] = []
        layers, keep = nn.Sequential(), False
        for name, module in parts:
            layers.append(module)
            if name in ends:
                stages.append(_Stage(layers, keep) if stages else _FirstStage(layers, self.multiple))
                layers, keep = nn.Sequential(), name in chosen
        return [*stages[:-1], nn.Sequential(stages[-1], self.levels)]


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that a model runs in sequence, by name; empty if that is unknown."""
    if isinstance(model, FeatureListNet):
        return list(model.items())
    if isinstance(model, EfficientNetFeatures):
        blocks = [(f"blocks_{i}", block) for i, block in enumerate(model.blocks)]
        return [("conv_stem", model.conv_stem), ("bn1", model.bn1), *blocks]
    return []


class _FirstStage(nn.Module):
    """Starts the state: an empty tensor with the size of the image, then the features."""

    def __init__(self, layers: nn.Sequential, multiple: int) -> None:
        super().__init__()
        self.layers, self.multiple = layers, multiple

    def forward(self, state: list[Tensor]) -> list[Tensor]:
        return [state[0][:, :0], self.layers(pad(state[0], self.multiple))]


class _Stage(nn.Module):
    """Appends the output of its layers to the state; their input stays there only if it is a level."""

    def __init__(self, layers: nn.Sequential, keep: bool) -> None:
        super().__init__()
        self.layers, self.keep = layers, keep

    def forward(self, state: list[Tensor]) -> list[Tensor]:
        return [*(state if self.keep else state[:-1]), self.layers(state[-1])]


class _Levels(nn.Module):
    """Turns a state into levels: channels first, cropped to the image."""

    def __init__(self, strides: tuple[int, ...], channels_last: bool) -> None:
        super().__init__()
        self.strides, self.channels_last = strides, channels_last

    def forward(self, state: list[Tensor]) -> list[Tensor]:
        image, *features = state
        if self.channels_last:
            features = [level.permute(0, 3, 1, 2) for level in features]
        return crop(features, self.strides, image)
