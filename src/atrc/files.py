"""Atomic writes, the files of a folder, and YAML from any source."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unicodedata import normalize

import yaml

from atrc.errors import UserError

LONGEST_YAML = 1 << 22  # of a file with its aliases written out [characters]


def write_atomic(path: str | os.PathLike[str], content: str | bytes, *, shared: bool = False) -> None:
    """Write a file atomically: a reader finds the old file or the new one, never half of one. Text becomes UTF-8.

    Args:
        path: The file. Its folder is made.
        content: All of it.
        shared: Several processes or threads may write this file at the same time.

    Raises:
        OSError: As of `replacing`.
    """
    with replacing(path, shared=shared) as partial, partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: str | os.PathLike[str], *, shared: bool = False) -> Iterator[Path]:
    """Yield the name of a temporary file to write, which replaces `path` at the end if nothing was raised.

    Args:
        path: The file. Its folder is made.
        shared: Several processes or threads may write this file at the same time.

    Raises:
        OSError: It cannot be written. The error names the file, the temporary file is removed, the old file is kept.
    """
    path = Path(path)
    own = f".{os.getpid()}.{threading.get_ident()}" if shared else ""
    partial = path.with_name(f"{path.name}{own}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path):
            yield partial
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError name this file if it names none, as those of a write or a flush, or only a temporary one."""
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or str(error.filename).endswith(".partial")
        if not unnamed or type(error).__module__ != "builtins":  # PyAV has its own
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


class Files:
    """The files of one folder by name without the ending; hidden files are left out.

    Endings are the same in upper and lower case, and names in each of their Unicode forms.
    """

    def __init__(self, folder: Path, endings: Collection[str]) -> None:
        """List the files with these endings, such as .png."""
        self.folder, self.endings = folder, endings
        self.paths: dict[str, list[Path]] = {}
        self.others: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.is_dir():
                continue
            name = normalize("NFC", path.stem)
            if path.suffix.lower() in endings:
                self.paths.setdefault(name, []).append(path)
            else:
                self.others[name] = path

    def find(self, name: str) -> Path | None:
        """Return the file of a name, or None.

        Raises:
            UserError: There are several, or one that cannot be read.
        """
        name = normalize("NFC", name)
        found = self.paths.get(name, [])
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1].name} have the same name; keep the one that counts")
        if not found and name in self.others:
            kinds = ", ".join(self.endings)
            raise UserError(f"{self.others[name]}: not a kind of file that is read here; save it as {kinds}")
        return found[0] if found else None


def read_yaml(path: Path) -> Any:
    """Return the plain values of a YAML file from any source.

    Raises:
        UserError: It cannot be read, gives a key twice, or is made to fill the memory.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except Exception as error:  # PyYAML raises many kinds on values that are not of their tag
        raise UserError(f"{path}: not readable YAML ({' '.join(str(error).split())})") from None


class _Loader(yaml.SafeLoader):
    """The safe loader, which builds nothing but plain values, and refuses keys that are given twice.

    What an alias stands for counts each time: a few lines can stand for more than any memory holds.
    """

    def construct_document(self, node: yaml.Node) -> Any:
        if _length(node, {}) > LONGEST_YAML:
            raise yaml.YAMLError(f"with what its aliases stand for it is longer than {LONGEST_YAML} characters")
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in keys.items() if count > 1]:
            raise yaml.YAMLError(f"key {twice[0]!r} is given twice, again in line {node.start_mark.line + 1} or below")
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """Return a whole number of at most 64 bits."""
        if abs(value := self.construct_yaml_int(node)) >= 1 << 63:
            raise yaml.YAMLError(f"a whole number of more than 64 bits in line {node.start_mark.line + 1}")
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)


def _length(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the characters of a node with all its aliases written out; `known` has those of nodes seen before."""
    if id(node) not in known:
        known[id(node)] = LONGEST_YAML + 1  # should it hold itself
        inner = node.value if not isinstance(node, yaml.MappingNode) else [one for pair in node.value for one in pair]
        known[id(node)] = 1 + (len(inner) if isinstance(inner, str) else sum(_length(one, known) for one in inner))
    return known[id(node)]
