"""MAT files, and NumPy's arrays."""

from __future__ import annotations

import functools
import io
import os
import random
import struct
import zlib
from pathlib import Path

import mutations
import numpy as np
import pytest
from guard import CANARY
from hypothesis import strategies as st
from readers import Reader, check_slice
from scipy.io import savemat
from scipy.sparse import csc_matrix

from atrc.data.files import read_normals, read_npy
from atrc.data.folder_labels import ClassLabels, DepthLabels, MaskLabels
from atrc.data.matlab import label_map, load_struct, load_variable
from atrc.data.pascal import PASCALContext
from atrc.errors import UserError
from atrc.metrics.boundary.folders import read_prediction, read_truth
from atrc.tasks import Boundaries, HumanParts
from folders import struct_array


def mat(**variables: object) -> bytes:
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def mat_seeds() -> tuple[bytes, ...]:
    person = np.zeros((6, 5), np.uint8)
    person[1:4, 1:3] = 1
    parts = struct_array([{"part_name": "head", "mask": person}, {"part_name": "llleg", "mask": person}])
    entry = {"class": "person", "class_ind": 15, "mask": person, "parts": parts}
    maps = [np.arange(12.0).reshape(3, 4), np.arange(12, dtype=np.uint16).reshape(3, 4), np.eye(3, dtype=bool)]
    made = [mat(anno={"imname": "x", "objects": struct_array([entry, entry])}, LabelMap=maps[0])]
    made += [mat(LabelMap=array) for array in maps]
    made += [
        mat(LabelMap=csc_matrix(maps[0])),
        mat(LabelMap=np.array([["a"]], object), text="ab"),
        mat(LabelMap=1 + 2j),
    ]
    return tuple(made)


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


numbers = st.one_of(
    st.builds(
        lambda values: element(5, struct.pack(f"<{len(values)}i", *values)), st.lists(st.integers(-2, 9), max_size=4)
    ),
    st.builds(
        lambda values: element(9, struct.pack(f"<{len(values)}d", *values)),
        st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5, -1.0, 1e300, float("nan"), float("inf")]), max_size=5),
    ),
    st.builds(lambda kind, size: element(kind, bytes(size)), st.integers(0, 20), st.integers(0, 9)),
    st.builds(lambda text: element(16, text.encode("utf-8", "surrogatepass")), st.sampled_from(mutations.TEXTS)),
)
sizes = st.one_of(
    st.lists(st.sampled_from([0, 1, 2, 3, 4, -1, 2**15, 2**31 - 1]), max_size=4).map(
        lambda values: element(5, struct.pack(f"<{len(values)}i", *values))
    ),
    st.integers(0, 3000).map(lambda count: element(5, struct.pack("<i", 2**30) * count)),
    numbers,
)
plain = st.builds(
    lambda kind, flags, size, name, content: element(
        14, element(6, struct.pack("<II", kind | flags, 9)) + size + element(1, name) + b"".join(content)
    ),
    st.integers(0, 18), st.sampled_from([0, 0, 0x200, 0x800]), sizes, st.sampled_from([b"LabelMap", b"anno", b"\xff"]),
    st.lists(numbers, max_size=4),
)  # fmt: skip
nested = st.recursive(
    plain,
    lambda inner: st.builds(
        lambda kind, count, names, content: element(
            14,
            element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<ii", 1, count)) + element(1, b"LabelMap")
            + (element(5, struct.pack("<i", 4)) + element(1, names) if kind == 2 else b"") + b"".join(content),
        ),
        st.sampled_from([1, 2]), st.integers(0, 4), st.sampled_from([b"a\0\0\0b\0\0\0", b"mask", b"", b"a\0\0\0" * 2]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=5,
)  # fmt: skip
HEADER = b"MATLAB 5.0".ljust(124) + b"\0\1IM"


def zipped(body: bytes, seed: int) -> bytes:
    """A file whose only element is zipped, after changes of what is in it."""
    rng = random.Random(seed)
    content = zlib.compress(mutations.mutated(body, rng) if rng.random() < 0.8 else body)
    return HEADER + struct.pack("<II", 15, len(content)) + content


@functools.cache
def zip_bomb(size: int) -> bytes:
    head = element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", 1, size)) + element(1, b"LabelMap")
    body = head + struct.pack("<II", 2, size)
    packer = zlib.compressobj()
    content = packer.compress(struct.pack("<II", 14, len(body) + size) + body)
    for _ in range(0, size, 1 << 20):
        content += packer.compress(bytes(1 << 20))
    content += packer.flush()
    return HEADER + struct.pack("<II", 15, len(content)) + content


def read_matrices(folder: Path) -> None:
    path = folder / "human_parts" / "a.mat"
    data = PASCALContext(folder, "train", ["human_parts", "edge"])
    reads = [lambda: label_map(path), lambda: load_struct(path, "anno"), lambda: load_variable(path, "text")]
    reads += [lambda: data.read_label(HumanParts(), "a"), lambda: data.read_label(Boundaries(), "b")]
    some(reads)


def some(reads: list) -> None:
    """Read in all ways; it is refused if it is by all."""
    refusals = []
    for read in reads:
        try:
            read()
        except UserError as error:
            refusals.append(error)
    if len(refusals) == len(reads):
        raise refusals[0]


class Payload:
    """Pickled, it asks for a program."""

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {CANARY}",)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def npy_seeds() -> tuple[bytes, ...]:
    base = np.linspace(0, 3, 24).reshape(4, 6)
    made = [
        npy(base.astype(kind))
        for kind in ("f2", "f4", ">f8", "u1", "i4", "<u8", "?", "c8", "longdouble", "M8[s]", "U3")
    ]
    made += [npy(np.asfortranarray(base)), npy(np.full((2, 3, 3), 0.577, np.float32)), npy(np.array(Payload(), object))]
    made += [
        npy(np.array([[Payload()]], object)),
        npz(a=base),
        npz(a=np.array(Payload(), object)),
        npy(np.zeros((0, 3))),
    ]
    return (*made, npy(np.zeros((2, 2), [("a", "f4"), ("b", "O")])), b"\x80\x04c" + b"os\nsystem\n.")


descriptions = st.sampled_from(
    ["<f4", ">f8", "|u1", "|O", "<U9", "|V4", "<f99", "<m8", "|S0", "<i8,<f4", "", "f", "?", "<c16", "|b1", "a b", "\0"]
)
shapes = st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**31, 2**40, 2**62, True, 10**30]), max_size=5).map(tuple)
ODD_HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 2L), }", "__import__('os').system('touch hostile_canary')",
    "{" * 200, "(" * 3000, "{'descr': [('a', '<f4')], 'fortran_order': 0, 'shape': [2, 2]}", "1if 1else 2", "0x",
    "-" * 5000 + "1",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1_0, 0o7)}", "'\\d'",
    "{'shape': (), 'descr': 'f8', 'fortran_order': 1}",
)  # fmt: skip


def written(header: str, version: int, content: bytes) -> bytes:
    text = header.encode("utf-8", "replace")
    length = struct.pack("<H", len(text) % 2**16) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + content


headers = st.sampled_from(ODD_HEADERS) | st.builds(
    lambda descr, order, shape: repr({"descr": descr, "fortran_order": order, "shape": shape}),
    descriptions, st.sampled_from([True, False, None, 2]), shapes | st.sampled_from([None, 3, "a", (1.5,)]),
)  # fmt: skip
arrays = st.builds(
    written, headers, st.sampled_from([1, 1, 2, 3, 4]), st.sampled_from([b"", bytes(24), bytes(range(96))])
)


def read_arrays(folder: Path) -> None:
    path = folder / "a.npy"
    readers = [read_npy, read_normals, read_truth, read_prediction, DepthLabels("depth", 1.0, (0.0, float("nan"))).read]
    readers += [ClassLabels("semseg", {0: 0}, None, ("a",)).read, MaskLabels("edge", None, (255,)).read]
    some([lambda read=read: read(path) for read in readers])


bodies = tuple(content[128:] for content in mat_seeds())
mats = mutations.of_bytes(bodies).map(lambda body: HEADER + body) | mutations.of_bytes(mat_seeds())
mats |= st.builds(zipped, st.sampled_from(bodies), mutations.seeds)
mats |= (nested | plain).map(lambda body: HEADER + body) | st.builds(zipped, nested, mutations.seeds)
mats = mutations.rarely(mats, st.sampled_from([1 << 20, 1 << 20, 1 << 25, 1 << 29]).map(zip_bomb))
LIST = {"ImageSets/Context/train.txt": b"a\n", "gt_sets/train.txt": b"a\n"}

READERS = [
    Reader(
        "MAT",
        st.builds(lambda m: {"human_parts/a.mat": m, "pascal-context/trainval/b.mat": m} | LIST, mats),
        read_matrices,
        {"human_parts/a.mat": mat_seeds()[0], "pascal-context/trainval/b.mat": mat_seeds()[1]} | LIST,
        18,
    ),
    Reader(
        "NPY",
        st.builds(lambda a: {"a.npy": a}, mutations.of_bytes(npy_seeds()) | arrays),
        read_arrays,
        {"a.npy": npy_seeds()[0]},
        14,
    ),
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_matrices_are_read_or_refused(reader, tmp_path):
    check_slice(reader, tmp_path)
