"""Checkpoints and shared folders of networks: each is read, or refused by a `UserError`, and no code in it runs."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import mutations
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutations import CANARY
from safetensors.torch import save

from atrc.errors import UserError
from atrc.network import NetworkConfig, build_network
from atrc.sharing import Architecture
from atrc.sharing.hub import load_folder
from atrc.tasks import Depth, SemanticSegmentation, tasks_to_dicts
from atrc.training.recipe import Recipe
from atrc.training.run.checkpoint import FORMAT, Checkpoint

TASKS = (SemanticSegmentation(num_classes=3, class_names=("a", "b", "c")), Depth(bins=5))
BACKBONE = "timm:test_efficientnet"
SHAPES = {"backbone.a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(4), "c": torch.ones(2, 2).t().half()}


@functools.cache
def network() -> Any:
    torch.manual_seed(0)
    return build_network(NetworkConfig(backbone=BACKBONE), TASKS)


@functools.cache
def documents() -> tuple[dict[str, Any], ...]:
    """Checkpoints as plain values; those of tensors that fit no network are quick to try."""
    recipe = Recipe().to_dict()
    recipe["network"]["backbone"] = BACKBONE
    content = {
        "format": FORMAT, "version": 1, "step": 3, "seconds": 1.5, "phase": "train", "recipe": recipe,
        "tasks": tasks_to_dicts(TASKS), "genotype": None, "branching": None, "layout": "NYUD_MT",
        "network": OrderedDict(SHAPES), "training": {"optimizer": {"state": {0: {"m": torch.ones(2)}}},
        "precision": {}},
    }  # fmt: skip
    rows = {t: dict.fromkeys(("semseg", "depth"), "local") for t in ("semseg", "depth")}
    atrc = {**recipe, "network": {**recipe["network"], "distillation": "atrc", "genotype": "local"}}
    return content, {**content, "recipe": atrc, "genotype": rows}, {**content, "phase": "search"}


class Called:
    """Pickled, it calls something."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


CALLS = st.sampled_from(
    [Called(os.system, f"touch {CANARY}"), Called(exec, f"{CANARY}()"), Called(eval, f"{CANARY}"), Called(bytearray,
    1 << 33),
     Called(torch.zeros, 1 << 32), Called(torch.Size, [1]), Called(set, [1]), Called(getattr, "a", "upper"),
     Called(open, CANARY, "w"),
     Called(OrderedDict, [("a", 1)]), Called(torch.device, "cuda"), torch.float32, torch.nn.Linear(2, 2),
     torch.nn.Parameter(torch.ones(2)),
     torch.ones(1).expand(1 << 20), torch.ones(3).to_sparse(), torch.empty(1 << 40, device="meta"), Called(torch.load,
     "a.ckpt")]
)  # fmt: skip
tensors = st.sampled_from(
    [torch.zeros(0), torch.tensor(float("nan")), torch.ones(2, 3, dtype=torch.complex64), torch.ones(4).bool()]
)


def torch_saved(document: Any, seed: int, method: int) -> bytes:
    """A file of `torch.save`; some with changes of what is pickled or of how it is packed."""
    rng, file = random.Random(seed), io.BytesIO()
    try:
        torch.save(document, file)
    except (TypeError, ValueError, pickle.PicklingError, RecursionError, UnicodeError):  # what cannot be pickled
        return b""
    content = file.getvalue()
    if rng.random() < 0.35:
        content = repacked(content, rng, method)
    return mutations.mutated(content, rng) if rng.random() < 0.25 else content


def repacked(content: bytes, rng: random.Random, method: int) -> bytes:
    """Change what is pickled, and pack it again, so that the checksums are right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl") or rng.random() < 0.1:
                data = opcodes(data, rng) if rng.random() < 0.5 else mutations.mutated(data, rng)
            if rng.random() > 0.05:
                new.writestr(name, data)
    return out.getvalue()


def opcodes(data: bytes, rng: random.Random) -> bytes:
    """Put opcodes into a pickle: calls, vast indices and lengths, copies."""
    at = rng.randrange(len(data) + 1)
    new = rng.choice(
        [b"cos\nsystem\n", f"cos\nsystem\n(X\6\0\0\0{CANARY[:6]}tR".encode(), b"r\xff\xff\xff\x7f",
        b"\x8e" + b"\xff" * 8, b"i__main__\nx\n",
         b"2" * 999, b"(" * 9999, b"\x95" + b"\xff" * 8, b"\x8a\xff" + b"\xff" * 255, b"\x8b\xff\xff\xff\x7f",
         b"\x82\1", b"cbuiltins\nbytearray\nJ\0\0\0\x40\x85R",
         b"J\xff\xff\xff\x7f", b"]" * 99, b"Q", b"R", b"b", b"0", b"."]
    )  # fmt: skip
    return data[:at] + new + data[at:]


@functools.cache
def weights() -> bytes:
    return save({key: value.contiguous() for key, value in network().state_dict().items()})


@functools.cache
def configs() -> tuple[dict[str, Any], ...]:
    content = json.loads(json.dumps(Architecture.of(network()).to_dict()))
    rows = {t: dict.fromkeys(("semseg", "depth"), "local") for t in ("semseg", "depth")}
    atrc = {**content, "network": {**content["network"], "distillation": "atrc"}, "genotype": rows}
    many = {**content, "tasks": [{**content["tasks"][0], "name": f"t{i}"} for i in range(9)]}
    wide = {**atrc, "network": {**atrc["network"], "attention_channels": 4096}}
    names = ("timm:vgg11", "timm:test_vit", "timm:hf-hub:a/b", "timm:local-dir:/etc", "hrnet18")
    others = [{**content, "network": {**content["network"], "backbone": name}} for name in names]
    return content, content, content, atrc, many, wide, *others


def small_safetensors() -> bytes:
    return save({key: value.contiguous() for key, value in SHAPES.items()})


def headed(header: Any, size: int, content: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size < 0 else size) + text + content


HEADER = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
tensor_files = mutations.of_bytes((small_safetensors(),)) | st.builds(
    headed,
    mutations.edited([HEADER]),
    st.sampled_from([-1, -1, -1, 0, 2**40, 2**64 - 1]),
    st.sampled_from([bytes(24), b""]),
)
shared = st.builds(
    lambda config, tensors: {"config.json": config, "model.safetensors": tensors},
    st.deferred(lambda: mutations.of_json(list(configs()))),
    mutations.rarely(tensor_files, st.deferred(lambda: st.just(weights()))),
)
edits = st.deferred(lambda: mutations.edited(list(documents()), mutations.values | CALLS | tensors))
methods = st.sampled_from([zipfile.ZIP_STORED] * 4 + [zipfile.ZIP_DEFLATED])
whole = st.deferred(lambda: st.just({**documents()[0], "network": network().state_dict()}))
edits = mutations.rarely(edits, whole)
checkpoints = st.builds(torch_saved, edits, mutations.seeds, methods)


@pytest.fixture(autouse=True, scope="module")
def _built_before_examples_are_drawn():
    for make in (
        network,
        documents,
        weights,
        configs,
    ):  # beartype draws from the module random, which strategies may not
        make()


@mutations.few
@given(checkpoints)
def test_checkpoints_are_read_or_refused(content):
    with mutations.folder({"a.ckpt": content}) as folder, suppress(UserError):
        Checkpoint.load(folder / "a.ckpt").build()


@mutations.few
@given(shared)
def test_shared_folders_are_read_or_refused(files):
    with mutations.folder(files) as folder, suppress(UserError):
        load_folder(folder)
