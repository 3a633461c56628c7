"""Time and memory of attention to label regions, forward and backward, against PyTorch's attention pair by pair.

    python benchmarks/label_attention.py [--threads N] [--clock wall|cpu] [--json PATH]

The forms take turns within every repeat, so a busy machine disturbs all alike; times are medians. On a busy machine
`--threads 1 --clock cpu` counts the process's own time only. Memory is the highest resident size over the size
before, in a process of its own (Linux), and includes output and gradients.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from atrc.ops import label_attention, label_attention_native

HEIGHT, WIDTH = 107, 140  # the feature map of a 425 x 560 image at stride 4
PAIRS, CHANNELS, REGIONS = 4, 33, 40  # NYUD's label classes, HRNet18's attention channels
BATCHES = (1, 4)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What a module for every pair does: `scaled_dot_product_attention`, then the pairs side by side."""
    pairs = []
    for q, k, v in zip(query.unbind(1), key.unbind(1), value.unbind(1), strict=True):
        attended = F.scaled_dot_product_attention(q.flatten(2).mT, k.mT, v.mT)
        pairs.append(attended.mT.reshape(v.shape[0], -1, *q.shape[2:]))
    return torch.stack(pairs, 1)


def matmul(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What runs without a compiler."""
    os.environ["ATRC_NO_COMPILER"] = "1"
    return label_attention(query, key, value)


def native(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What runs with a compiler."""
    os.environ["ATRC_NO_COMPILER"] = ""
    return label_attention(query, key, value)


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"sdpa": sdpa, "matmul": matmul, "native": native}


def make_steps(form: str, batch: int, height: int = HEIGHT) -> tuple[Callable[[], Tensor], Callable[[], object]]:
    """A forward pass, and a forward and backward pass, over fixed random inputs."""
    query, grad = torch.randn(2, batch, PAIRS, CHANNELS, height, WIDTH)
    key, value = torch.randn(2, batch, PAIRS, CHANNELS, REGIONS)
    inputs = [x.requires_grad_() for x in (query, key, value)]

    def forward() -> Tensor:
        with torch.no_grad():
            return FORMS[form](*inputs)

    return forward, lambda: torch.autograd.grad(FORMS[form](*inputs), inputs, grad)


def seconds(
    steps: dict[tuple[str, str], Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> dict[tuple[str, str], float]:
    """Median time of every step; the steps take turns, in both orders, after one turn that does not count."""
    times: dict[tuple[str, str], list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name in list(steps)[:: 1 - 2 * (repeat % 2)]:
            start = clock()
            steps[name]()
            times[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def peak_megabytes(form: str, batch: int) -> float:
    """Peak memory of one step over what was there before, measured in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", form, "--batches", str(batch)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report_memory(form: str, batch: int) -> None:
    """What `peak_megabytes` runs."""
    make_steps(form, batch, 1)[1]()  # libraries are loaded, threads started
    step = make_steps(form, batch)[1]
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident("VmRSS")
    step()
    print((_resident("VmHWM") - before) / 1024)


def _resident(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry))


def compare(batch: int, repeats: int, clock: Callable[[], float]) -> list[dict]:
    """One row per form."""
    steps = {}
    for form in FORMS:
        steps[form, "forward"], steps[form, "both"] = make_steps(form, batch)
    times = seconds(steps, repeats, clock)
    memory = {form: peak_megabytes(form, batch) for form in FORMS}
    return [
        {
            "form": form,
            "batch": batch,
            "forward_ms": 1e3 * times[form, "forward"],
            "ms": 1e3 * times[form, "both"],
            "speedup": times["sdpa", "both"] / times[form, "both"],
            "peak_mb": memory[form],
            "memory_ratio": memory["sdpa"] / memory[form],
        }
        for form in FORMS
    ]


def main() -> None:
    """Print Markdown; with --json, also write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        return report_memory(options.memory_of, *options.batches)
    if not label_attention_native.available(torch.float32):
        raise SystemExit("no C++ compiler, so there is nothing native to measure")

    machine = f"{platform.machine()}, {options.threads} threads, {options.clock} time, torch {torch.__version__}"
    sizes = f"{PAIRS} pairs, {CHANNELS} channels, {REGIONS} regions, {HEIGHT}x{WIDTH}, float32"
    print(f"Attention to label regions, {sizes}, forward + backward; {machine}\n")
    print("| form | batch | ms forward | ms both | speed-up | peak MB | memory ratio |\n" + "|---" * 7 + "|")
    comparison = [row for batch in options.batches for row in compare(batch, options.repeats, CLOCKS[options.clock])]
    line = "| {form} | {batch} | {forward_ms:.1f} | {ms:.1f} | {speedup:.1f} | {peak_mb:.0f} | {memory_ratio:.1f} |"
    for row in comparison:
        print(line.format(**row))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "comparison": comparison}, indent=2))


if __name__ == "__main__":
    main()
