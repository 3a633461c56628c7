"""How numbers were measured: recorded with every result, so that only like is compared with like."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atrc import metrics
from atrc.data.dataset import MultiTaskDataset
from atrc.network.inference import WHOLE, Inference
from atrc.tasks import Task

Protocol = dict[str, Any]


def describe_protocol(
    dataset: MultiTaskDataset,
    tasks: Sequence[Task],
    crop: Sequence[int],
    checkpoint: str = "last",
    inference: Inference = WHOLE,
) -> Protocol:
    """Return what a result depends on besides the network, as plain values.

    Keys: `layout` (which copy of the data), `split`, `images` (their number), `image` (size of the first [px]),
    `crop` [px], `padding`, `window` [px] and `tta` (null unless used), `checkpoint` (by which rule it was chosen) and
    `tasks` (the metric of each).
    """
    first = dataset.read_image(dataset.ids[0]).shape[:2] if len(dataset) else (0, 0)
    return {
        "layout": dataset.layout,
        "split": dataset.split,
        "images": len(dataset),
        "image": list(map(int, first)),
        "crop": list(crop),
        "padding": "whole images, centred in the crop, with zeros around them after normalisation",
        **inference.to_dict(),
        "checkpoint": checkpoint,
        "tasks": {task.name: _describe(task.metric_name, task.metric()) for task in tasks},
    }


def checkpoint_rule(step: int, steps: int) -> str:
    """Name the checkpoint: the last of a finished run is the rule.

    >>> checkpoint_rule(40, 40), checkpoint_rule(10, 40)
    ('last', 'step 10 of 40')
    """
    return "last" if step == steps else f"step {step} of {steps}"


def protocol_differences(ours: Protocol, theirs: Protocol | None, tasks: Iterable[str]) -> list[str]:
    """Say what differs between the protocols of two results, of the tasks that both have.

    >>> protocol_differences({"split": "val", "images": 654}, {"split": "train", "images": 654}, [])
    ["split is 'train' there and 'val' here"]
    """
    if theirs is None:
        return ["no protocol is recorded there"]
    here, there = _flat(ours, tasks), _flat(theirs, tasks)
    return [
        f"{key} is {_shown(there, key)} there and {_shown(here, key)} here"
        for key in here | there
        if here.get(key) != there.get(key)
    ]


def _flat(protocol: Protocol, tasks: Iterable[str]) -> dict[str, Any]:
    metrics = protocol.get("tasks", {})
    return {key: value for key, value in protocol.items() if key != "tasks"} | {
        f"metric of {task}": metrics.get(task) for task in tasks
    }


def _shown(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return "not recorded" if value is None else repr(value)


def _describe(name: str, metric: metrics.Metric) -> str:
    """Name a metric with its settings, such as `odsF(max_dist=0.011, mode=exact)`."""
    names = inspect.signature(type(metric)).parameters
    settings = [f"{key}={value}" for key in names if (value := getattr(metric, key, None)) is not None]
    return f"{name}({', '.join(settings)})"
