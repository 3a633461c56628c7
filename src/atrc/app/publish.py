"""`atrc publish`: the network of a run as a folder to share, with its results on the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from atrc import sharing
from atrc.errors import UserError, first_line
from atrc.sharing.hub import WEIGHTS
from atrc.training.evaluation.evaluate import read_measurement
from atrc.training.loading import load
from atrc.training.recipe.config import flatten

SETTINGS = ("data.crop", "data.batch_size", "data.scale", "seed")  # on the card, with all of `optim`


def publish_network(model: str, folder: str, half: bool, hub: str | None) -> str:
    """Save a network to a folder, and upload it.

    Args:
        model: What `atrc.load` takes; the results and settings of a run are written into the README.md.
        folder: The folder.
        half: Save in half precision.
        hub: A name on the Hugging Face Hub to upload to: owner/name.

    Returns:
        Where it is: the folder, or the address on the Hub.

    Raises:
        UserError: It cannot be loaded, saved or uploaded.
    """
    network = load(model)
    if network.config is None:
        raise UserError(
            f"{model}: the supergraph of a search; train what it found, and publish that run: "
            f"atrc train --network.distillation atrc --network.genotype {model}/genotype.json"
        )
    run = Path(model)
    sharing.save(network, folder, dtype=torch.float16 if half else None, settings=_settings(run), **_results(run))
    if hub is None:
        return f"{folder}: {(Path(folder) / WEIGHTS).stat().st_size / 1e6:.1f} MB"
    try:
        return sharing.push(folder, hub)
    except Exception as error:  # offline, not logged in, not allowed: the Hub's client raises many kinds
        raise UserError(
            f"{folder} is written, but not uploaded to {hub} ({first_line(error)}); log in with "
            "`hf auth login`, or try again"
        ) from None


def _results(run: Path) -> dict[str, Any]:
    """Return what a run's results.json says, for the card; nothing without one."""
    if not (run / "results.json").exists():
        return {}
    results, protocol = read_measurement(run)
    metrics = {task: f"{result.metric} {result}" for task, result in results.items()}
    data = f"{protocol['layout']}, split {protocol['split']}, {protocol['images']} images" if protocol else None
    return {"metrics": metrics, "data": data}


def _settings(run: Path) -> dict[str, str]:
    """Return how a run was trained, for the card; nothing without its recipe."""
    if not (run / "config.yaml").exists():
        return {}
    recipe = flatten(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))
    chosen = {key: value for key, value in recipe.items() if key in SETTINGS or key.startswith("optim.")}
    return {key: str(value) for key, value in chosen.items() if value is not None}
