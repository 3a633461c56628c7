"""Kill -9 at random moments, resume, and compare with the unbroken run, bit for bit: `make test-kill`.

Every phase is a command of `atrc`, in a process that is forked from this one, so that most of its time is work and not
imports. It is killed at a moment drawn uniformly over the time that it takes unbroken, and called again, until it has
been killed as often as asked; then it may finish. After every kill, each file under its final name has to be whole.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

sys.path.append(str(Path(__file__).parents[1]))

import atrc.app.evaluate
import atrc.training.loop  # noqa: F401  # here, not in every process
from atrc.training.run.checkpoint import Checkpoint
from atrc.training.run.folder import plain, read_table
from atrc_rooms import render_room
from forks import fork, kill, wait
from runs import same_run, tiny

ROOMS = ["--train", "6", "--val", "3", "--size", "[48,64]", "--workers", "1"]
KILLS = {"data": 8, "search": 8, "train": 8, "evaluate": 4, "study": 6, "export": 4}
LONGEST = 600  # that a command may take [s]


@dataclass
class Phase:
    """A command that is to survive kills.

    Attributes:
        command: Returns its arguments, given the folder to write to; called again, they continue.
        same: Says whether two finished folders are the same.
    """

    name: str
    command: Callable[[Path], list[str]]
    same: Callable[[Path, Path], bool]


@dataclass
class Tally:
    """What happened in a phase."""

    unbroken_s: float
    kills: int = 0
    finished: int = 0
    files_read: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def phases(root: Path, data: Path | None = None) -> dict[str, Phase]:
    """Return the phases; each takes what the unbroken one before it made."""
    whole = {name: root / "whole" / name for name in KILLS}
    data = data or whole["data"]

    def run(verb: str, **network: str) -> Callable[[Path], list[str]]:
        return lambda out: [verb, "--config", str(_recipe(out, data, verb, **network)), "--resume"]

    def study(out: Path) -> list[str]:
        return ["study", str(_study(out.parent, data)), "--out", str(out), "--jobs", "1"]

    found = whole["search"] / "genotype.json"
    trained = str(whole["train"])
    listed = [
        Phase("data", lambda out: ["rooms", str(out), *ROOMS], same_files),
        Phase("search", run("search"), same_run),
        Phase("train", run("train", distillation="atrc", genotype=str(found)), same_run),
        Phase("evaluate", lambda out: ["evaluate", trained, "--json", str(_inside(out, "scores.json"))], same_files),
        Phase("study", study, same_study),
        Phase("export", lambda out: ["export", trained, "--out", str(_inside(out, "network.onnx"))], same_files),
    ]
    return {phase.name: phase for phase in listed}


def campaign(root: Path, kills: dict[str, int], seed: int, data: Path | None = None) -> dict[str, Tally]:
    """Kill and resume every phase; return what happened."""
    tallies = {}
    for name, phase in phases(root, data).items():
        if name in kills:
            tallies[name] = tally = _torment(phase, root, kills[name], random.Random(f"{seed} {name}"))
            print(f"{name}: {tally}", file=sys.stderr, flush=True)
    return tallies


def _torment(phase: Phase, root: Path, kills: int, chance: random.Random) -> Tally:
    began, whole, broken = time.monotonic(), root / "whole" / phase.name, root / "broken" / phase.name
    tally = Tally(_whole(phase, root, whole))
    while tally.kills < kills or not tally.finished:
        process = fork(phase.command(broken), root / f"{phase.name}.log", _cache(root / "broken.cache"))
        last = tally.kills == kills
        status = wait(process, LONGEST if last else chance.uniform(0.0, tally.unbroken_s))
        if status is None:
            kill(process)
        if status is None and not last:
            tally.kills += 1
            for file in _files(broken):
                _read(file, tally)
            continue
        if status != 0:
            tally.faults.append(f"exit status {status}; see {root / phase.name}.log")
            break
        tally.finished += 1
        if not phase.same(whole, broken):
            tally.faults.append(f"{broken} differs from {whole}")
            break
        shutil.rmtree(broken)
    tally.seconds = round(time.monotonic() - began, 1)
    return tally


def _whole(phase: Phase, root: Path, whole: Path) -> float:
    """Run it unbroken; return the time that it took [s]."""
    began = time.monotonic()
    process = fork(phase.command(whole), root / f"{phase.name}.log", _cache(root / "whole.cache"))
    if (status := wait(process, LONGEST)) != 0:
        raise SystemExit(f"{phase.name}: unbroken, it ends with {status}; see {root / phase.name}.log")
    return round(time.monotonic() - began, 1)


def _cache(folder: Path) -> dict[str, str]:
    """Give a process its own cache of compiled kernels."""
    return {"XDG_CACHE_HOME": str(folder)}


READERS: dict[str, Callable[[Path], object]] = {
    ".ckpt": Checkpoint.load,
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".csv": read_table,
    ".png": lambda path: Image.open(path).load(),
    ".jpg": lambda path: Image.open(path).load(),
    ".npy": np.load,
}


def _files(folder: Path) -> list[Path]:
    """Return the files under their final names; TensorBoard's are logs that nothing of ours reads."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [path.relative_to(folder).parts for path in names]
    partial = [any("partial" in part for part in places) for places in parts]
    return [path for path, skip in zip(names, partial, strict=True) if not skip and "tfevents" not in path.name]


def _read(file: Path, tally: Tally) -> None:
    """Read a file as whoever needs it does."""
    if reader := READERS.get(file.suffix):
        try:
            reader(file)
            tally.files_read += 1
        except FileNotFoundError:
            pass  # of a process that the kill is only ending
        except Exception as error:
            tally.faults.append(f"{file}: {error!r}")


def same_files(one: Path, other: Path) -> bool:
    """Say whether two folders hold the same files of the same bytes, but for what is left of kills."""
    ours, theirs = ({file.relative_to(root): file.read_bytes() for file in _files(root)} for root in (one, other))
    return ours == theirs


def same_study(one: Path, other: Path) -> bool:
    """Say whether the runs of two studies are the same."""
    runs = sorted(path.parent.relative_to(one) for path in one.rglob("results.json"))
    return bool(runs) and all(same_run(one / run, other / run) for run in runs)


def _recipe(out: Path, data: Path, verb: str, **network: str) -> Path:
    what = tiny(out, data, 8, tasks=["semseg", "depth"], **network)  # a search has a block for every pair
    return _write(out.parent / f"{out.name}.yaml", plain(what.to_dict()))


def _study(folder: Path, data: Path) -> Path:
    recipe = tiny(Path(), data, 4).to_dict()
    keys = ("accelerator", "precision", "validate_every", "log_every")
    settings = {key: recipe[key] for key in keys} | {"optim.steps": 4, "search.lr": 0.3}
    settings |= {f"data.{key}": value for key, value in plain(recipe["data"]).items() if key != "url"}
    rows = [{"name": "searched", "recipes": ["network/global"], "search": ["search/contexts"]}]
    rows += [{"name": "multi-task"}]
    content = {"title": "Tiny", "layout": "nyud", "set": settings, "seeds": [0], "rows": rows}
    return _write(folder / "study.yaml", content)


def _write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def _inside(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def main() -> None:
    """Run the campaign and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("phases", nargs="*", help=f"only these, of {', '.join(KILLS)}; each needs those before it")
    parser.add_argument("--kills", type=int, help="of each phase; by default some, 38 in all")
    parser.add_argument("--seed", type=int, default=0, help="fixes the moments")
    parser.add_argument("--keep", type=Path, help="folder to work in; a temporary one by default")
    arguments = parser.parse_args()
    kills = {name: arguments.kills or count for name, count in KILLS.items() if name in (arguments.phases or KILLS)}
    with tempfile.TemporaryDirectory() as temporary:
        tallies = campaign(arguments.keep or Path(temporary), kills, arguments.seed)
    print("| Phase | Kills | Finished runs | Files read after kills | Unbroken [s] | In all [s] |")
    print("|---|---|---|---|---|---|")
    for name, t in tallies.items():
        print(f"| {name} | {t.kills} | {t.finished} | {t.files_read} | {t.unbroken_s} | {t.seconds} |")
    print(f"{sum(t.kills for t in tallies.values())} kills")
    if faults := [fault for tally in tallies.values() for fault in tally.faults]:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    render_room("indoor", 0, (16, 16))  # imports once what the forked processes need
    main()
