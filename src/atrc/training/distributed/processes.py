"""The processes of a run: on which devices, in which precision, and that all end soon when one of them is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy

from atrc.errors import UserError, first_line
from atrc.training.recipe import Recipe

GRACE = 5.0  # how long a process may take to end by itself once another has [s]
# What gloo, NCCL and their stores say of a process that is gone or does not answer.
SIGNS = ("gloo", "nccl", "connection", "socket", "store", "timed out", "timeout", "broken pipe", "peer")


def make_fabric(recipe: Recipe, search: bool) -> Fabric:
    """Return the devices, the precision and the processes of a recipe.

    Raises:
        UserError: This machine does not have them.
    """
    # After a block is fixed, its other candidates get no gradient, and a neck that reads the finest and the deepest
    # level alone leaves weights of the others without: DDP must be told not to wait for them.
    unused = search or recipe.network.neck in ("skip", "aspp")
    # Buffers are equal by synchronised batch norm; broadcasting them would tie evaluation forwards together, of which
    # processes may have different numbers. Metrics live on the CPU.
    ddp = DDPStrategy(
        find_unused_parameters=unused,
        broadcast_buffers=False,
        process_group_backend="cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        timeout=timedelta(seconds=recipe.timeout),
    )
    strategy = ddp if recipe.devices * recipe.nodes > 1 else "auto"
    gpu = recipe.accelerator in ("gpu", "cuda") or (recipe.accelerator == "auto" and torch.cuda.is_available())
    precision = recipe.precision
    if precision == "auto":
        precision = "bf16" if gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if precision == "16" and not gpu:
        raise UserError("precision '16' needs a GPU; choose 32 or bf16 on a CPU")
    name = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed", "16": "16-mixed"}[precision]
    shape: dict[str, Any] = {"devices": recipe.devices, "num_nodes": recipe.nodes}
    try:
        with warnings.catch_warnings():  # one process on a machine that has Slurm is no mistake
            warnings.filterwarnings("ignore", "The `srun` command is available")
            return Fabric(accelerator=recipe.accelerator, strategy=strategy, precision=name, **shape)  # type: ignore[arg-type]
    except (ValueError, RuntimeError) as error:
        raise UserError(f"accelerator '{recipe.accelerator}' with {recipe.devices} devices: {error}") from None


@contextmanager
def all_or_none(fabric: Fabric) -> Iterator[None]:
    """Start the processes of a run. When one of them ends or stops answering, end all, with one line that says so.

    A process notices a dead one at once, for its connections break, and a silent one after `Recipe.timeout`. Started by
    torchrun or srun, these end the rest; where this process has started the others, it does.

    Raises:
        UserError: A process was lost.
    """
    fabric.launch()
    if fabric.world_size == 1:
        yield
        return
    children = _children(fabric)
    finished = threading.Event()
    threading.Thread(target=_watch, args=(children, finished), daemon=True).start()
    try:
        yield
    except BaseException as error:
        if lost := isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS):
            time.sleep(0.5)  # a process that is dying has a status a little later
        how = f"{_ended(children) or 'another process'} was lost ({first_line(error)})" if lost else ""
        finished.set()
        _end(children)
        if lost:
            raise UserError(f"{how}; {_CURE}") from error
        raise
    finished.set()


_CURE = "see what it said last, then continue with --resume"


def _children(fabric: Fabric) -> list[subprocess.Popen[bytes]]:
    """Return the processes that this one has started, and take them from Lightning's observer.

    For that one would kill this process without a word.
    """
    started = getattr(fabric.strategy.launcher, "procs", [])
    children = list(started)
    started.clear()
    return children


def _watch(children: Sequence[subprocess.Popen[bytes]], finished: threading.Event) -> None:
    """End this process if a child ends before it, and it is stuck where no error reaches it."""
    while not finished.wait(0.5):
        if _ended(children):
            if not finished.wait(GRACE):
                print(f"atrc: error: {_ended(children)} was lost; {_CURE}", file=sys.stderr, flush=True)
                _end(children)
                os._exit(2)
            return


def _ended(children: Sequence[subprocess.Popen[bytes]]) -> str | None:
    """Say of the first child that failed how it did."""
    for rank, child in enumerate(children, 1):
        if status := child.poll():
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            return f"process {rank} ({how})"
    return None


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Give the children time to end by themselves, then kill them, stopped ones too."""
    until = time.monotonic() + GRACE
    for child in children:
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
