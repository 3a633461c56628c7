"""`atrc evaluate`: the metrics of a checkpoint, and Delta_m against a baseline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.metrics.functional import delta_m
from atrc.network.inference import Inference
from atrc.training.evaluation.evaluate import Result, evaluate, evaluation_loader, read_measurement, results_to_dict
from atrc.training.evaluation.protocol import Protocol, checkpoint_rule, describe_protocol, protocol_differences
from atrc.training.resources import find_device
from atrc.training.run.checkpoint import Checkpoint, checkpoint_path


def score_checkpoint(
    checkpoint: str,
    data: str | None,
    baseline: str | Sequence[str] | None,
    split: str,
    workers: int,
    device: str = "auto",
    allow_different_protocols: bool = False,
    window: tuple[int, int] | None = None,
    tta: str | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint and print its metrics. The arguments are the options of `atrc evaluate`.

    Returns:
        For JSON: `results`, task -> metric, value (null without a valid pixel), unit, higher_is_better and non_finite
        (share of the valid pixels without a finite prediction); `delta_m` [%], null without a baseline; `baseline`,
        task -> file and value; `protocol`, see `describe_protocol`; `step` of the training.

    Raises:
        UserError: The data do not fit the checkpoint, or the baseline cannot be compared.
    """
    place, inference = find_device(device), Inference.parse(window, tta)
    saved = Checkpoint.load(checkpoint_path(checkpoint))
    tasks = saved.read_tasks()
    dataset = open_dataset(data or saved.recipe["data"]["root"], split, [task.name for task in tasks])
    saved.require_outputs(dataset.tasks, str(dataset.root))
    crop = tuple(saved.recipe["data"]["crop"])
    rule = checkpoint_rule(saved.step, saved.recipe["optim"]["steps"])
    protocol = describe_protocol(dataset, tasks, crop, rule, inference)
    # Before the evaluation, which may take long: refuse at once what cannot be compared.
    known = read_baselines(baseline, protocol, allow_different_protocols)
    loader = evaluation_loader(dataset, crop, saved.recipe["data"]["batch_size"], workers)
    results = evaluate(saved.build().to(place), tasks, loader, device=place, inference=inference)
    for task, result in results.items():
        print_classes(task, result)
    for task, result in results.items():
        print(f"{task:12} {result.metric:6} {result}", file=sys.stderr)
    gain = compare(results, {task: result for task, (_, result) in known.items()}) if known else None
    if gain is not None:
        files = ", ".join(dict.fromkeys(str(file) for file, _ in known.values()))
        print(f"{'delta_m':12} {'':6} {gain:+.2f} % against {files}", file=sys.stderr)
    return {
        "results": results_to_dict(results),
        "delta_m": gain,
        "baseline": {task: {"file": str(file), "value": result.value} for task, (file, result) in known.items()},
        "protocol": protocol,
        "step": saved.step,
    }


def print_classes(task: str, result: Result) -> None:
    """Print the IoU of every class and its share of the valid pixels, if the task has classes."""
    pixels = [sum(row) for row in result.confusion]
    for (name, iou), count in zip(result.classes.items(), pixels, strict=True):
        shown = "-" if iou is None else f"{iou:.2f} %"
        print(
            f"  {task} {name:20} IoU {shown:>9}  {100 * count / max(1, sum(pixels)):6.2f} % of the pixels",
            file=sys.stderr,
        )


def read_baselines(
    paths: str | Sequence[str] | None, protocol: Protocol, allow_different_protocols: bool = False
) -> dict[str, tuple[Path, Result]]:
    """Read the results of the protocol's tasks from one run or several; each task has to be in exactly one.

    Raises:
        UserError: A task is missing or given twice, or was measured by another protocol.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str) else paths or ())]
    found: dict[str, tuple[Path, Result]] = {}
    for file in files:
        results, theirs = read_measurement(file)
        wanted = [task for task in results if task in protocol["tasks"]]
        _require_protocol(file, protocol_differences(protocol, theirs, wanted), allow_different_protocols)
        for task in wanted:
            if task in found:
                raise UserError(f"--baseline: {task} is in both {found[task][0]} and {file}; give each task once")
            found[task] = file, results[task]
    missing = [task for task in protocol["tasks"] if task not in found]
    if files and missing:
        raise UserError(f"--baseline: no result for {', '.join(missing)} in {', '.join(map(str, files))}; add its run")
    values = {task: result for task, (_, result) in found.items()}
    if files:
        compare(values, values)  # raises if no gain can be relative to them
    return found


def compare(results: dict[str, Result], baseline: dict[str, Result]) -> float:
    """Return Delta_m [%]."""
    return delta_m(
        {task: result.value for task, result in results.items()},
        {task: result.value for task, result in baseline.items()},
        {task: result.higher_is_better for task, result in results.items()},
    )


def _require_protocol(file: Path, differences: list[str], allowed: bool) -> None:
    if differences and allowed:
        print(f"warning: {file} has another protocol: {'; '.join(differences)}", file=sys.stderr)
    elif differences:
        raise UserError(
            f"{file} has another protocol: {'; '.join(differences)}; "
            "evaluate both in the same way, or compare them with --allow-different-protocols"
        )
