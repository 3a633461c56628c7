"""A reader under test, and batches of cases for it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from guard import Files, Sandbox, Verdict, attempt
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

BATCH = 250


@dataclass(frozen=True)
class Reader:
    """What is fed to a reader, and how it reads.

    Attributes:
        name: For the table.
        cases: Files by their names in the folder.
        read: Reads the folder.
        valid: Files that are accepted.
        share: Of all cases, this reader's.
        network: Whether it may open connections, to this machine.
    """

    name: str
    cases: st.SearchStrategy[Files]
    read: Callable[[Path], object]
    valid: Files
    share: float
    network: bool = False

    def run(self, sandbox: Sandbox, count: int, first: int) -> Iterator[tuple[int, Files, Verdict]]:
        """Try so many cases; `first` is the seed of the first batch. A valid one is read first, and unwatched.

        It imports what is imported late.
        """
        sandbox.fill(self.valid)
        self.read(sandbox.inside)
        for number in range(-(-count // BATCH)):
            for files in _generated(self.cases, min(BATCH, count - number * BATCH), first + number):
                yield first + number, files, attempt(self.read, sandbox, files, self.network)


def _generated(cases: st.SearchStrategy[Files], count: int, number: int) -> list[Files]:
    """Let Hypothesis make so many cases, the same for the same number."""
    made: list[Files] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def collect(files: Files) -> None:
        made.append(files)

    while len(made) < count:  # Hypothesis may stop early where it finds nothing new
        before = len(made)
        collect()
        if len(made) == before:
            break
    return made[:count]


def keep(files: Files, where: Path, reader: str, verdict: Verdict, number: int) -> Path:
    """Save a case that failed."""
    digest = hashlib.sha256(b"\0".join(name.encode() + content for name, content in sorted(files.items()))).hexdigest()
    folder = where / reader / digest[:12]
    for name, content in files.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    note = {"reader": reader, "seed": number, "reason": verdict.reason}
    (folder / "fault.json").write_text(json.dumps(note, indent=2) + "\n")
    return folder


def check_slice(reader: Reader, tmp_path: Path, count: int = 40) -> None:
    """Try the first cases of a reader: none is a fault, and there are some of both other kinds."""
    outcomes: Counter[str] = Counter()
    for number, files, verdict in reader.run(Sandbox(tmp_path / "tree"), count, 0):
        outcomes[verdict.outcome] += 1
        if verdict.outcome == "fault":
            where = keep(files, tmp_path / "faults", reader.name, verdict, number)
            raise AssertionError(f"{reader.name}: {verdict.reason}; the input is in {where}")
    assert outcomes["refused"], outcomes
    assert sum(outcomes.values()) == count
