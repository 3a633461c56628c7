"""One way to a network, wherever it is."""

from __future__ import annotations

import re
from pathlib import Path

from atrc import sharing
from atrc.errors import UserError
from atrc.network import MultiTaskNetwork
from atrc.sharing.hub import CONFIG
from atrc.training.run.checkpoint import Checkpoint, checkpoint_path


def load(where: str | Path) -> MultiTaskNetwork:
    """Load a network, in evaluation mode on the CPU. A search's run gives its supergraph.

    Args:
        where: A run's folder, a checkpoint file, a folder that `atrc publish` wrote, a network that comes with atrc
            (rooms-atrc), or a name on the Hugging Face Hub: owner/name. Files and folders go first.

    Raises:
        UserError: Nothing of that name, or not a network that this atrc can build.
    """
    path = Path(where)
    if path.is_dir():
        return _from_folder(path)
    if path.suffix == ".safetensors":
        raise UserError(f"{where}: weights alone; give the folder, which holds their {CONFIG} too")
    if path.exists():
        return _from_checkpoint(path)
    if str(where) in (shipped := shipped_networks()):
        return sharing.load(shipped[str(where)])
    if path.parent.is_dir() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(where), re.ASCII):
        raise UserError(
            f"{where}: no such run, checkpoint or saved network; one on the Hugging Face Hub is called owner/name, "
            f"and atrc comes with {', '.join(shipped)}"
        )
    return sharing.load(where)


def shipped_networks() -> dict[str, Path]:
    """Return the folders of the networks that come with the package or lie next to its source, by name."""
    package = Path(__file__).parents[1]
    models = installed if (installed := package / "models").is_dir() else package.parents[1] / "models"
    return {folder.name: folder for folder in sorted(models.glob("*")) if (folder / CONFIG).exists()}


def _from_folder(folder: Path) -> MultiTaskNetwork:
    if (folder / CONFIG).exists():
        return sharing.load(folder)
    if checkpoint_path(folder).exists():
        return _from_checkpoint(checkpoint_path(folder))
    raise UserError(f"{folder}: neither a run, which has checkpoints/last.ckpt, nor a saved network ({CONFIG})")


def _from_checkpoint(path: Path) -> MultiTaskNetwork:
    saved = Checkpoint.load(path)
    try:
        return saved.build()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
