"""`atrc export`: a network as ONNX or a program of `torch.export`, kept only if it predicts what PyTorch predicts."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from torch import Tensor

from atrc.errors import UserError, first_line
from atrc.images import read_image
from atrc.network import MultiTaskNetwork
from atrc.sharing.export import SMALLEST, Predict, export_network, format_of
from atrc.tasks import Task
from atrc.training.loading import load
from atrc_rooms import render_room

# b batch, c channels of the prediction, h w image

TOLERANCE = 1e-4  # of a task's largest value
LEAST = 0.01  # if the largest value is smaller: of a probability of 1e-7, runtimes know no digit
SIDES = (192, 256)  # of the images to check on, for a network that does not know its own [px]

Size = tuple[int, int]


@dataclass(frozen=True)
class Difference:
    """How far the exported network is from PyTorch's, at worst.

    Attributes:
        absolute: The largest difference; of classes, how far PyTorch's logit of the chosen one is below its largest.
        largest: The largest absolute value of PyTorch's.
    """

    absolute: float
    largest: float

    @property
    def relative(self) -> float:
        """The difference as a share of the largest value."""
        return self.absolute / max(self.largest, LEAST)


def run_export(
    model: str, out: Path, size: Size | None = None, image: str | None = None, logits: bool = False
) -> dict[str, Any]:
    """Export a network, and check the file on a real image, at two sizes where it takes any, alone and in a batch.

    Args:
        model: What `atrc.load` takes.
        out: The file: .onnx or .pt2.
        size: Height and width of the images that it will take [px]; any by default.
        image: A photograph to check on; a rendered room by default.
        logits: Export unnormalised predictions.

    Returns:
        Plain values: the file, where it was checked, and the differences by task.

    Raises:
        UserError: It cannot be exported, or predicts something else. There is no file then.
    """
    format_of(out)
    if size is not None and min(size) < 1:
        raise UserError(f"--size [{size[0]},{size[1]}]: height and width are 1 or more")
    network = load(model)
    if network.config is None:
        raise UserError(f"{model}: the supergraph of a search; train what it found, and export that run")
    images = trials(network.size, size, image)
    folder = out.with_name(f"{out.name}.partial")  # for there may be two files
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        partial = folder / out.name
        print(f"exporting {model}; this takes a minute or so", file=sys.stderr)
        export_network(network, partial, size, logits=logits)
        differences = compare(network, format_of(out).open(partial), images, logits=logits)
        require_equal(differences)
        content = _content(out, sorted(folder.iterdir()), images, differences)
        for part in folder.iterdir():
            part.replace(out.with_name(part.name))
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return content


def trials(trained: Size | None, size: Size | None, image: str | None) -> list[Float[Tensor, "_ 3 _ _"]]:
    """Return batches of one and two images: a photograph, and its mirror image.

    Args:
        trained: Height and width of the crops that the network was trained on [px], if known.
        size: Those of the export, if fixed.
        image: A photograph; a rendered room by default.
    """
    h, w = size or trained or SIDES
    other = size or (max(SMALLEST, h * 2 // 3 | 1), max(SMALLEST, w // 2 | 1))
    pixels = read_image(image).pixels if image else render_room("indoor", 0, SIDES).image
    alone, beside = (_tensor(pixels, one) for one in ((h, w), other))
    return [alone, torch.cat([beside, beside.flip(3)])]


def compare(
    network: MultiTaskNetwork, predict: Predict, images: Sequence[Float[Tensor, "_ 3 _ _"]], *, logits: bool = False
) -> dict[str, Difference]:
    """Return the largest differences from PyTorch, by task.

    Raises:
        UserError: The exported network fails, or returns other shapes.
    """
    worst: dict[str, Difference] = {}
    for image in images:
        with torch.inference_mode():
            expected = network.eval()(image).predictions
        try:
            with torch.no_grad():
                found = predict(image)
        except Exception as error:  # of a runtime, which raises many kinds
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(f"not exported: it fails at {_shape(image)} ({reason}); {_CURE}") from error
        for task in network.tasks:
            one = difference(task, expected[task.name], found[task.name], logits=logits)
            worst[task.name] = max(worst.get(task.name, one), one, key=lambda d: (d.relative != d.relative, d.relative))
    return worst


_CURE = "it may be right for one size: --size [HEIGHT,WIDTH]"


def difference(
    task: Task, expected: Float[Tensor, "b c h w"], found: Shaped[Tensor, "b *_ y x"], *, logits: bool = False
) -> Difference:
    """Compare an exported network's output with the unnormalised prediction of PyTorch's.

    Args:
        task: The task.
        expected: PyTorch's.
        found: What was exported: decoded, or unnormalised too.
        logits: Which of them.
    """
    wanted = expected if logits else task.decode(expected)
    if wanted.shape != found.shape:
        raise UserError(f"not exported: {task.name} has shape {tuple(found.shape)}, not {tuple(wanted.shape)}; {_CURE}")
    if wanted.is_floating_point():
        return Difference((found - wanted).abs().max().item(), wanted.abs().max().item())
    chosen = expected.gather(1, found[:, None])[:, 0]  # where two classes are as good, rounding decides
    return Difference((expected.amax(1) - chosen).max().item(), expected.abs().max().item())


def require_equal(differences: Mapping[str, Difference]) -> None:
    """Raise a UserError about the tasks that differ."""
    faults = [f"{task} by {d.absolute:.2g} of {d.largest:.2g}" for task, d in differences.items() if not _equal(d)]
    if faults:
        raise UserError(f"not exported: it differs from PyTorch: {', '.join(faults)}; {_CURE}")


def print_export(content: Mapping[str, Any]) -> None:
    """Print what was exported, and how well it agrees."""
    print(f"{content['file']}: {content['megabytes']:.1f} MB; checked with {content['runtime']} at", end=" ")
    print(f"{' and '.join('x'.join(map(str, shape)) for shape in content['checked'])}")
    print(f"{'task':12} {'largest difference':>18} {'relative':>9}  (at most {TOLERANCE:g})")
    for task, one in content["differences"].items():
        print(f"{task:12} {one['absolute']:18.2g} {one['relative']:9.1g}")


def _equal(one: Difference) -> bool:
    return one.relative <= TOLERANCE  # which NaN is not


def _content(
    out: Path, files: Sequence[Path], images: Sequence[Tensor], differences: Mapping[str, Difference]
) -> dict[str, Any]:
    return {
        "file": str(out),
        "megabytes": sum(file.stat().st_size for file in files) / 1e6,
        "runtime": format_of(out).runtime,
        "checked": [[image.shape[0], *image.shape[2:]] for image in images],
        "tolerance": TOLERANCE,
        "differences": {task: asdict(d) | {"relative": d.relative} for task, d in differences.items()},
    }


def _tensor(pixels: UInt8[np.ndarray, "y x 3"], size: Size) -> Float[Tensor, "1 3 h w"]:
    resized = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float().div(255).contiguous()


def _shape(image: Tensor) -> str:
    return "x".join(map(str, (image.shape[0], *image.shape[2:])))
