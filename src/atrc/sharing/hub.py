"""Networks as folders of safetensors and JSON, here or on the Hugging Face Hub. Nothing is ever pickled."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, hf_hub_download
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from atrc.errors import UserError, first_line
from atrc.files import write_atomic
from atrc.network import MultiTaskNetwork
from atrc.sharing.architecture import Architecture
from atrc.sharing.card import model_card
from atrc.sharing.weights import at_most, load_weights

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save(
    network: MultiTaskNetwork,
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    metrics: Mapping[str, str] | None = None,
    data: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> None:
    """Write a network to a folder: model.safetensors, config.json, and a README.md unless there is one.

    Args:
        network: The network, as `build_network` or `load` returned it.
        folder: The folder.
        dtype: Precision of the weights in the file, such as torch.float16; the network's own by default.
        metrics: For the README.md, the score of each task.
        data: For the README.md, what it was scored on.
        settings: For the README.md, how it was trained.

    Raises:
        UserError: The network cannot be built again, or the folder cannot be written.
    """
    architecture = Architecture.of(network)
    weights = {key: value.contiguous() for key, value in _in_precision(network, dtype).state_dict().items()}
    content = {
        WEIGHTS: to_bytes(weights, metadata={"format": "pt"}),
        CONFIG: (json.dumps(architecture.to_dict(), indent=2) + "\n").encode(),
        CARD: model_card(architecture, metrics=metrics, data=data, settings=settings).encode(),
    }
    folder = Path(folder)
    try:
        for name, written in content.items():
            if name != CARD or not (folder / name).exists():
                write_atomic(folder / name, written)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error


def push(folder: str | Path, name: str, *, private: bool | None = None, token: str | bool | None = None) -> str:
    """Upload a folder that `save` wrote to the Hugging Face Hub.

    Args:
        folder: The folder.
        name: Its name on the Hub: owner/name.
        private: Whether a new repository is private; the owner's default if not given.
        token: For the Hub; that of `hf auth login` by default.

    Returns:
        The address of the commit.
    """
    hub = HfApi(token=token)
    name = hub.create_repo(name, private=private, exist_ok=True).repo_id
    files = [CONFIG, WEIGHTS, CARD]
    return str(hub.upload_folder(repo_id=name, folder_path=folder, allow_patterns=files, commit_message="Push network"))


def load(where: str | Path, **options: Any) -> MultiTaskNetwork:
    """Load a network that `save` wrote. No data set is needed, and no other weights are fetched.

    Args:
        where: The folder, or a name on the Hugging Face Hub: owner/name.
        options: Of `huggingface_hub.hf_hub_download`: revision, token, cache_dir, local_files_only, force_download.

    Returns:
        The network in evaluation mode, in single precision on the CPU.

    Raises:
        UserError: Nothing of that name, or not a network that this atrc can build.
    """
    if Path(where).is_dir():
        return load_folder(Path(where))
    try:
        config, _ = (hf_hub_download(str(where), name, **options) for name in (CONFIG, WEIGHTS))
    except Exception as error:  # offline, forbidden, missing, not a name: the Hub's client raises many kinds
        raise UserError(
            f"{where}: no such folder, and the Hugging Face Hub has no network of that name "
            f"({type(error).__name__}: {first_line(error)}); check the name, or download it while online"
        ) from error
    return load_folder(Path(config).parent)


def load_folder(folder: Path) -> MultiTaskNetwork:
    """Load what `save` wrote.

    Raises:
        UserError: A file is missing or not what it should be.
    """
    path = folder / CONFIG
    try:
        architecture = Architecture.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `atrc publish` writes one") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({first_line(error)}); save the network again") from None
    weights = _read_weights(folder / WEIGHTS)
    try:
        with at_most(weights):
            network = architecture.build()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    load_weights(network, weights, folder / WEIGHTS)
    return network.eval()


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `atrc publish` writes one") from None
    except Exception as error:  # safetensors raises its own kind, and others on what it does not know
        raise UserError(f"{path}: not readable ({first_line(error)}); save the network again") from None


def _in_precision(network: MultiTaskNetwork, dtype: torch.dtype | None) -> MultiTaskNetwork:
    """Return the network, or a copy in another precision."""
    if dtype is None:
        return network
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype}: weights are saved as one of {', '.join(map(str, DTYPES))}")
    network = copy.deepcopy(network).to(dtype)
    for key, value in network.state_dict().items():
        if not value.isfinite().all():
            raise UserError(f"{key} is not finite in {dtype}; save in torch.bfloat16 or torch.float32")
    return network
