"""The README.md of a shared network."""

from __future__ import annotations

from collections.abc import Mapping

from atrc import __version__
from atrc.genotype import Genotype
from atrc.sharing.architecture import Architecture

_HEAD = """---
library_name: atrc
tags:
- multi-task-learning
- dense-prediction
{tags}
---

# {title}

A network for {count} of an image: backbone `{backbone}`, neck `{neck}`, distillation `{distillation}`.
Made with atrc {version}.

```python
import atrc

network = atrc.MultiTaskNetwork.from_pretrained("PATH OR OWNER/NAME")
output = network(image)  # RGB in [0, 1], (b 3 h w), of any size
```

or `atrc predict PATH-OR-NAME photo.jpg --out predictions`.

## Tasks

| task | kind | outputs | {result} |
|---|---|---|---|
"""


def model_card(architecture: Architecture, *, metrics: Mapping[str, str] | None = None, data: str | None = None) -> str:
    """Write the README.md of a network, with metadata as the Hugging Face Hub reads it.

    Args:
        architecture: The network's.
        metrics: What each task scored, in words.
        data: What it was scored on.
    """
    config, tasks = architecture.config, architecture.tasks
    head = _HEAD.format(
        tags="\n".join(f"- {tag}" for tag in dict.fromkeys(task.hub_tag for task in tasks) if tag),
        title=f"{config.distillation if config.distillation != 'none' else 'multi-task'} on {config.backbone}",
        count=f"{len(tasks)} dense predictions" if len(tasks) > 1 else "one dense prediction",
        backbone=config.backbone,
        neck=config.neck,
        distillation=config.distillation,
        version=__version__,
        result="result" if metrics else "metric",
    )
    scores = {task.name: f"{task.metric_name} [{task.unit}]" for task in tasks} | dict(metrics or {})
    rows = [f"| {t.name} | {type(t).__name__} | {t.channels} | {scores[t.name]} |" for t in tasks]
    parts = [head + "\n".join(rows)]
    if data:
        parts.append(f"Scored on {data}.")
    if architecture.size:
        h, w = architecture.size
        parts.append(f"Trained on crops of {h} x {w} pixels; images of about that size suit it best.")
    if architecture.genotype:
        parts.append(
            "## Genotype\n\nThe context of every pair; rows are targets, columns sources.\n\n"
            + _table(architecture.genotype)
        )
    if architecture.branching:
        stages = [" ".join(f"({', '.join(group)})" for group in stage) for stage in architecture.branching.groups]
        parts.append(
            "## Branching\n\nGroups of tasks that share a stage; the first stage is shared by all.\n\n"
            + "\n".join(f"- stage {i}: {groups}" for i, groups in enumerate(stages, 2))
        )
    return "\n\n".join(parts) + "\n"


def _table(genotype: Genotype) -> str:
    head = ["target", *genotype.sources]
    rows = [[target, *row.values()] for target, row in genotype.contexts.items()]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
