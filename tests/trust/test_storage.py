"""Disks that are full or read-only: one line that names the file and the cure, and the last checkpoint stands."""

import json
import os
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
import yaml

from atrc.app.cli import main
from atrc.errors import UserError
from atrc.training.loop import fit
from atrc.training.run.checkpoint import write_tensors
from atrc.training.run.folder import Table, plain
from atrc.training.run.safe_load import safe_load
from runs import last, same, same_run, tiny

CURE = r"make room, or give a folder that can be written to, then continue with --resume from the last checkpoint"
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def fill(path: Path) -> Path:
    """Let whatever is written to a path meet a full disk: Linux has a device for it, which needs no rights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/full")
    return path


@needs_full
@pytest.mark.parametrize("size", [10, 10**6])
def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(tmp_path, size):
    path = tmp_path / "last.ckpt"
    write_tensors(path, {"a": torch.zeros(3)})
    before = path.read_bytes()
    partial = fill(tmp_path / "last.ckpt.partial")
    with pytest.raises(OSError, match="No space left on device") as error:
        write_tensors(path, {"a": torch.zeros(size)})
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    assert not partial.is_symlink()


@needs_full
def test_a_row_that_does_not_fit_names_its_table(tmp_path):
    table = Table(tmp_path / "train.csv", 0)
    fill(tmp_path / "train.csv")
    with pytest.raises(OSError, match="No space left") as error:
        table.add(1, {"loss": 0.5})
    assert error.value.filename == str(tmp_path / "train.csv")


@needs_full
@pytest.mark.parametrize(
    ("full", "search"),
    [
        ("checkpoints/last.ckpt.partial", False),
        ("results.json.partial", False),
        ("config.yaml.partial", False),
        ("genotype.json.partial", True),
    ],
)
def test_a_run_on_a_full_disk_names_the_file_and_resumes_as_if_unbroken(
    tmp_path, nyud_folder, whole_runs, full, search
):
    what = tiny(tmp_path / "run", nyud_folder, 2)
    place = fill(tmp_path / "run" / full)
    with pytest.raises(UserError, match=rf"{full.removesuffix('.partial')}: No space left on device; {CURE}|choose an"):
        fit(what, search=search, progress=False)
    place.unlink(missing_ok=True)
    fit(what, search=search, resume=True, progress=False)
    assert same_run(tmp_path / "run", whole_runs[search])


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory, nyud_folder):
    """Unbroken runs: trained and searched."""
    root = tmp_path_factory.mktemp("whole")
    for search in (False, True):
        fit(tiny(root / str(search), nyud_folder, 2), search=search, progress=False)
    return {search: root / str(search) for search in (False, True)}


def test_a_checkpoint_of_which_one_bit_or_the_last_byte_is_not_as_it_was_written_is_refused(tmp_path):
    path, content = tmp_path / "last.ckpt", {"weight": torch.linspace(0, 1, 4000), "step": 3}
    write_tensors(path, content)
    before = path.read_bytes()
    at = before.index(content["weight"].numpy().tobytes())
    for place in (at, at + 8001, at + 15999):
        path.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
        with pytest.raises(UserError, match=r"not a readable checkpoint \(.*/data/0 is not as it was written; copy it"):
            safe_load(path)
    path.write_bytes(before[:-1])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        safe_load(path)
    path.write_bytes(before)
    assert same(safe_load(path), content)


def test_no_bit_of_the_directory_of_a_checkpoint_makes_it_read_as_something_else(tmp_path):
    path, content = tmp_path / "last.ckpt", {"weight": torch.linspace(0, 1, 4000)}
    write_tensors(path, content)
    before, read = path.read_bytes(), 0
    name = before.rindex(b"/data/0")
    for place in range(8 * before.rindex(b"PK\1\2", 0, name), 8 * (name + 7)):
        changed = bytearray(before)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with suppress(UserError):
            assert same(safe_load(path), content), divmod(place, 8)
            read += 1
    assert read  # the time of the file, say


@contextmanager
def mounted(folder: Path, size: str):
    """Mount a file system of its own that is in memory; only root may."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def call(capsys, *command):
    """Call `atrc`, which is to fail; return its one line."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, command)])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("atrc ")]
    assert len(lines) == 1
    return lines[0]


def test_a_disk_that_fills_up_or_turns_read_only_stops_a_run_and_loses_nothing(
    tmp_path, nyud_folder, capsys, whole_runs
):
    run = tmp_path / "disk" / "run"
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(plain(tiny(run, nyud_folder, 2, validate_every=1).to_dict())))
    size = (whole_runs[False] / "checkpoints/last.ckpt").stat().st_size
    with mounted(tmp_path / "disk", f"{int(1.6 * size)}") as remount:  # room for one checkpoint
        line = call(capsys, "train", "--config", config)
        assert line == f"atrc train: error: {run}/checkpoints/last.ckpt: No space left on device; {CURE}"
        assert last(run).step == 1
        assert [file.name for file in (run / "checkpoints").iterdir()] == ["last.ckpt"]
        remount("ro")
        line = call(capsys, "train", "--config", config, "--resume")
        assert f"{run}: Read-only file system" in line
        remount("rw,size=200m")
        main(["train", "--config", str(config), "--resume"])
        results = [json.loads((folder / "results.json").read_text())["results"] for folder in (run, whole_runs[False])]
        assert results[0] == results[1]


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_every_other_command_says_so_in_one_line(tmp_path, capsys, whole_runs, nyud_folder, state):
    run, disk, study = whole_runs[False], tmp_path / "disk", tmp_path / "s.yaml"
    study.write_text(yaml.safe_dump({"title": "x", "layout": "nyud", "rows": [{"name": "y"}]}))
    with mounted(disk, "4k") as remount:
        if state == "read-only":
            remount("ro")
        commands = [
            ["rooms", disk / "rooms", "--train", 1, "--val", 1, "--size", "[48,64]", "--workers", 1],
            ["evaluate", run, "--json", disk / "scores.json"],
            ["publish", run, disk / "published"],
            ["data", "show", nyud_folder, "--out", disk / "sheet.png"],
            ["study", study, "--out", disk / "study", "--jobs", 1],
        ]
        for command in commands:
            line = call(capsys, *command)
            assert str(disk) in line, command
            assert "; " in line, command
            assert all(json.loads(file.read_text()) for file in disk.rglob("*.json"))
            assert not [*disk.rglob("*.png"), *disk.rglob("*.safetensors")]
