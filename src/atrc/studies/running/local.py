"""Cells on this machine: each in its own process, as many at once as there are slots."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import torch

from atrc.errors import UserError
from atrc.studies.cells import Cell
from atrc.studies.running.run import Executor, Job


class LocalJob(Job):
    """The process of a cell, in its own session: an interrupt at the keyboard reaches only the study."""

    def __init__(self, cell: Cell, slots: Sequence[str | None], pool: list[str | None], threads: int) -> None:
        """Start the process.

        Args:
            cell: The cell to run.
            slots: The GPU of each slot that it takes; None is a share of the CPU.
            pool: The slots return to it.
            threads: Threads of each of its processes.
        """
        self.slots, self.pool, self.log = list(slots), pool, cell.log
        with cell.log.open("ab") as log:
            self.process = subprocess.Popen(
                _command(cell),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(slots, threads),
            )

    def state(self) -> str | None:
        """Return "running", or None once it has ended."""
        if self.process.poll() is None:
            return "running"
        self._free()
        return None

    def reason(self) -> str:
        """Say how the process ended."""
        status = self.process.returncode
        if status == -signal.SIGKILL:
            return f"killed (memory may be short); called again, the study continues it; see {self.log}"
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        return f"ended {how}; see {self.log}"

    def stop(self) -> None:
        """Kill it; it keeps its checkpoints."""
        if self.process.stdin is not None:
            self.process.stdin.close()  # which also ends processes that it started in sessions of their own
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._free()

    def _free(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.pool += self.slots
        self.slots = []


class LocalExecutor(Executor):
    """Starts cells while slots are free: one slot for each GPU, or for each core."""

    leaves = False

    def __init__(self, jobs: int | None, accelerator: str = "auto") -> None:
        """Count the slots.

        Args:
            jobs: Slots; by default one for each visible GPU, or for each core where there is none.
            accelerator: As in a recipe; "cpu" leaves GPUs alone.
        """
        if jobs is not None and jobs < 1:
            raise UserError(f"jobs = {jobs}: at least one cell has to run at a time")
        gpus = [] if accelerator == "cpu" else visible_gpus()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = jobs or len(gpus) or cores
        self.size = count
        self.free: list[str | None] = [gpus[i % len(gpus)] if gpus else None for i in range(count)]
        # Threads that wait for one another on a core that another cell holds cost more than they bring.
        self.threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, cores // count))

    def has_room(self, cell: Cell) -> bool:
        """Say whether a cell can start now; one that needs more than all slots waits for all."""
        return len(self.free) >= min(cell.devices, self.size)

    def start(self, cell: Cell) -> Job:
        """Start a cell.

        Raises:
            UserError: It needs several nodes.
        """
        if cell.nodes > 1:
            raise UserError(f"needs {cell.nodes} nodes, and this is one; submit it to Slurm (--slurm.partition ...)")
        count = min(cell.devices, self.size)
        slots, self.free[:] = self.free[:count], self.free[count:]
        return LocalJob(cell, slots, self.free, self.threads)


def visible_gpus() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES calls the GPUs that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(i) for i in range(count)]


def _command(cell: Cell) -> list[str]:
    work = ["-m", "atrc.studies.running.work", str(cell.folder), "--with-parent"]
    if cell.devices == 1:
        return [sys.executable, *work]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={cell.devices}"]
    return [sys.executable, *torchrun, *work]


def _environment(slots: Sequence[str | None], threads: int) -> dict[str, str]:
    # In an allocation of Slurm, Lightning would otherwise wait for the tasks that srun starts.
    env = {key: value for key, value in os.environ.items() if key != "SLURM_NTASKS"}
    gpus = [gpu for gpu in slots if gpu is not None]
    env |= {"CUDA_VISIBLE_DEVICES": ",".join(dict.fromkeys(gpus))} if gpus else {}
    return env | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
