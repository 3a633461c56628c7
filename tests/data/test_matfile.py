"""The reader of MAT files against SciPy's, on what SciPy writes and reads well."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix, issparse

from atrc.data.matfile import HDF5Error, read_mat

NUMBERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "?"]


def plain(value):
    """What SciPy read, in the form of our reader."""
    if issparse(value):
        return value.toarray()
    if value.dtype.names:
        return tuple({name: plain(item[name]) for name in value.dtype.names} for item in value.flatten("F"))
    if value.dtype == object:
        return [plain(item) for item in value.flatten("F")]
    if value.dtype.kind == "U":  # one string for each row
        width = value.dtype.itemsize // 4
        return np.array([list(row.ljust(width)) for row in value.flat], "U1").reshape(value.size, -1)
    return value


def same(a, b):
    if isinstance(a, np.ndarray):
        a = a.astype("u1") if a.dtype == bool else a  # SciPy does not tell logical matrices from bytes
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))


def cells(content):
    """A cell array of values."""
    array = np.empty((1, len(content)), object)
    for i, value in enumerate(content):
        array[0, i] = value
    return array


matrices = st.sampled_from(NUMBERS).flatmap(
    lambda kind: arrays(kind, array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4))
)
words = st.text("abcxyz_ 0é", min_size=1, max_size=9)
names = st.text("abc", min_size=1, max_size=4)
values = st.recursive(
    matrices | words,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(cells) | st.dictionaries(names, inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(value=values, compressed=st.booleans())
def test_what_scipy_writes_is_read_as_scipy_reads_it(tmp_path_factory, value, compressed):
    path = tmp_path_factory.getbasetemp() / "a.mat"
    savemat(path, {"first": 1.5, "wanted": value, "last": "x"}, do_compression=compressed)
    assert same(read_mat(path, "wanted"), plain(loadmat(path)["wanted"]))


def test_sparse_matrices_are_filled_in(tmp_path):
    full = np.zeros((5, 4))
    full[1, 0], full[4, 0], full[2, 3] = 2, -1, 0.5
    savemat(tmp_path / "a.mat", {"s": csc_matrix(full), "none": csc_matrix((3, 2))})
    assert np.array_equal(read_mat(tmp_path / "a.mat", "s"), full)
    assert np.array_equal(read_mat(tmp_path / "a.mat", "none"), np.zeros((3, 2)))


def test_numbers_stored_in_a_smaller_type_have_the_type_of_their_class(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(HEADER + matrix(double, (2, 2), b"x", element(2, b"\1\2\3\4")))  # doubles stored as bytes
    found = read_mat(path, "x")
    assert found.dtype == np.float64
    assert found.tolist() == [[1, 3], [2, 4]]


def test_the_other_byte_order_is_read(tmp_path):
    body = struct.pack(">II2IIIiiHH4sII2d", 6, 8, 6, 0, 5, 8, 1, 2, 1, 1, b"x", 9, 16, 1.5, -2)
    (tmp_path / "a.mat").write_bytes(b" " * 124 + b"\1\0MI" + struct.pack(">II", 14, len(body)) + body)
    assert read_mat(tmp_path / "a.mat", "x").tolist() == [[1.5, -2]]


HEADER = b"MATLAB 5.0".ljust(124) + b"\0\1IM"
double, cell_, struct_, char, sparse, opaque = 6, 1, 2, 4, 5, 17


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def matrix(kind, size, name, *content, flags=0):
    dims = element(5, struct.pack(f"<{len(size)}i", *size))
    return element(14, element(6, struct.pack("<II", kind | flags, 0)) + dims + element(1, name) + b"".join(content))


def ints(*values):
    return element(5, struct.pack(f"<{len(values)}i", *values))


DEEP = matrix(double, (1, 1), b"", element(2, b"\1"))
for _ in range(20):
    DEEP = matrix(cell_, (1, 1), b"x", DEEP)

WRONG = {
    "nothing": (b"", "no header"),
    "half a tag": (HEADER + b"\0\0\0\0", "cut off"),
    "longer than the file": (HEADER + struct.pack("<II", 14, 99) + b"\0" * 8, "cut off"),
    "too few numbers": (HEADER + matrix(double, (2, 2), b"x", element(2, b"\1\2\3")), r"3 elements in a matrix of"),
    "too many cells": (HEADER + matrix(cell_, (1 << 15, 1 << 15), b"x"), "cut off"),
    "a negative size": (HEADER + matrix(double, (-1, -4), b"x", element(2, b"\1\2\3\4")), r"of size \(-1, -4\)"),
    "one dimension": (HEADER + matrix(double, (4,), b"x", element(2, b"\1\2\3\4")), r"of size \(4,\)"),
    "unknown numbers": (HEADER + matrix(double, (1, 1), b"x", element(77, b"\1")), "numbers of unknown type 77"),
    "unknown text": (HEADER + matrix(char, (1, 1), b"x", element(9, b"\1" * 8)), "text of unknown type 9"),
    "a number in a cell": (HEADER + matrix(cell_, (1, 1), b"x", element(2, b"\1")), "in the place of a matrix"),
    "twenty cells": (HEADER + DEEP, "nested too deeply"),
    "no field names": (HEADER + matrix(struct_, (1 << 14, 1 << 14), b"x", ints(8), element(1, b"")), "without fields"),
    "field names of no length": (HEADER + matrix(struct_, (1, 1), b"x", ints(0), element(1, b"ab")), "unequal length"),
    "a row beyond": (
        HEADER + matrix(sparse, (2, 1), b"x", ints(7), ints(0, 1), element(9, struct.pack("<d", 1))), "beyond its size"
    ),
    "columns beyond": (
        HEADER + matrix(sparse, (2, 1), b"x", ints(0), ints(0, 9), element(9, struct.pack("<d", 1))), "do not follow"
    ),
    "vast and sparse": (
        HEADER + matrix(sparse, (1 << 30, 1 << 30), b"x", ints(0), ints(0, 1), element(2, b"\1")), "too large"
    ),
    "cut in the zip": (HEADER + struct.pack("<II", 15, 9) + zlib.compress(DEEP)[:9], "cut off or too large"),
    "no zip": (HEADER + element(15, b"\xff" * 8), "incorrect header"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_every_length_is_checked(tmp_path, case):
    content, message = WRONG[case]
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_mat(tmp_path / "a.mat", "x")


def test_what_is_not_read_here_is_none(tmp_path):
    (tmp_path / "a.mat").write_bytes(HEADER + matrix(opaque, (1, 1), b"x") + matrix(double, (1, 1), b"z", flags=0x0800))
    assert read_mat(tmp_path / "a.mat", "x") is None
    assert read_mat(tmp_path / "a.mat", "z") is None
    with pytest.raises(KeyError):
        read_mat(tmp_path / "a.mat", "y")


@pytest.mark.parametrize("content", [HEADER[:124] + b"\0\2IM" + b"\0" * 9, b"\x89HDF\r\n\x1a\n" + b"\0" * 300])
def test_version_7_3_has_an_error_of_its_own(tmp_path, content):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(HDF5Error):
        read_mat(tmp_path / "a.mat", "x")
