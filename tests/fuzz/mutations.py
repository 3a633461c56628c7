"""How valid files are made hostile: bytes, JSON and YAML. Every run tries the same few."""

from __future__ import annotations

import copy
import json
import random
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

CANARY = "hostile_canary"  # what payloads write, and what must never be there
few = settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

ODD = (
    0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1,
    2**64 - 1,
)  # fmt: skip
LONG = "n" * 3000
TEXTS = (
    "", " ", "a", "semseg", "../up", "/etc/passwd", "a\0b", "a\nb", "\x1b[31m", "\ud800", "é\u2028", LONG, "none",
    "nan",
    "__class__", "1e999", "..", ".", "a" * 300 + "/b", "https://x.invalid/a", "con", "-1", "\u202e", "keys",
)  # fmt: skip
DEEP, HUGE, TWICE = "@deep@", "@huge@", "@twice@"  # what no library writes: put in as text


@contextmanager
def folder(files: dict[str, bytes]) -> Iterator[Path]:
    """Yield a folder with these files; afterwards it holds no other: no payload ran."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        yield root
        assert not (root / CANARY).exists()
        assert not Path(CANARY).exists()


def mutated(content: bytes, rng: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Return bytes with one to eight changes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        rng.choice(_CHANGES)(data, rng, others)
    return bytes(data)


def _flip(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    if data:
        data[_place(data, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    """Write a number where a length may be."""
    kind = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(kind)
    if len(data) >= size:
        at = min(_place(data, rng), len(data) - size)
        data[at : at + size] = struct.pack(kind, rng.choice(ODD) % (1 << 8 * size))


def _cut(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    del data[_place(data, rng) :]


def _drop(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 8, 64, 512))]


def _double(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    at, size = _place(data, rng), rng.choice((1, 4, 16, 128, 512))
    data[at:at] = bytes(data[at : at + size]) * rng.choice((1, 1, 2, 50))


def _insert(data: bytearray, rng: random.Random, _: tuple[bytes, ...]) -> None:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 9, 40)))


def _splice(data: bytearray, rng: random.Random, others: tuple[bytes, ...]) -> None:
    other = rng.choice(others or (bytes(data),))
    data[_place(data, rng) :] = other[_place(other, rng) :]


_CHANGES = (_flip, _flip, _byte, _byte, _number, _number, _cut, _drop, _double, _insert, _splice)


def _place(data: bytes | bytearray, rng: random.Random) -> int:
    """Choose a place, headers more often than what follows."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 256)
    return rng.randrange(end) if end else 0


seeds = st.integers(0, 2**63 - 1)


def of_bytes(valid: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Mutations of valid files, and now and then one as it is."""

    def make(content: bytes, seed: int) -> bytes:
        rng = random.Random(seed)
        return content if rng.random() < 0.02 else mutated(content, rng, valid)

    return st.builds(make, st.sampled_from(valid), seeds)


def rarely(usual: st.SearchStrategy[Any], rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Take the second strategy, which is slow, for one case of ten."""
    return st.integers(0, 9).flatmap(lambda number: rare if number == 7 else usual)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, *ODD, -(2**63), 10**18, 4096, 4097, 64]),
    st.sampled_from([0.5, -0.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf")]),
    st.sampled_from([*TEXTS, DEEP, HUGE]),
    st.text(max_size=6),
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3),
    max_leaves=6,
)


def _spots(value: Any) -> list[tuple[Any, Any]]:
    """Return every container with each of its keys."""
    found = []
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += _spots(inner)
    return found


@st.composite
def edited(draw: st.DrawFn, documents: list[Any], fresh: st.SearchStrategy[Any] = values) -> Any:
    """Documents with up to four values replaced, removed, renamed, moved, or given twice."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(0, 4))):
        spots = _spots(document)
        if not spots:
            break
        parent, key = spots[draw(st.integers(0, len(spots) - 1))]
        change = draw(st.sampled_from(("replace", "replace", "remove", "rename", "move", "more")))
        if change == "replace":
            parent[key] = draw(fresh)
        elif change == "remove":
            del parent[key]
        elif change == "move":
            other, place = spots[draw(st.integers(0, len(spots) - 1))]
            if place in other if isinstance(other, dict) else place < len(other):
                parent[key] = copy.deepcopy(other[place])
        elif isinstance(parent, list):
            parent.extend([parent[key]] * draw(st.sampled_from((1, 3, 100))))
        else:
            name = draw(st.sampled_from([*TEXTS, str(key) + TWICE]))
            parent[name] = parent.pop(key) if change == "rename" else parent[key]
    return document


def _patched(text: str) -> str:
    text = text.replace(f'"{DEEP}"', "[" * 30000 + "]" * 30000)
    return text.replace(f'"{HUGE}"', "9" * 5000).replace(TWICE, "")


def of_json(documents: list[Any]) -> st.SearchStrategy[bytes]:
    """JSON of edited documents, some with changed bytes."""

    def write(document: Any, ascii_: bool, seed: int) -> bytes:
        rng = random.Random(seed)
        text = _patched(json.dumps(document, ensure_ascii=ascii_))
        content = text.encode("utf-8", "surrogatepass")
        return mutated(content, rng) if rng.random() < 0.2 else content

    return st.builds(write, edited(documents), st.booleans(), seeds)


BOMB = (
    "[&a [x, x, x, x, x, x, x, x, x]"
    + "".join(f", &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]"
)
MERGES = (
    "{q0: &m0 {k: 1}" + "".join(f", q{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 9)) + "}"
)
SNIPPETS = (
    BOMB, MERGES, "&r [*r]", "&r {a: *r}", "*nowhere", "!!python/object/apply:os.system ['touch hostile_canary']",
    "!!python/name:os.system", "!!python/object/new:type [z, !!python/tuple [], {}]", "!!timestamp x", "!!bool x",
    "!!int ''", "!!int x", "!!float _", "!!binary '='", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a]", "!!null x",
    "!!str [a]", "!!seq {a: b}", "!!map [a]", "!own x", "{a: 1, a: 2}", "{[a]: b}", "{{a: b}: c}", "? x", "2001-99-99",
    "2001-01-01 99:99:99", "1:60:60", "0o9", "0x", "190:20:30.15", "!!int 0b", ".inf", "~", "=", "<<", "'\\0'", '"\\0"',
    '"\\ud800"', '"\\x1b[2J"', "|\n  a\n b", "- - - -", "{", "]", "%TAG ! x", "---\n...\n---", "\t", "@", "`", "&", "!",
    "!<>",
    "[" * 3000, "{a: " * 3000, "- " * 3000, "9" * 5000, "_" * 400, "${HOME}", "${oc.env:HOME}", "{{x}}", "1_000", "1e3",
    "{class_path: os.system, init_args: {command: touch hostile_canary}}", "[" + "x, " * 4000 + "]", "yes", "1.5.2",
    "{" + ", ".join(f"k{i}: {i}" for i in range(2000)) + "}",
)  # fmt: skip


def of_yaml(documents: list[Any]) -> st.SearchStrategy[bytes]:
    """YAML of edited documents, with what only YAML can say in the place of some values."""

    def write(document: Any, wild: dict[int, str], flow: bool, seed: int) -> bytes:
        rng = random.Random(seed)
        text = yaml.safe_dump(document, sort_keys=False, default_flow_style=flow, width=10**9)
        for number, snippet in wild.items():
            text = text.replace(f"MARK{number}X", snippet)
        data = text.replace(TWICE, "").encode("utf-8", "surrogatepass")
        return mutated(data, rng) if rng.random() < 0.2 else data

    marks = st.sampled_from([f"MARK{i}X" for i in range(3)])
    snippets = st.dictionaries(st.integers(0, 2), st.sampled_from(SNIPPETS), min_size=3, max_size=3)
    return st.builds(write, edited(documents, values | marks | marks), snippets, st.booleans(), seeds)
