"""Exports predict what PyTorch predicts, or there is no file; that docs/export.md is true."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from atrc import sharing
from atrc.app.cli import main
from atrc.app.export import Difference, compare, difference, require_equal, trials
from atrc.distillation import DISTILLATIONS
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import NetworkConfig, build_network
from atrc.search.build import build_supergraph
from atrc.sharing.export import FORMATS, OPSET, Deployed, describe, export_network, trace
from atrc.tasks import Boundaries, Depth, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/export.md").read_text(encoding="utf-8")
SMALL = "timm:test_resnet"
TASKS = SemanticSegmentation(num_classes=3, class_names=("wall", "floor", "door")), Depth(bins=4)
MIXED = {"semseg": {"semseg": "global", "depth": "local"}, "depth": {"semseg": "s_label", "depth": "t_label"}}


def lived_in(network):
    """Give every batch norm statistics and weights as if it had been trained."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.2)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A saved network with one task."""
    torch.manual_seed(0)
    network = lived_in(build_network(NetworkConfig(SMALL, neck="project"), TASKS[:1]))
    sharing.save(network, folder := tmp_path_factory.mktemp("small") / "network")
    return network, str(folder)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A saved network with every context, and its export."""
    torch.manual_seed(0)
    tasks = *TASKS, SurfaceNormals(), Boundaries()
    names = [task.name for task in tasks]
    genotype = Genotype({t: {s: MIXED.get(t, {}).get(s, "none") for s in names} for t in names})
    network = lived_in(build_network(NetworkConfig(SMALL, neck="project", distillation="atrc"), tasks, genotype))
    folder = tmp_path_factory.mktemp("mixed")
    sharing.save(network, folder / "network")
    main(["export", str(folder / "network"), "--out", str(folder / "new/x.onnx"), "--json", str(folder / "x.json")])
    return network, folder / "new/x.onnx", json.loads((folder / "x.json").read_text())


def test_the_command_reports_where_it_was_checked_and_the_differences(mixed):
    _, path, report = mixed
    assert [file.name for file in path.parent.iterdir()] == ["x.onnx"]
    assert report["file"] == str(path)
    assert report["runtime"] == "ONNX Runtime"
    assert report["checked"] == [[1, 192, 256], [2, 129, 129]]
    assert list(report["differences"]) == ["semseg", "depth", "normals", "edge"]
    assert 0 < report["differences"]["depth"]["relative"] < 1e-4


def test_the_graph_is_for_any_size_without_loops_and_batch_norms_and_names_its_axes(mixed):
    model = onnx.load(mixed[1])
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == OPSET
    assert not {node.op_type for node in model.graph.node} & {"BatchNormalization", "Loop", "If", "CastLike"}
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    plane = ["batch", "height", "width"]
    vectors = ["batch", 3, "height", "width"]
    assert shapes == {"image": vectors, "semseg": plane, "depth": plane, "normals": vectors, "edge": plane}


def test_it_predicts_at_other_sizes_and_batches_in_the_units_of_the_tasks(mixed):
    network, path, _ = mixed
    predict = FORMATS[".onnx"].open(path)
    images = [torch.rand(3, 3, 33, 100), torch.rand(1, 3, 64, 64), torch.rand(2, 3, 97, 40)]
    require_equal(compare(network, predict, images))
    found = predict(images[0])
    assert found["semseg"].shape == (3, 33, 100)
    assert found["semseg"].dtype == torch.int64
    torch.testing.assert_close(found["normals"].norm(dim=1), torch.ones(3, 33, 100))
    assert 0 <= found["edge"].min() <= found["edge"].max() <= 1


def test_the_metadata_describe_the_inputs_and_outputs(mixed):
    network, path, _ = mixed
    about = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert about["input"] == "image: float32 (batch, 3, height, width), 33 or more; RGB from 0 to 1"
    assert json.loads(about["outputs"])["depth"] == "distance along the optical axis [m]"
    assert json.loads(about["classes"]) == {"semseg": ["wall", "floor", "door"]}
    assert json.loads(about["size"]) is None
    assert sharing.Architecture.from_dict(json.loads(about["network"])) == sharing.Architecture.of(network)


def test_the_example_predicts_without_torch(mixed, tmp_path):
    network, path, _ = mixed
    example = ROOT / "examples/onnx_predict.py"
    assert len(example.read_text().splitlines()) <= 20
    pixels = np.random.default_rng(0).integers(0, 255, (48, 65, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # as phones save what they took upright
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "photo.png", exif=exif)
    code = f"import runpy, sys; runpy.run_path({str(example)!r}); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "photo.png")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "depth (48, 65) distance along the optical axis [m]" in done.stdout
    with torch.inference_mode():
        logits = network(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255).predictions
    depth = torch.from_numpy(np.load(tmp_path / "depth.npy"))
    torch.testing.assert_close(depth, Depth().decode(logits["depth"])[0], rtol=1e-4, atol=1e-5)


def test_a_program_of_torch_export_for_one_size(small, tmp_path, capsys):
    network, folder = small
    main(["export", folder, "--out", str(tmp_path / "x.pt2"), "--size", "[40,56]", "--json", "-"])
    assert json.loads(capsys.readouterr().out)["checked"] == [[1, 40, 56], [2, 40, 56]]
    texts = {"input": ""}
    program = torch.export.load(tmp_path / "x.pt2", extra_files=texts).module()
    assert texts["input"] == "image: float32 (batch, 3, 40, 56); RGB from 0 to 1"
    image = torch.rand(3, 3, 40, 56)
    with torch.no_grad():
        assert torch.equal(program(image)["semseg"], network(image).predictions["semseg"].argmax(1))


def test_logits_and_weights_in_a_second_file(small, tmp_path, monkeypatch, capsys):
    network, folder = small
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 0)
    photo = str(next(iter(sorted((ROOT / "docs/assets").glob("*.png")))))
    main(["export", folder, "--out", str(tmp_path / "x.onnx"), "--logits", "--size", "[40,56]", "--image", photo])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.onnx", "x.onnx.data"]
    assert re.search(
        r"x.onnx: .* MB; checked with ONNX Runtime at 1x40x56 and 2x40x56\n.*\nsemseg ", capsys.readouterr().out
    )
    image = torch.rand(1, 3, 40, 56)
    found = FORMATS[".onnx"].open(tmp_path / "x.onnx")(image)["semseg"]
    with torch.inference_mode():
        torch.testing.assert_close(found, network(image).predictions["semseg"], rtol=1e-4, atol=1e-5)


def test_a_file_that_differs_is_not_written_and_the_old_one_stays(small, tmp_path, monkeypatch, capsys):
    def wrong(deployed, size):
        wrong = copy.deepcopy(deployed)
        wrong.network.final["semseg"].weight.data.neg_()
        return trace(wrong, size)

    (tmp_path / "x.pt2").write_text("before")
    monkeypatch.setattr("atrc.sharing.export.trace", wrong)
    with pytest.raises(SystemExit) as exit:
        main(["export", small[1], "--out", str(tmp_path / "x.pt2"), "--size", "[40,56]"])
    assert exit.value.code == 2
    assert "not exported: it differs from PyTorch: semseg by " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt2"]
    assert (tmp_path / "x.pt2").read_text() == "before"


def test_differences_by_hand():
    logits = torch.tensor([[[[1.0, -4.0]], [[1.0, 2.0]], [[0.5, 0.0]]]])
    semseg = SemanticSegmentation(num_classes=3)
    assert difference(semseg, logits, torch.tensor([[[1, 1]]])) == Difference(0.0, 4.0)  # a tie is no difference
    assert difference(semseg, logits, torch.tensor([[[2, 1]]])) == Difference(0.5, 4.0)
    assert difference(semseg, logits, logits + 0.25, logits=True) == Difference(0.25, 4.0)
    metres = torch.tensor([[[[2.0, 5.0]]]])
    found = difference(Depth(), metres, torch.tensor([[[2.0, 4.5]]]))
    assert found == Difference(0.5, 5.0)
    assert found.relative == 0.1
    nan = difference(Depth(), metres, torch.tensor([[[2.0, torch.nan]]]))
    with pytest.raises(UserError, match=r"differs from PyTorch: depth by nan of 5, sal by 0.5 of 1; .*--size"):
        require_equal({"depth": nan, "normals": Difference(1e-6, 1.0), "sal": Difference(0.5, 1.0)})
    with pytest.raises(UserError, match=r"depth has shape \(1, 1, 1\), not \(1, 1, 2\); .*--size"):
        difference(Depth(), metres, torch.ones(1, 1, 1))


def test_the_largest_difference_counts_even_if_it_is_nan(small):
    network, _ = small
    answers = iter([torch.zeros(1, 40, 56, dtype=torch.long), torch.ones(1, 40, 56, dtype=torch.long)])
    image = torch.rand(1, 3, 40, 56)
    logits = network(image).predictions["semseg"].detach()
    worst = compare(network, lambda image: {"semseg": next(answers)}, [image, image])["semseg"]
    assert worst.absolute == pytest.approx(max((logits.amax(1) - logits[:, i]).max().item() for i in (0, 1)))
    answers = iter([logits.nan_to_num() + torch.nan, logits])
    worst = compare(network, lambda image: {"semseg": next(answers)}, [image, image], logits=True)["semseg"]
    assert worst.absolute != worst.absolute


def test_a_runtime_that_fails_at_a_size_is_named(small):
    def fails(image):
        raise ValueError("no kernel\nmore")

    with pytest.raises(UserError, match=r"^not exported: it fails at 2x40x56 \(ValueError: no kernel\); .*--size"):
        compare(small[0], fails, [torch.rand(2, 3, 40, 56)])


def test_the_trials_are_an_image_and_its_mirror_image(tmp_path):
    Image.fromarray(np.arange(3 * 80 * 90, dtype=np.uint8).reshape(80, 90, 3)).save(tmp_path / "x.png")
    alone, both = trials((96, 128), None, str(tmp_path / "x.png"))
    assert alone.shape == (1, 3, 96, 128)
    assert both.shape == (2, 3, 65, 65)
    assert torch.equal(both[0], both[1].flip(2))
    assert [image.shape[2:] for image in trials((96, 128), (7, 9), str(tmp_path / "x.png"))] == [(7, 9), (7, 9)]
    assert trials((40, 40), None, None)[1].shape == (2, 3, 33, 33)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "x.pb"], "x.pb: exports end in .onnx or .pt2"),
        (["--out", "x.pt2", "--size", "[0,8]"], r"--size \[0,8\]: height and width are 1 or more"),
        (["--out", "x.pt2", "--image", "none.png"], "none.png: no such file"),
    ],
)
def test_mistakes_are_named_before_anything_is_exported(small, options, message, capsys):
    with pytest.raises(SystemExit):
        main(["export", small[1], *options])
    assert re.search(f"^atrc export: error: {message}$", capsys.readouterr().err)


def test_a_missing_package_is_named_with_its_extra(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"a .onnx file needs onnxscript, .*; pip install 'atrc\[export\]'"):
        export_network(small[0], tmp_path / "x.onnx")


def test_a_supergraph_is_refused_with_what_to_train(tmp_path, monkeypatch, capsys):
    supergraph = build_supergraph(NetworkConfig(SMALL), TASKS, "contexts")
    monkeypatch.setattr("atrc.app.export.load", lambda model: supergraph)
    with pytest.raises(SystemExit):
        main(["export", "runs/search", "--out", str(tmp_path / "x.pt2")])
    assert "runs/search: the supergraph of a search; train what it found" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named(small, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["export", small[1], "--out", str(tmp_path / "file/x.pt2")])
    assert "file/x.pt2: cannot be written (Not a directory); choose another place" in capsys.readouterr().err


def test_a_network_for_one_size_only_asks_for_the_size():
    network = build_network(NetworkConfig("swin_tiny", neck="project"), TASKS[:1])
    with pytest.raises(UserError, match=r"^WindowAttention makes constants of the image size; .*--size"):
        trace(Deployed(network), None)


# `mixed` has all contexts and a convolutional backbone; these are the other kinds. tests/distillation captures the
# graph of every distillation module, and tests/backbones that of every backbone.
KINDS = {
    "mixture": NetworkConfig(SMALL, neck="project", distillation="atrc_static"),
    "levels": NetworkConfig("timm:test_efficientnet", neck="fpm", distil_at="all", distillation="gated_messages"),
    "transformer": NetworkConfig("timm:test_vit", neck="project"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_system_of_every_kind_exports(kind, tmp_path):
    network = lived_in(build_network(KINDS[kind], TASKS if kind == "levels" else TASKS[:1]))
    program = trace(Deployed(network), None)
    predict = program.module()
    if kind == "transformer":
        FORMATS[".onnx"].write(program, tmp_path / "x.onnx", describe(network, None))
        predict = FORMATS[".onnx"].open(tmp_path / "x.onnx")
    require_equal(compare(network, predict, trials((64, 96), None, None)))


SYSTEMS = {
    **{
        name: NetworkConfig(SMALL, neck="project", distillation=name)
        for name in DISTILLATIONS
        if name != "gated_messages"  # for levels
    },
    **{
        context: NetworkConfig(SMALL, distillation="atrc", genotype=context)
        for context in ("none", "global", "local", "t_label", "s_label")
    },
    "mti-net": NetworkConfig(SMALL, neck="fpm", distil_at="all", distillation="gated_messages"),
    "branched": NetworkConfig(SMALL, branching="at:2"),
    "hrnet18": NetworkConfig("hrnet18"),
    "hrnet48": NetworkConfig("hrnet48"),
    "resnet50-aspp": NetworkConfig("resnet50", neck="aspp"),
    "resnet50-skip": NetworkConfig("resnet50", neck="skip"),
    "convnext_tiny": NetworkConfig("convnext_tiny", neck="project"),
    "dinov2_small": NetworkConfig("dinov2_small", neck="project"),
    "swin_tiny": NetworkConfig("swin_tiny", neck="project"),
    "dinov3_small": NetworkConfig("dinov3_small", neck="project"),
}
ONE_SIZE = ("swin_tiny", "dinov3_small")
REFUSED = ("resnet50-aspp", "resnet50-skip", "dinov2_small", "swin_tiny")


@pytest.mark.release
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_exports(name, tmp_path):
    if torch.__version__.startswith("2.11.") and name in REFUSED:
        pytest.skip("refused with the oldest versions, as docs/export.md says")
    network, size = lived_in(build_network(SYSTEMS[name], TASKS)), (64, 96) if name in ONE_SIZE else None
    program = trace(Deployed(network), size)
    for suffix, form in FORMATS.items():
        form.write(program, tmp_path / f"x{suffix}", describe(network, size))
        require_equal(compare(network, form.open(tmp_path / f"x{suffix}"), trials((64, 96), size, None)))


def test_the_page_lists_every_task():
    for task in (*TASKS, SurfaceNormals(), Boundaries(), HumanParts(), Saliency()):
        assert re.search(rf"^\| `{task.name}`.* \| {re.escape(task.decoded)}", PAGE, re.M), task.name


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.S))
def test_every_python_snippet_of_the_page_runs(code, mixed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.onnx").symlink_to(mixed[1])
    exec(compile(code, "export.md", "exec"), {})
