"""Task heads: main (features), auxiliary (label regions), final (predictions). Source: Sec. 3.1."""

from __future__ import annotations

from torch import nn


def main_head(inputs: int, channels: int) -> nn.Sequential:
    """Return 3x3 conv - BN - ReLU: shared features to F_n."""
    conv = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


def auxiliary_head(inputs: int, regions: int) -> nn.Sequential:
    """Return 1x1 conv - BN - ReLU - 1x1 conv: shared features to A_n."""
    conv = nn.Conv2d(inputs, inputs, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(inputs), nn.ReLU(), final_layer(inputs, regions))


def final_layer(inputs: int, outputs: int) -> nn.Conv2d:
    """Return the 1x1 conv that predicts; its weights start near zero."""
    conv = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(conv.weight, std=0.01)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
