"""Verbs that train, search and score: runs, and studies of many."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from atrc.app.json_output import write_json
from atrc.studies.running.slurm_config import SlurmConfig
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
    baseline: list[str] | str | None = None,
    split: str = "val",
    workers: int = 0,
    allow_different_protocols: bool = False,
    json: str | None = None,
) -> None:
    """Score a checkpoint: every metric, and Delta_m against a baseline's results.

    Args:
        checkpoint: A run's checkpoints/last.ckpt, or the run's folder.
        data: Data set folder; the one it was trained on by default.
        baseline: results.json of the baseline, or its run's folder; of several single-task runs "[A,B,..]".
        split: Split to score.
        workers: Loader processes; 0 loads in the evaluating process.
        allow_different_protocols: Compare also with a baseline that was measured otherwise.
        json: Also write the metrics to this file; "-" for standard output.
    """
    from atrc.app.evaluate import score_checkpoint

    allowed = allow_different_protocols
    scores = score_checkpoint(checkpoint, data, baseline, split, workers, allow_different_protocols=allowed)
    write_json(scores, json)


def study(
    file: str,
    out: str | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
    slurm: SlurmConfig = SlurmConfig(),  # noqa: B008
    json: str | None = None,
) -> None:
    """Run a study: many recipes and seeds; done cells are skipped, killed ones resume, failed ones are tried again.

    The exit status is 1 if a cell failed.

    Args:
        file: The study: a YAML file, or a shipped one such as table1.
        out: Its folder; runs/NAME by default.
        jobs: Cells at a time on this machine; by default one for each visible GPU, or for each core without one.
        dry_run: Only print the cells and their steps.
        slurm: Where and how cells are submitted to Slurm; giving any of these submits them.
        json: Also write the cells to this file; "-" for standard output, in place of the table.
    """
    from atrc.app.study.board import run_study

    with redirect_stdout(sys.stderr) if json == "-" else nullcontext():
        cells = run_study(file, out, jobs, dry_run, slurm)
    write_json(cells, json)
    if any(cell["state"] == "failed" for cell in cells):
        raise SystemExit(1)


def report_study(folder: str, out: str | None = None, json: str | None = None) -> None:
    """Write the tables and figures of a study, as far as it is: mean and deviation over seeds, Delta_m, costs.

    Args:
        folder: The study's folder.
        out: Folder for the report; FOLDER/report by default.
        json: Also write the numbers to this file; "-" for standard output, in place of the table.
    """
    from atrc.app.study.report import report_study

    with redirect_stdout(sys.stderr) if json == "-" else nullcontext():
        content = report_study(folder, out)
    write_json(content, json)


def resources(studies: list[str] | None = None, repeats: int = 3, device: str = "cpu", json: str | None = None) -> None:
    """Show parameters, multiply-adds and latency of every system in the paper's tables, the paper's beside ours.

    Args:
        studies: Studies to count: files or names; by default table1 to table5, and beyond.
        repeats: Timed passes of each network; 0 does not time.
        device: Where to time, such as cpu or cuda.
        json: Also write the rows to this file; "-" for standard output, in place of the tables.
    """
    from atrc.app.resources import show_resources

    with redirect_stdout(sys.stderr) if json == "-" else nullcontext():
        rows = show_resources(studies or [*(f"table{n}" for n in range(1, 6)), "beyond"], repeats, device)
    write_json(rows, json)


def _report(results: dict[str, Any], path: str | None) -> None:
    from atrc.training.evaluation.evaluate import results_to_dict

    for task, result in results.items():
        print(f"{task:12} {result.metric:6} {result}", file=sys.stderr)
    write_json(results_to_dict(results), path)
