"""Verbs that use networks and what they predicted."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Literal

from atrc.app.json_output import write_json
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
) -> None:
    """Predict photographs and videos: raw predictions, painted ones, and sheets of all tasks side by side.

    The exit status is 1 if a file failed; they are listed at the end.

    Args:
        model: A run's folder, a checkpoint, a published folder, a name on the Hugging Face Hub, or rooms-atrc, the
            network that comes with atrc.
        images: Files, folders with all below them, patterns, videos.
        out: Folder to write.
        max_side: Larger photographs are shrunk to this side for the network [px]; by default to what it was trained on.
        batch: Photographs at a time; by default 8 on a GPU, else 1.
        keep: What to write: all, or only raw, pictures or sheets.
        every: Of a video, every how many frames to predict.
        frames: Of a video, write the raw predictions of every frame too.
        device: auto is a GPU if there is one; otherwise such as cpu or cuda:1.
        precision: 32, or mixed: bf16 or 16.
    """
    from atrc.app.predict.predict import run_predict

    settings = Settings(max_side, batch, keep, every, frames, device, precision)
    if not run_predict(model, images, Path(out), settings):
        raise SystemExit(1)


def publish(model: str, folder: str, half: bool = False, hub: str | None = None) -> None:
    """Save a network as a folder to share: safetensors, config.json and a card.

    Args:
        model: A run's folder, a checkpoint, or a network that is shared already, by folder or name.
        folder: Folder to write.
        half: Save 16-bit floats: half the size.
        hub: Also upload it to the Hugging Face Hub under this name, owner/name.
    """
    from atrc.app.publish import publish_network

    print(publish_network(model, folder, half, hub))


def export(
    model: str,
    out: str = "network.onnx",
    size: tuple[int, int] | None = None,
    image: str | None = None,
    logits: bool = False,
    json: str | None = None,
) -> None:
    """Export a network for other runtimes, checked against PyTorch: it is not written if it differs.

    Args:
        model: A run's folder, a checkpoint, a published folder, a name on the Hugging Face Hub, or rooms-atrc, the
            network that comes with atrc.
        out: The file to write: .onnx, or .pt2 for torch.export.
        size: Height and width of the images that it will take, "[height,width]" [px]; any by default.
        image: A photograph to check on; a rendered room by default.
        logits: Export unnormalised predictions in place of classes, metres, unit vectors and probabilities.
        json: Also write the differences to this file; "-" for standard output, in place of the table.
    """
    from atrc.app.export import print_export, run_export

    with redirect_stdout(sys.stderr) if json == "-" else nullcontext():
        content = run_export(model, Path(out), size, image, logits)
        print_export(content)
    write_json(content, json)


def boundaries(
    predictions: str,
    truths: str,
    max_dist: float = 0.0075,
    mode: Literal["exact", "nested"] = "exact",
    workers: int | None = None,
    plot: str | None = None,
    json: str | None = None,
) -> None:
    """Score boundary maps in folders: odsF, OIS-F and AP.

    Args:
        predictions: Folder of grey PNG or NPY probability maps.
        truths: Folder of PNG or NPY boundary maps of the same names.
        max_dist: Tolerance as a share of the image diagonal: 0.011 for NYUD, 0.0075 for PASCAL.
        mode: exact is the protocol; nested is faster and close.
        workers: Parallel workers; one per core by default.
        plot: Write the precision-recall curve to this picture.
        json: Also write the scores to this file; "-" for standard output.
    """
    from atrc.app.boundaries import score_boundaries

    write_json(score_boundaries(predictions, truths, max_dist, mode, workers, plot), json)


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
    device: str = "cpu",
    out: str | None = None,
    json: str | None = None,
) -> None:
    """Measure how much Delta_m drops when the output of one block is permuted over the held-out images.

    Args:
        runs: Folders or checkpoints of runs; their drops are averaged.
        study: In place of runs: the folder of a study, of which every finished run with ATRC is measured.
        rows: Only these rows of the study, "[A,B,..]".
        baseline: What Delta_m is against: results.json of single-task runs, or their folders; "[A,B,..]". By default
            the network's own results; of a study those of its single-task row.
        data: Data set folder; the one it was trained on by default.
        split: Held-out split.
        permutations: Permutations of every block.
        seed: Fixes them.
        workers: Loader processes; 0 loads in the measuring process.
        device: Where to run, such as cpu or cuda.
        out: Folder for the table and figures; by default the run's, "importance" of several, importance/ of a study's.
        json: Also write the drops to this file; "-" for standard output, in place of the tables.
    """
    from atrc.app.importance import show_importance
    from atrc.studies.importance.runs import Settings

    settings = Settings(permutations, seed, data, split, workers, device)
    with redirect_stdout(sys.stderr) if json == "-" else nullcontext():
        found = show_importance(runs, study, rows, baseline, settings, out)
    write_json(found, json)


def attention(
    model: str,
    image: str,
    target: list[str] | str | None = None,
    pixel: tuple[int, int] | None = None,
    out: str = "attention.png",
    raw: str | None = None,
    longest: int = 640,
    json: str | None = None,
) -> None:
    """Draw what one pixel of a photograph attends to: the attention map of every source, the weights of label regions.

    Args:
        model: A run's folder, a checkpoint, or a saved network.
        image: A photograph.
        target: The task that attends; of several "[A,B,..]", by default all.
        pixel: Row and column of the pixel in the photograph, "[row,column]"; its centre by default.
        out: The picture to write: PNG, SVG or PDF.
        raw: Also write every map to this folder, as NPY.
        longest: Reduce the photograph to this longer side [px].
        json: Also write the contexts and the weights of label regions to this file; "-" for standard output.
    """
    from atrc.app.attention import show_attention

    targets = [target] if isinstance(target, str) else target or []
    found = show_attention(model, Path(image), targets, pixel, Path(out), Path(raw) if raw else None, longest)
    print(out, file=sys.stderr)
    write_json(found, json)


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
    """Serve a page on this machine: predictions of a photograph, and what every pixel attends to.

    Args:
        model: A run's folder, a checkpoint, a published folder, a name on the Hugging Face Hub, or rooms-atrc, the
            network that comes with atrc.
        compare: Another one, to see side by side.
        examples: A folder of pictures to begin with; rendered rooms by default.
        port: Port; 0 for any that is free.
        host: Address to serve; by default only this machine reaches it.
        max_side: Larger photographs are shrunk to this side for the network [px]; by default to what it was trained on.
        device: auto is a GPU if there is one; otherwise such as cpu or cuda:1.
        open: Open the page in a browser.
    """
    from atrc.app.explorer.serve import run_explorer

    models = [model, compare] if compare else [model]
    run_explorer(models, examples, host, port, max_side, device, open)
