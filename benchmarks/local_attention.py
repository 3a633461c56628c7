"""Time and memory of local attention, forward and backward, against the textbook form with `unfold`.

    python benchmarks/local_attention.py [--threads N] [--json PATH]

The forms take turns within every repeat, so a busy machine disturbs all alike; times are medians. Memory is the
highest resident size over the size before, in a process of its own (Linux), and includes output and gradients.
"""

import argparse
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import exponent, machine, peak_megabytes, seconds
from torch import Tensor

from atrc.ops import local_attention, local_attention_native

HEIGHT, WIDTH, WINDOW = 107, 140, 9  # the feature map of a 425 x 560 image at stride 4
CHANNELS = (33, 64)
SIDES = (32, 64, 128, 256)


def unfold(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The textbook form: all neighbours side by side."""
    b, d, h, w = query.shape
    around = [F.unfold(x, WINDOW, padding=WINDOW // 2) for x in (key, value, torch.ones_like(key[:, :1]))]
    keys, values, exists = (x.view(b, -1, WINDOW**2, h * w) for x in around)
    scores = (query.flatten(2)[:, :, None] * keys).sum(1) / math.sqrt(d)
    weights = scores.masked_fill(exists[:, 0] == 0, -math.inf).softmax(1)
    return (weights[:, None] * values).sum(2).view(b, -1, h, w)


def tiles(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What runs without a compiler."""
    os.environ["ATRC_NO_COMPILER"] = "1"
    return local_attention(query, key, value, WINDOW)


def native(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What runs with a compiler."""
    os.environ["ATRC_NO_COMPILER"] = ""
    return local_attention(query, key, value, WINDOW)


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"unfold": unfold, "tiles": tiles, "native": native}


def make_step(form: str, channels: int, height: int, width: int) -> Callable[[], None]:
    """One forward and backward pass over fixed random inputs."""
    query, key, value, grad = torch.randn(4, 1, channels, height, width)
    inputs = [x.requires_grad_() for x in (query, key, value)]

    def step() -> None:
        torch.autograd.grad(FORMS[form](*inputs), inputs, grad)

    return step


def compare(channels: int, repeats: int) -> list[dict]:
    """One row per form."""
    times = seconds({form: make_step(form, channels, HEIGHT, WIDTH) for form in FORMS}, repeats)
    memory = {
        form: peak_megabytes(make_step, (form, channels, 8, 8), (form, channels, HEIGHT, WIDTH)) for form in FORMS
    }
    return [
        {
            "form": form,
            "channels": channels,
            "ms": 1e3 * times[form],
            "speedup": times["unfold"] / times[form],
            "peak_mb": memory[form],
            "memory_ratio": memory["unfold"] / memory[form],
        }
        for form in FORMS
    ]


def scaling(repeats: int) -> list[dict]:
    """Time over the number of pixels, and the exponent of the power law through it."""
    rows = []
    for form in ("tiles", "native"):
        times = seconds({str(side): make_step(form, 64, side, side) for side in SIDES}, repeats)
        pixels = [side**2 for side in SIDES]
        milliseconds = {n: 1e3 * t for n, t in zip(pixels, times.values(), strict=True)}
        rows.append({"form": form, "channels": 64, "ms": milliseconds, "exponent": exponent(pixels, times.values())})
    return rows


def main() -> None:
    """Print Markdown; with --json, also write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--channels", type=int, nargs="+", default=CHANNELS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not local_attention_native.available(torch.float32, WINDOW):
        raise SystemExit("no C++ compiler, so there is nothing native to measure")

    print(f"Local attention {WINDOW}x{WINDOW}, {HEIGHT}x{WIDTH}, float32, forward + backward; {machine()}\n")
    print("| form | channels | ms | speed-up | peak MB | memory ratio |\n|---|---|---|---|---|---|")
    comparison = [row for channels in options.channels for row in compare(channels, options.repeats)]
    for row in comparison:
        print("| {form} | {channels} | {ms:.1f} | {speedup:.1f} | {peak_mb:.0f} | {memory_ratio:.0f} |".format(**row))
    print(f"\n| form, 64 channels | {' | '.join(f'{side**2} px' for side in SIDES)} | exponent |")
    print("|---" * (len(SIDES) + 2) + "|")
    growth = scaling(options.repeats)
    for row in growth:
        print(f"| {row['form']} | {' | '.join(f'{ms:.1f} ms' for ms in row['ms'].values())} | {row['exponent']:.2f} |")
    if options.json:
        options.json.write_text(
            json.dumps({"machine": machine(), "comparison": comparison, "scaling": growth}, indent=2)
        )


if __name__ == "__main__":
    main()
