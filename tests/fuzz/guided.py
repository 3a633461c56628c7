"""Guided by coverage: bytes that reach new lines of our own parsers. `python tests/fuzz/guided.py NAME [CASES]`.

It needs `pip install atheris` (33 MB; not a dependency of the tests). A case that raises anything but what the parser
says that it raises ends the run with its bytes in a file `crash-*`.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
with atheris.instrument_imports(include=["atrc.data", "atrc.genotype", "tarfile", "zipfile"]):
    from atrc.data import matfile, members
    from atrc.errors import UserError
    from atrc.genotype import Genotype
from test_hostile_archives import bomb  # noqa: E402
from test_hostile_matrices import mat_seeds  # noqa: E402

matfile.LARGEST = 1 << 22  # or most of the time goes into bombs


def mat(path: Path) -> None:
    for name in ("LabelMap", "anno", "x"):
        try:
            matfile.read_mat(path, name)
        except (KeyError, ValueError):
            continue


def archive(path: Path) -> None:
    with members.named_failures(path):  # as where archives are unpacked
        for member in members.members(path, "reading"):
            if member.kind == "file" and member.size < 1 << 20:
                member.open().read(1 << 20)


def genotype(path: Path) -> None:
    Genotype.load(path)


PARSERS: dict[str, tuple[Callable[[Path], None], Callable[[], list[bytes]]]] = {
    "mat": (mat, lambda: list(mat_seeds())),
    "archive": (archive, lambda: [bomb("name", 1 << 12), bomb("pax", 1 << 12)]),
    "genotype": (genotype, lambda: [b'{"contexts": {"a": {"a": "none"}}}', b'{"genotype": [[1, 2], [3, 4]]}']),
}


def main() -> None:
    """Run one parser."""
    name, cases = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    parse, seeds = PARSERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path, corpus = Path(folder, "x"), Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(seeds()):
            (corpus / str(number)).write_bytes(seed)

        def once(data: bytes) -> None:
            path.write_bytes(data)
            with contextlib.suppress(UserError):
                parse(path)

        options = [f"-atheris_runs={cases}", "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
