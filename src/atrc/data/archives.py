"""Data sets left as archives: unpacked once, when they are opened.

An archive is checked as a whole before anything is written. It is unpacked into `<folder>.partial`, which takes the
folder's name only when all is there. A run that was interrupted goes on: files of the right size are kept.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from atrc.data.download import fetch, file_sha256
from atrc.data.members import Member, members, named_failures, refuse
from atrc.errors import UserError

SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")
BLOCK = 4096  # what the smallest file takes on a disk [bytes]


def ensure_folder(root: Path, url: str | None = None, sha256: str | None = None) -> Path:
    """Return a data set's folder; unpack the archive beside it, or fetch one, where there is no folder yet.

    Of several processes that come at once, one works and the others wait.

    Args:
        root: The folder, or an archive that is to be unpacked into a folder of its name.
        url: Where to download the archive, should it not be there.
        sha256: The archive's checksum, where known; a file `<archive>.sha256` beside it does as well.

    Raises:
        UserError: There is neither a folder nor an archive, or the archive cannot be trusted, read or unpacked.
    """
    root = _without_suffix(root)
    if root.is_dir():
        return root
    if not url and _find_archive(root) is None:
        raise UserError(
            f"{root}: not a data set folder: it is not there, nor an archive {root.name}{', '.join(SUFFIXES)} beside "
            f"it; check the path, or make one with `atrc rooms {root}`"
        )
    lock = root.with_name(f".{root.name}.lock")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            try:
                if not root.is_dir():  # else another process made it meanwhile
                    archive = _find_archive(root) or fetch(url or "", _archive_of(root, url or ""), sha256)
                    unpack(archive, root, sha256)
            finally:
                lock.unlink(missing_ok=True)  # still held: whoever waits for it sees that, and takes a new one
    except OSError as error:
        raise UserError(
            f"{root.parent}: cannot be written ({error.strerror or error}); unpack the archive elsewhere"
        ) from None
    return root


def unpack(archive: Path, root: Path, sha256: str | None = None) -> None:
    """Unpack an archive into a folder that is not there yet.

    Args:
        archive: A tar archive, plain or gzipped, or a zip archive, whatever its name.
        root: The folder. Where the archive holds nothing but one folder, this is it, by whatever name.
        sha256: The archive's checksum, where known.

    Raises:
        UserError: The checksum differs, the archive is damaged, a member is not to be trusted, or there is no space.
    """
    partial = root.with_name(f"{root.name}.partial")
    tree = partial / "tree"
    digest = file_sha256(archive)
    print(f"{archive}: SHA-256 {digest}", file=sys.stderr)
    _compare(archive, digest, sha256)
    _begin(partial, digest)
    _survey(archive, tree)
    with named_failures(archive):
        links = [member for member in members(archive, "unpacking") if not _write(member, tree)]
        _make_links(archive, tree, links)
        top = _top(tree)
        _require_within(archive, tree, top, links)
        top.replace(root)
        shutil.rmtree(partial)


def _without_suffix(root: Path) -> Path:
    suffix = next((suffix for suffix in SUFFIXES if root.name.endswith(suffix)), None)
    return root.with_name(root.name.removesuffix(suffix)) if suffix and not root.is_dir() else root


def _find_archive(root: Path) -> Path | None:
    found = [path for suffix in SUFFIXES if (path := root.with_name(root.name + suffix)).is_file()]
    if len(found) > 1:
        raise UserError(f"{root}: which archive? {' and '.join(path.name for path in found)} are there; keep one")
    return found[0] if found else None


def _archive_of(root: Path, url: str) -> Path:
    """Return where a download goes; its address tells which kind of archive it is."""
    name = urllib.parse.urlsplit(url).path
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is None:
        raise UserError(
            f"url '{url}': give one that ends in {', '.join(SUFFIXES)}, or download the archive yourself to {root}.tgz"
        )
    return root.with_name(root.name + suffix)


def _compare(archive: Path, digest: str, expected: str | None) -> None:
    """Compare with what is given and with `<archive>.sha256`, written as `sha256sum` does."""
    beside = archive.with_name(f"{archive.name}.sha256")
    if beside.is_file():
        lines = beside.read_text(encoding="utf-8", errors="replace").splitlines()
        pairs = [
            match.groups()
            for line in lines
            if (match := re.fullmatch(r"\\?([0-9a-fA-F]{64})(?:\s+\*?(.+))?", line.strip()))
        ]
        of_it = [known for known, name in pairs if not name or Path(name).name == archive.name]
        if not of_it:
            raise UserError(f"{beside}: has no SHA-256 of {archive.name}; write it with sha256sum, or remove the file")
        _require_equal(archive, digest, of_it[0], str(beside))
    if expected:
        _require_equal(archive, digest, expected, "the one given")


def _require_equal(archive: Path, digest: str, expected: str, source: str) -> None:
    if digest != expected.lower():
        raise UserError(f"{archive}: SHA-256 {digest} differs from {source}, {expected}; copy or download it again")


def _begin(partial: Path, digest: str) -> None:
    """Keep what an interrupted run unpacked from the same archive; drop that of another."""
    state = partial / "sha256"
    if partial.exists() and not (state.is_file() and state.read_text() == digest):
        shutil.rmtree(partial)
    (partial / "tree").mkdir(parents=True, exist_ok=True)
    state.write_text(digest)
    for folder, folders, files in os.walk(partial / "tree"):  # so that nothing is written through a link
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink():
                path.unlink()


def _survey(archive: Path, tree: Path) -> None:
    """Read the whole archive before anything is written: every member is checked, and there is space for all."""
    there = sum(_on_disk(path.stat().st_size) for path in tree.rglob("*") if path.is_file())
    limit, total, names = shutil.disk_usage(tree).free + there, 0, set()
    for member in members(archive, "checking"):
        total += _on_disk(member.size)
        if total > limit:
            raise UserError(
                f"{archive}: unpacks to more than the {limit / 1e9:.1f} GB that are free in {tree.parent.parent}; make "
                "room, or unpack it elsewhere"
            )
        if member.kind != "folder" and member.name in names:
            refuse(archive, member.name, "is there twice")
        names.add(member.name)
    if not names - {""}:
        raise UserError(f"{archive}: holds nothing; copy or download it again")


def _on_disk(size: int) -> int:
    return max(1, -(-size // BLOCK)) * BLOCK


def _write(member: Member, tree: Path) -> bool:
    """Write a file or a folder; return False of a link, whose turn comes when nothing else is to be written."""
    path = tree / member.name
    if member.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
    elif member.kind == "file" and not (path.is_file() and path.stat().st_size == member.size):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            with member.open() as source, path.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        except Exception:  # such as a checksum that fails at the very end
            path.unlink(missing_ok=True)
            raise
    return member.kind in ("file", "folder")


def _make_links(archive: Path, tree: Path, links: Sequence[Member]) -> None:
    """Make hard links, which lead to files, then the others."""
    for member in sorted(links, key=lambda member: member.kind != "hard link"):
        path = tree / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if member.kind == "link":
            path.symlink_to(os.path.relpath(member.target or ".", Path(member.name).parent))
        elif (tree / member.target).is_file():
            os.link(tree / member.target, path)
        else:
            refuse(archive, member.name, f"is a link to '{member.target}', which the archive lacks")


def _top(tree: Path) -> Path:
    """Return the one folder that holds everything, else `tree` itself."""
    while len(found := list(tree.iterdir())) == 1 and found[0].is_dir() and not found[0].is_symlink():
        tree = found[0]
    return tree


def _require_within(archive: Path, tree: Path, top: Path, links: Sequence[Member]) -> None:
    """Refuse links that lead out of the folder by way of other links."""
    for member in links:
        path = tree / member.name
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # a link to nothing
                path.stat()
            within = path.resolve().is_relative_to(top.resolve())
        except (OSError, RuntimeError):  # a circle of links, which Python 3.13 resolves without a word
            within = False
        if not within:
            shutil.rmtree(tree.parent)
            refuse(archive, member.name, f"is a link that leads out of the data set's folder ({member.link!r})")
