"""How long the boundary scores take, how far they are from published ones and from pyEdgeEval.

python benchmarks/boundaries.py                  # Markdown tables, of synthetic scenes
python benchmarks/boundaries.py --oracle 3       # also compared with the BSDS code in pyEdgeEval, if it is installed
python benchmarks/boundaries.py --bsds FOLDER    # BSDS500 instead: published scores, and what each rule changes

FOLDER has `truths/ID/K.png` or BSDS's `truths/ID.mat`, and predictions of gPb-owt-ucm in `gpb_ucm/ID.png`, those of
PiDiNet in `pidinet/ID.png`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from atrc.metrics.boundary import BoundaryProtocol, boundary_counts, evaluate_folders, suppress, thin
from atrc.metrics.boundary.counting import boundary_lines, boundary_strength

Row = dict[str, float | str]

SETS = {"NYUD": (654, 425, 560, 0.011), "PASCAL": (5105, 375, 500, 0.0075)}

named = BoundaryProtocol.named
# Of BSDS500's test images: the rules that the authors used, and their ODS, OIS and AP.
PUBLISHED = {
    "gpb_ucm": (named("bsds"), (0.73, 0.76, 0.73)),
    "pidinet": (named("bsds", suppression=True, filter_radius=1), (0.8066, 0.8228, 0.8345)),
}


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
    rules = {mode: named("seism", max_dist=max_dist, mode=mode) for mode in ("exact", "nested")}
    scenes = [scene(seed, height, width) for seed in range(images)]
    boundary_counts(*scenes[0], rules["exact"])  # compiles
    row: Row = {"set": name, "images": images, "whole set": total, "workers": workers}
    row["true pixels"] = float(np.mean([truth.sum() for _, truth in scenes]))
    predicted = [boundary_counts(*s, rules["exact"])[0, 1] for s in scenes[:8]]
    row["predicted pixels at 0.001"] = float(np.mean(predicted))
    for mode in ("exact", "nested") * 2:  # alternately: other work on the machine hits both
        spent = np.mean([milliseconds(lambda s=s, m=mode: boundary_counts(*s, rules[m])) for s in scenes])
        row[f"{mode} [ms]"] = min(float(spent), float(row.get(f"{mode} [ms]", np.inf)))
    with tempfile.TemporaryDirectory() as folder:
        predictions, truths = Path(folder, "predictions"), Path(folder, "truths")
        write(scenes, predictions, truths)
        for mode in ("exact", "nested"):
            start = time.perf_counter()
            result = evaluate_folders(predictions, truths, rules[mode], workers=workers)
            row[f"odsF, {mode}"] = result.scores.ods_f
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
    """Compare counts and time with pyEdgeEval's on the same thin lines, at every N-th threshold."""
    from pyEdgeEval._lib import correspond_pixels

    _, height, width, max_dist = SETS[name]
    rules = named("seism", max_dist=max_dist)
    steps = range(0, len(rules.thresholds), every)
    ours, theirs, spent, spent_there = [], [], 0.0, 0.0
    for probability, truth in (scene(seed, height, width) for seed in range(images)):
        start = time.perf_counter()
        counts = boundary_counts(probability, truth, rules)[steps]
        spent += time.perf_counter() - start
        masks = [thin(suppress(probability) > np.float32(rules.thresholds[step])) for step in steps]
        start = time.perf_counter()
        matched = [correspond_pixels(mask, truth, max_dist=max_dist)[0] for mask in masks]
        spent_there += time.perf_counter() - start
        ours.append(counts)
        hits = [np.count_nonzero(m) for m in matched]
        theirs.append([(hit, mask.sum(), hit, truth.sum()) for hit, mask in zip(hits, masks, strict=True)])
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
        "ratio, 101 thresholds of an image": spent_there / len(steps) * len(rules.thresholds) / spent,
    }


def f_measure(counts: list | np.ndarray) -> np.ndarray:
    """2 P R / (P + R) from correct, predicted, found and true pixels."""
    correct, predicted, found, true = np.moveaxis(np.asarray(counts, float), -1, 0)
    precision, recall = correct / np.maximum(predicted, 1), found / np.maximum(true, 1)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def score(folder: Path, system: str, rules: BoundaryProtocol, workers: int) -> Row:
    """Score one set of predictions for BSDS500 by some rules."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = evaluate_folders(folder / system, folder / "truths", rules, workers=workers)
    scores = result.scores
    return {
        "ODS": f"{scores.ods_f:.4f}",
        "OIS": f"{scores.ois_f:.4f}",
        "AP": f"{scores.ap:.4f}",
        "images": len(result.pairs),
        "CPU [s]": time.process_time() - cpu,
        "wall [s]": time.perf_counter() - wall,
    }


def reproduce(folder: Path, workers: int) -> list[Row]:
    """Score the predictions for BSDS500 with published scores."""
    rows: list[Row] = []
    for system, (rules, published) in PUBLISHED.items():
        row = {"predictions": system, "published": ", ".join(map(str, published))}
        rows.append({**row, **score(folder, system, rules, workers)})
    return rows


def rule_changes(folder: Path, system: str, workers: int) -> list[Row]:
    """Score predictions for BSDS500 with one rule changed at a time."""
    rules, _ = PUBLISHED[system]
    variants = {
        "as published": rules,
        "without the filter" if rules.filter_radius else "filter of radius 1": replace(
            rules, filter_radius=1 - rules.filter_radius
        ),
        "without suppression and filter" if rules.suppression else "with suppression": replace(
            rules, suppression=not rules.suppression, filter_radius=0
        ),
        "tolerance 0.011": replace(rules, max_dist=0.011),
        "33 thresholds": replace(rules, thresholds=named("bsds", thresholds=33).thresholds),
        "9 thresholds": replace(rules, thresholds=named("bsds", thresholds=9).thresholds),
        "strictly over the threshold": replace(rules, inclusive=False),
        "best F at the thresholds only": replace(rules, scoring="seism"),
        "first annotator only": replace(rules, annotators="first"),
        "nested": replace(rules, mode="nested"),
        "not thinned": replace(rules, mode="unthinned"),
        "seism, first annotator": named("seism", max_dist=0.0075, annotators="first"),
    }
    return [{system: title, **score(folder, system, variant, workers)} for title, variant in variants.items()]


def compare_annotators(folder: Path, system: str, images: int) -> Row:
    """Compare counts with pyEdgeEval's on the same lines of some images, near the best threshold, all annotators."""
    from pyEdgeEval._lib import correspond_pixels

    rules, _ = PUBLISHED[system]
    result = evaluate_folders(folder / system, folder / "truths", rules)
    at = int(np.abs(np.array(rules.thresholds) - result.scores.ods_threshold).argmin())
    chosen = np.linspace(0, len(result.pairs) - 1, images).round().astype(int)
    theirs, spent, spent_there = [], 0.0, 0.0
    for i in chosen:
        probability, truths = result.pairs[i].read()
        start = time.process_time()
        boundary_counts(probability, truths, rules)
        spent += time.process_time() - start
        lines = boundary_lines(boundary_strength(probability, rules), rules.thresholds[at], rules)
        start = time.process_time()
        matches = [correspond_pixels(lines, truth, max_dist=rules.max_dist)[:2] for truth in truths]
        spent_there += time.process_time() - start
        correct = np.any([predicted > 0 for predicted, _ in matches], axis=0)
        theirs.append([correct.sum(), lines.sum(), sum((found > 0).sum() for _, found in matches), truths.sum()])
    ours, total = result.counts[chosen, at].sum(0), np.sum(theirs, 0)
    return {
        "predictions": system,
        "images": images,
        "threshold": rules.thresholds[at],
        "F, ours": f"{f_measure(ours):.4f}",
        "F, theirs": f"{f_measure(total):.4f}",
        "precision, ours": f"{ours[0] / ours[1]:.4f}",
        "precision, theirs": f"{total[0] / total[1]:.4f}",
        "true pixels that they find / that we find": f"{total[2] / ours[2]:.5f}",
        "ours, 99 thresholds [CPU ms an image]": 1000 * spent / images,
        "theirs, matching alone, 1 threshold [CPU ms an image]": 1000 * spent_there / images,
        "ratio, 99 thresholds": spent_there * len(rules.thresholds) / spent,
    }


def table(rows: list[Row]) -> str:
    """One row per quantity, one column per case, as Markdown."""
    lines = [f"| {key} | " + " | ".join(_cell(row[key]) for row in rows) + " |" for key in rows[0]]
    return "\n".join([lines[0], "|---" * (len(rows) + 1) + "|", *lines[1:]])


def flat_table(rows: list[Row]) -> str:
    """One row per case, one column per quantity, as Markdown."""
    lines = [f"| {' | '.join(map(_cell, row.values()))} |" for row in rows]
    return "\n".join([f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|", *lines])


def _cell(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60, help="synthetic images of each set to run")
    parser.add_argument("--workers", type=int, default=2, help="threads of the folder evaluation")
    parser.add_argument("--oracle", type=int, default=0, metavar="N", help="compare N images with pyEdgeEval")
    parser.add_argument("--every", type=int, default=10, help="threshold step of that comparison")
    parser.add_argument("--bsds", type=Path, metavar="FOLDER", help="score BSDS500 in this folder instead")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    options = parser.parse_args()
    if options.bsds:
        evaluate_folders(options.bsds / "pidinet", options.bsds / "truths", PUBLISHED["pidinet"][0])  # compiles
        results = {"published": reproduce(options.bsds, options.workers)}
        results |= {system: rule_changes(options.bsds, system, options.workers) for system in PUBLISHED}
        print("\n\n".join(flat_table(rows) for rows in results.values()), flush=True)
    else:
        results = {"speed": [measure(name, options.images, options.workers) for name in SETS]}
        print(table(results["speed"]))
    if options.oracle:
        names = PUBLISHED if options.bsds else SETS
        results["oracle"] = [
            compare_annotators(options.bsds, name, options.oracle)
            if options.bsds
            else compare(name, options.oracle, options.every)
            for name in names
        ]
        print("\n" + table(results["oracle"]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2, default=float))


if __name__ == "__main__":
    main()
