import functools
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from atrc.data.archives import ensure_folder
from atrc.data.layouts import open_dataset
from atrc.errors import UserError

FILES = {"gt_sets/train.txt": b"0\n", "depth/0.npy": b"d" * 5000, "normals/0.npy": os.urandom(9000), "empty": b""}


def write_tar(path: Path, files: dict[str, bytes], *extra: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def below(folder: str, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{folder}{name}": content for name, content in files.items()}


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def only(parent: Path, *names: str) -> bool:
    """Whether a folder holds these entries and no others."""
    return {entry.name for entry in parent.iterdir()} == set(names)


@pytest.mark.parametrize("folder", ["NYUD_MT/", "./another name/", "a/b/", ""])
@pytest.mark.parametrize("suffix", [".tgz", ".tar.gz", ".tar", ".zip"])
def test_an_archive_is_unpacked_once_with_or_without_a_top_folder(tmp_path, suffix, folder, capsys):
    files = {**below(folder), "__MACOSX/x": b"x", f"{folder}._empty": b"x", f"{folder}.DS_Store": b"x"}
    archive = tmp_path / f"NYUD_MT{suffix}"
    if suffix == ".zip":
        write_zip(archive, files)
    else:
        write_tar(archive, files, mode="w" if suffix == ".tar" else "w:gz")
    (tmp_path / "NYUD_MT.partial").mkdir()  # of a run that was killed
    (tmp_path / "NYUD_MT.partial/empty").write_text("half")
    root = ensure_folder(tmp_path / "NYUD_MT")
    assert root == tmp_path / "NYUD_MT"
    assert contents(root) == FILES
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in capsys.readouterr().err
    assert only(tmp_path, archive.name, "NYUD_MT")
    archive.write_bytes(b"")
    assert ensure_folder(archive) == root  # it is there: the archive is not read again


def test_a_data_set_opens_from_its_archive_alone(nyud_folder, tmp_path):
    shutil.make_archive(str(tmp_path / "mine"), "gztar", nyud_folder.parent, nyud_folder.name)
    for name in ("mine", "mine.tar.gz"):
        assert open_dataset(tmp_path / name, "val")[0]["id"] == "0006"


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (special("../evil", tarfile.REGTYPE), "evil"),
        (special("in", tarfile.SYMTYPE, "../out"), "in"),
        (special("in", tarfile.LNKTYPE, "../out"), "in"),
        (special("dev", tarfile.CHRTYPE), "dev"),
    ],
)
def test_a_tar_member_that_the_data_filter_refuses_is_named_and_nothing_is_kept(tmp_path, member, name):
    (tmp_path / "out").write_text("secret")
    write_tar(tmp_path / "x.tgz", {"good": b"1"}, member)
    with pytest.raises(UserError, match=rf"x\.tgz: refused: '.*{name}'.*; get the archive from a source"):
        ensure_folder(tmp_path / "x")
    assert only(tmp_path, "out", "x.tgz")


def test_a_zip_member_stays_in_the_folder_whatever_its_name(tmp_path):
    write_zip(tmp_path / "x.zip", {"../../evil": b"1", "/abs": b"2"})
    assert contents(ensure_folder(tmp_path / "x")) == {"evil": b"1", "abs": b"2"}


def test_links_within_the_folder_are_kept(tmp_path):
    links = special("top/a/soft", tarfile.SYMTYPE, "../depth/0.npy"), special("top/hard", tarfile.LNKTYPE, "top/empty")
    write_tar(tmp_path / "x.tgz", below("top/"), *links)
    root = ensure_folder(tmp_path / "x")
    assert (root / "a/soft").read_bytes() == FILES["depth/0.npy"]
    assert (root / "hard").read_bytes() == b""


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "text"])
@pytest.mark.parametrize("suffix", [".tgz", ".zip"])
def test_a_damaged_archive_leaves_nothing_under_the_name_and_is_cured_by_a_new_copy(tmp_path, suffix, how):
    archive = tmp_path / f"x{suffix}"
    many = below("x/", {f"{i}": os.urandom(700) for i in range(40)})
    good = (write_zip if suffix == ".zip" else write_tar)(archive, many).read_bytes()
    half = len(good) // 2
    flipped = good[:half] + bytes([good[half] ^ 0xFF]) + good[half + 1 :]
    archive.write_bytes({"truncated": good[:half], "flipped": flipped, "empty": b"", "text": b"<html>" * 999}[how])
    with pytest.raises(UserError, match=rf"x\{suffix}: damaged or incomplete \(.*\); copy or download it again"):
        ensure_folder(tmp_path / "x")
    assert only(tmp_path, archive.name)
    archive.write_bytes(good)
    assert len(contents(ensure_folder(tmp_path / "x"))) == 40


def test_an_archive_that_cannot_be_unpacked_here_gives_the_reason(tmp_path):
    write_tar(tmp_path / "x.tgz", {}, special(".", tarfile.DIRTYPE))
    with pytest.raises(UserError, match=r"x\.tgz: holds nothing"):
        ensure_folder(tmp_path / "x")
    content = bytearray(write_zip(tmp_path / "y.zip", FILES).read_bytes())
    content[6] |= 1  # the flag of an encrypted member, in both of its headers
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "y.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"y\.zip: cannot be unpacked \(.*encrypted.*\); unpack it by other means"):
        ensure_folder(tmp_path / "y")


def test_the_checksum_is_compared_with_the_file_next_to_it_and_with_the_given_one(tmp_path):
    archive = write_tar(tmp_path / "x.tgz", FILES)
    digest, listed = hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "x.tgz.sha256"
    listed.write_text(f"{'0' * 64}  x.tgz\n")
    with pytest.raises(UserError, match=rf"SHA-256 {digest} differs from .*x\.tgz\.sha256, 0000"):
        ensure_folder(tmp_path / "x")
    listed.write_text("what is this?\n")
    with pytest.raises(UserError, match=r"x\.tgz\.sha256: has no SHA-256 of x\.tgz"):
        ensure_folder(tmp_path / "x")
    listed.write_text(f"{'0' * 64}  y.tgz\n{digest} *some/where/x.tgz\n")
    with pytest.raises(UserError, match="differs from the one given, 1111"):
        ensure_folder(tmp_path / "x", sha256="1" * 64)
    assert not (tmp_path / "x").exists()
    listed.write_text(digest)
    assert contents(ensure_folder(tmp_path / "x", sha256=digest.upper())) == FILES


def test_what_is_missing_or_ambiguous_is_named(tmp_path):
    with pytest.raises(UserError, match=r"x: not a data set folder: it is not there, nor an archive x\.tgz, \.tar\.gz"):
        ensure_folder(tmp_path / "x")
    with pytest.raises(UserError, match="not a data set folder"):
        ensure_folder(tmp_path / "no/such/x")
    for suffix in (".tgz", ".zip"):
        (tmp_path / f"x{suffix}").touch()
    with pytest.raises(UserError, match=r"which archive\? x\.tgz and x\.zip are there"):
        ensure_folder(tmp_path / "x")


def test_processes_that_come_at_the_same_time_unpack_once(tmp_path):
    files = {f"top/{i}": os.urandom(20_000) for i in range(200)}
    write_tar(tmp_path / "x.tgz", files)
    code = (
        f"from atrc.data.archives import ensure_folder; from pathlib import Path; ensure_folder(Path('{tmp_path}/x'))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert sum("SHA-256" in error for error in errors) == 1
    assert contents(tmp_path / "x") == {name.removeprefix("top/"): content for name, content in files.items()}
    assert only(tmp_path, "x", "x.tgz")


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one content; can stop halfway."""

    content, stops, asked = b"", False, []

    def do_GET(self):
        cls = type(self)
        cls.asked.append(self.path)
        if self.path.startswith("/missing.tgz"):
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(cls.content)))
        self.end_headers()
        self.wfile.write(cls.content[: len(cls.content) // 2] if cls.stops else cls.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server on this machine, and the archive that it has."""
    monkeypatch.setenv("no_proxy", "*")
    handler = type("Handler", (Server,), {"asked": []})
    handler.content = write_tar(tmp_path / "source", FILES).read_bytes()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=functools.partial(running.serve_forever, 0.01))
    thread.start()
    handler.url = f"http://127.0.0.1:{running.server_address[1]}/NYUD_MT.tgz?download=1"
    yield handler
    running.shutdown()
    running.server_close()
    thread.join()


def test_an_archive_is_downloaded_when_there_is_none(server, tmp_path):
    root = ensure_folder(tmp_path / "data/mine", server.url, hashlib.sha256(server.content).hexdigest())
    assert contents(root) == FILES
    assert (tmp_path / "data/mine.tgz").read_bytes() == server.content
    assert only(tmp_path / "data", "mine", "mine.tgz")
    ensure_folder(tmp_path / "data/mine", server.url)
    assert len(server.asked) == 1


def test_a_download_that_fails_is_named_and_leaves_nothing(server, tmp_path):
    with pytest.raises(UserError, match=r"cannot be downloaded \(SHA256 hash of downloaded file .* does not match"):
        ensure_folder(tmp_path / "x", server.url, "0" * 64)
    with pytest.raises(UserError, match=r"missing\.tgz.*: cannot be downloaded \(404 Client Error: Not Found"):
        ensure_folder(tmp_path / "x", server.url.replace("NYUD_MT", "missing"))
    with pytest.raises(UserError, match=r"cannot be downloaded \(.*; check the address, .* copy the file to .*x\.tgz"):
        ensure_folder(tmp_path / "x", "http://127.0.0.1:9/x.tgz")
    with pytest.raises(UserError, match="cannot be downloaded"):
        ensure_folder(tmp_path / "x", "file:///etc/passwd.tgz")
    with pytest.raises(UserError, match=r"give one that ends in \.tgz"):
        ensure_folder(tmp_path / "x", server.url.replace(".tgz", ""))
    server.stops = True
    with pytest.raises(UserError, match="cannot be downloaded"):
        ensure_folder(tmp_path / "x", server.url)
    server.stops, server.content = False, b"<html>Are you sure?</html>"
    with pytest.raises(UserError, match="not an archive, a web page perhaps; download the file itself with a browser"):
        ensure_folder(tmp_path / "x", server.url)
    assert only(tmp_path, "source")
