"""What fuzzing found, each by the smallest file that shows it."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from guard import CANARY, Sandbox, attempt
from mutations import BOMB, MERGES
from PIL import Image
from test_hostile_archives import bomb, fetch
from test_hostile_matrices import HEADER, element, zip_bomb
from test_hostile_networks import BACKBONE, TASKS, Called, configs, documents, small_safetensors
from test_hostile_texts import FOLDER, OWN, text

from atrc.data import matfile
from atrc.data.archives import ensure_folder
from atrc.data.files import read_npy, read_png
from atrc.data.folder import Description
from atrc.data.matlab import label_map
from atrc.errors import LONGEST, UserError
from atrc.genotype import Genotype
from atrc.metrics.boundary.folders import read_prediction, read_truth
from atrc.sharing.hub import load_folder
from atrc.training.recipe.files import read_recipe
from atrc.training.run.checkpoint import Checkpoint


@pytest.fixture
def refused(tmp_path):
    """Return what an error says of files that are read under watch."""

    def read(reader, **files):
        files = {name.replace("_", "."): content for name, content in files.items()}
        verdict = attempt(reader, Sandbox(tmp_path / "tree"), files)
        assert verdict.outcome == "refused", verdict
        return verdict.reason

    return read


def test_an_error_is_one_line_of_printable_characters_and_not_without_end():
    error = UserError("a\nb\x1b[2J\ud800" + "x" * 5000 + "; do this")
    assert str(error).startswith(r"a\nb\x1b[2J\ud800xxx")
    assert str(error).endswith("x; do this")
    assert len(str(error)) < LONGEST + 30
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"step": ' + b"9" * 5000 + b"}", b'{"contexts": {"a\\n": {"b": 7}}}']
)
def test_json_of_depths_and_lengths_that_python_refuses(refused, content):
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
def test_yaml_that_fills_the_memory_or_is_not_of_its_tag(refused, name, said):
    content = text(OWN).replace(b"name: own", f"name: {name}".encode())
    assert said in refused(Description.load, dataset_yaml=content, **FOLDER)


def test_a_folder_whose_name_no_folder_can_have(refused):
    assert "there is no folder" in refused(Description.load, dataset_yaml=text(OWN | {"images": "a\0b"}), **FOLDER)


def test_a_recipe_with_an_empty_section(refused):
    assert "optim is None" in refused(lambda folder: read_recipe([folder / "a.yaml"]), a_yaml=b"optim:\n")


def numbers(kind, code, *values):
    return element(kind, struct.pack(f"<{len(values)}{code}", *values))


def matrix(kind, size, *content):
    return HEADER + element(14, numbers(6, "I", kind, 0) + size + element(1, b"LabelMap") + b"".join(content))


MATS = {
    "an endless size": matrix(6, numbers(9, "d", float("inf"), 1.0), numbers(9, "d", 1.0)),
    "a thousand dimensions": matrix(6, numbers(5, "i", *[2**30] * 1000), numbers(9, "d", 1.0)),
    "rows that are fractions": matrix(
        5, numbers(5, "i", 2, 1), numbers(9, "d", 0.5), numbers(5, "i", 0, 1), numbers(9, "d", 1.0)
    ),
    "no number as a whole one": matrix(10, numbers(5, "i", 1, 2), numbers(9, "d", float("nan"), -1.0)),
    "a bomb": zip_bomb(1 << 29),
    "elements without end": matrix(1, numbers(5, "i", 1, 1 << 21), struct.pack("<II", 14, 0) * (1 << 21)),
}


@pytest.mark.parametrize("name", MATS)
def test_mat_files_that_once_raised_warned_or_took_gigabytes(refused, name):
    refused(lambda folder: label_map(folder / "a.mat"), a_mat=MATS[name])


def npy(header, content=b""):
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + content


def test_an_error_about_a_matrix_that_is_too_large_does_not_hold_it(tmp_path, monkeypatch):
    monkeypatch.setattr(matfile, "LARGEST", 1 << 24)
    (tmp_path / "a.mat").write_bytes(zip_bomb(1 << 25))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too large") as held:
            matfile.read_mat(tmp_path / "a.mat", "LabelMap")
        assert tracemalloc.get_traced_memory()[0] < 1 << 20, held
    finally:
        tracemalloc.stop()


def test_arrays_of_old_headers_are_read_without_a_warning(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }", bytes(8)))
    assert read_npy(tmp_path / "a.npy").tolist() == [[0], [0]]


def test_records_and_archives_are_no_boundaries(refused):
    records, file = io.BytesIO(), io.BytesIO()
    np.save(records, np.zeros((2, 2), [("a", "f4")]))
    np.savez(file, a=np.zeros((2, 2)))
    for content in (records.getvalue(), file.getvalue()):
        refused(lambda folder: read_truth(folder / "a.npy"), a_npy=content)


def test_doubles_beyond_a_float_are_read_as_infinite(tmp_path):
    np.save(tmp_path / "a.npy", np.full((1, 1), 1e300))
    assert np.isinf(read_prediction(tmp_path / "a.npy")).all()


def test_a_program_in_postscript_is_not_given_to_ghostscript(refused):
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    assert "not a readable picture" in refused(lambda folder: read_png(folder / "a.png"), a_png=program)


def test_a_picture_of_a_few_bytes_that_tells_of_a_gigabyte(refused):
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    assert "10000 x 10000 pixels, more than" in refused(
        lambda folder: read_png(folder / "a.png"), a_png=file.getvalue()
    )


def test_a_zipped_file_without_a_name(refused):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        info = zipfile.ZipInfo("x")
        info.filename = ""
        made.writestr(info, b"x")
    assert "holds nothing" in refused(lambda folder: ensure_folder(folder / "data"), data_zip=file.getvalue())


@pytest.mark.parametrize("kind", ["name", "pax"])
def test_a_name_of_many_megabytes_is_not_read(refused, kind):
    assert "impossible length" in refused(lambda folder: ensure_folder(folder / "data"), data_tgz=bomb(kind, 1 << 25))


@pytest.mark.timeout(60)
def test_a_file_of_exabytes_that_is_not_there_ends_at_once(refused):
    header = tarfile.TarInfo("._x")  # passed over, so that its size does not count
    header.size = 1 << 62
    content = header.tobuf(tarfile.GNU_FORMAT)
    said = refused(lambda folder: ensure_folder(folder / "data"), data_tgz=gzip.compress(content))
    assert "it ends within a member" in said


@pytest.mark.parametrize("line", ["Content-Length: \xb2", "Content-Range: bytes 0-9/" + "9" * 5000, "Location: //[::"])
def test_headers_that_are_no_numbers_or_addresses(tmp_path, line):
    status = "302 Found" if line.startswith("Location") else "200 OK"
    answer = f"HTTP/1.1 {status}\r\n{line}\r\n\r\nx".encode("latin-1")
    verdict = attempt(fetch, Sandbox(tmp_path / "tree"), {"answer0": answer}, network=True)
    assert verdict.outcome == ("refused" if status[0] == "3" else "accepted"), verdict


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def load(folder):
    return Checkpoint.load(folder / "a.ckpt").build()


@pytest.mark.parametrize(
    "call", [Called(os.system, f"touch {CANARY}"), Called(exec, f"{CANARY}()"), Called(bytearray, 1 << 33)]
)
def test_a_pickled_payload_is_refused_and_not_run(refused, call):
    assert "holds code to run (" in refused(load, a_ckpt=saved({**documents()[0], "training": {"optimizer": call}}))


def test_a_checkpoint_of_a_newer_format_is_refused_by_name(refused):
    said = refused(load, a_ckpt=saved({**documents()[0], "version": 7}))
    assert said.endswith("a.ckpt: made by a newer atrc (format 7, this reads up to 1): update atrc")


@pytest.mark.parametrize("key", list(documents()[0])[2:])
def test_a_checkpoint_that_lacks_something_or_has_something_else_there(refused, key):
    content = documents()[0]
    assert key in refused(load, a_ckpt=saved({k: value for k, value in content.items() if k != key}))
    assert key in refused(load, a_ckpt=saved({**content, key: torch.ones(2)}))


def test_tensors_of_more_numbers_than_the_file_holds(refused):
    assert "not a readable" in refused(load, a_ckpt=saved({**documents()[0], "x": torch.ones(1).expand(1 << 30)}))


def test_a_packed_checkpoint_is_not_unpacked(refused):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", pickle.dumps({}, 2))
        made.writestr("archive/data/0", bytes(1 << 20))
    assert "not written by torch.save" in refused(load, a_ckpt=file.getvalue())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": [{"kind": ["semseg"]}]}, "unknown kind of task"),
        ({"tasks": [configs()[0]["tasks"][1]] * 33}, "33 of them, more than the 32"),
        (
            {"network": {"backbone": BACKBONE, "distillation": "atrc", "attention_channels": 4096}},
            "many more parameters",
        ),
        ({"version": 7}, "made by a newer atrc (format 7, this reads up to 1): update atrc"),
    ],
)
def test_a_shared_folder_that_asks_for_what_it_does_not_hold(refused, change, said):
    rows = {t.name: {s.name: "local" for s in TASKS} for t in TASKS}
    config = {**configs()[0], **change}
    config["genotype"] = rows if config["network"].get("distillation") == "atrc" else None
    content = json.dumps(config).encode()
    files = {"config_json": content, "model_safetensors": small_safetensors()}
    assert said in refused(load_folder, **files)
