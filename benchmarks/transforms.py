"""How many images a second our augmentation makes, compared with a plain OpenCV pipeline of the same steps.

python benchmarks/transforms.py                  # a Markdown table; needs `pip install opencv-python-headless`

Both get NYUD-v2's size and labels in memory (image, semseg, depth, normals, edge, and where each is valid) in the
layout that they are at home in (planes first here, channels last in OpenCV) and leave them in it: scale 0.5 to 2, crop
425x560 with less than 75 % of one class, flip, distortion, padding. One thread each, by turns, medians over the rounds.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors

from atrc.data.sample import Sample
from atrc.data.transforms import PAD, training_transform
from atrc.tasks.depth import DepthMap
from atrc.tasks.maps import LabelMap
from atrc.tasks.normals import NormalMap

try:
    import cv2
except ImportError:
    sys.exit("the comparison needs OpenCV: pip install opencv-python-headless")

HEIGHT, WIDTH = 425, 560
CLASSES = 40
Arrays = dict[str, Any]


def scene(seed: int) -> Arrays:
    """Draw boxes before a wall, channels last: an image, four truths and where they are valid."""
    rng = np.random.default_rng(seed)
    semseg = np.zeros((HEIGHT, WIDTH), np.uint8)
    depth = np.full((HEIGHT, WIDTH), 6, np.float32)
    normals = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    normals[..., 2] = 1
    for _ in range(30):
        y, x = rng.integers(HEIGHT - 30), rng.integers(WIDTH - 30)
        box = slice(y, y + rng.integers(30, 200)), slice(x, x + rng.integers(30, 200))
        direction = rng.normal(size=3)
        semseg[box], depth[box] = rng.integers(CLASSES), rng.uniform(1, 6)
        normals[box] = direction / np.linalg.norm(direction)
    edge = np.zeros((HEIGHT, WIDTH), np.uint8)
    edge[:, 1:] = semseg[:, 1:] != semseg[:, :-1]
    colours = rng.integers(30, 225, (CLASSES, 3))
    image = (colours[semseg] + rng.integers(-30, 30, (HEIGHT, WIDTH, 3))).astype(np.uint8)
    truth = {"semseg": semseg, "depth": depth, "normals": normals, "edge": edge}
    valid = {task: (rng.random((HEIGHT, WIDTH)) < 0.9).astype(np.uint8) for task in truth}
    return {"image": image, "truth": truth, "valid": valid}


def sample(arrays: Arrays) -> Sample:
    """Return a scene as our data sets do."""
    kinds = {"semseg": LabelMap, "depth": DepthMap, "normals": NormalMap, "edge": LabelMap}
    planes = {
        task: np.ascontiguousarray(np.moveaxis(x, -1, 0) if x.ndim == 3 else x) for task, x in arrays["truth"].items()
    }
    return {
        "id": "",
        "window": (0, 0, HEIGHT, WIDTH),
        "image": tv_tensors.Image(torch.from_numpy(arrays["image"].transpose(2, 0, 1).copy())),
        "truth": {task: kinds[task](torch.from_numpy(x)) for task, x in planes.items()},
        "valid": {task: LabelMap(torch.from_numpy(x.astype(bool))) for task, x in arrays["valid"].items()},
    }


class PlainOpenCV:
    """The same steps as they are usually written: resize everything, cut, mirror, distort."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, arrays: Arrays) -> Arrays:
        image, truth, valid = self.scale(arrays["image"], arrays["truth"], arrays["valid"])
        image, truth, valid = self.crop(image, truth, valid)
        if self.rng.random() < 0.5:
            image, truth, valid = self.flip(image, truth, valid)
        return self.pad(self.distort(image), truth, valid)

    def pad(self, image: np.ndarray, truth: Arrays, valid: Arrays) -> Arrays:
        down, right = max(0, HEIGHT - image.shape[0]), max(0, WIDTH - image.shape[1])
        edges = down // 2, down - down // 2, right // 2, right - right // 2

        def pad(x: np.ndarray, fill: tuple[int, ...] = (0, 0, 0)) -> np.ndarray:
            return cv2.copyMakeBorder(x, *edges, cv2.BORDER_CONSTANT, value=fill)

        truth, valid = ({task: pad(x) for task, x in maps.items()} for maps in (truth, valid))
        return {"image": pad(image, PAD), "truth": truth, "valid": valid}

    def scale(self, image: np.ndarray, truth: Arrays, valid: Arrays) -> tuple[np.ndarray, Arrays, Arrays]:
        factor = self.rng.uniform(0.5, 2)
        size = int(image.shape[1] * factor), int(image.shape[0] * factor)

        def nearest(maps: Arrays) -> Arrays:
            return {task: cv2.resize(x, size, interpolation=cv2.INTER_NEAREST) for task, x in maps.items()}

        image, truth, valid = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), nearest(truth), nearest(valid)
        truth["depth"] /= factor
        return image, truth, valid

    def crop(self, image: np.ndarray, truth: Arrays, valid: Arrays) -> tuple[np.ndarray, Arrays, Arrays]:
        for _ in range(10):
            top = self.rng.integers(max(0, image.shape[0] - HEIGHT) + 1)
            left = self.rng.integers(max(0, image.shape[1] - WIDTH) + 1)
            window = slice(top, top + HEIGHT), slice(left, left + WIDTH)
            counts = cv2.calcHist([truth["semseg"][window]], [0], valid["semseg"][window], [CLASSES], [0, CLASSES])
            if counts.max() < 0.75 * counts.sum():
                break
        truth, valid = ({task: x[window] for task, x in maps.items()} for maps in (truth, valid))
        return image[window], truth, valid

    def flip(self, image: np.ndarray, truth: Arrays, valid: Arrays) -> tuple[np.ndarray, Arrays, Arrays]:
        truth, valid = ({task: cv2.flip(x, 1) for task, x in maps.items()} for maps in (truth, valid))
        truth["normals"][..., 0] *= -1
        return cv2.flip(image, 1), truth, valid

    def distort(self, image: np.ndarray) -> np.ndarray:
        rng = self.rng
        contrast_first = rng.random() < 0.5
        if rng.random() < 0.5:
            image = self.scaled(image, 1.0, rng.uniform(-32, 32))
        contrast = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else None
        if contrast is not None and contrast_first:
            image = self.scaled(image, contrast, 0.0)
        if rng.random() < 0.5:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 1] = self.scaled(hsv[..., 1], rng.uniform(0.5, 1.5), 0.0)
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        if rng.random() < 0.5:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 0] = (hsv[..., 0].astype(int) + rng.integers(-18, 18)) % 180
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        return image if contrast is None or contrast_first else self.scaled(image, contrast, 0.0)

    @staticmethod
    def scaled(values: np.ndarray, factor: float, offset: float) -> np.ndarray:
        return np.clip(values.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)


def seconds(function: Callable[[Any], object], inputs: list[Any]) -> tuple[float, float]:
    """Return the wall and the processor time of an image, over all inputs."""
    wall, processor = time.perf_counter(), time.process_time()
    for value in inputs:
        function(value)
    return (time.perf_counter() - wall) / len(inputs), (time.process_time() - processor) / len(inputs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="each side's turns")
    parser.add_argument("--images", type=int, default=40, help="in a round")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    scenes = [scene(seed) for seed in range(given.images)]
    sides: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
        "atrc": (training_transform((HEIGHT, WIDTH), limited="semseg"), [sample(arrays) for arrays in scenes]),
        "OpenCV": (PlainOpenCV(0), scenes),
    }
    for function, inputs in sides.values():
        seconds(function, inputs)  # compiles, and fills the caches
    times = {name: [] for name in sides}
    for _ in range(given.rounds):
        for name, (function, inputs) in sides.items():
            times[name].append(seconds(function, inputs))
    rows = {
        name: {
            "images/s": 1 / median(wall for wall, _ in ts),
            "images/s of processor": 1 / median(cpu for _, cpu in ts),
        }
        for name, ts in times.items()
    }
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"| {HEIGHT}x{WIDTH}, one thread | images/s | images/s of processor time |\n|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['images/s']:.0f} | {row['images/s of processor']:.0f} |")
    gain = [rows["atrc"][key] / rows["OpenCV"][key] for key in rows["atrc"]]
    print(f"| ratio | {gain[0]:.2f} | {gain[1]:.2f} |")


if __name__ == "__main__":
    main()
