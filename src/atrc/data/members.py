"""The members of tar and zip archives, checked: nothing that would be written outside the folder gets past here."""

from __future__ import annotations

import contextlib
import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Literal, NoReturn, cast

from tqdm import tqdm

from atrc.errors import UserError

CHUNK = 1 << 20
MOST_AT_END = 8  # times that a reader asks for more after the last byte
LONGEST_TARGET = 4096  # of a link [bytes]
LONGEST_HEADER = 1 << 20  # [bytes]
ABOUT_THE_NEXT = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error)

Kind = Literal["file", "folder", "link", "hard link"]


@dataclass(frozen=True)
class Member:
    """What an archive holds under one name.

    Attributes:
        name: Where it goes: a path below the folder, with "/" between its parts.
        kind: What it is.
        size: Bytes of a file.
        target: Where a link leads, from the folder, normalised.
        link: Where a link leads, as it is written.
        open: Opens a file for reading; good until the next member.
    """

    name: str
    kind: Kind
    size: int
    target: str
    link: str
    open: Callable[[], BufferedIOBase]


def members(archive: Path, doing: str) -> Iterator[Member]:
    """Yield every member but what file managers add, with a progress bar.

    Raises:
        UserError: The archive is damaged, or a member is not to be trusted.
    """
    with named_failures(archive):
        with archive.open("rb") as file:
            reader = _zip_members if file.read(2) == b"PK" else _tar_members
        for member in reader(archive, f"{doing} {archive.name}"):
            parts = PurePosixPath(member.name).parts
            if parts and parts[0] != "__MACOSX" and parts[-1] != ".DS_Store" and not parts[-1].startswith("._"):
                yield member


@contextlib.contextmanager
def named_failures(archive: Path) -> Iterator[None]:
    """Turn what the readers raise into an error that names the archive."""
    try:
        yield
    except UserError:
        raise
    except (*DAMAGE, EOFError, ValueError, OverflowError) as error:
        _fail_damaged(archive, str(error))
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or compressed in an unusual way
        raise UserError(f"{archive}: cannot be unpacked here ({error}); unpack it by other means") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # zipfile, sent to a place before the beginning
            _fail_damaged(archive, str(error))
        where = f" {error.filename}" if error.filename else ""
        raise UserError(
            f"{archive}: cannot be unpacked ({error.strerror or error}{where}); make room, or see who may write there"
        ) from None


def refuse(archive: Path, name: str, reason: str) -> NoReturn:
    """Refuse an archive for one of its members."""
    raise UserError(f"{archive}: member '{name}' {reason}; get the archive from a source that you trust")


def _fail_damaged(archive: Path, reason: str) -> NoReturn:
    raise UserError(f"{archive}: damaged or incomplete ({reason}); copy or download it again")


def _tar_members(archive: Path, doing: str) -> Iterator[Member]:
    bar = tqdm(total=archive.stat().st_size, desc=doing, unit="B", unit_scale=True, disable=None)
    with (
        archive.open("rb") as file,
        bar,
        _Stream(file, bar) as stream,
        tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK, tarinfo=_Header) as tar,  # type: ignore[call-overload]
    ):
        for info in tar:
            yield _tar_member(archive, tar, info)
        while stream.read(CHUNK):  # to the end, where gzip has its checksum
            pass
        if stream.length < tar.offset + tarfile.BLOCKSIZE or stream.filled > tar.offset:
            _fail_damaged(archive, "it does not end as a tar archive does")


class _Header(tarfile.TarInfo):
    """A header; those that only hold a long name or more about the next one are read into memory, so they are short."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        info = super().frombuf(buf, encoding, errors)
        if info.type in ABOUT_THE_NEXT and info.size > LONGEST_HEADER:
            raise tarfile.ReadError("a header of impossible length")
        return info


class _Stream:
    """The bytes of a tar archive, unzipped where it is zipped; knows how many came, and up to where not only zeros.

    `tarfile` would take a damaged header, or the end of a truncated archive, for the end of the archive.
    """

    def __init__(self, file: IO[bytes], bar: tqdm) -> None:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        self.file, self.bar = file, bar
        self.source: IO[bytes] = gzip.GzipFile(fileobj=file) if zipped else file  # type: ignore[assignment]
        self.length = self.filled = self.ended = 0

    def read(self, size: int) -> bytes:
        chunk = self.source.read(size)
        self.ended += not chunk
        if self.ended > MOST_AT_END:  # `tarfile` would ask once for every chunk of what a header says is there
            raise tarfile.ReadError("it ends within a member")
        if significant := len(chunk.rstrip(b"\0")):
            self.filled = self.length + significant
        self.length += len(chunk)
        self.bar.update(self.file.tell() - self.bar.n)
        return chunk

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.source.close()


def _tar_member(archive: Path, tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    name = _checked(archive, info.name, info.name)
    kinds: dict[Kind, bool] = {
        "file": info.isreg(),
        "folder": info.isdir(),
        "link": info.issym(),
        "hard link": info.islnk(),
    }
    kind = next((kind for kind, holds in kinds.items() if holds), None)
    if kind is None:
        refuse(archive, info.name, "is a device or a pipe")
    target = ""
    if kind == "link":
        target = _target(archive, name, info.linkname)
    elif kind == "hard link":
        target = _checked(archive, info.name, info.linkname)

    def open_() -> BufferedIOBase:
        file = tar.extractfile(info)
        assert isinstance(file, BufferedIOBase)  # only links and folders have none
        return file

    return Member(name, kind, info.size if kind == "file" else 0, target, info.linkname, open_)


def _zip_members(archive: Path, doing: str) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in tqdm(file.infolist(), desc=doing, unit="file", disable=None):
            yield _zip_member(archive, file, info)


def _zip_member(archive: Path, file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    name, mode = _checked(archive, info.filename, info.filename), info.external_attr >> 16
    kind: Kind = "folder" if info.filename.endswith("/") or stat.S_ISDIR(mode) else "file"
    target = link = ""
    if stat.S_ISLNK(mode):
        if info.file_size > LONGEST_TARGET:
            refuse(archive, info.filename, "is a link of impossible length")
        kind, link = "link", file.read(info).decode()
        target = _target(archive, name, link)
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        refuse(archive, info.filename, "is a device or a pipe")
    return Member(
        name, kind, info.file_size if kind == "file" else 0, target, link, lambda: cast(BufferedIOBase, file.open(info))
    )


def _checked(archive: Path, member: str, name: str) -> str:
    """Return a normalised relative path; refuse what leads out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\0" in name:
        refuse(archive, member, f"leads out of the data set's folder ({name!r})")
    return "" if path == PurePosixPath(".") else str(path)


def _target(archive: Path, name: str, link: str) -> str:
    """Return where a link leads from the folder; refuse what leads out of it by its text alone."""
    link = link.replace("\\", "/")
    steps: list[str] = list(PurePosixPath(name).parent.parts)
    for part in PurePosixPath(link).parts:
        if part != "..":
            steps.append(part)
        elif steps:
            steps.pop()
        else:
            refuse(archive, name, f"is a link that leads out of the data set's folder ({link!r})")
    if PurePosixPath(link).is_absolute() or PureWindowsPath(link).drive or "\0" in link:
        refuse(archive, name, f"is a link that leads out of the data set's folder ({link!r})")
    return "/".join(steps)
