"""Networks for other runtimes: ONNX and programs of `torch.export`, whose outputs are in the units of the tasks."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.export import ExportedProgram

from atrc.errors import UserError, first_line, needs_extra
from atrc.network import MultiTaskNetwork
from atrc.sharing.architecture import Architecture

# b batch, h w image

OPSET = 20
SMALLEST = 33  # side of an image [px], or the coarsest level may have one pixel, which `torch.export` treats apart
_ANY = (75, 107)  # what a network for any size is traced with; not multiples of a stride
# Parts of timm that make constants of the image size: shifted windows, and rotary embeddings of DINOv3.
_ONE_SIZE = ("WindowAttention", "RotaryEmbeddingDinoV3")

Predict = Callable[[Float[Tensor, "b 3 h w"]], Mapping[str, Shaped[Tensor, "b *_ h w"]]]


class Deployed(nn.Module):
    """A network that returns what people read: classes, metres, unit vectors, probabilities."""

    def __init__(self, network: MultiTaskNetwork, *, logits: bool = False) -> None:
        """Wrap a network.

        Args:
            network: The network.
            logits: Return its unnormalised predictions as they are.
        """
        super().__init__()
        self.network, self.logits = network, logits

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> dict[str, Shaped[Tensor, "b *_ h w"]]:
        logits = self.network(image).predictions
        return {t.name: logits[t.name] if self.logits else t.decode(logits[t.name]) for t in self.network.tasks}


def export_network(
    network: MultiTaskNetwork, path: Path, size: tuple[int, int] | None = None, *, logits: bool = False
) -> None:
    """Write a network to FILE.onnx or FILE.pt2, for any number of images at a time, without checking the file.

    Weights beyond 2 GB are written next to it, to FILE.onnx.data.

    Args:
        network: The network, in evaluation mode.
        path: The file; its suffix is a key of `FORMATS`.
        size: Height and width of the images [px]; any from `SMALLEST` on by default.
        logits: Return unnormalised predictions.

    Raises:
        UserError: No such format, a package is missing, or the network exports at one size only.
    """
    form = format_of(path)
    program = trace(Deployed(network, logits=logits), size)
    form.write(program, path, describe(network, size, logits=logits))


def trace(deployed: Deployed, size: tuple[int, int] | None) -> ExportedProgram:
    """Turn a network into a program for any number of images, of one size or any.

    Raises:
        UserError: The network exports at one size only, or not at all.
    """
    found = {type(module).__name__ for module in deployed.modules()}.intersection(_ONE_SIZE)
    if size is None and found:
        raise UserError(f"{found.pop()} makes constants of the image size; export for one size: --size [HEIGHT,WIDTH]")
    dynamic = torch.export.Dim.DYNAMIC(min=SMALLEST)
    sizes = {0: torch.export.Dim.DYNAMIC, **({} if size else {2: dynamic, 3: dynamic})}
    image = torch.full((2, 3, *(size or _ANY)), 0.5)
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(deployed.eval(), (image,), dynamic_shapes={"image": sizes})
    except Exception as error:  # torch raises many kinds
        cure = "; it may for one size: --size [HEIGHT,WIDTH]" if size is None else ""
        raise UserError(
            f"torch.export does not take this network ({type(error).__name__}: {first_line(error)}){cure}"
        ) from error


def describe(network: MultiTaskNetwork, size: tuple[int, int] | None, *, logits: bool = False) -> dict[str, str]:
    """Return the metadata of an exported file: texts and JSON by name."""
    dimensions, sides = (", ".join(map(str, size)), "") if size else ("height, width", f", {SMALLEST} or more")
    architecture = Architecture.of(network).to_dict() if network.config else None
    classes = {task.name: getattr(task, "class_names", ()) for task in network.tasks}
    return {
        "input": f"image: float32 (batch, 3, {dimensions}){sides}; RGB from 0 to 1",
        "outputs": json.dumps({t.name: "unnormalised" if logits else t.decoded for t in network.tasks}),
        "classes": json.dumps({name: some for name, some in classes.items() if some}),
        "size": json.dumps(network.size),
        "network": json.dumps(architecture),
    }


def write_onnx(program: ExportedProgram, path: Path, texts: Mapping[str, str]) -> None:
    """Write ONNX. The texts become metadata."""
    names = {axis: name for axis, name in _open_axes(program).items() if name}
    with torch.no_grad(), _quiet():
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(json.loads(texts["outputs"])),
            dynamic_shapes={"image": names},
        )
        assert onnx is not None
        onnx.model.metadata_props.update(texts)
        onnx.save(path)


def write_program(program: ExportedProgram, path: Path, texts: Mapping[str, str]) -> None:
    """Write what `torch.export.load` reads. The texts become extra files."""
    torch.export.save(program, path, extra_files=dict(texts))


def open_onnx(path: Path) -> Predict:
    """Return what predicts with ONNX Runtime, on the CPU."""
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(
        zip(names, map(torch.from_numpy, session.run(None, {"image": image.numpy()})), strict=True)
    )


def open_program(path: Path) -> Predict:
    """Return what predicts with a program."""
    return torch.export.load(path).module()


class Format(NamedTuple):
    """A kind of file."""

    write: Callable[[ExportedProgram, Path, Mapping[str, str]], None]
    open: Callable[[Path], Predict]
    runtime: str
    packages: tuple[str, ...] = ()


FORMATS = {  # by suffix
    ".onnx": Format(write_onnx, open_onnx, "ONNX Runtime", ("onnx", "onnxscript", "onnxruntime")),
    ".pt2": Format(write_program, open_program, "torch.export"),
}


def format_of(path: Path) -> Format:
    """Return the format of a file by its suffix.

    Raises:
        UserError: Unknown suffix, or a package that it needs is missing.
    """
    if path.suffix not in FORMATS:
        raise UserError(f"{path}: exports end in {' or '.join(FORMATS)}")
    form = FORMATS[path.suffix]
    with needs_extra("export", f"a {path.suffix} file"):
        for package in form.packages:
            importlib.import_module(package)
    return form


def _open_axes(program: ExportedProgram) -> dict[int, str]:
    """Return the axes of the image that are not fixed."""
    image = next(node for node in program.graph.nodes if node.name == "image")
    axes = zip(("batch", "", "height", "width"), image.meta["val"].shape, strict=True)
    return {i: name for i, (name, side) in enumerate(axes) if isinstance(side, torch.SymInt)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings and messages that exporters print for their own developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
