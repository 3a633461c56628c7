"""Data sets that come as an archive: downloaded if there is an address, and unpacked once, when they are opened."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import sys
import tarfile
import urllib.parse
import zipfile
import zlib
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath

from filelock import FileLock
from tqdm import tqdm

from atrc.errors import UserError, first_line

SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, BadGzipFile, zlib.error, lzma.LZMAError, EOFError)


def ensure_folder(root: Path, url: str | None = None, sha256: str | None = None) -> Path:
    """Return a data set's folder; if it is missing, unpack the archive next to it, or download that first.

    If several processes call it at the same time, one works and the others wait.

    Args:
        root: The folder, or an archive to unpack into a folder of its name.
        url: Where to download the archive if it is not there.
        sha256: The archive's checksum, if known; a file `<archive>.sha256` next to it does as well.

    Raises:
        UserError: There is neither a folder nor an archive, or the archive cannot be downloaded or unpacked.
    """
    root = _without_suffix(root)
    if root.is_dir():
        return root
    if not url and _find_archive(root) is None:
        raise UserError(
            f"{root}: not a data set folder: it is not there, nor an archive {root.name}{', '.join(SUFFIXES)} next to "
            f"it; check the path, or make one with `atrc rooms {root}`"
        )
    lock = root.with_name(f".{root.name}.lock")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            try:
                if not root.is_dir():  # else another process made it meanwhile
                    archive = _find_archive(root) or _download(url or "", root, sha256)
                    _unpack(archive, root, sha256)
            finally:
                lock.unlink(missing_ok=True)  # still held: whoever waits for it sees that, and takes a new one
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(
            f"{error.filename or root.parent}: {reason}; make room, give permission, or unpack the archive elsewhere"
        ) from None
    return root


def _without_suffix(root: Path) -> Path:
    suffix = next((suffix for suffix in SUFFIXES if root.name.endswith(suffix)), None)
    return root.with_name(root.name.removesuffix(suffix)) if suffix and not root.is_dir() else root


def _find_archive(root: Path) -> Path | None:
    found = [path for suffix in SUFFIXES if (path := root.with_name(root.name + suffix)).is_file()]
    if len(found) > 1:
        raise UserError(f"{root}: which archive? {' and '.join(path.name for path in found)} are there; keep one")
    return found[0] if found else None


def _download(url: str, root: Path, sha256: str | None) -> Path:
    """Download an archive next to the folder; its address tells which kind it is."""
    import pooch  # takes a while

    name = urllib.parse.urlsplit(url).path
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is None:
        raise UserError(
            f"url '{url}': give one that ends in {', '.join(SUFFIXES)}, or download the archive yourself to {root}.tgz"
        )
    archive = root.with_name(root.name + suffix)
    pooch.get_logger().setLevel("WARNING")
    get = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), headers={"User-Agent": "atrc"})
    try:
        pooch.retrieve(url, sha256 and sha256.lower(), archive.name, archive.parent, downloader=get)
    except (OSError, ValueError) as error:  # of the network, which requests makes OSErrors too, and of the checksum
        raise UserError(
            f"{url}: cannot be downloaded ({first_line(error)}); check the address, the checksum and the network, or "
            f"copy the file to {archive} yourself"
        ) from None
    if not (zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive)):
        archive.unlink()
        raise UserError(f"{url}: not an archive, a web page perhaps; download the file itself with a browser")
    return archive


def _unpack(archive: Path, root: Path, sha256: str | None) -> None:
    """Unpack a tar or zip archive into `<folder>.partial`, and rename that when all is there.

    If the archive holds nothing but one folder, this is the data set's folder, by whatever name.
    """
    _compare_checksum(archive, sha256)
    partial = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        (_extract_zip if zipfile.is_zipfile(archive) else _extract_tar)(archive, partial)
        top = partial
        while len(found := list(top.iterdir())) == 1 and found[0].is_dir() and not found[0].is_symlink():
            top = found[0]
        if not found:
            raise UserError(f"{archive}: holds nothing; copy or download it again")
        top.replace(root)
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: refused: {error}; get the archive from a source that you trust") from None
    except DAMAGE as error:
        raise UserError(f"{archive}: damaged or incomplete ({first_line(error)}); copy or download it again") from None
    except RuntimeError as error:  # encrypted, or compressed by a method that zipfile does not know
        raise UserError(f"{archive}: cannot be unpacked ({first_line(error)}); unpack it by other means") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for name in tqdm(file.namelist(), f"unpacking {archive.name}", unit="file", disable=None):
            if _is_wanted(name):
                file.extract(name, folder)


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as file:
        members = tqdm(file, f"unpacking {archive.name}", unit="file", disable=None)
        file.extractall(folder, (member for member in members if _is_wanted(member.name)), filter="data")
        while file.fileobj and file.fileobj.read(1 << 20):  # to the end, where gzip has its checksum
            pass


def _is_wanted(name: str) -> bool:
    """Leave out what file managers add."""
    path = PurePosixPath(name)
    return path.parts[:1] != ("__MACOSX",) and path.name != ".DS_Store" and not path.name.startswith("._")


def _compare_checksum(archive: Path, expected: str | None) -> None:
    """Compare with the checksum that is given, and with `<archive>.sha256` as `sha256sum` writes it."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    print(f"{archive}: SHA-256 {found}", file=sys.stderr)
    listed = archive.with_name(f"{archive.name}.sha256")
    known = {"the one given": expected} if expected else {}
    if listed.is_file():
        rows = [line.split(maxsplit=1) for line in listed.read_text(encoding="utf-8", errors="replace").splitlines()]
        sums = [row[0] for row in rows if row and PurePosixPath(row[-1].lstrip("*")).name in (archive.name, row[0])]
        if not sums:
            raise UserError(f"{listed}: has no SHA-256 of {archive.name}; write it with sha256sum, or remove the file")
        known[str(listed)] = sums[0]
    for source, value in known.items():
        if value.lower() != found:
            raise UserError(f"{archive}: SHA-256 {found} differs from {source}, {value}; copy or download it again")
