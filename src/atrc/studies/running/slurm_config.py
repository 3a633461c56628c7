"""The options of Slurm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SlurmConfig:
    """Where and how cells are submitted; giving any of these submits them.

    Attributes:
        cluster: "slurm", or "local" to try submitit on this machine; slurm if any other of these is given.
        partition: Partition; Slurm's default if not given.
        time: Limit of a job [min]; one that reaches it is queued again and resumes.
        gpus: GPUs of each node, which a cell then trains on; the recipes' devices if not given.
        nodes: Nodes that a cell trains on; the recipes' if not given.
        cpus: Cores of each process; Slurm's default if not given.
        mem: Memory of each node [GB]; Slurm's default if not given.
        extra: More options of sbatch, such as {account: vision, constraint: a100}.
        wait: Watch the jobs until they end; they go on without it.
    """

    cluster: Literal["slurm", "local"] | None = None
    partition: str | None = None
    time: int = 24 * 60
    gpus: int | None = None
    nodes: int | None = None
    cpus: int | None = None
    mem: float | None = None
    extra: dict[str, str | int | bool] | None = None
    wait: bool = True

    @property
    def wanted(self) -> bool:
        """Whether cells are to be submitted."""
        return self != SlurmConfig()
