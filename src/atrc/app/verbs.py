"""The verbs of the command line. Heavy imports wait until a verb runs, so that `--help` is quick."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, Literal

from atrc.training.recipe import Recipe


def demo(out: str = "demo", image: str | None = None, seed: int = 0) -> None:
    """Run the whole method on rendered rooms in minutes: data, baseline, search, retraining, report.

    Args:
        out: Folder for data, runs and report.html.
        image: A photograph of your own; its predictions join the report.
        seed: Fixes scenes, weights and sampling.
    """
    from atrc.app.demo import run_demo

    run_demo(Path(out), Path(image) if image else None, seed)


def rooms(
    out: str,
    profile: Literal["indoor", "people"] = "indoor",
    train: int = 800,
    val: int = 200,
    size: tuple[int, int] = (240, 320),
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Render a Rooms data set; an interrupted run continues where it was.

    Args:
        out: Folder to write.
        profile: indoor (semseg, depth, normals, edge) or people (semseg, human_parts, sal, normals, edge).
        train: Training images.
        val: Validation images.
        size: Height and width [px].
        seed: Fixes every scene.
        workers: Processes; one per core by default.
    """
    from atrc.data.rooms import write_rooms

    print(write_rooms(out, profile, train=train, val=val, size=size, seed=seed, workers=workers))


def train(recipe: Recipe, resume: bool = False, json: str | None = None) -> None:
    """Train a recipe.

    Args:
        recipe: What to do.
        resume: Continue the run in --out from its last checkpoint.
        json: Also write the final metrics to this file; "-" for standard output.
    """
    from atrc.training.loop import fit

    _report(fit(recipe, resume=resume), json)


def search(recipe: Recipe, resume: bool = False, json: str | None = None) -> None:
    """Search the genotype of a recipe.

    Args:
        recipe: What to do; network.distillation and network.genotype are the search's own affair.
        resume: Continue the run in --out from its last checkpoint.
        json: Also write the final metrics to this file; "-" for standard output.
    """
    from atrc.genotype import Genotype
    from atrc.training.loop import fit

    _report(fit(recipe, search=True, resume=resume), json)
    if (path := recipe.folder / "genotype.json").exists():
        print(f"{path}:\n{Genotype.load(path)}", file=sys.stderr)


def evaluate(
    checkpoint: str,
    data: str | None = None,
    baseline: str | None = None,
    split: str = "val",
    workers: int = 0,
    json: str | None = None,
) -> None:
    """Score a checkpoint: every metric, and Delta_m against a baseline's results.

    Args:
        checkpoint: A run's checkpoints/last.ckpt, or the run's folder.
        data: Data set folder; the one it was trained on by default.
        baseline: results.json of the baseline, or its run's folder.
        split: Split to score.
        workers: Loader processes; 0 loads in the evaluating process.
        json: Also write the metrics to this file; "-" for standard output.
    """
    from atrc.app.scoring import score_checkpoint

    _write_json(score_checkpoint(checkpoint, data, baseline, split, workers), json)


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

    _write_json(score_boundaries(predictions, truths, max_dist, mode, workers, plot), json)


def resources(studies: list[str] | None = None, repeats: int = 3, device: str = "cpu", json: str | None = None) -> None:
    """Show parameters, multiply-adds and latency of every system in the paper's tables, the paper's beside ours.

    Args:
        studies: Studies to count: files or names; table1 to table5 by default.
        repeats: Timed passes of each network; 0 does not time.
        device: Where to time, such as cpu or cuda.
        json: Also write the rows to this file; "-" for standard output, in place of the tables.
    """
    from atrc.app.resources import show_resources

    with redirect_stdout(sys.stderr) if json == "-" else nullcontext():
        rows = show_resources(studies or [f"table{n}" for n in range(1, 6)], repeats, device)
    _write_json(rows, json)


def _report(results: dict[str, Any], path: str | None) -> None:
    from atrc.training.evaluate import results_to_dict

    for task, result in results.items():
        print(f"{task:12} {result.metric:6} {result}", file=sys.stderr)
    _write_json(results_to_dict(results), path)


def _write_json(content: Any, path: str | None) -> None:
    if path == "-":
        print(json.dumps(content, indent=2))
    elif path:
        Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
