"""Time and memory of attention to label regions, forward and backward, against PyTorch's attention.

    python benchmarks/label_attention.py [--threads N] [--clock wall|cpu] [--json PATH]

The forms take turns within every repeat, so a busy machine disturbs all alike; times are medians. On a busy machine
`--threads 1 --clock cpu` counts the process's own time only. Memory is the highest resident size over the size
before, in a process of its own (Linux), and includes output and gradients.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import CLOCKS, machine, peak_megabytes, seconds
from torch import Tensor

from atrc.ops import label_attention, label_attention_native

HEIGHT, WIDTH = 107, 140  # the feature map of a 425 x 560 image at stride 4
CHANNELS, REGIONS = 33, 40  # NYUD's label classes, HRNet18's attention channels
BATCHES = (1, 4)


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """PyTorch's `scaled_dot_product_attention`."""
    attended = F.scaled_dot_product_attention(query.flatten(2).mT, key.mT, value.mT)
    return attended.mT.reshape(*value.shape[:2], *query.shape[2:])


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
    query, grad = torch.randn(2, batch, CHANNELS, height, WIDTH)
    key, value = torch.randn(2, batch, CHANNELS, REGIONS)
    inputs = [x.requires_grad_() for x in (query, key, value)]

    def forward() -> Tensor:
        with torch.no_grad():
            return FORMS[form](*inputs)

    return forward, lambda: torch.autograd.grad(FORMS[form](*inputs), inputs, grad)


def make_both(form: str, batch: int, height: int) -> Callable[[], object]:
    """A forward and backward pass."""
    return make_steps(form, batch, height)[1]


def compare(batch: int, repeats: int, clock: Callable[[], float]) -> list[dict]:
    """One row per form."""
    steps = {}
    for form in FORMS:
        steps[form, "forward"], steps[form, "both"] = make_steps(form, batch)
    times = seconds(steps, repeats, clock)
    memory = {form: peak_megabytes(make_both, (form, batch, 1), (form, batch, HEIGHT)) for form in FORMS}
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
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not label_attention_native.available(torch.float32):
        raise SystemExit("no C++ compiler, so there is nothing native to measure")

    sizes = f"{CHANNELS} channels, {REGIONS} regions, {HEIGHT}x{WIDTH}, float32"
    print(f"Attention to label regions, {sizes}, forward + backward; {machine()}, {options.clock} time\n")
    print("| form | batch | ms forward | ms both | speed-up | peak MB | memory ratio |\n" + "|---" * 7 + "|")
    comparison = [row for batch in options.batches for row in compare(batch, options.repeats, CLOCKS[options.clock])]
    line = "| {form} | {batch} | {forward_ms:.1f} | {ms:.1f} | {speedup:.1f} | {peak_mb:.0f} | {memory_ratio:.1f} |"
    for row in comparison:
        print(line.format(**row))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "comparison": comparison}, indent=2))


if __name__ == "__main__":
    main()
