"""Archives, and servers that send them."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import random
import socket
import tarfile
import threading
import warnings
import zipfile
from pathlib import Path
from unittest import mock

import mutations
import pytest
from hypothesis import strategies as st
from readers import Reader, check_slice

from atrc.data import download
from atrc.data.archives import ensure_folder

NAMES = st.sampled_from(
    ["a", "b", "a/b", "d/a.txt", "../up", "a/../../up", "/tmp/hostile_canary", "..\\up", "C:\\up", "C:up", "//x/y", ".",
    "..", "",
     "./a", "a/", "é", "\ud800", "a\0b", "a\nb", "n" * 300, "d/" * 200 + "a", "__MACOSX/x", "._x", "-rf", "~/x", "d",
     "d/link/a",
     "link", "link/a", "link/../../up", "hard", "\x1b[2J", " ", "con", "a:b"]
)  # fmt: skip
TARGETS = st.sampled_from(
    [
        "a",
        "..",
        "../..",
        "../../up",
        "/etc",
        "/etc/passwd",
        "link",
        ".",
        "",
        "d",
        "hard",
        "a\0b",
        "\\..\\up",
        "n" * 5000,
    ]
)
TYPES = [tarfile.REGTYPE] * 5 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]
TYPES += [tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, tarfile.AREGTYPE, b"V", b"M"]

entries = st.lists(
    st.tuples(NAMES, st.sampled_from(TYPES), TARGETS, st.sampled_from([b"", b"x", b"text" * 300]),
    st.sampled_from(mutations.ODD)),
    min_size=1, max_size=5,
)  # fmt: skip
PAX = st.dictionaries(
    st.sampled_from(["path", "linkpath", "size", "GNU.sparse.map", "GNU.sparse.major", "GNU.sparse.realsize", "mtime",
    "hdrcharset"]),
    st.sampled_from(["../up", "/etc/passwd", "-1", "9" * 40, "nan", "1,2,3", "BINARY", "a", "0,99999999999"]),
    max_size=2,
)  # fmt: skip


def tar(members: list, kind: int, pax: dict[str, str], gz: bool, seed: int) -> bytes:
    file, rng = io.BytesIO(), random.Random(seed)
    with contextlib.suppress(ValueError, UnicodeError), tarfile.open(fileobj=file, mode="w", format=kind) as made:
        for name, type_, target, content, _ in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = type_, target, len(content) if type_ in TYPES[:5] else 0
            info.pax_headers = pax
            with contextlib.suppress(ValueError, UnicodeError):
                made.addfile(info, io.BytesIO(content))
    data = file.getvalue()
    data = data.rstrip(b"\0") + bytes(2048) if rng.random() < 0.5 else data
    if rng.random() < 0.5:
        data = summed(mutations.mutated(data, rng), rng)
    data = gzip.compress(data, 1) if gz else data
    return mutations.mutated(data, rng) if rng.random() < 0.2 else data


def summed(data: bytes, rng: random.Random) -> bytes:
    """Correct the checksum of the first header, mostly: else nothing in it would be read."""
    header = bytearray(data[:512].ljust(512, b"\0"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:] if rng.random() < 0.8 else data


def zip_(members: list, method: int, seed: int) -> bytes:
    file, rng = io.BytesIO(), random.Random(seed)
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "w") as made:  # names that are there twice
        for name, type_, target, content, odd in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            mode = {tarfile.SYMTYPE: 0o120777, tarfile.FIFOTYPE: 0o010644, tarfile.DIRTYPE: 0o040755}.get(
                type_, 0o100644
            )
            info.external_attr, info.extra = (
                mode << 16,
                rng.choice([b"", b"", odd.to_bytes(8, "little"), b"\1\0\x08\0" + b"\xff" * 8]),
            )
            with contextlib.suppress(ValueError, UnicodeError):
                made.writestr(info, target if type_ == tarfile.SYMTYPE else content)
    data = file.getvalue()
    return mutations.mutated(data, rng) if rng.random() < 0.6 else data


@functools.cache
def bomb(kind: str, size: int) -> bytes:
    """An archive of a few kilobytes that unpacks to many megabytes."""
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("a", bytes(size))
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as made:
            info = tarfile.TarInfo("a" if kind == "tar" else "././@LongLink")
            info.size, info.type = size, tarfile.REGTYPE if kind == "tar" else tarfile.GNUTYPE_LONGNAME
            if kind == "pax":
                info.type = tarfile.XHDTYPE
            made.addfile(info, io.BytesIO(bytes(size)))
    return file.getvalue()


FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
tars = st.builds(tar, entries, FORMATS, PAX, st.booleans(), mutations.seeds)
zips = st.builds(zip_, entries, METHODS, mutations.seeds)
bombs = st.builds(bomb, st.sampled_from(["zip", "tar", "name", "pax"]), st.sampled_from([1 << 20, 1 << 20, 1 << 25]))
archives = mutations.rarely(mutations.rarely(tars | zips, tars), bombs)
NAMED = st.sampled_from(["data.zip", "data.tgz", "data.tar"])


def unpack(folder: Path) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        root = ensure_folder(folder / "data")
    for path in [root, *root.rglob("*")]:
        assert path.resolve().is_relative_to(folder.resolve()), path


# A server's answers, one for each connection; what is sent for ever breaks off at a megabyte.
BODY = gzip.compress(b"x" * 300)
LINES = st.sampled_from(
    ["Content-Length: 30", "Content-Length: 99999999999999999999", "Content-Length: -1", "Content-Length: \xb2",
    "ETag: \"a\"",
     "ETag: \"a\r\n b\"", "ETag: \"\xff\x00\"", "Last-Modified: yesterday\r\n\tmorning", "Content-Range: bytes 5-9/10",
     "Location: file:///etc/passwd",
     "Content-Range: bytes 0-9/" + "9" * 5000, "Content-Type: text/html", "Transfer-Encoding: chunked",
     "Connection: close",
     "Content-Encoding: gzip", "Content-Range: bytes */0", "Location: ftp://127.0.0.1:1/a", "Location: //[::",
     "X: " + "y" * 70000, "no colon",
     "Content-Length: " + "9" * 5000, "Location: data:text/plain,a", "Content-Range: bytes 10-5/*", "\xe9: \xe9",
     "Location: http://a\tb/"]
)  # fmt: skip
STATUS = st.sampled_from(
    [
        "200 OK",
        "206 Partial",
        "416 No",
        "301 Moved",
        "302 Found",
        "404 No",
        "500 \x1b[2J",
        "999 x",
        "100 Continue",
        "0",
        "abc",
        "204 No",
    ]
)
answer = st.builds(
    lambda status, lines, body, seed, wild: served(status, lines, body, seed, wild),
    STATUS, st.lists(LINES, max_size=4), st.sampled_from([b"", BODY, b"5\r\nhello\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFFF\r\nx", b"z\r\n", b"-5\r\n\r\n"]),
    mutations.seeds, st.integers(0, 4),
)  # fmt: skip


def served(status: str, lines: list[str], body: bytes, seed: int, wild: int) -> bytes:
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
    data = head.encode("latin-1") + body
    return mutations.mutated(data, random.Random(seed)) if wild == 0 else data


def serve(server: socket.socket, answers: list[bytes], stop: threading.Event) -> None:
    """Give each connection the next answer, and the last one again and again."""
    given = 0
    while not stop.is_set():
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.settimeout(1)
                connection.recv(65536)
                connection.sendall(answers[min(given, len(answers) - 1)])
                connection.shutdown(socket.SHUT_WR)
                given += 1


def fetch(folder: Path) -> None:
    answers = [path.read_bytes() for path in sorted(folder.glob("answer*"))]
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        thread = threading.Thread(target=serve, args=(server, answers, stop), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/data.tgz"
        try:
            with (
                contextlib.redirect_stderr(io.StringIO()),
                mock.patch.multiple(download, PAUSE=0, TIMEOUT=1, ATTEMPTS=2),
                mock.patch.dict("os.environ", {"no_proxy": "*"}),
            ):
                download.fetch(address, folder / "data.tgz", None)
        finally:
            stop.set()
            with contextlib.suppress(OSError):
                socket.create_connection(server.getsockname(), timeout=1).close()
            thread.join()


answers = st.lists(answer, min_size=1, max_size=3).map(
    lambda given: {f"answer{i}": data for i, data in enumerate(given)}
)

VALID = tar([("a", tarfile.REGTYPE, "", b"x", 0)], tarfile.PAX_FORMAT, {}, False, 11)
READERS = [
    Reader("archives", st.builds(lambda name, data: {name: data}, NAMED, archives), unpack, {"data.tgz": VALID}, 12),
    Reader("downloads", answers, fetch, {"answer0": b"HTTP/1.1 200 OK\r\n\r\n" + BODY}, 2, network=True),
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_archives_are_unpacked_within_the_folder_or_refused(reader, tmp_path):
    check_slice(reader, tmp_path, 20 if reader.network else 40)
