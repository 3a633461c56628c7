import functools
import gzip
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

from atrc.data import archives, download
from atrc.data.archives import ensure_folder
from atrc.data.download import fetch
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


@pytest.mark.parametrize("folder", ["NYUD_MT/", "./NYUD_MT/", "another name/", "a/b/", "", "./"])
@pytest.mark.parametrize("suffix", [".tgz", ".tar.gz", ".tar", ".zip"])
def test_an_archive_is_unpacked_once_with_or_without_a_top_folder(tmp_path, suffix, folder, capsys):
    files = {**below(folder), "__MACOSX/x": b"x", f"{folder}._empty": b"x", f"{folder}.DS_Store": b"x"}
    archive = tmp_path / f"NYUD_MT{suffix}"
    if suffix == ".zip":
        write_zip(archive, files)
    else:
        write_tar(archive, files, mode="w" if suffix == ".tar" else "w:gz")
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


HOSTILE = {
    "../evil": "leads out of",
    "a/../../evil": "leads out of",
    "/tmp/evil": "leads out of",
    "..\\evil": "leads out of",
    "C:\\evil": "leads out of",
    "C:evil": "leads out of",
    "\\\\server\\share\\evil": "leads out of",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_a_member_that_leads_out_of_the_folder_is_named_and_nothing_is_written(tmp_path, write, name):
    archive = write(tmp_path / ("x.tgz" if write is write_tar else "x.zip"), {"good": b"1", name: b"2"})
    with pytest.raises(UserError, match=r"member '.*evil' leads out of"):
        ensure_folder(tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert contents(tmp_path / "x.partial/tree") == {}
    assert not (tmp_path.parent / "evil").exists()
    assert archive.exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([special("in", tarfile.SYMTYPE, "../out")], "'in' is a link that leads out"),
        ([special("in", tarfile.SYMTYPE, "/etc")], "'in' is a link that leads out"),
        ([special("a/in", tarfile.SYMTYPE, "b/../../../out")], "'a/in' is a link that leads out"),
        ([special("a/in", tarfile.LNKTYPE, "../out")], "'a/in' leads out"),
        ([special("in", tarfile.LNKTYPE, "/etc/passwd")], "'in' leads out"),
        ([special("in", tarfile.LNKTYPE, "absent")], "'in' is a link to 'absent', which the archive lacks"),
        ([special("dev", tarfile.CHRTYPE)], "'dev' is a device or a pipe"),
        ([special("dev", tarfile.BLKTYPE)], "'dev' is a device or a pipe"),
        ([special("pipe", tarfile.FIFOTYPE)], "'pipe' is a device or a pipe"),
        ([special("good", tarfile.SYMTYPE, "a")], "'good' is there twice"),
        (  # each harmless alone: "in" comes to lie in the folder "more", from where its steps up lead out
            [special("p/q/a", tarfile.SYMTYPE, "../../more"), special("p/q/a/in", tarfile.SYMTYPE, "../../../x")],
            "'p/q/a/in' is a link that leads out",
        ),
        ([special("a", tarfile.SYMTYPE, "b"), special("b", tarfile.SYMTYPE, "a")], "is a link that leads out"),
    ],
)
def test_links_that_lead_out_devices_and_doubles_are_refused(tmp_path, members, message):
    (tmp_path / "out").write_text("secret")
    write_tar(tmp_path / "x.tgz", {"good": b"1", "more/good": b"2"}, *members)
    with pytest.raises(UserError, match=message):
        ensure_folder(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "out").mkdir()
    link = special("more", tarfile.SYMTYPE, str(tmp_path / "out"))
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as tar:
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("more/file"))
    with pytest.raises(UserError, match="'more' is a link that leads out"):
        ensure_folder(tmp_path / "x")
    with tarfile.open(tmp_path / "y.tgz", "w:gz") as tar:
        tar.addfile(special("more", tarfile.SYMTYPE, "."))
        tar.addfile(tarfile.TarInfo("more/file"))
    with pytest.raises(UserError, match=r"y\.tgz: cannot be unpacked"):
        ensure_folder(tmp_path / "y")
    assert only(tmp_path / "out")


def test_links_within_the_folder_are_kept(tmp_path):
    links = special("top/a/soft", tarfile.SYMTYPE, "../depth/0.npy"), special("top/hard", tarfile.LNKTYPE, "top/empty")
    folder = special("top/copy", tarfile.SYMTYPE, "depth")
    named = special("top/named", tarfile.SYMTYPE, "../top/gt_sets")  # by the name that the folder has in the archive
    write_tar(tmp_path / "x.tgz", below("top/"), *links, folder, named)
    root = ensure_folder(tmp_path / "x")
    assert (root / "a/soft").read_bytes() == FILES["depth/0.npy"]
    assert (root / "copy/0.npy").read_bytes() == FILES["depth/0.npy"]
    assert (root / "hard").read_bytes() == b""
    assert (root / "named/train.txt").read_bytes() == FILES["gt_sets/train.txt"]


def test_a_link_in_a_zip_is_judged_likewise(tmp_path):
    for name, target in (("good", "depth/0.npy"), ("evil", "../x"), ("long", "x" * 5000)):
        info = zipfile.ZipInfo("in")
        info.external_attr = 0o120777 << 16
        write_zip(tmp_path / f"{name}.zip", FILES)
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "a") as file:
            file.writestr(info, target)
    assert (ensure_folder(tmp_path / "good") / "in").read_bytes() == FILES["depth/0.npy"]
    with pytest.raises(UserError, match="'in' is a link that leads out"):
        ensure_folder(tmp_path / "evil")
    with pytest.raises(UserError, match="'in' is a link of impossible length"):
        ensure_folder(tmp_path / "long")


def damaged(content: bytes) -> dict[str, bytes]:
    half, last = content[: len(content) // 2], bytearray(content)
    last[len(content) // 2] ^= 0xFF
    return {"truncated": half, "flipped": bytes(last), "empty": b"", "text": b"<html>no such file</html>" * 99}


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty", "text", "short"])
@pytest.mark.parametrize("suffix", [".tgz", ".tar", ".zip"])
def test_a_damaged_archive_leaves_nothing_under_the_name_and_is_cured_by_a_new_copy(tmp_path, suffix, how):
    archive = tmp_path / f"x{suffix}"
    many = below("x/", {f"{i}": os.urandom(700) for i in range(40)})
    _ = (
        write_zip(archive, many)
        if suffix == ".zip"
        else write_tar(archive, many, mode="w" + ":gz" * (suffix == ".tgz"))
    )
    good = archive.read_bytes()
    archive.write_bytes(damaged(good).get(how, good[:-8]))
    if suffix == ".tar":
        if how == "flipped":  # a tar archive guards its headers only: damage one
            archive.write_bytes(good[: 20 * 1536 + 100] + b"\xff" + good[20 * 1536 + 101 :])
        if how == "short":  # without the zeros at the end
            archive.write_bytes(good[: 40 * 1536])
    with pytest.raises(UserError, match=rf"x\{suffix}: damaged or incomplete \(.*\); copy or download it again"):
        ensure_folder(tmp_path / "x")
    assert not (tmp_path / "x").exists()
    archive.write_bytes(good)
    assert len(contents(ensure_folder(tmp_path / "x"))) == 40


def test_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    write_tar(tmp_path / "x.tgz", below("top/"))
    copy, written = shutil.copyfileobj, []

    def killed(source, file, size):
        file.write(source.read(10))
        if file.name.endswith("normals/0.npy"):
            raise KeyboardInterrupt
        copy(source, file, size)

    monkeypatch.setattr(archives.shutil, "copyfileobj", killed)
    with pytest.raises(KeyboardInterrupt):
        ensure_folder(tmp_path / "x")
    monkeypatch.undo()
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "x.partial/tree/top/depth/0.npy").stat().st_size == 5000
    assert (tmp_path / "x.partial/tree/top/normals/0.npy").stat().st_size == 10

    def counted(source, file, size):
        written.append(Path(file.name).name)
        copy(source, file, size)

    monkeypatch.setattr(archives.shutil, "copyfileobj", counted)
    assert contents(ensure_folder(tmp_path / "x")) == FILES
    assert written == ["0.npy", "empty"]


def test_what_is_left_of_another_archive_is_not_taken_over(tmp_path):
    (tmp_path / "x.partial/tree/depth").mkdir(parents=True)
    (tmp_path / "x.partial/tree/depth/0.npy").write_bytes(b"e" * 5000)
    (tmp_path / "x.partial/tree/stray").write_bytes(b"")
    (tmp_path / "x.partial/sha256").write_text("0" * 64)
    write_tar(tmp_path / "x.tgz", FILES)
    assert contents(ensure_folder(tmp_path / "x")) == FILES


def test_an_archive_larger_than_the_disk_is_refused_before_anything_is_written(tmp_path):
    bomb = io.BytesIO()
    info = tarfile.TarInfo("zeros")
    info.size = 1 << 50
    bomb.write(info.tobuf(tarfile.GNU_FORMAT))
    (tmp_path / "x.tgz").write_bytes(gzip.compress(bomb.getvalue()))
    with pytest.raises(UserError, match=r"x\.tgz: unpacks to more than the .* GB that are free"):
        ensure_folder(tmp_path / "x")
    assert contents(tmp_path / "x.partial/tree") == {}


def test_many_small_files_are_counted_by_the_blocks_that_they_take(tmp_path, monkeypatch):
    write_tar(tmp_path / "x.tgz", {str(i): b"1" for i in range(100)})
    free = shutil.disk_usage(tmp_path)._replace(free=99 * 4096)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match="unpacks to more than"):
        ensure_folder(tmp_path / "x")


def test_an_empty_archive_is_no_data_set(tmp_path):
    write_tar(tmp_path / "x.tgz", {}, special(".", tarfile.DIRTYPE))
    with pytest.raises(UserError, match=r"x\.tgz: holds nothing"):
        ensure_folder(tmp_path / "x")


def test_the_checksum_is_compared_with_a_file_beside_and_with_what_is_given(tmp_path):
    archive = write_tar(tmp_path / "x.tgz", FILES)
    digest, beside = hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "x.tgz.sha256"
    beside.write_text(f"{'0' * 64}  x.tgz\n")
    with pytest.raises(UserError, match=rf"SHA-256 {digest} differs from .*x\.tgz\.sha256, 0000"):
        ensure_folder(tmp_path / "x")
    beside.write_text("what is this?\n")
    with pytest.raises(UserError, match=r"x\.tgz\.sha256: has no SHA-256 of x\.tgz"):
        ensure_folder(tmp_path / "x")
    beside.write_text(f"{'0' * 64}  y.tgz\n{digest} *some/where/x.tgz\n")
    with pytest.raises(UserError, match="differs from the one given, 1111"):
        ensure_folder(tmp_path / "x", sha256="1" * 64)
    assert not (tmp_path / "x").exists()
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


def test_processes_that_come_at_once_unpack_once(tmp_path):
    files = {f"top/{i}": os.urandom(20_000) for i in range(200)}
    write_tar(tmp_path / "x.tgz", files)
    code = (
        f"from atrc.data.archives import ensure_folder; from pathlib import Path; ensure_folder(Path('{tmp_path}/x'))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], errors
    assert sum("SHA-256" in error for error in errors) == 1
    assert contents(tmp_path / "x") == {name.removeprefix("top/"): content for name, content in files.items()}
    assert only(tmp_path, "x", "x.tgz")


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one content; can break off, ignore ranges, or change its version."""

    protocol_version = "HTTP/1.1"
    content, ranges, breaks, tag, kind, asked = b"", True, 0, '"1"', "application/gzip", []

    def do_GET(self):
        cls, wanted = type(self), self.headers.get("Range")
        cls.asked.append(wanted)
        start, content = 0, cls.content
        if wanted and cls.ranges and self.headers.get("If-Range", cls.tag) == cls.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if self.path.startswith("/missing.tgz"):
            return self.send_error(404)
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Type", cls.kind)
        if cls.tag:
            self.send_header("ETag", cls.tag)
        self.end_headers()
        stop = len(content)
        if cls.breaks:
            cls.breaks -= 1
            stop, self.close_connection = start + (len(content) - start) // 2, True
        self.wfile.write(content[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server on this machine, and the archive that it has."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSE", 0.0)
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
    assert server.asked == [None]


def test_a_download_that_breaks_off_goes_on(server, tmp_path):
    server.breaks = 2
    assert fetch(server.url, tmp_path / "x.tgz").read_bytes() == server.content
    size = len(server.content)
    assert server.asked == [None, f"bytes={size // 2}-", f"bytes={size // 2 + (size - size // 2) // 2}-"]


def test_a_download_that_was_killed_goes_on_in_the_next_run(server, tmp_path):
    (tmp_path / "x.tgz.part").write_bytes(server.content[:100])
    (tmp_path / "x.tgz.part.version").write_text(server.tag)
    assert fetch(server.url, tmp_path / "x.tgz").read_bytes() == server.content
    assert server.asked == ["bytes=100-"]
    assert only(tmp_path, "source", "x.tgz")


def test_a_download_that_was_killed_at_its_end_is_taken(server, tmp_path):
    (tmp_path / "x.tgz.part").write_bytes(server.content)
    assert fetch(server.url, tmp_path / "x.tgz").read_bytes() == server.content


@pytest.mark.parametrize("setting", [{"ranges": False}, {"tag": '"2"'}])
def test_a_server_without_ranges_or_with_another_version_starts_over(server, tmp_path, setting):
    for name, value in setting.items():
        setattr(server, name, value)
    (tmp_path / "x.tgz.part").write_bytes(b"of an older version")
    (tmp_path / "x.tgz.part.version").write_text('"1"')
    assert fetch(server.url, tmp_path / "x.tgz").read_bytes() == server.content


def test_more_than_there_is_starts_over(server, tmp_path):
    (tmp_path / "x.tgz.part").write_bytes(server.content + b"more")
    assert fetch(server.url, tmp_path / "x.tgz").read_bytes() == server.content


def test_a_download_that_never_gets_on_is_named_and_kept(server, tmp_path):
    server.ranges, server.breaks = False, 99
    with pytest.raises(UserError, match=r"breaks off again and again; run it again to continue from .*x\.tgz\.part"):
        fetch(server.url, tmp_path / "x.tgz")
    assert (tmp_path / "x.tgz.part").stat().st_size == len(server.content) // 2


def test_wrong_checksums_addresses_and_answers_are_named(server, tmp_path):
    with pytest.raises(UserError, match=r"SHA-256 is [0-9a-f]{64}, not 0000"):
        fetch(server.url, tmp_path / "x.tgz", "0" * 64)
    assert only(tmp_path, "source")
    with pytest.raises(UserError, match="the server answers 404 Not Found; check the address"):
        fetch(server.url.replace("NYUD_MT", "missing"), tmp_path / "x.tgz")
    with pytest.raises(UserError, match="begins with http:// or https://"):
        fetch("file:///etc/passwd", tmp_path / "x.tgz")
    with pytest.raises(UserError, match=r"give one that ends in \.tgz"):
        ensure_folder(tmp_path / "x", server.url.replace(".tgz", ""))
    server.kind = "text/html"
    with pytest.raises(UserError, match="a web page, not an archive"):
        fetch(server.url, tmp_path / "x.tgz")
    assert only(tmp_path, "source")


def test_without_a_network_the_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match=r"cannot be reached \(.*\); check the network, or copy the file to .*x\.tgz"):
        fetch("http://127.0.0.1:9/x.tgz", tmp_path / "x.tgz")


def test_a_download_larger_than_the_disk_is_refused(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(UserError, match="GB are free; make room"):
        fetch(server.url, tmp_path / "x.tgz")
