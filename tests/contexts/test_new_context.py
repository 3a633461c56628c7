"""The context of docs/extend/context.md: a class and one line, and everything else has it."""

import sys
import types
from pathlib import Path

import pytest
import torch

from atrc.contexts import CONTEXTS
from atrc.distillation import ATRC
from atrc.genotype import Genotype, SearchSpace
from atrc.network import MultiTaskNetwork, NetworkConfig, build_network
from atrc.search import Supergraph, count_cost, supergraph
from atrc.studies.attention.inspection import Inspection
from atrc.tasks import Boundaries, Depth

PAGE = Path(__file__).parents[2] / "docs/extend/context.md"
TASKS = Depth(bins=4), Boundaries()
NAMES = [task.name for task in TASKS]


@pytest.fixture(autouse=True)
def row(monkeypatch):
    module = types.ModuleType("row")
    monkeypatch.setitem(sys.modules, "row", module)
    exec(PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], module.__dict__)
    monkeypatch.setitem(CONTEXTS, "row", module.Row)
    return module.Row


@pytest.fixture
def network():
    config = NetworkConfig("timm:test_resnet", distillation="atrc", genotype="row")
    return build_network(config, TASKS).eval()


def test_genotypes_read_and_write_it(tmp_path):
    genotype = Genotype.uniform(NAMES, "row")
    genotype.save(tmp_path / "genotype.json")
    assert Genotype.load(tmp_path / "genotype.json") == genotype
    assert genotype.counts()["row"] == 4
    assert genotype.label_tasks == ()
    assert list(CONTEXTS).index("row") == 5
    assert "row" in SearchSpace(tuple(NAMES)).candidates("depth", "depth")


def test_a_network_trains_with_it(network):
    output = network.train()(torch.rand(2, 3, 64, 64))
    sum(x.square().mean() for x in output.predictions.values()).backward()
    assert all(p.grad is not None for p in network.distillation.parameters())


def test_a_search_can_choose_it(network):
    searched = MultiTaskNetwork(TASKS, network.backbone, supergraph(NAMES))
    found = Supergraph(searched)
    with torch.no_grad():
        for choice in found:
            choice.alpha[choice.contexts.index("row")] = 5
    found.sample(1.0, 0)
    assert searched(torch.rand(2, 3, 64, 64)).predictions["depth"].isfinite().all()
    assert len(found.fix(0.3)) == 4
    assert found.genotype() == Genotype.uniform(NAMES, "row")
    assert count_cost(searched, (64, 64)).of(found.genotype()) > 0


def test_attention_maps_and_the_explorer_show_it(network, tmp_path, monkeypatch):
    pytest.importorskip("starlette")
    from PIL import Image

    from atrc.app import attention
    from atrc.app.explorer import explorer

    found = Inspection(network, torch.rand(3, 64, 64)).maps("depth", 20, 30)["edge"]
    assert found.context == "row"
    assert float(found.pixels.sum()) == pytest.approx(1)
    assert (found.pixels.sum(1) > 0).sum() == 1
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photo.png")
    monkeypatch.setattr(attention, "load", lambda name: network)
    out = tmp_path / "attention.png"
    shown = attention.show_attention("m", tmp_path / "photo.png", ["depth"], None, out, None, 64)
    assert shown["targets"]["depth"]["edge"] == {"context": "row"}
    assert out.exists()
    assert explorer._context("row")["letter"] == "R"


def test_it_exports_to_onnx(network, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    with torch.no_grad():
        for row in network.distillation.rows.values():
            row.fuse[1].weight.fill_(1)
        image = torch.rand(1, 3, 64, 64)
        program = torch.export.export(network, (image,))
        torch.onnx.export(program, dynamo=True, verbose=False, opset_version=20).save(tmp_path / "network.onnx")
        expected = network(image)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(outputs[0]), expected.predictions["depth"], rtol=1e-3, atol=1e-4)


def test_atrc_refuses_it_once_its_line_is_gone(monkeypatch):
    genotype = Genotype.uniform(NAMES, "row")
    monkeypatch.delitem(CONTEXTS, "row")
    with pytest.raises(ValueError, match="unknown context 'row'; choose from none, global"):
        ATRC(genotype, 8)
