"""Predict a photograph without PyTorch: python examples/onnx_predict.py network.onnx photo.jpg"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
about = session.get_modelmeta().custom_metadata_map
height, width = session.get_inputs()[0].shape[2:]  # numbers, or their names where any will do
photo = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")  # upright
photo.thumbnail([max(json.loads(about["size"]) or [640])] * 2)  # to about the size that it was trained on
if isinstance(width, int):
    photo = photo.resize((width, height))
image = np.asarray(photo, np.float32).transpose(2, 0, 1)[None] / 255
for task, values in zip(json.loads(about["outputs"]), session.run(None, {"image": image}), strict=True):
    print(task, values.shape[1:], json.loads(about["outputs"])[task], f"{values.min():.3g} to {values.max():.3g}")
    np.save(f"{task}.npy", values[0])
