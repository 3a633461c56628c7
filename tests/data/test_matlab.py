"""PASCAL-Part's structs and PASCAL-Context's maps: nested as published, saved again in other ways, and broken."""

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from atrc.data.pascal import CLASSES_WITH_NORMALS, PARTS, PASCALContext
from atrc.errors import UserError
from atrc.tasks import HumanParts
from atrc_rooms.files import CONTEXT_VALUES
from atrc_rooms.profiles import BODY_GROUPS, BODY_PARTS, HUMAN_PARTS
from folders import encode_normals, struct_array

H, W = 12, 16
NOTHING = np.empty((0, 0))  # what MATLAB writes for []


@pytest.fixture
def root(tmp_path):
    """One image without labels."""
    for folder in ("JPEGImages", "human_parts", "pascal-context/trainval", "normals_distill", "ImageSets/Context"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (W, H)).save(tmp_path / "JPEGImages/a.jpg")
    (tmp_path / "ImageSets/Context/train.txt").write_text("a\n")
    return tmp_path


def box(top, left, height, width):
    mask = np.zeros((H, W), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def part(name, *where):
    return {"part_name": name, "mask": box(*where)}


def thing(name, index, parts):
    return {"class": name, "class_ind": index, "mask": box(0, 0, H, W), "parts": parts}


def read(root, objects):
    savemat(root / "human_parts/a.mat", {"anno": {"imname": "a", "objects": objects}})
    return read_saved(root)


def read_saved(root):
    sample = PASCALContext(root, "train", ["human_parts"])[0]
    return sample["truth"]["human_parts"].numpy(), sample["valid"]["human_parts"].numpy()


TWO_PARTS = [part("head", 0, 0, 2, 2), part("rfoot", 8, 0, 2, 2)]


def expected(*areas):
    labels = np.zeros((H, W), np.uint8)
    for value, *where in areas:
        labels[box(*where) > 0] = value
    return labels


def test_the_parts_of_all_persons_are_read_pixel_for_pixel(root):
    dog = thing("dog", 12, struct_array([part("head", 5, 5, 3, 3), part("lfpa", 9, 9, 2, 2)]))
    first = thing("person", 15, struct_array([part("torso", 2, 1, 4, 3), part("lebrow", 0, 1, 2, 2)]))
    empty = thing("person", 15, NOTHING)
    second = thing("person", 15, struct_array([part("ruarm", 3, 3, 3, 2), part("lhand", 6, 10, 2, 2)]))
    labels, valid = read(root, struct_array([dog, first, empty, second]))
    areas = (2, 2, 1, 4, 3), (1, 0, 1, 2, 2), (3, 3, 3, 3, 2), (4, 6, 10, 2, 2)  # the later person lies above
    assert np.array_equal(labels, expected(*areas))
    assert valid.all()


@pytest.mark.parametrize(
    "objects",
    [
        struct_array([thing("person", 15, NOTHING)]),
        struct_array([thing("person", 15, struct_array([part("head", 0, 0, 1, 1)])[:, :0])]),  # a struct array of none
        struct_array([thing("dog", 12, struct_array([part("tail", 0, 0, 2, 2)]))]),
        NOTHING,
        struct_array([thing("dog", 12, NOTHING)])[:, :0],
    ],
)
def test_an_image_without_parts_of_persons_is_valid_nowhere(root, objects):
    labels, valid = read(root, objects)
    assert labels.shape == (H, W)
    assert not labels.any()
    assert not valid.any()


def cell(*values, shape=(1, -1)):
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


PERSON = thing("person", 15, struct_array(TWO_PARTS))
FORMS = {
    "as published": struct_array([PERSON]),
    "a column": struct_array([PERSON]).T,
    "parts in a column": struct_array([PERSON | {"parts": struct_array(TWO_PARTS).T}]),
    "one object is a plain struct": PERSON,
    "a cell array of objects": cell(PERSON),
    "a cell array of parts": struct_array([PERSON | {"parts": cell(*TWO_PARTS)}]),
    "a column of cells": struct_array([PERSON | {"parts": cell(*TWO_PARTS, shape=(-1, 1))}]),
    "an empty cell among parts": struct_array([PERSON | {"parts": cell(*TWO_PARTS, NOTHING)}]),
    "names in cells": struct_array(
        [PERSON | {"parts": struct_array([p | {"part_name": cell(p["part_name"])} for p in TWO_PARTS])}]
    ),
    "class index of one byte": struct_array([PERSON | {"class_ind": np.uint8(15)}]),
    "class index of eight bytes": struct_array([PERSON | {"class_ind": np.float64(15)}]),
    "double masks": struct_array(
        [PERSON | {"parts": struct_array([p | {"mask": p["mask"] * 1.0} for p in TWO_PARTS])}]
    ),
    "sparse masks": struct_array(
        [PERSON | {"parts": struct_array([p | {"mask": csc_matrix(p["mask"] * 1.0)} for p in TWO_PARTS])}]
    ),
    "fields in another order": struct_array([dict(reversed(PERSON.items()))]),
    "further fields": struct_array([PERSON | {"occluded": 0, "bbox": np.zeros((1, 4))}]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_struct_that_was_saved_in_another_way_reads_the_same(root, form):
    labels, valid = read(root, FORMS[form])
    assert np.array_equal(labels, expected((1, 0, 0, 2, 2), (6, 8, 0, 2, 2)))
    assert valid.all()


def test_one_object_with_one_part_is_read(root):
    labels, valid = read(root, struct_array([thing("person", 15, struct_array([part("nose", 1, 1, 1, 1)]))]))
    assert labels[1, 1] == labels.sum() == 1
    assert valid.all()


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


BROKEN = {
    r"'anno\.objects\(1\)' has no field 'mask'": [without(PERSON, "mask")],
    r"'anno\.objects\(1\)' has no field 'class_ind'": [without(PERSON, "class_ind")],
    r"'anno\.objects\(1\)' has no field 'parts'": [without(PERSON, "parts")],
    r"parts\(1\)' has no field 'part_name'": [PERSON | {"parts": struct_array([{"mask": box(0, 0, 1, 1)}])}],
    r"parts\(2\)' has no field 'mask'": [PERSON | {"parts": cell(TWO_PARTS[0], {"part_name": "head"})}],
    r"'anno\.objects\(1\)\.mask' is not a matrix of pixels": [PERSON | {"mask": "text"}],
    r"'anno\.objects\(1\)\.parts\(1\)\.mask' is not a matrix": [
        PERSON | {"parts": struct_array([{"part_name": "head", "mask": NOTHING}])}
    ],
    r"'anno\.objects\(1\)\.parts' is not a struct array": [PERSON | {"parts": np.ones((2, 2))}],
    r"'anno\.objects\(1\)\.class_ind' is not a whole number": [PERSON | {"class_ind": 14.5}],
    r"objects\(1\)\.class_ind' is not a whole": [PERSON | {"class_ind": np.ones((1, 2))}],
    r"objects\(1\)\.class_ind' is not": [PERSON | {"class_ind": np.nan}],
    r"parts\(1\)\.part_name' is not text": [
        PERSON | {"parts": struct_array([{"part_name": np.ones((1, 1)), "mask": box(0, 0, 1, 1)}])}
    ],
    r"unknown part 'hat'; choose from hair, head": [PERSON | {"parts": struct_array([part("hat", 0, 0, 1, 1)])}],
    r"mask of anno\.objects\(1\)\.parts\(1\) is 2x3 pixels, the first object's 12x16": [
        PERSON | {"parts": struct_array([{"part_name": "head", "mask": np.ones((2, 3), np.uint8)}])}
    ],
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_missing_or_wrong_in_a_struct_is_named(root, message):
    with pytest.raises(UserError, match=rf"human_parts/a\.mat: .*{message}"):
        read(root, struct_array(BROKEN[message]))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"anno": {"imname": "a"}}, "'anno' has no field 'objects'"),
        ({"anno": np.ones((3, 3))}, "'anno' is not one struct"),
        ({"anno": NOTHING}, "'anno' is not one struct"),
        ({"anno": struct_array([{"objects": 1}, {"objects": 2}])}, "'anno' is not one struct"),
        ({"anno": {"objects": "text"}}, "'anno.objects' is not a struct array"),
        ({"other": 1}, "has no variable 'anno'"),
    ],
)
def test_another_variable_is_named(root, variables, message):
    savemat(root / "human_parts/a.mat", variables)
    with pytest.raises(UserError, match=message):
        read_saved(root)


def write_hdf5(file, where, name, value):
    """Write a value as MATLAB v7.3 does: axes reversed, a list, of the field of a struct array, as references."""
    if isinstance(value, list):
        data = np.empty((len(value), 1), h5py.ref_dtype)
        for i, item in enumerate(value):
            data[i] = write_hdf5(file, file.require_group("#refs#"), f"{len(file['#refs#'])}", item).ref
    elif isinstance(value, dict):
        group = where.create_group(name)
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, item in value.items():
            write_hdf5(file, group, field, item)
        return group
    else:
        data = np.array([[ord(c)] for c in value], np.uint16) if isinstance(value, str) else np.atleast_2d(value).T
    made = where.create_dataset(name, data=data)
    if not isinstance(value, list):
        made.attrs["MATLAB_class"] = np.bytes_("char" if isinstance(value, str) else np.asarray(value).dtype.name)
    return made


def test_version_7_3_reads_the_same(root):
    """A struct array is a struct whose fields are arrays of references; [] is marked as empty."""
    empty = {"class": "table", "class_ind": 9.0, "mask": box(0, 0, H, W), "parts": "none"}
    objects = [PERSON | {"class_ind": 15.0, "parts": {k: [p[k] for p in TWO_PARTS] for k in TWO_PARTS[0]}}, empty]
    with h5py.File(root / "human_parts/a.mat", "w", userblock_size=512) as file:
        arrays = {key: [one[key] for one in objects] for key in objects[0]}
        write_hdf5(file, file, "anno", {"imname": "a", "objects": arrays})
        nothing = file[file["anno/objects/parts"][1, 0]]
        nothing.attrs["MATLAB_empty"] = 1
    with (root / "human_parts/a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    labels, valid = read_saved(root)
    assert np.array_equal(labels, expected((1, 0, 0, 2, 2), (6, 8, 0, 2, 2)))
    assert valid.all()


def test_a_damaged_file_is_named(root):
    for content in (b"", b"MATLAB 5.0", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\0" * 512):
        (root / "human_parts/a.mat").write_bytes(content)
        with pytest.raises(UserError, match=r"human_parts/a\.mat: not a readable MAT file \(.*\); copy it again"):
            read_saved(root)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_context_maps_of_any_numeric_class_are_read(root, dtype, compressed):
    labels = np.full((H, W), 1)
    labels[:, 8:] = 3  # a class with normals
    saved = (labels == 3 if dtype is bool else labels).astype(dtype)
    savemat(root / "pascal-context/trainval/a.mat", {"other": 1, "LabelMap": saved}, do_compression=compressed)
    normals = np.zeros((H, W, 3))
    normals[..., 1] = 1
    Image.fromarray(encode_normals(normals)).save(root / "normals_distill/a.png")
    sample = PASCALContext(root, "train", ["normals", "edge"])[0]
    assert np.array_equal(sample["valid"]["normals"].numpy(), np.isin(saved, CLASSES_WITH_NORMALS))
    edge = sample["truth"]["edge"].numpy()
    assert set(np.nonzero(edge)[1]) <= {7, 8}
    assert (edge[1:].sum(1) == 1).all()  # thinning takes the corner of the two columns


@pytest.mark.parametrize("labels", [np.full((H, W), 1.5), np.full((H, W), np.nan), np.ones((H, W, 3)), NOTHING, "text"])
def test_a_context_map_that_is_none_is_named(root, labels):
    savemat(root / "pascal-context/trainval/a.mat", {"LabelMap": labels})
    with pytest.raises(UserError, match=r"trainval/a\.mat: 'LabelMap' is not a matrix of class numbers"):
        PASCALContext(root, "train", ["edge"])[0]


def test_normals_and_context_map_of_two_sizes_are_named(root):
    savemat(root / "pascal-context/trainval/a.mat", {"LabelMap": np.ones((3, 4))})
    Image.new("RGB", (W, H)).save(root / "normals_distill/a.png")
    with pytest.raises(UserError, match=r"normals_distill/a\.png: 12x16 pixels, but .*trainval/a\.mat has 3x4"):
        PASCALContext(root, "train", ["normals"])[0]


def test_all_who_name_human_parts_agree():
    names = HumanParts().class_names
    assert names == HUMAN_PARTS
    assert len(PARTS) == 24
    assert set(PARTS.values()) == set(range(1, len(names)))
    for name, group in zip(BODY_PARTS[1:], BODY_GROUPS[1:], strict=True):
        assert PARTS[name] == group
    limbs = {"upper arms": "uarm", "lower arms": "larm", "upper legs": "uleg", "lower legs": "lleg"}
    for name, ending in limbs.items():
        assert {PARTS[f"l{ending}"], PARTS[f"r{ending}"]} == {names.index(name)}
    assert {name[1:] for name, group in PARTS.items() if group == 4} == {"larm", "hand"}
    assert (PARTS["hair"], PARTS["neck"], PARTS["lfoot"]) == (1, 2, 6)


def test_the_context_classes_of_rooms_have_normals():
    assert set(CONTEXT_VALUES) <= set(CLASSES_WITH_NORMALS)
    assert len(CLASSES_WITH_NORMALS) == len(set(CLASSES_WITH_NORMALS))
