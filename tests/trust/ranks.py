"""Processes of a distributed run, forked from the test, as torchrun would start them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from atrc.app.cli import main

_running: set[int] = set()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fork_rank(rank: int, world: int, port: int, command: Sequence[str], log: Path) -> int:
    """Start `atrc COMMAND` as one of several processes; return its id."""
    if process := os.fork():
        _running.add(process)
        return process
    status = 70
    try:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "GROUP_RANK": "0"}
        os.environ |= {"LOCAL_WORLD_SIZE": str(world), "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        with log.open("wb") as file:
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


def wait(process: int, seconds: float) -> int | None:
    """Return the exit status of a process, None if it has not ended by then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            _running.discard(process)  # its number may be another's soon
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return None


@contextlib.contextmanager
def ranks(command: Sequence[str], logs: Path, world: int = 2) -> Iterator[list[int]]:
    """Yield the processes; none outlives the test."""
    port = free_port()
    processes = [fork_rank(rank, world, port, command, logs / f"rank{rank}.log") for rank in range(world)]
    try:
        yield processes
    finally:
        for process in _running.intersection(processes):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            _running.discard(process)
