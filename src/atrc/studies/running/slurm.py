"""Cells as jobs of Slurm, through submitit (the extra atrc[study])."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from atrc.errors import UserError, needs_extra
from atrc.files import write_atomic
from atrc.studies.cells import Cell
from atrc.studies.running.run import Executor, Job
from atrc.studies.running.slurm_config import SlurmConfig

TIMEOUTS = 50  # times that a job which reaches its limit is queued again
LOOK = 5.0  # time between calls of squeue [s]
GRACE = 15.0  # files may appear this much later than a job on another node ends [s]


class CellJob:
    """What a job runs: one cell, by as many tasks as it needs devices."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self) -> None:
        """Run it; one task that fails ends the others, which would wait for it."""
        from atrc.studies.running.work import run_cell

        if not run_cell(Path(self.folder)):
            raise SystemExit(1)

    def checkpoint(self) -> Any:
        """Return what to queue when the job is preempted or out of time: the cell resumes from its checkpoint."""
        return submitit().helpers.DelayedSubmission(self)


class SlurmQueue:
    """The states of this user's jobs: all are asked for at once, and not too often."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.asked = float("-inf")

    def state(self, number: str) -> str | None:
        """Return "queued" or "running", or None for a job that has ended."""
        if time.monotonic() - self.asked > LOOK:
            listed = _ask("squeue", "--me", "--noheader", "--format=%A %T")
            if listed is not None:  # otherwise Slurm does not answer now, which says nothing about the jobs
                self.states = dict(line.split()[:2] for line in listed.splitlines())
            self.asked = time.monotonic()
        state = self.states.get(number)
        return state and ("running" if state in ("RUNNING", "COMPLETING") else "queued")

    def require_answer(self) -> None:
        """Refuse to continue if Slurm does not answer: a job that it has already would be submitted again."""
        if _ask("squeue", "--me", "--noheader") is None:
            raise UserError("Slurm does not answer (squeue fails), so its jobs are unknown; call again later")


class SlurmJob(Job):
    """A job of Slurm, submitted now or by an earlier call."""

    def __init__(self, cell: Cell, number: str, queue: SlurmQueue, log: Path) -> None:
        self.cell, self.number, self.queue, self.log = cell, number, queue, log
        self.gone: float | None = None

    def state(self) -> str | None:
        """Return "queued" or "running", or None once it has ended."""
        if state := self.queue.state(self.number):
            self.gone = None
            return state
        self.gone = self.gone or time.monotonic()
        if self.cell.state in ("done", "failed") or time.monotonic() - self.gone > GRACE:
            job_file(self.cell).unlink(missing_ok=True)
            return None
        return "running"

    def reason(self) -> str:
        """Say how the job ended."""
        said = _ask("scontrol", "--oneliner", "show", "job", self.number) or ""
        state = re.search(r"JobState=(\w+)", said)
        ended = f"ended as {state[1]}" if state else "ended"
        return f"Slurm job {self.number} {ended} before the cell was done; see {self.log}"

    def stop(self) -> None:
        """Cancel it."""
        subprocess.run(["scancel", self.number], check=False)


class LocalSubmititJob(Job):
    """A job of submitit's local executor."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def state(self) -> str | None:
        """Return "running", or None once it has ended."""
        return None if self.job.done() else "running"

    def reason(self) -> str:
        """Say how the job ended."""
        return f"submitit's job {self.job.job_id} ended before the cell was done; see {self.job.paths.stderr}"

    def stop(self) -> None:
        """Cancel it."""
        self.job.cancel()


class SlurmExecutor(Executor):
    """Submits every cell at once, and finds those that an earlier call submitted."""

    def __init__(self, config: SlurmConfig, out: Path) -> None:
        """Check that submitit and Slurm are available.

        Raises:
            UserError: One of them is not.
        """
        self.config, self.folder = config, out / "slurm"
        self.cluster = config.cluster or "slurm"
        self.leaves = self.cluster == "slurm"
        self.queue = SlurmQueue()
        submitit()
        if self.leaves and _ask("squeue", "--version") is None:
            raise UserError("no Slurm here (squeue is not found): leave the --slurm options out to run on this machine")
        if self.leaves:
            self.queue.require_answer()

    def has_room(self, cell: Cell) -> bool:
        """Slurm has room for all, in its queue."""
        return True

    def start(self, cell: Cell) -> Job:
        """Submit a cell, or find its job.

        Raises:
            UserError: Slurm does not accept it.
        """
        if not self.leaves:
            return LocalSubmititJob(self._submit(cell))
        file = job_file(cell)
        number = file.read_text().strip() if file.exists() else ""
        if not (number and self.queue.state(number)):
            number = self._submit(cell).job_id
            write_atomic(file, f"{number}\n")
            self.queue.states.setdefault(number, "PENDING")  # until Slurm is asked again
        return SlurmJob(cell, number, self.queue, self.folder / f"{number}_0_log.err")

    def _submit(self, cell: Cell) -> Any:
        parameters = self._parameters(cell)
        executor = submitit().AutoExecutor(self.folder, self.cluster, slurm_max_num_timeout=TIMEOUTS)
        try:
            executor.update_parameters(**parameters)
            return executor.submit(CellJob(str(cell.folder.absolute())))
        except (submitit().core.utils.FailedJobError, submitit().core.utils.FailedSubmissionError, ValueError) as error:
            raise UserError(f"Slurm did not accept the job: {' '.join(str(error).split())}") from None

    def _parameters(self, cell: Cell) -> dict[str, Any]:
        if not self.leaves and cell.devices * cell.nodes > 1:
            raise UserError("submitit's local jobs have one process; leave --slurm.cluster out to train on several")
        config = self.config
        wants_gpus = config.gpus or cell.stages[-1].recipe.accelerator in ("gpu", "cuda")
        # srun takes the number of cores no longer from sbatch
        cores = [f"--cpus-per-task={config.cpus}"] if config.cpus else []
        given = {
            "name": f"atrc {cell}",
            "timeout_min": config.time,
            "nodes": cell.nodes,
            "tasks_per_node": cell.devices,  # Lightning finds the other processes by Slurm's variables
            "gpus_per_node": cell.devices if wants_gpus else None,
            "cpus_per_task": config.cpus,
            "mem_gb": config.mem,
            "slurm_partition": config.partition,
            "slurm_additional_parameters": config.extra,
            "slurm_srun_args": ["--kill-on-bad-exit=1", *cores],
            "slurm_setup": ["export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"],
        }
        return {key: value for key, value in given.items() if value is not None}


def submitit() -> ModuleType:
    """Return the package, which is an extra."""
    with needs_extra("study", "submitting to Slurm"):
        import submitit  # type: ignore[import-not-found, unused-ignore]
    return submitit


def require_not_submitted(cells: Sequence[Cell]) -> None:
    """Refuse to run cells here that Slurm has queued or runs, or that it may have while it does not answer."""
    queue = SlurmQueue()
    submitted = [cell for cell in cells if job_file(cell).exists()]
    if submitted and _ask("squeue", "--version") is not None:
        queue.require_answer()
    for cell in submitted:
        if queue.state(number := job_file(cell).read_text().strip()):
            raise UserError(
                f"{cell} was submitted to Slurm as job {number}; give the --slurm options again to watch it, or end it "
                f"with scancel {number}"
            )


def job_file(cell: Cell) -> Path:
    """Return the file that holds the number of a cell's Slurm job while it has one."""
    return cell.folder / "slurm_job.txt"


def _ask(*command: str) -> str | None:
    """Return what a command of Slurm prints; None if there is no such command or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
