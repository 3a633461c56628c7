"""The README.md of a shared network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atrc import __version__
from atrc.sharing.architecture import Architecture

_HEAD = """---
library_name: atrc
tags:
- multi-task-learning
- dense-prediction
{tags}
---

# {title}

This network makes {count} of an image, with backbone `{backbone}`, neck `{neck}` and distillation `{distillation}`.
It was saved by atrc {version}.

```python
import atrc

network = atrc.load("FOLDER OR OWNER/NAME")
predictions = network.predict("photo.jpg")  # arrays in the units below, by task
output = network(image)  # RGB in [0, 1], (b 3 h w), of any size: unnormalised predictions, by task
```

On the command line: `atrc predict FOLDER-OR-NAME photo.jpg --out predictions`.
"""


def model_card(
    architecture: Architecture,
    *,
    metrics: Mapping[str, str] | None = None,
    data: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> str:
    """Write the README.md of a network, with metadata as the Hugging Face Hub reads it.

    Args:
        architecture: The network's.
        metrics: The score of each task, in words.
        data: What it was scored on.
        settings: How it was trained: values by key of the recipe.
    """
    config, tasks = architecture.config, architecture.tasks
    parts = [
        _HEAD.format(
            tags="\n".join(f"- {tag}" for tag in dict.fromkeys(task.hub_tag for task in tasks) if tag),
            title=f"{config.distillation if config.distillation != 'none' else 'multi-task'} on {config.backbone}",
            count=f"{len(tasks)} dense predictions" if len(tasks) > 1 else "one dense prediction",
            backbone=config.backbone,
            neck=config.neck,
            distillation=config.distillation,
            version=__version__,
        )
    ]
    scores = {task.name: f"{task.metric_name} [{task.unit}]" for task in tasks} | dict(metrics or {})
    rows = [(t.name, type(t).__name__, t.decoded, scores[t.name]) for t in tasks]
    parts.append("## Tasks\n\n" + _table(["task", "kind", "prediction", "result" if metrics else "metric"], rows))
    if data:
        parts.append(f"The results were measured on {data}.")
    if architecture.size:
        h, w = architecture.size
        parts.append(f"Trained on crops of {h} x {w} pixels. Images of about that size suit it best.")
    if settings:
        parts.append("## Training\n\n" + _table(["setting", "value"], list(settings.items())))
    if genotype := architecture.genotype:
        contexts = [(target, *row.values()) for target, row in genotype.contexts.items()]
        parts.append(
            "## Genotype\n\nThe context of every pair. Rows are targets, columns sources.\n\n"
            + _table(["target", *genotype.sources], contexts)
        )
    if architecture.branching:
        stages = [" ".join(f"({', '.join(group)})" for group in stage) for stage in architecture.branching.groups]
        parts.append(
            "## Branching\n\nGroups of tasks that share a stage. All tasks share the first stage.\n\n"
            + "\n".join(f"- stage {i}: {groups}" for i, groups in enumerate(stages, 2))
        )
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
