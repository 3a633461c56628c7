"""Many visitors of the explorer at once: is every answer right, how long does it take, does the memory stay bounded?

    OMP_NUM_THREADS=2 python benchmarks/explorer_load.py MODEL --clients 32 --seconds 120 --size 425 560 --max-side 560

Every visitor brings a photograph of its own and asks, again and again, for predictions, for pixels, and with the same
photograph anew. What it is told is compared with what it was told when it was alone.
"""

import argparse
import contextlib
import http.client
import io
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image
from timing import machine

PIXELS = 3  # that a visitor asks for, of every target


def picture(seed: int, size: tuple[int, int]) -> bytes:
    """A PNG of smooth colours that no other seed has."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


class Visitor:
    """One who looks at one photograph."""

    def __init__(self, port: int, seed: int, size: tuple[int, int]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        self.content, self.random = picture(seed, size), random.Random(seed)
        tasks = [task["name"] for task in self._json("/api/models")["models"][0]["tasks"]]
        places = [(self.random.randrange(size[0]), self.random.randrange(size[1])) for _ in range(PIXELS)]
        self.questions = [("/look", {}), ("/photo", {}), *(("/prediction", {"task": task}) for task in tasks)]
        self.questions += [
            ("/pixel", {"target": task, "row": row, "column": column}) for task in tasks for row, column in places
        ]
        self.bring()
        self.answers = [self.ask(number) for number in range(len(self.questions))]

    def bring(self) -> None:
        """Upload the photograph, again under another name."""
        self.name = json.loads(self._ask("/api/images", self.content))["id"]

    def ask(self, number: int) -> bytes:
        """Ask a question about the photograph."""
        path, query = self.questions[number]
        return self._ask(f"/api/images/{self.name}{path}?{urlencode({'model': 0, **query})}")

    def _ask(self, where: str, body: bytes | None = None) -> bytes:
        self.connection.request("GET" if body is None else "POST", where, body)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{answer.status} {content[:200]!r}")
        return content

    def _json(self, where: str) -> Any:
        return json.loads(self._ask(where))


@dataclass
class Load:
    """What came of it.

    Attributes:
        seconds: Of every answer, by kind.
        wrong: Answers that belong to another photograph, or differ from before.
        errors: Questions without an answer.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def answers(self) -> int:
        """How many there were."""
        return sum(map(len, self.seconds.values()))


def load(port: int, clients: int, seconds: float, size: tuple[int, int]) -> Load:
    """Let visitors ask at the same time; before that each is alone once."""
    visitors = [Visitor(port, seed, size) for seed in range(clients)]
    for visitor in visitors:
        visitor.connection.close()  # a server may give up one that has waited; the next question opens it
    distinct = {tuple(visitor.answers) for visitor in visitors}
    assert len(distinct) == clients, "the photographs of different visitors look alike"
    found, lock, until = Load(), threading.Lock(), time.monotonic() + seconds

    def visit(visitor: Visitor) -> None:
        while time.monotonic() < until:
            start = time.monotonic()
            try:
                if visitor.random.random() < 0.05:
                    kind, right = "upload", True
                    visitor.bring()
                else:
                    number = visitor.random.randrange(len(visitor.questions))
                    kind = visitor.questions[number][0].removeprefix("/")
                    right = visitor.ask(number) == visitor.answers[number]
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                with lock:
                    found.errors.append(f"{type(error).__name__}: {error}")
                visitor.connection.close()
                continue
            with lock:
                found.seconds.setdefault(kind, []).append(time.monotonic() - start)
                found.wrong += not right

    threads = [threading.Thread(target=visit, args=(visitor,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for visitor in visitors:
        visitor.connection.close()
    return found


@contextlib.contextmanager
def server(model: str, max_side: int | None = None, compare: str | None = None) -> Iterator[tuple[int, int]]:
    """Start the explorer in a process of its own; yield its port and its process."""
    words = [sys.executable, "-m", "atrc", "explore", model, "--port", "0"]
    words += ["--max_side", str(max_side)] if max_side else []
    words += ["--compare", compare] if compare else []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            match = re.search(r":(\d+)/", line)
            if not match:
                raise SystemExit(f"the explorer did not start: {line}")
            yield int(match[1]), process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def watching(pid: int) -> Iterator[list[float]]:
    """Note the resident memory of a process [MB] four times a second."""
    found, ended = [resident(pid)], threading.Event()

    def watch() -> None:
        while not ended.wait(0.25):
            found.append(resident(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def resident(pid: int) -> float:
    """Resident memory of a process [MB] (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    """Print what came of it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--size", type=int, nargs=2, default=(425, 560))
    parser.add_argument("--max-side", type=int, help="what the network sees at most; by default as it was trained")
    options = parser.parse_args()
    with server(options.model, options.max_side) as (port, pid):
        before = resident(pid)
        with watching(pid) as memory:
            found = load(port, options.clients, options.seconds, tuple(options.size))
    print(f"{machine()}; {options.clients} visitors, {options.seconds:g} s, {options.size[0]}x{options.size[1]}\n")
    print("| question | answers | median [ms] | 95 % [ms] | longest [ms] |\n|---|---|---|---|---|")
    for kind, times in sorted(found.seconds.items()):
        values = [1000 * value for value in (np.median(times), np.quantile(times, 0.95), max(times))]
        print(f"| {kind} | {len(times)} | {' | '.join(f'{value:.0f}' for value in values)} |")
    quarters = [max(part) for part in np.array_split(np.array(memory), 4) if len(part)]
    print(f"\n{found.answers} answers, {found.wrong} wrong, {len(found.errors)} errors")
    print(
        f"memory: {before:.0f} MB at the start, at most {', '.join(f'{most:.0f}' for most in quarters)} MB by quarter"
    )
    for error in sorted(set(found.errors))[:5]:
        print(f"error: {error}")
    if found.wrong or found.errors:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
