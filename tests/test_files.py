"""Atomic writes: all of a new file or the old one, and nothing left over."""

import contextlib
from pathlib import Path

import pytest

from atrc.errors import UserError
from atrc.files import Files, replacing, write_atomic

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("content", ["é\n", b"\xff"])
def test_a_file_is_written_with_its_folder_and_nothing_else(tmp_path, content, shared):
    path = tmp_path / "new" / "x"
    write_atomic(path, content, shared=shared)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_is_kept_if_the_writer_fails(tmp_path):
    (tmp_path / "x").write_text("old")
    with contextlib.suppress(ZeroDivisionError), replacing(tmp_path / "x") as partial:
        partial.write_text("half")
        1 / 0  # noqa: B018
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@needs_full
def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    (tmp_path / "x").write_text("old")
    (tmp_path / "x.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device: '.*/x'"):
        write_atomic(tmp_path / "x", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="'.*/file'"):
        write_atomic(tmp_path / "file" / "x", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="'.*/folder'$"):
        write_atomic(tmp_path / "folder", "")


def test_files_are_found_by_name_whatever_the_case_of_the_ending_and_the_form_of_accents(tmp_path):
    for name in ("a.PNG", "u\N{COMBINING DIAERESIS}ber.npy", "._a.png", ".hidden.png", "b.jpg", "c.png", "c.npy"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    files = Files(tmp_path, (".png", ".npy"))
    assert list(files.paths) == ["a", "c", "\N{LATIN SMALL LETTER U WITH DIAERESIS}ber"]
    assert files.find("a") == tmp_path / "a.PNG"
    assert files.find("u\N{COMBINING DIAERESIS}ber") == files.find("\N{LATIN SMALL LETTER U WITH DIAERESIS}ber")
    assert files.find("nothing") is None
    with pytest.raises(UserError, match=r"c\.npy and c\.png have the same name"):
        files.find("c")
    with pytest.raises(UserError, match=r"b\.jpg: not a kind of file that is read here; save it as \.png, \.npy"):
        files.find("b")
