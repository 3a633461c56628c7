"""Networks as folders of safetensors and JSON, here or on the Hugging Face Hub; nothing is ever pickled."""

from __future__ import annotations

import contextlib
import copy
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from atrc.errors import UserError
from atrc.sharing.architecture import Architecture
from atrc.sharing.card import model_card

if TYPE_CHECKING:
    from atrc.network.network import MultiTaskNetwork

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SPARE = 1 << 27  # parameters that a network may drop while it is built
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Shareable(nn.Module, PyTorchModelHubMixin):
    """What a network can be saved to, pushed to, and loaded from.

    Attributes:
        architecture: All that it takes to build it again; None if it was put together by hand.
    """

    architecture: Architecture | None = None

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> MultiTaskNetwork:
        """Load a network: no data set is needed, and no weights but its own are fetched.

        Args:
            pretrained_model_name_or_path: A folder that `save_pretrained` wrote, or a name on the Hub: owner/name.
            force_download: Fetch again what the Hub's cache holds.
            token: Of the Hub, for private networks.
            cache_dir: Where downloads are kept.
            local_files_only: Take the Hub's networks from the cache only.
            revision: Branch, tag or commit on the Hub.

        Returns:
            The network in evaluation mode, in single precision on the CPU.

        Raises:
            UserError: Nothing of that name, or not a network that this atrc can build.
        """
        where = str(pretrained_model_name_or_path)
        if Path(where).is_dir():
            return load_folder(Path(where))
        options: dict[str, Any] = {"force_download": force_download, "token": token, "cache_dir": cache_dir}
        options |= {"local_files_only": local_files_only, "revision": revision}
        try:
            config, _ = (hf_hub_download(where, name, **options) for name in (CONFIG, WEIGHTS))
            return load_folder(Path(config).parent)
        except UserError:
            raise
        except Exception as error:  # offline, forbidden, not there, not a name: the Hub's client raises many kinds
            raise UserError(
                f"{where}: no such folder, and the Hugging Face Hub gives none of that name "
                f"({type(error).__name__}: {_first_line(error)}); check the name, or download it while online"
            ) from error

    def save_pretrained(
        self, save_directory: str | Path, *, dtype: torch.dtype | None = None, **options: Any
    ) -> str | None:
        """Write the network to a folder: model.safetensors, config.json, and a README.md unless there is one.

        Args:
            save_directory: The folder.
            dtype: Precision of the weights in the file, such as torch.float16; the network's own by default.
            options: As in huggingface_hub's mixin; `model_card_kwargs={"metrics": {task: text}}` fills the README.md.

        Raises:
            UserError: The network cannot be built again, or the folder cannot be written.
        """
        network = self._shareable(dtype)
        try:
            return super(Shareable, network).save_pretrained(save_directory, **options)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{save_directory}: cannot be written ({reason}); choose another folder") from error

    def push_to_hub(self, repo_id: str, *, dtype: torch.dtype | None = None, **options: Any) -> str:
        """Upload the network to the Hugging Face Hub.

        Args:
            repo_id: Its name there: owner/name.
            dtype: Precision of the weights in the file; the network's own by default.
            options: As in huggingface_hub's mixin: private, token, commit_message ..

        Returns:
            The address of the commit.

        Raises:
            UserError: The network cannot be built again.
        """
        return super(Shareable, self._shareable(dtype)).push_to_hub(repo_id, **options)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the README.md; `metrics` are its tasks' results."""
        return ModelCard(model_card(_architecture(self), **kwargs))

    def _save_pretrained(self, save_directory: Path) -> None:
        weights = {key: value.detach().contiguous() for key, value in self.state_dict().items()}
        content = json.dumps(_architecture(self).to_dict(), indent=2) + "\n"
        partial = save_directory / f"{WEIGHTS}.partial"
        partial.write_bytes(save(weights, metadata={"format": "pt"}))  # save_file would hide it from other users
        partial.replace(save_directory / WEIGHTS)
        partial = save_directory / f"{CONFIG}.partial"
        partial.write_text(content, encoding="utf-8")
        partial.replace(save_directory / CONFIG)

    def _shareable(self, dtype: torch.dtype | None) -> Shareable:
        """Return this network, or a copy in another precision, if it can be saved at all."""
        _architecture(self)
        if dtype is None:
            return self
        if dtype not in DTYPES:
            raise UserError(f"dtype {dtype}: weights are saved as one of {', '.join(map(str, DTYPES))}")
        network = copy.deepcopy(self).to(dtype)
        for key, value in network.state_dict().items():
            if not value.isfinite().all():
                raise UserError(f"{key} is not finite in {dtype}; save in torch.bfloat16 or torch.float32")
        return network


def load_folder(folder: Path) -> MultiTaskNetwork:
    """Load what `save_pretrained` wrote.

    Raises:
        UserError: A file is missing or not what it should be.
    """
    from atrc.network.build import rebuild  # which builds on this

    path = folder / CONFIG
    try:
        architecture = Architecture.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `save_pretrained` writes one") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({_first_line(error)}); save the network again") from None
    weights = _read_weights(folder / WEIGHTS)
    try:
        with at_most(weights):
            network = rebuild(architecture)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    load_weights(network, weights, folder / WEIGHTS)
    return network.eval()


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `save_pretrained` writes one") from None
    except Exception as error:  # safetensors raises its own kind, and others on what it does not know
        raise UserError(f"{path}: not readable ({_first_line(error)}); save the network again") from None


@contextlib.contextmanager
def at_most(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuse to build a network that has more parameters than there are weights, before it fills the memory.

    A network may be built with some that it drops again, such as the classifier of a backbone.

    Raises:
        UserError: It has more.
    """
    thread, left = threading.get_ident(), SPARE + 4 * sum(value.numel() for value in weights.values())

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if parameter is None or parameter.is_meta or threading.get_ident() != thread:
            return
        left -= parameter.numel()
        if left < 0:
            raise UserError("asks for a network of many more parameters than there are weights; save it again")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], where: str | Path) -> None:
    """Fill a network with weights, all of them, in its own precision.

    Raises:
        UserError: They do not fit: the first key that is missing, unknown or of another shape is named.
    """
    own = network.state_dict()
    shapes = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    faults = {
        "missing": [key for key in own if key not in weights],
        "unknown": [key for key in weights if key not in own],
        "of another shape": shapes,
    }
    found = [f"{len(keys)} {fault}, '{keys[0]}' first" for fault, keys in faults.items() if keys]
    if found:
        raise UserError(f"{where}: the weights do not fit the network: {'; '.join(found)}; was it saved by this atrc?")
    network.load_state_dict(weights)


def _architecture(network: Shareable) -> Architecture:
    if network.architecture is None:
        raise UserError(
            "this network does not know how it was built, so nobody could load it: build it with "
            "atrc.network.build_network(NetworkConfig(..), tasks), or load that of a run; of a search's supergraph "
            "retrain the genotype or the branching, with atrc train, and save the network of that run"
        )
    return network.architecture


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
