"""Commands that use networks and their predictions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from atrc.app.output import PartialError
from atrc.app.predict.settings import Keep, Precision, Settings


def predict(
    model: str,
    images: list[str],
    out: str = "predictions",
    max_side: int | None = None,
    batch: int | None = None,
    keep: Keep = "all",
    every: int = 1,
    frames: bool = False,
    device: str = "auto",
    precision: Precision = "32",
    window: tuple[int, int] | None = None,
    tta: str | None = None,
) -> None:
    """Predict images and videos: raw predictions, coloured ones, and sheets of all tasks side by side.

    The exit status is 1 if a file failed; the failures are listed at the end.

    Args:
        model: Folder of a run, checkpoint, published folder, name on the Hugging Face Hub, or rooms-atrc, the network
            that comes with atrc.
        images: Image files, videos, folders with everything below them, and patterns.
        out: Folder to write.
        max_side: Shrink larger images to this side for the network [px]; by default to its training size.
        batch: Number of images at a time; by default 8 on a GPU and 1 on a CPU.
        keep: Which outputs to write: all, or only raw, colour or sheets.
        every: Predict every N-th frame of a video.
        frames: Also write the raw predictions of the frames of a video.
        device: auto uses a GPU if there is one; otherwise a name such as cpu or cuda:1.
        precision: 32, or mixed precision: bf16 or 16.
        window: Predict images larger than "[height,width]" [px] in overlapping windows of that size, without shrinking
            them first unless --max-side is given.
        tta: Test-time augmentation: flip, scales, or both, such as flip,0.75,1.25.
    """
    from atrc.app.predict.predict import run_predict

    settings = Settings(max_side, batch, keep, every, frames, device, precision, window, tta)
    if not run_predict(model, images, Path(out), settings):
        raise PartialError


def publish(model: str, folder: str, half: bool = False, hub: str | None = None) -> None:
    """Save a network as a folder to share: safetensors, config.json and a card.

    Args:
        model: Folder of a run, checkpoint, or a network that is already shared, by folder or name.
        folder: Folder to write.
        half: Save 16-bit floats, which halves the size.
        hub: Also upload the folder to the Hugging Face Hub under this name, owner/name.
    """
    from atrc.app.publish import publish_network

    print(publish_network(model, folder, half, hub))


def export(
    model: str,
    out: str = "network.onnx",
    size: tuple[int, int] | None = None,
    image: str | None = None,
    logits: bool = False,
) -> dict[str, Any]:
    """Export a network for other runtimes and check it against PyTorch; nothing is written if it differs.

    Args:
        model: Folder of a run, checkpoint, published folder, name on the Hugging Face Hub, or rooms-atrc, the network
            that comes with atrc.
        out: File to write: .onnx, or .pt2 for torch.export.
        size: Fixed height and width of the input images, "[height,width]" [px]; any size by default.
        image: Image to check on; a rendered room by default.
        logits: Export unnormalised predictions instead of classes, metres, unit vectors and probabilities.
    """
    from atrc.app.export import print_export, run_export

    content = run_export(model, Path(out), size, image, logits)
    print_export(content)
    return content


def boundaries(
    predictions: str,
    truths: str,
    protocol: Literal["seism", "bsds", "nyud"] = "seism",
    max_dist: float | None = None,
    filter_radius: int | None = None,
    suppression: bool | None = None,
    mode: Literal["exact", "nested", "unthinned"] | None = None,
    thresholds: int | None = None,
    inclusive: bool | None = None,
    annotators: Literal["one", "first", "all"] | None = None,
    scoring: Literal["seism", "bsds"] | None = None,
    truth: Literal["boundaries", "labels"] = "boundaries",
    skip_missing: bool = False,
    workers: int | None = None,
    plot: str | None = None,
    compare: list[str] | str | None = None,
    human: bool = False,
    csv: str | None = None,
    worst: str | None = None,
    write_bsds: str | None = None,
) -> dict[str, Any]:
    """Score folders of boundary maps: odsF, OIS-F and AP.

    Args:
        predictions: Folder of grey probability maps: PNG, NPY or MAT.
        truths: Folder of annotations with the same names: PNG, NPY or MAT files, or a folder per image with a file per
            annotator.
        protocol: seism is for NYUD-v2 and PASCAL-Context in multi-task learning, bsds for BSDS500, nyud for edge
            detection on NYUD-v2. The next eight options change one of its rules.
        max_dist: Tolerance as a share of the image diagonal. bsds has 0.0075, nyud 0.011; seism needs 0.011 for
            NYUD-v2, 0.0075 for PASCAL-Context.
        filter_radius: Radius of a triangle filter over the predictions, 0 for no filter [px]; 1 in edge detection.
        suppression: Whether to keep only maxima across a boundary; predictions that are not thin yet need it.
        mode: exact thins the mask of each threshold; nested thins once, which is faster and close; unthinned does not
            thin.
        thresholds: Number n of thresholds k / (n + 1).
        inclusive: Whether a strength equal to the threshold counts as predicted.
        annotators: all matches each annotation separately; first takes the first one; one refuses several.
        scoring: bsds also looks for the best F between thresholds; seism does not.
        truth: Whether the annotations are boundaries (0 and one other value) or label maps.
        skip_missing: Leave out images without a prediction or an annotation; they are counted.
        workers: Number of parallel workers; one per core by default.
        plot: Write precision-recall curves to this file: PNG, SVG or PDF.
        compare: Results of other systems, as --json writes them, to draw in the same plot; "[A,B,..]".
        human: Mark in the plot how well people agree on BSDS500.
        csv: Write the scores of each image to this file.
        worst: Draw the images with the lowest scores in this file: PNG, SVG or PDF.
        write_bsds: Write eval_bdry.txt and the other text files of the BSDS benchmark to this folder.
    """
    from atrc.app.boundaries import Outputs, score_boundaries
    from atrc.metrics import BoundaryProtocol

    rules = BoundaryProtocol.named(
        protocol,
        max_dist=max_dist,
        filter_radius=filter_radius,
        suppression=suppression,
        mode=mode,
        thresholds=thresholds,
        inclusive=inclusive,
        annotators=annotators,
        scoring=scoring,
    )
    others = [compare] if isinstance(compare, str) else compare or []
    outputs = Outputs(plot, tuple(others), human, csv, worst, write_bsds)
    return score_boundaries(predictions, truths, rules, outputs, truth, skip_missing, workers)


def importance(
    runs: list[str],
    study: str | None = None,
    rows: list[str] | None = None,
    baseline: list[str] | str | None = None,
    data: str | None = None,
    split: str = "val",
    permutations: int = 5,
    seed: int = 0,
    workers: int = 0,
    device: str = "auto",
    out: str | None = None,
) -> list[dict[str, Any]]:
    """Measure how much Delta_m drops when the output of one block is permuted over the held-out images.

    Args:
        runs: Folders or checkpoints of runs; their drops are averaged.
        study: Folder of a study instead of runs; every finished run with ATRC in it is measured.
        rows: Measure only these rows of the study, "[A,B,..]".
        baseline: Results that Delta_m compares with: runs or results.json of single tasks, "[A,B,..]". By default the
            network's own results, or the single-task row of a study.
        data: Data set folder; the one used for training by default.
        split: Held-out split.
        permutations: Number of permutations of every block.
        seed: Seed of the permutations.
        workers: Number of loader processes; 0 loads in the main process.
        device: auto uses a GPU if there is one; otherwise a name such as cpu or cuda:1.
        out: Folder for the table and figures; by default the folder of the run, "importance" for several runs, or
            importance/ in the folder of a study.
    """
    from atrc.app.importance import show_importance
    from atrc.studies.importance.runs import Settings

    return show_importance(runs, study, rows, baseline, Settings(permutations, seed, data, split, workers, device), out)


def attention(
    model: str,
    image: str,
    target: list[str] | str | None = None,
    pixel: tuple[int, int] | None = None,
    out: str = "attention.png",
    raw: str | None = None,
    longest: int = 640,
    device: str = "auto",
) -> dict[str, Any]:
    """Draw what one pixel of an image attends to: the attention map of every source, the weights of label regions.

    Args:
        model: Folder of a run, checkpoint, or saved network.
        image: Image file.
        target: Task that attends, or several, "[A,B,..]"; all by default.
        pixel: Row and column of the pixel in the image, "[row,column]"; the centre by default.
        out: Figure to write: PNG, SVG or PDF.
        raw: Also write every map to this folder, as NPY.
        longest: Reduce the image to this longer side [px].
        device: auto uses a GPU if there is one; otherwise a name such as cpu or cuda:1.
    """
    from atrc.app.attention import show_attention

    targets = [target] if isinstance(target, str) else target or []
    raw_folder = Path(raw) if raw else None
    content = show_attention(model, Path(image), targets, pixel, Path(out), raw_folder, longest, device)
    print(out, file=sys.stderr)
    return content


def explore(
    model: str = "rooms-atrc",
    compare: str | None = None,
    examples: str | None = None,
    port: int = 8760,
    host: str = "127.0.0.1",
    max_side: int | None = None,
    device: str = "auto",
    open: bool = False,
) -> None:
    """Serve a page on this machine that shows the predictions of an image, and what every pixel attends to.

    Args:
        model: Folder of a run, checkpoint, published folder, name on the Hugging Face Hub, or rooms-atrc, the network
            that comes with atrc.
        compare: A second network to show side by side.
        examples: Folder of images to start with; rendered rooms by default.
        port: Port; 0 takes any free one.
        host: Address to serve; by default only this machine can reach it.
        max_side: Shrink larger images to this side for the network [px]; by default to its training size.
        device: auto uses a GPU if there is one; otherwise a name such as cpu or cuda:1.
        open: Open the page in a browser.
    """
    from atrc.app.explorer.serve import run_explorer

    run_explorer([model, compare] if compare else [model], examples, host, port, max_side, device, open)
