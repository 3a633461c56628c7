"""Commands that train, search and evaluate: single runs, and studies of many."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from atrc.app.output import PartialError
from atrc.studies.running.slurm_config import SlurmConfig
from atrc.training.recipe import Recipe


def demo(out: str = "demo", image: str | None = None, seed: int = 0) -> None:
    """Run the whole method on rendered rooms in minutes: data, baseline, search, retraining, report.

    Args:
        out: Folder for data, runs and report.html.
        image: An image of your own to predict in the report.
        seed: Seed of scenes, weights and sampling.
    """
    from atrc.app.demo import run_demo

    run_demo(Path(out), Path(image) if image else None, seed)


def train(recipe: Recipe, resume: bool = False, extend: int | None = None) -> dict[str, Any] | None:
    """Train a recipe.

    Args:
        recipe: The recipe.
        resume: Continue the run in --out from its last checkpoint.
        extend: Continue it up to this many steps in all, more than it had; from there on the schedules are those of the
            longer run.
    """
    return _fit(recipe, search=False, resume=resume, extend=extend)


def search(recipe: Recipe, resume: bool = False, extend: int | None = None) -> dict[str, Any] | None:
    """Search the genotype of a recipe.

    Args:
        recipe: The recipe. A search sets network.distillation and network.genotype itself.
        resume: Continue the run in --out from its last checkpoint.
        extend: Continue it up to this many steps in all, more than it had; from there on the schedules are those of the
            longer run.
    """
    from atrc.genotype import Genotype

    results = _fit(recipe, search=True, resume=resume, extend=extend)
    if results and (path := recipe.folder / "genotype.json").exists():
        print(f"{path}:\n{Genotype.load(path)}", file=sys.stderr)
    return results


def _fit(recipe: Recipe, search: bool, resume: bool, extend: int | None) -> dict[str, Any] | None:
    """Run a recipe and print its metrics. Of several processes only the first one prints and returns them."""
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from atrc.training.evaluation.evaluate import results_to_dict
    from atrc.training.loop import fit

    results = fit(recipe, search=search, resume=resume, extend=extend)
    if getattr(rank_zero_only, "rank", 0):
        return None
    for task, result in results.items():
        print(f"{task:12} {result.metric:6} {result}", file=sys.stderr)
    return results_to_dict(results)


def evaluate(
    checkpoint: str,
    data: str | None = None,
    baseline: list[str] | str | None = None,
    split: str = "val",
    workers: int = 0,
    device: str = "auto",
    allow_different_protocols: bool = False,
    window: tuple[int, int] | None = None,
    tta: str | None = None,
) -> dict[str, Any]:
    """Score a checkpoint: every metric, and Delta_m against the results of a baseline.

    Args:
        checkpoint: Folder of a run, or a checkpoint file.
        data: Data set folder; the one used for training by default.
        baseline: Run or results.json to compare with; several single-task runs are "[A,B,..]".
        split: Split to score.
        workers: Number of loader processes; 0 loads in the main process.
        device: auto uses a GPU if there is one; otherwise a name such as cpu or cuda:1.
        allow_different_protocols: Also compare with results of another protocol.
        window: Predict images larger than "[height,width]" [px] in overlapping windows of that size.
        tta: Test-time augmentation: flip, scales, or both, such as flip,0.75,1.25.
    """
    from atrc.app.evaluate import score_checkpoint

    return score_checkpoint(checkpoint, data, baseline, split, workers, device, allow_different_protocols, window, tta)


def study(
    file: str,
    out: str | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
    throughput: float = 4.0,
    slurm: SlurmConfig = SlurmConfig(),  # noqa: B008
) -> list[dict[str, Any]]:
    """Run a study: many recipes and seeds. Finished cells are skipped, killed ones resume, failed ones are retried.

    The exit status is 1 if a cell failed.

    Args:
        file: YAML file of the study, or the name of a shipped one such as table1.
        out: Folder of the study; runs/NAME by default.
        jobs: Cells to run at a time on this machine; by default one per visible GPU, or per core without a GPU.
        dry_run: Only print the cells and what training them takes.
        throughput: What a GPU sustains, for the hours of --dry-run [TFLOP/s].
        slurm: How to submit cells to Slurm; any of these options submits them.
    """
    from atrc.app.study.board import run_study

    cells = run_study(file, out, jobs, dry_run, throughput, slurm)
    if any(cell["state"] == "failed" for cell in cells):
        raise PartialError(cells)
    return cells


def report_study(folder: str, out: str | None = None) -> dict[str, Any]:
    """Write the tables and figures of a study so far: mean and deviation over seeds, Delta_m, costs.

    Args:
        folder: Folder of the study.
        out: Folder for the report; FOLDER/report by default.
    """
    from atrc.app.study.report import report_study

    return report_study(folder, out)


def resources(studies: list[str] | None = None, repeats: int = 3, device: str = "auto") -> list[dict[str, Any]]:
    """Show parameters, multiply-adds and latency of every system in the paper's tables, next to the paper's numbers.

    Args:
        studies: Studies to count, by file or name; by default table1 to table5, and beyond.
        repeats: Timed passes of each network; 0 measures no time.
        device: Device to time on: auto uses a GPU if there is one; otherwise a name such as cpu or cuda:1.
    """
    from atrc.app.resources import show_resources

    return show_resources(studies or [*(f"table{n}" for n in range(1, 6)), "beyond"], repeats, device)
