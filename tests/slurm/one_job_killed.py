"""`make test-slurm`: a study on a real Slurm of one node, one of its jobs killed midway, resumed and completed.

Needs root, and Debian's packages slurm-wlm and munge: apt-get install slurm-wlm munge
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from cluster import one_node, wait_for, why_not

from atrc.studies.cells import Cell
from atrc.studies.plan import read_study
from atrc.studies.running.slurm import job_file
from atrc.training.run.folder import read_table
from folders import write_nyud
from tiny_study import SEARCHED, write_study

STEPS = 40
ROWS = [
    {"name": "multi-task"},
    SEARCHED,
    {"name": "two processes", "set": {"devices": 2, "data.tasks": ["semseg", "depth"]}},
]
BEGAN = time.monotonic()


def main() -> None:
    """Run it; any surprise ends it with a status that is not 0."""
    if reason := why_not():
        raise SystemExit(f"test-slurm cannot run here: {reason}")
    with tempfile.TemporaryDirectory(prefix="atrc-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # munged, another user, goes through it
        with one_node(folder / "slurm") as env:
            say(f"Slurm answers: {ask(env, 'sinfo', '--noheader', '--format=%P %T %c CPUs %v')}")
            check_study(folder, env)
    say("all as it should be")


def check_study(folder: Path, env: dict[str, str]) -> None:
    """Break a study, complete it, and compare the broken cell with an unbroken one."""
    data = write_nyud(folder / "data" / "NYUD_MT")
    file = write_study(folder / "study.yaml", data, *ROWS, steps=STEPS, seeds=(0,))
    first = start(file, folder / "out", env, "--slurm.partition", "small", "--slurm.time", "60", "--slurm.cpus", "1")
    wait_for(lambda: len(list(folder.glob("out/*/seed0/slurm_job.txt"))) == len(ROWS), "submission", 120)
    cells = read_study(folder / "out")[1]
    broken = cells[1]
    wait_for(lambda: rows(broken) >= STEPS // 4, f"{broken}", 600)
    number = job_file(broken).read_text().strip()
    say(f"job {number} ({broken}) is killed in its training, after {broken.steps_done()} of {broken.steps} steps")
    subprocess.run(["scancel", number], check=True, env=env)
    say(f"the study ends with status {first.wait()}:\n{first.stdout.read().rstrip()}")
    expect(first.returncode == 1 and broken.state == "failed", "the killed cell failed")
    expect("CANCELLED" in (broken.reason() or ""), f"its reason is Slurm's: {broken.reason()}")
    expect([cell.state for cell in cells if cell is not broken] == ["done", "done"], "the others are done")
    logs = sorted(path.name for path in (folder / "out/slurm").glob("*_1_log.out"))
    expect(len(logs) == 1, f"the cell of two devices trained in two tasks of srun: {', '.join(logs)}")

    before = broken.steps_done()
    second = start(file, folder / "out", env, "--slurm.partition", "small", "--slurm.time", "60", "--slurm.cpus", "1")
    say(f"called again, it ends with status {second.wait()}:\n{second.stdout.read().rstrip()}")
    expect(second.returncode == 0 and broken.state == "done", f"the killed cell is done, from {before} steps on")
    expect(second_run_resumed(broken), "it was resumed, not begun again")

    whole = start(write_study(folder / "one.yaml", data, SEARCHED, steps=STEPS, seeds=(0,)), folder / "whole", env)
    expect(whole.wait() == 0, "the same cell runs unbroken without Slurm")
    same = (folder / "whole/atrc-searched/seed0/train", broken.run.path)
    expect(len({(run / "train.csv").read_bytes() for run in same}) == 1, "its losses are the same to the last bit")
    results = [json.loads((run / "results.json").read_text())["results"] for run in same]
    expect(results[0] == results[1], "and so are its results")


def start(file: Path, out: Path, env: dict[str, str], *options: str) -> subprocess.Popen[str]:
    """Start `atrc study`."""
    command = [sys.executable, "-m", "atrc", "study", str(file), "--out", str(out), *options]
    env = env | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def rows(cell: Cell) -> int:
    """Count the logged steps of the training."""
    table = cell.run.path / "train.csv"
    return len(read_table(table)) if table.exists() else 0


def second_run_resumed(cell: Cell) -> bool:
    """Say whether the events of the training are in two files, of which the second one goes on."""
    return len(list(cell.run.path.glob("events.out.tfevents*"))) == 2


def ask(env: dict[str, str], *command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.strip()


def expect(holds: bool, what: str) -> None:
    """Tell what was seen, or stop."""
    say(f"{'ok' if holds else 'NOT SO'}: {what}")
    if not holds:
        raise SystemExit(1)


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {text}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
