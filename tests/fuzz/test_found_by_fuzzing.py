"""What fuzzing found, each by the smallest file that shows it."""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from mutations import BOMB, CANARY, MERGES, folder
from PIL import Image
from test_hostile_networks import BACKBONE, TASKS, Called, configs, documents, small_safetensors
from test_hostile_texts import FOLDER, OWN, text

from atrc.data.folder.dataset import Description
from atrc.errors import LONGEST, UserError
from atrc.genotype import Genotype
from atrc.images import read_values
from atrc.metrics.boundary.reading import read_prediction, read_truths
from atrc.sharing.hub import load_folder
from atrc.training.recipe.files import read_recipe
from atrc.training.run.checkpoint import Checkpoint


def refused(reader, **files):
    """Return what the error says about a folder with these files."""
    with (
        folder({name.replace("_", "."): content for name, content in files.items()}) as made,
        pytest.raises(UserError) as error,
    ):
        reader(made)
    return str(error.value)


def test_an_error_is_one_line_of_printable_characters_and_not_without_end():
    error = UserError("a\nb\x1b[2J\ud800" + "x" * 5000 + "; do this")
    assert str(error).startswith(r"a\nb\x1b[2J\ud800xxx")
    assert str(error).endswith("x; do this")
    assert len(str(error)) < LONGEST + 30
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"step": ' + b"9" * 5000 + b"}", b'{"contexts": {"a\\n": {"b": 7}}}']
)
def test_json_of_depths_and_lengths_that_python_refuses(content):
    assert "genotype file" in refused(lambda folder: Genotype.load(folder / "a.json"), a_json=content)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (BOMB, "longer than"), (MERGES, "longer than"), ("!!bool x", "not readable YAML"), ("!!timestamp x",
        "not readable YAML"),
        ("!!int ''", "not readable YAML"), ("0x" + "f" * 5000, "more than 64 bits"), ("!!python/name:os.system",
        "not readable YAML"),
        ("&r [*r]", "longer than"),
    ],
)  # fmt: skip
def test_yaml_that_fills_the_memory_or_is_not_of_its_tag(name, said):
    content = text(OWN).replace(b"name: own", f"name: {name}".encode())
    assert said in refused(Description.load, dataset_yaml=content, **FOLDER)


def test_a_folder_whose_name_no_folder_can_have():
    assert "there is no folder" in refused(Description.load, dataset_yaml=text(OWN | {"images": "a\0b"}), **FOLDER)


def test_a_recipe_with_an_empty_section():
    assert "optim is None" in refused(lambda folder: read_recipe([folder / "a.yaml"]), a_yaml=b"optim:\n")


def npy(header, content=b""):
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + content


def test_arrays_of_old_headers_are_read_without_a_warning(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }", bytes(8)))
    assert read_values(tmp_path / "a.npy").tolist() == [[0], [0]]


def test_records_and_archives_are_no_boundaries():
    records, file = io.BytesIO(), io.BytesIO()
    np.save(records, np.zeros((2, 2), [("a", "f4")]))
    np.savez(file, a=np.zeros((2, 2)))
    for content in (records.getvalue(), file.getvalue()):
        refused(lambda folder: read_truths(folder / "a.npy"), a_npy=content)


def test_doubles_beyond_a_float_are_read_as_infinite(tmp_path):
    np.save(tmp_path / "a.npy", np.full((1, 1), 1e300))
    assert np.isinf(read_prediction(tmp_path / "a.npy")).all()


def test_a_program_in_postscript_is_not_given_to_ghostscript():
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    assert "not a readable image" in refused(lambda folder: read_values(folder / "a.png"), a_png=program)


def test_a_picture_of_a_few_bytes_that_tells_of_a_gigabyte():
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    assert "10000 x 10000 pixels, more than" in refused(
        lambda folder: read_values(folder / "a.png"), a_png=file.getvalue()
    )


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def load(folder):
    return Checkpoint.load(folder / "a.ckpt").build()


@pytest.mark.parametrize(
    "call", [Called(os.system, f"touch {CANARY}"), Called(exec, f"{CANARY}()"), Called(bytearray, 1 << 33)]
)
def test_a_pickled_payload_is_refused_and_not_run(call):
    assert "holds code to run (" in refused(load, a_ckpt=saved({**documents()[0], "training": {"optimizer": call}}))


def test_a_checkpoint_of_a_newer_format_is_refused_by_name():
    said = refused(load, a_ckpt=saved({**documents()[0], "version": 7}))
    assert said.endswith("a.ckpt: made by a newer atrc (format 7, this reads up to 1): update atrc")


@pytest.mark.parametrize("key", list(documents()[0])[2:])
def test_a_checkpoint_that_lacks_something_or_has_something_else_there(key):
    content = documents()[0]
    assert key in refused(load, a_ckpt=saved({k: value for k, value in content.items() if k != key}))
    assert key in refused(load, a_ckpt=saved({**content, key: torch.ones(2)}))


def test_tensors_of_more_numbers_than_the_file_holds():
    assert "not a readable" in refused(load, a_ckpt=saved({**documents()[0], "x": torch.ones(1).expand(1 << 30)}))


def test_a_packed_checkpoint_is_not_unpacked():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", pickle.dumps({}, 2))
        made.writestr("archive/data/0", bytes(1 << 20))
    assert "not written by torch.save" in refused(load, a_ckpt=file.getvalue())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": [{"kind": ["semseg"]}]}, "unknown kind of task"),
        ({"tasks": [configs()[0]["tasks"][1]] * 33}, "33 of them; a network has at most 32"),
        (
            {"network": {"backbone": BACKBONE, "distillation": "atrc", "attention_channels": 4096}},
            "many more parameters",
        ),
        ({"version": 7}, "made by a newer atrc (format 7, this reads up to 1): update atrc"),
    ],
)
def test_a_shared_folder_that_asks_for_what_it_does_not_hold(change, said):
    rows = {t.name: {s.name: "local" for s in TASKS} for t in TASKS}
    config = {**configs()[0], **change}
    config["genotype"] = rows if config["network"].get("distillation") == "atrc" else None
    content = json.dumps(config).encode()
    files = {"config_json": content, "model_safetensors": small_safetensors()}
    assert said in refused(load_folder, **files)
