"""Scoring what exists already: checkpoints and boundary maps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.metrics.functional import delta_m
from atrc.training.checkpoint import Checkpoint, checkpoint_path
from atrc.training.evaluate import Result, evaluate, evaluation_loader, read_results, results_to_dict


def score_checkpoint(
    checkpoint: str, data: str | None, baseline: str | None, split: str, workers: int
) -> dict[str, Any]:
    """Evaluate a checkpoint and print its metrics; return them with the protocol."""
    saved = Checkpoint.load(checkpoint_path(checkpoint))
    tasks = saved.read_tasks()
    root = data or saved.recipe["data"]["root"]
    dataset = open_dataset(root, split, [task.name for task in tasks])
    for known, found in zip(tasks, dataset.tasks, strict=True):
        if known.channels != found.channels:
            raise UserError(
                f"{root}: {known.name} has {found.channels} outputs, the checkpoint {known.channels}; "
                "evaluate it on data with the classes that it was trained for"
            )
    crop = tuple(saved.recipe["data"]["crop"])
    loader = evaluation_loader(dataset, crop, saved.recipe["data"]["batch_size"], workers)
    results = evaluate(saved.build(), tasks, loader)
    gain = compare(results, read_results(Path(baseline))) if baseline else None
    for task, result in results.items():
        print(f"{task:12} {result.metric:6} {result}", file=sys.stderr)
    if gain is not None:
        print(f"{'delta_m':12} {'':6} {gain:+.2f} % against {baseline}", file=sys.stderr)
    protocol = {"layout": dataset.layout, "split": split, "crop": list(crop), "checkpoint": "last", "step": saved.step}
    return {"results": results_to_dict(results), "delta_m": gain, "protocol": protocol}


def compare(results: dict[str, Result], baseline: dict[str, Result]) -> float:
    """Return Delta_m [%]."""
    return delta_m(
        {task: result.value for task, result in results.items()},
        {task: result.value for task, result in baseline.items()},
        {task: result.higher_is_better for task, result in results.items()},
    )
