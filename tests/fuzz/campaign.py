"""Hostile input for every reader, in processes with little memory: `python tests/fuzz/campaign.py`.

Every case has to be read or be refused by a `UserError`. Anything else is a fault: its files are kept, with the seed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHUNK = 2_000  # cases of a process: Hypothesis holds more and more memory
SILENCE = 600  # in which a process should finish a case [s]
COLUMNS = ("cases", "accepted", "refused", "fault")


def readers() -> dict:
    """Return all readers of the modules here."""
    modules = [importlib.import_module(path.stem) for path in sorted(HERE.glob("test_hostile_*.py"))]
    return {reader.name: reader for module in modules for reader in module.READERS}


def work(name: str, count: int, first: int, tree: Path, out: Path) -> None:
    """Run a chunk in this process; what happens is appended to a file, a line for each case."""
    import torch
    from guard import Sandbox, limit_memory
    from readers import keep

    torch.set_num_threads(1)
    reader, sandbox = readers()[name], Sandbox(tree)
    sandbox.fill(reader.valid)
    reader.read(sandbox.inside)
    limit_memory()
    with (out / f"{name}.log").open("a") as log:
        for number, files, verdict in reader.run(sandbox, count, first):
            where = keep(files, out, name, verdict, number) if verdict.outcome == "fault" else ""
            line = {"outcome": verdict.outcome, "reason": verdict.reason, "where": str(where)}
            log.write(json.dumps(line) + "\n")
            log.flush()


def lines(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def run(name: str, count: int, first: int, out: Path) -> None:
    """Run all cases of a reader; a process that dies or falls silent is a fault, and another one goes on."""
    log, step = out / f"{name}.log", 0
    while (done := len(lines(log))) < count:
        with tempfile.TemporaryDirectory() as tree:
            size = min(CHUNK, count - done)
            command = [sys.executable, __file__, "--work", name, "--cases", str(size), "--seed", str(first + step)]
            with Path(tree, "errors").open("w+") as errors:  # a file: decoders in C write what would fill a pipe
                process = subprocess.Popen([*command, "--tree", f"{tree}/tree", "--out", str(out)], stderr=errors)
                reason = watch(process, log, Path(errors.name))
            if reason:
                where = out / name / f"died-{first + step}-{len(lines(log)) - done}"
                where.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-r", tree, where], check=False)
                with log.open("a") as file:
                    file.write(json.dumps({"outcome": "fault", "reason": reason, "where": str(where)}) + "\n")
        step += 1000


def watch(process: subprocess.Popen, log: Path, errors: Path) -> str:
    """Wait for a process; return how it died, if it did."""
    changed, size = time.monotonic(), -1
    while process.poll() is None:
        time.sleep(0.5)
        now = log.stat().st_size if log.exists() else 0
        if now != size:
            changed, size = time.monotonic(), now
        if time.monotonic() - changed > SILENCE:
            process.kill()
            return f"silent for {SILENCE} s"
    said = errors.read_text(errors="replace")[-600:] if process.returncode else ""
    return f"exit {process.returncode}: {said}" if process.returncode else ""


def main() -> None:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="readers; all by default")
    parser.add_argument("--cases", type=int, default=110_000, help="in total")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="for faults")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--tree", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.cases, options.seed, options.tree, options.out)
        return
    known = readers()
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no reader '{unknown[0]}'; there are {', '.join(known)}")
    chosen = {name: reader for name, reader in known.items() if not options.names or name in options.names}
    total = sum(reader.share for reader in chosen.values())
    options.out.mkdir(parents=True, exist_ok=True)
    table: dict[str, Counter[str]] = {}
    for name, reader in chosen.items():
        (options.out / f"{name}.log").unlink(missing_ok=True)
        run(name, -(-int(options.cases * reader.share) // int(total)), options.seed, options.out)
        found = lines(options.out / f"{name}.log")
        table[name] = Counter(line["outcome"] for line in found) + Counter(cases=len(found))
        print(row(name, table[name]), flush=True)
        for reason, count in Counter(line["reason"] for line in found if line["outcome"] == "fault").most_common(20):
            where = next(line["where"] for line in found if line["reason"] == reason)
            print(f"    {count} x {reason}\n        {where}", flush=True)
    print(row("all", sum(table.values(), Counter())))
    sys.exit(1 if any(counts["fault"] for counts in table.values()) else 0)


def row(name: str, counts: Counter[str]) -> str:
    return f"{name:12}" + "".join(f"{counts[column]:8} {column}" for column in COLUMNS)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    main()
