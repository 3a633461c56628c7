"""A Slurm of one node, all of it in a folder: nothing of the system's own configuration is read or written."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
CONF = """
ClusterName=atrc
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=small Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return what is missing for a Slurm here; None if nothing is."""
    path = os.environ["PATH"] + ":/usr/sbin"  # where Debian puts the daemons
    if missing := [name for name in COMMANDS if shutil.which(name, path=path) is None]:
        return f"Slurm's packages are missing ({', '.join(missing)}): apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "slurmd has to be started as root"


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Start the daemons, yield the environment in which Slurm's commands find them, and end them."""
    host, cpus = socket.gethostname().split(".")[0], len(os.sched_getaffinity(0))
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge/key").write_bytes(os.urandom(128))
    (folder / "munge/key").chmod(0o400)
    for path in (folder / "munge", folder / "munge/key"):
        shutil.chown(path, "munge", "munge")
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, host=host, cpus=cpus, ports=free_ports(2)))
    env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": os.environ["PATH"] + ":/usr/sbin"}
    munge = [
        f"--{name}={folder}/munge/{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file", "seed-file")
    ]
    munge.append(f"--log-file={folder}/munge/log")
    with ExitStack() as stack:
        stack.enter_context(daemon(["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups",
                                    "munged", "--foreground", *munge], folder, env))  # fmt: skip
        wait_for(lambda: (folder / "munge/socket").exists(), "munged")
        stack.enter_context(daemon(["slurmctld", "-D"], folder, env))
        stack.enter_context(daemon(["slurmd", "-D"], folder, env))
        ask = ["sinfo", "--noheader", "--format=%T"]
        wait_for(lambda: subprocess.run(ask, capture_output=True, text=True, env=env).stdout.strip() == "idle", "Slurm")
        yield env


@contextmanager
def daemon(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[None]:
    """Run a daemon in the foreground of a process of ours."""
    name = next(word for word in command if word in COMMANDS)
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(condition, what: str, seconds: float = 60) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"{what}: nothing for {seconds:.0f} s; see the logs")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
