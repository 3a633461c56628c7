"""Time and memory of local attention on a GPU, forward and backward, against unfold, FlexAttention and NATTEN.

    python benchmarks/local_attention_gpu.py [--batch N] [--channels D ..] [--json PATH]

FlexAttention is compiled; NATTEN takes part where it is installed (`pip install natten` for this PyTorch and CUDA). It
moves its windows inward at the border of the image, so there its numbers are others. The floor is what memory alone
would take, at the bandwidth of a copy on this GPU: forward, every input is read once and the output written once;
backward, likewise inputs, the output's gradient and three gradients. A form that cannot run here says why.
"""

import argparse
import functools
import importlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from local_attention import CHANNELS, HEIGHT, WIDTH, WINDOW, unfold
from timing import machine, peak_megabytes, seconds
from torch import Tensor

from atrc.ops import local_attention

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def atrc(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What runs."""
    return local_attention(query, key, value, WINDOW)


def in_window(batch: Tensor, head: Tensor, query: Tensor, key: Tensor, *, width: int) -> Tensor:
    """Whether a key is in the window of a query: FlexAttention's mask."""
    down, across = (query // width - key // width).abs(), (query % width - key % width).abs()
    return (down <= WINDOW // 2) & (across <= WINDOW // 2)


@functools.cache
def block_mask(height: int, width: int, device: torch.device) -> object:
    """Which blocks of the attention map FlexAttention has to look at."""
    flex = importlib.import_module("torch.nn.attention.flex_attention")
    mask = functools.partial(in_window, width=width)
    return flex.create_block_mask(mask, None, None, height * width, height * width, device=device)


@functools.cache
def flex_attention(compiled: bool = True) -> Callable:
    """FlexAttention; one that is not compiled forms the whole map."""
    attention = importlib.import_module("torch.nn.attention.flex_attention").flex_attention
    return torch.compile(attention, dynamic=False) if compiled else attention


def flex(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """PyTorch's FlexAttention over rows of pixels."""
    mask = block_mask(*query.shape[2:], query.device)
    q, k, v = (x.flatten(2).mT[:, None].contiguous() for x in (query, key, value))
    return flex_attention(query.is_cuda)(q, k, v, block_mask=mask)[:, 0].mT.view_as(value)


def natten(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """NATTEN's neighbourhood attention, whose kernels want channels last and in eights."""
    scale, channels = query.shape[1] ** -0.5, value.shape[1]
    q, k, v = (
        F.pad(x.permute(0, 2, 3, 1), (0, -x.shape[1] % 8))[..., None, :].contiguous() for x in (query, key, value)
    )
    out = importlib.import_module("natten").na2d(q, k, v, kernel_size=WINDOW, scale=scale)
    return out[..., 0, :channels].permute(0, 3, 1, 2)


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "unfold": unfold, "FlexAttention": flex, "NATTEN": natten, "atrc": atrc,
}  # fmt: skip


def make_step(
    form: str, dtype: str, batch: int, channels: int, height: int = HEIGHT, device: str = "cuda"
) -> Callable[[], object]:
    """One forward and backward pass over fixed random inputs."""
    query, key, value, grad = torch.randn(4, batch, channels, height, WIDTH, device=device, dtype=DTYPES[dtype])
    inputs = [x.requires_grad_() for x in (query, key, value)]
    return lambda: torch.autograd.grad(FORMS[form](*inputs), inputs, grad)


def floor(dtype: str, batch: int, channels: int, bandwidth: float) -> float:
    """Seconds that the memory needs: 4 maps forward, 7 backward."""
    return 11 * batch * channels * HEIGHT * WIDTH * DTYPES[dtype].itemsize / bandwidth


def measure_bandwidth(device: str = "cuda", megabytes: int = 1024) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.zeros(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds({"copy": lambda: target.copy_(source)}, 20)["copy"]


def reason(step: Callable[[], object]) -> str | None:
    """Say why a step does not run; None if it does."""
    try:
        step()
    except Exception as error:  # of a compiler, a missing package, too little memory ..
        return f"{type(error).__name__}: {error}".splitlines()[0][:100]
    return None


def compare(dtype: str, batch: int, channels: int, bandwidth: float, repeats: int) -> list[dict]:
    """One row per form, printed as soon as it is known."""
    steps = {form: make_step(form, dtype, batch, channels) for form in FORMS}
    reasons = {form: reason(step) for form, step in steps.items()}
    times = seconds({form: step for form, step in steps.items() if reasons[form] is None}, repeats)
    least = floor(dtype, batch, channels, bandwidth)
    rows = [{"form": "floor", "ms": 1e3 * least}]
    for form, why in reasons.items():
        if why is not None:
            rows.append({"form": form, "reason": why})
            continue
        peak = peak_megabytes(make_step, (form, dtype, 1, channels, 16), (form, dtype, batch, channels))
        rows.append({"form": form, "ms": 1e3 * times[form], "of_floor": times[form] / least, "peak_mb": peak})
    for row in rows:
        row |= {"dtype": dtype, "batch": batch, "channels": channels}
        print(line(row), flush=True)
    return rows


def line(row: dict) -> str:
    """Return a row of the table."""
    start = f"| {row['dtype']} | {row['channels']} | {row['form']} |"
    if "ms" not in row:
        return f"{start} {row['reason']} | | |"
    if "of_floor" not in row:
        return f"{start} {row['ms']:.3f} | 1.0 | |"
    return f"{start} {row['ms']:.3f} | {row['of_floor']:.1f} | {row['peak_mb']:.0f} |"


def main() -> None:
    """Print Markdown; with --json, also write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, nargs="+", default=CHANNELS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("Local attention on a GPU: no GPU here, nothing measured")
        return
    bandwidth = measure_bandwidth()
    sizes = f"{WINDOW}x{WINDOW}, {options.batch} images of {HEIGHT}x{WIDTH}"
    print(f"Local attention {sizes}, forward + backward; {machine()}; a copy moves {bandwidth / 1e9:.0f} GB/s\n")
    print("| dtype | channels | form | ms | of the floor | peak MB |\n|---|---|---|---|---|---|")
    rows = [
        row
        for dtype in DTYPES
        for channels in options.channels
        for row in compare(dtype, options.batch, channels, bandwidth, options.repeats)
    ]
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "bandwidth": bandwidth, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
