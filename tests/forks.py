"""Processes that run `atrc`, forked from this one: real ones, to be killed, that need not import everything again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from atrc.app.cli import main

_running: set[int] = set()


def fork(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Start `atrc COMMAND` on one thread, in a group of its own; return its id. What it says is added to a file."""
    variables = {"OMP_NUM_THREADS": "1", **(environment or {})}
    if torch.cuda.is_available():  # autograd has threads for a GPU, of which a fork has none
        _running.add(process := _spawn(command, log, variables))
        return process
    if process := os.fork():
        with contextlib.suppress(ProcessLookupError):
            os.setpgid(process, process)  # here too: whichever of both comes first
        _running.add(process)
        return process
    status = 70
    try:
        os.setpgid(0, 0)
        os.environ |= variables
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115  # not pytest's
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")  # of PyTorch and Lightning, about each other
        main(list(command))
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _spawn(command: Sequence[str], log: Path, variables: Mapping[str, str]) -> int:
    """Start it anew, a few seconds slower."""
    write = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    arguments = [sys.executable, "-m", "atrc", *command]
    actions = [write, (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(sys.executable, arguments, {**os.environ, **variables}, file_actions=actions, setpgroup=0)


def wait(process: int, seconds: float) -> int | None:
    """Return the exit status of a process, None if it has not ended by then."""
    until = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            _running.discard(process)  # its number may be another's soon
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.005)


def kill(process: int) -> None:
    """End a process and those that it started, at once."""
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    _running.discard(process)


@contextlib.contextmanager
def ranks(command: Sequence[str], logs: Path, world: int = 2) -> Iterator[list[int]]:
    """Start the processes of a distributed run, as torchrun would; none outlives the block."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    processes = [
        fork(command, logs / f"rank{rank}.log", shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(world)
    ]
    try:
        yield processes
    finally:
        for process in _running.intersection(processes):
            kill(process)
