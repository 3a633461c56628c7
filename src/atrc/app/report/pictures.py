"""Pictures of predictions: photographs in, painted maps out."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from atrc.images import read_image
from atrc.network import MultiTaskNetwork


def load_photo(path: Path, longest: int) -> UInt8[np.ndarray, "h w 3"]:
    """Read a photograph upright, scaled so that its longer side is `longest` [px] or shorter."""
    return read_image(path, max_side=longest).pixels


@torch.inference_mode()
def decode(network: MultiTaskNetwork, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, np.ndarray]:
    """Predict every task of one image, decoded."""
    tensor: Float[Tensor, "1 3 h w"] = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 255
    output = network.eval()(tensor)
    return {task.name: task.decode(output.predictions[task.name])[0].numpy() for task in network.tasks}


def paint(network: MultiTaskNetwork, decoded: Mapping[str, np.ndarray]) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Paint decoded maps."""
    return {task.name: task.colour(decoded[task.name]) for task in network.tasks}


def png_uri(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    """Embed a picture in a page."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
