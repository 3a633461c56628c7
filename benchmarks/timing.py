"""What the benchmarks share: steps that take turns on the clock, and the peak memory of one step."""

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

Name = TypeVar("Name", bound=Hashable)
Step = Callable[[], object]


def seconds(
    steps: Mapping[Name, Step], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[Name, float]:
    """Median time of every step; they take turns, in both orders, after one turn that does not count."""
    times: dict[Name, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name in list(steps)[:: 1 - 2 * (repeat % 2)]:
            start = clock()
            steps[name]()
            _wait()
            times[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def peak_megabytes(make_step: Callable[..., Step], small: tuple[Any, ...], full: tuple[Any, ...]) -> float:
    """Peak memory of one step over what was held before, in a process of its own (Linux): its own, or that of its GPU.

    Args:
        make_step: Called with arguments, returns a step; importable by name.
        small: Arguments of a step that runs first: libraries are loaded, threads started.
        full: Arguments of the step that counts.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(there, make_step, small, full, torch.get_num_threads()))
    process.start()
    there.close()
    try:
        return float(here.recv())
    except EOFError:
        raise SystemExit(f"{make_step.__name__}{full} ended without a result") from None
    finally:
        process.join()


def _report_peak(pipe: Any, make_step: Callable[..., Step], small: tuple, full: tuple, threads: int) -> None:
    torch.set_num_threads(threads)
    make_step(*small)()
    step = make_step(*full)
    if torch.cuda.is_initialized():
        pipe.send(_peak_of_gpu(step))
        return
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident("VmRSS")
    step()
    pipe.send((_resident("VmHWM") - before) / 1024)


def _peak_of_gpu(step: Step) -> float:
    _wait()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    _wait()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _wait() -> None:
    """Let a GPU, if one is in use, finish what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _resident(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry))


def exponent(sizes: Iterable[float], values: Iterable[float]) -> float:
    """The power with which values grow: the slope of a line through the logarithms."""
    return float(np.polyfit(np.log(list(sizes)), np.log(list(values)), 1)[0])


def machine() -> str:
    """Say what was measured on."""
    name = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return f"{torch.cuda.get_device_name()}, {name}" if torch.cuda.is_initialized() else name
