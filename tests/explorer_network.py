"""A small network that attends in every context, and a server of it on a port of this machine."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np
import torch
from PIL import Image

from atrc.app.explorer.examples import Example
from atrc.app.explorer.explorer import Explorer
from atrc.app.explorer.limits import Limits
from atrc.app.explorer.model import Model
from atrc.app.explorer.serve import bound_socket
from atrc.app.explorer.web import make_server
from atrc.app.explorer.worker import Worker
from atrc.backbones import build_backbone
from atrc.distillation import ATRC
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.tasks import Boundaries, Depth, SemanticSegmentation, SurfaceNormals, Task

NAMES = ("wall", "<b>floor</b>", "sofa")  # a name from a file is text, whatever is in it
TASKS = SemanticSegmentation(num_classes=3, class_names=NAMES), Depth(bins=8), SurfaceNormals(), Boundaries()
ROWS = {"semseg": "t_label s_label local none", "depth": "global t_label s_label local"}
ROWS |= {"normals": "none none none global", "edge": "s_label none local t_label"}
GENOTYPE = Genotype({t: dict(zip(ROWS, row.split(), strict=True)) for t, row in ROWS.items()})
SIZE = (48, 64)  # of the examples [px]


def make_network(genotype: Genotype | None = GENOTYPE, tasks: Sequence[Task] = TASKS) -> MultiTaskNetwork:
    """Return a network whose predictions vary from pixel to pixel; without a genotype it does not attend."""
    torch.manual_seed(0)
    distillation = {} if genotype is None else {"make_distillation": lambda channels: ATRC(genotype, channels)}
    network = MultiTaskNetwork(tasks, build_backbone("hrnet18"), **distillation)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # its statistics become those of the scenes below
    for name, layer in network.final.items():
        torch.nn.init.normal_(layer.weight, std=0.2)
        torch.nn.init.constant_(layer.bias, 3.0 if name == "depth" else 0.0)
    with torch.no_grad():
        network.train()(torch.from_numpy(np.stack([scene(i) for i in range(4)]).transpose(0, 3, 1, 2).copy()) / 255)
    return network.eval()


def scene(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return a photograph of smooth colours."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))


def encoded(image: np.ndarray | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format, **options)
    return buffer.getvalue()


def make_explorer(*networks: MultiTaskNetwork, limits: Limits | None = None, examples: int = 2) -> Explorer:
    models = [Model(f"net/{i}", network, "cpu", max_side=64) for i, network in enumerate(networks)]
    shown = [Example(f"Scene {i}", lambda i=i: scene(100 + i)) for i in range(examples)]
    return Explorer(models, shown, limits or Limits())


@contextlib.contextmanager
def serving(explorer: Explorer) -> Iterator[int]:
    """Serve on a free port, which is yielded."""
    worker = Worker(explorer.limits.waiting)
    server = make_server(explorer, worker)
    with bound_socket("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            worker.close()


class Client:
    """Asks a server; one connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, **query: Any
    ) -> tuple[int, Any]:
        """Return status and content: JSON decoded, all else as bytes."""
        where = f"{path}?{urlencode(query)}" if query else path
        self.connection.request("GET" if body is None else "POST", where, body, headers or {})
        answer = self.connection.getresponse()
        content, kind = answer.read(), answer.getheader("content-type", "")
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, json.loads(content) if kind.startswith("application/json") else content
