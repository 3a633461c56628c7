"""Rooms read by atrc's data sets, killed while being written, and imported."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import ndimage

from atrc.data.layouts import open_dataset
from atrc_rooms import CLASSES, PROFILES, render_room, write_rooms

SIZE = (48, 64)
BASIC = ("indoor", "people")
SPLITS = ("train", "val")

WRITE = """
import sys
from atrc_rooms import write_rooms
if __name__ == "__main__":
    write_rooms(sys.argv[1], train=14, val=2, size=(24, 32), workers=2, progress=False)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small set of each profile."""
    roots = {profile: tmp_path_factory.mktemp("rooms") / profile for profile in BASIC}
    for profile, root in roots.items():
        write_rooms(root, profile, train=2, val=2, size=SIZE, workers=1, progress=False)
    return roots


def pairs(folders, profile):
    """Samples as they are read, each with the view that it was rendered from."""
    for k, split in enumerate(SPLITS):
        for i, sample in enumerate(open_dataset(folders[profile], split)):
            assert sample["id"] == f"{split}_{i:05d}"
            yield sample, render_room(profile, (0, k, i), SIZE)


@pytest.mark.parametrize("profile", BASIC)
def test_a_folder_opens_as_a_data_set_with_the_tasks_and_classes_of_its_profile(folders, profile):
    dataset = open_dataset(folders[profile], "train")
    assert tuple(task.name for task in dataset.tasks) == PROFILES[profile]
    assert dataset.tasks[0].class_names == CLASSES[profile]
    assert len(dataset) == 2


@pytest.mark.parametrize("profile", BASIC)
def test_class_labels_are_read_back_exactly_and_images_as_jpegs(folders, profile):
    for sample, view in pairs(folders, profile):
        assert np.array_equal(sample["truth"]["semseg"].numpy(), view.semseg)
        assert sample["valid"]["semseg"].all()
        assert np.abs(sample["image"].numpy().transpose(1, 2, 0).astype(int) - view.image).mean() < 6


@pytest.mark.parametrize(("profile", "error"), [("indoor", 1e-6), ("people", 0.01)])
def test_normals_are_read_back_to_the_precision_of_their_format(folders, profile, error):
    for sample, view in pairs(folders, profile):
        assert sample["valid"]["normals"].all()
        assert np.abs(sample["truth"]["normals"].numpy().transpose(1, 2, 0) - view.normals).max() < error


def test_depth_and_boundaries_of_indoor_rooms_are_read_back_exactly(folders):
    for sample, view in pairs(folders, "indoor"):
        assert np.array_equal(sample["truth"]["depth"].numpy(), view.depth)
        assert np.array_equal(sample["truth"]["edge"].numpy(), view.edge)
        assert sample["valid"]["depth"].all()


def test_human_parts_and_saliency_are_read_back_exactly(folders):
    for sample, view in pairs(folders, "people"):
        assert np.array_equal(sample["truth"]["sal"].numpy(), view.sal)
        parts = sample["truth"]["human_parts"].numpy()
        assert np.array_equal(parts, view.human_parts)
        assert sample["valid"]["human_parts"].all() == (view.human_parts > 0).any()


def test_boundaries_from_context_maps_are_within_two_pixels_of_the_rendered_ones(folders):
    for sample, view in pairs(folders, "people"):
        read = sample["truth"]["edge"].numpy() > 0
        ball = np.ones((3, 3), bool)
        assert (read <= ndimage.binary_dilation(view.edge, ball, iterations=2)).mean() > 0.99
        assert ndimage.binary_dilation(read, ball, iterations=2)[view.edge].mean() > 0.95


@pytest.mark.parametrize("profile", BASIC)
def test_normals_are_the_slopes_of_the_depth(profile):
    """On walls, floors and ceilings normals are square to the differences between back-projected neighbours."""
    checked, shell = 0, [CLASSES[profile].index(name) for name in ("wall", "floor", "ceiling")]
    for seed in range(4):
        view = render_room(profile, (9, seed), SIZE)
        height, width = view.depth.shape
        scale = view.camera.focal * max(height, width)
        x = (np.arange(width) + 0.5 - width / 2) / scale
        y = (height / 2 - np.arange(height) - 0.5) / scale
        points = np.stack([x * view.depth, y[:, None] * view.depth, -view.depth], -1)
        right, up = points[1:-1, 2:] - points[1:-1, :-2], points[:-2, 1:-1] - points[2:, 1:-1]
        slope = np.cross(right, up)
        slope /= np.linalg.norm(slope, axis=-1, keepdims=True)
        normals, inner = view.normals, view.normals[1:-1, 1:-1]
        flat = np.isin(view.semseg[1:-1, 1:-1], shell)
        for shifted, ids in (
            (normals[a : height - 2 + a, b : width - 2 + b], view.instances[a : height - 2 + a, b : width - 2 + b])
            for a in range(3)
            for b in range(3)
        ):
            flat &= ((shifted * inner).sum(-1) > 0.9999) & (ids == view.instances[1:-1, 1:-1])
        agreement = (slope * inner).sum(-1)[flat]
        assert (agreement > 0.999).mean() > 0.97  # the rest is where a wall meets its skirting board
        assert (agreement > 0).all()
        checked += len(agreement)
    assert checked > 2000


def test_a_killed_run_leaves_only_whole_files_and_is_completed_to_the_same_bytes(tmp_path, unbroken):
    script, root = tmp_path / "write.py", tmp_path / "rooms"
    script.write_text(WRITE)
    with subprocess.Popen([sys.executable, script, root], stdout=subprocess.PIPE) as process:
        while len(list(root.glob("edge/*.npy"))) < 3 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.stdout.read()  # until the workers, which share the pipe, have ended too
    assert process.returncode == -signal.SIGKILL
    left = contents(root)
    assert not (root / "gt_sets").exists()
    whole = {name for name in left if not name.endswith((".partial", "rooms.json"))}
    assert whole
    assert all(left[name] == unbroken[name] for name in whole)
    report = write_rooms(root, train=14, val=2, size=(24, 32), workers=1, progress=False)
    assert report.written + report.skipped == 16
    assert report.skipped >= 2
    assert {name: data for name, data in contents(root).items() if ".partial" not in name} == unbroken


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    root = tmp_path_factory.mktemp("rooms") / "unbroken"
    write_rooms(root, train=14, val=2, size=(24, 32), workers=1, progress=False)
    return contents(root)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_an_image_does_not_depend_on_how_many_there_are(folders, tmp_path):
    write_rooms(tmp_path, "people", train=1, val=1, size=SIZE, workers=1, progress=False)
    few, many = contents(tmp_path), contents(folders["people"])
    images = {name for name in few if "00000" in name}
    assert len(images) == 12
    assert all(few[name] == many[name] for name in images)


def test_rendering_needs_neither_torch_nor_atrc():
    """Every worker imports the renderer; with torch it would start many times slower."""
    code = "import sys, atrc_rooms; sys.exit('torch' in sys.modules or 'atrc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_script_without_a_main_guard_is_refused_with_the_cure(tmp_path):
    script = tmp_path / "write.py"
    script.write_text(WRITE.replace('if __name__ == "__main__":', "if True:"))
    run = subprocess.run([sys.executable, script, tmp_path / "rooms"], capture_output=True, text=True)
    assert "RoomsError: a worker process ended early" in run.stderr.splitlines()[-1]
    assert run.returncode == 1
