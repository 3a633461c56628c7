"""How long the boundary F-measure takes, and how far it is from pyEdgeEval.

python benchmarks/boundaries.py                  # Markdown tables
python benchmarks/boundaries.py --oracle 3       # also beside the BSDS code in pyEdgeEval, if installed
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from atrc.metrics.boundary.counting import THRESHOLDS, boundary_counts, suppress, thin
from atrc.metrics.boundary.folders import evaluate_folders

Row = dict[str, float | str]

SETS = {"NYUD": (654, 425, 560, 0.011), "PASCAL": (5105, 375, 500, 0.0075)}


def scene(seed: int, height: int, width: int, objects: int = 55) -> tuple[np.ndarray, np.ndarray]:
    """Draw a map of probabilities, as a network would predict them, and the true boundaries.

    A floor plan of Voronoi cells with boxes and ellipses before it. The prediction is the outline of the
    displaced scene, of uneven strength and blurred, over faint ridges of clutter, in steps of 1/255.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]

    def waves(sigma: float) -> np.ndarray:
        noise = gaussian_filter(rng.normal(size=(height, width)), sigma)
        return noise / noise.std()

    cells = rng.uniform((0, 0), (height, width), (12, 2))
    labels = np.stack([np.hypot(y - cy, x - cx) for cy, cx in cells]).argmin(0)
    for label in range(objects):
        cy, cx, angle = rng.uniform((0, 0, 0), (height, width, np.pi))
        half_u, half_v = rng.uniform(height / 50, height / 7, 2)
        u = ((y - cy) * np.cos(angle) + (x - cx) * np.sin(angle)) / half_u
        v = ((x - cx) * np.cos(angle) - (y - cy) * np.sin(angle)) / half_v
        inside = np.maximum(abs(u), abs(v)) < 1 if label % 2 else np.hypot(u, v) < 1
        labels[inside] = len(cells) + label
    moved_y = np.clip(y + 1.5 * waves(12), 0, height - 1).astype(int)
    moved_x = np.clip(x + 1.5 * waves(12), 0, width - 1).astype(int)
    strength = np.clip(0.6 + 0.3 * waves(15), 0.05, 1)
    lines = gaussian_filter(outline(labels[moved_y, moved_x]) * strength, 1.6) * 3.5
    clutter = gaussian_filter(np.maximum(0, 1 - abs(waves(3)) / 0.15), 1) * np.clip(0.3 + 0.2 * waves(20), 0, 1)
    probability = np.round(np.clip(np.maximum(lines, clutter), 0, 1) * 255) / 255
    return probability.astype(np.float32), outline(labels)


def outline(labels: np.ndarray) -> np.ndarray:
    """Mark the pixels whose right or lower neighbour has another label."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    edges[:-1] |= labels[1:] != labels[:-1]
    return edges


def milliseconds(function: Callable[[], object], repeats: int = 1) -> float:
    """Time a call, best of some."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def measure(name: str, images: int, workers: int) -> Row:
    """Time single images in one thread, and the folder evaluation of a set of PNGs in several."""
    total, height, width, max_dist = SETS[name]
    scenes = [scene(seed, height, width) for seed in range(images)]
    boundary_counts(*scenes[0], max_dist)  # compiles
    row: Row = {"set": name, "images": images, "whole set": total, "workers": workers}
    row["true pixels"] = float(np.mean([truth.sum() for _, truth in scenes]))
    row["predicted pixels at 0.001"] = float(np.mean([boundary_counts(*s, max_dist)[0, 1] for s in scenes[:8]]))
    for mode in ("exact", "nested") * 2:  # alternately: other work on the machine hits both
        spent = np.mean([milliseconds(lambda s=s, m=mode: boundary_counts(*s, max_dist, m)) for s in scenes])
        row[f"{mode} [ms]"] = min(float(spent), float(row.get(f"{mode} [ms]", np.inf)))
    with tempfile.TemporaryDirectory() as folder:
        predictions, truths = Path(folder, "predictions"), Path(folder, "truths")
        write(scenes, predictions, truths)
        for mode in ("exact", "nested"):
            start = time.perf_counter()
            row[f"odsF, {mode}"] = evaluate_folders(predictions, truths, max_dist, mode, workers).ods_f
            row[f"{mode}, these images from PNG [s]"] = spent = time.perf_counter() - start
            row[f"{mode}, whole set [s]"] = spent * total / images
    return row


def write(scenes: list[tuple[np.ndarray, np.ndarray]], predictions: Path, truths: Path) -> None:
    """Write scenes as a project would dump them."""
    predictions.mkdir()
    truths.mkdir()
    for number, (probability, truth) in enumerate(scenes):
        Image.fromarray(np.round(probability * 255).astype(np.uint8)).save(predictions / f"{number:04}.png")
        Image.fromarray(truth.astype(np.uint8) * 255).save(truths / f"{number:04}.png")


def compare(name: str, images: int, every: int) -> Row:
    """Set counts and time beside pyEdgeEval's, on the same thin lines, at every so-manieth threshold."""
    from pyEdgeEval._lib import correspond_pixels

    _, height, width, max_dist = SETS[name]
    steps = range(0, len(THRESHOLDS), every)
    ours, theirs, spent, spent_there = [], [], 0.0, 0.0
    for probability, truth in (scene(seed, height, width) for seed in range(images)):
        start = time.perf_counter()
        counts = boundary_counts(probability, truth, max_dist)[steps]
        spent += time.perf_counter() - start
        masks = [thin(suppress(probability) > THRESHOLDS[step]) for step in steps]
        start = time.perf_counter()
        matched = [correspond_pixels(mask, truth, max_dist=max_dist)[0] for mask in masks]
        spent_there += time.perf_counter() - start
        ours.append(counts)
        theirs.append([(np.count_nonzero(m), mask.sum(), truth.sum()) for m, mask in zip(matched, masks, strict=True)])
    f_ours, f_theirs = f_measure(np.sum(ours, 0)), f_measure(np.sum(theirs, 0))
    return {
        "set": name,
        "images": images,
        "thresholds compared": len(steps),
        "best F, ours": f_ours.max(),
        "best F, theirs": f_theirs.max(),
        "largest difference of F at a threshold, summed counts": abs(f_ours - f_theirs).max(),
        "largest difference of F at a threshold, single image": abs(f_measure(ours) - f_measure(theirs)).max(),
        "their matches / ours": np.sum(theirs, (0, 1))[0] / np.sum(ours, (0, 1))[0],
        "ours, whole protocol, 101 thresholds [ms an image]": 1000 * spent / images,
        "theirs, matching alone [ms a threshold]": 1000 * spent_there / images / len(steps),
        "ratio, 101 thresholds of an image": spent_there / len(steps) * len(THRESHOLDS) / spent,
    }


def f_measure(counts: list | np.ndarray) -> np.ndarray:
    """2 P R / (P + R) from matched, predicted and true pixels."""
    matched, predicted, true = np.moveaxis(np.asarray(counts), -1, 0)
    return 2 * matched / np.maximum(predicted + true, 1)


def table(rows: list[Row]) -> str:
    """One line per quantity, one column per row, as Markdown."""
    lines = [f"| {key} | " + " | ".join(_cell(row[key]) for row in rows) + " |" for key in rows[0]]
    return "\n".join([lines[0], "|---" * (len(rows) + 1) + "|", *lines[1:]])


def _cell(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60, help="images of each set to run")
    parser.add_argument("--workers", type=int, default=2, help="threads of the folder evaluation")
    parser.add_argument("--oracle", type=int, default=0, metavar="N", help="compare N images with pyEdgeEval")
    parser.add_argument("--every", type=int, default=10, help="threshold step of that comparison")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    options = parser.parse_args()
    results = {"speed": [measure(name, options.images, options.workers) for name in SETS]}
    if options.oracle:
        results["oracle"] = [compare(name, options.oracle, options.every) for name in SETS]
    print("\n\n".join(table(rows) for rows in results.values()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2, default=float))


if __name__ == "__main__":
    main()
