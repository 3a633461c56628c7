"""What the pixels of an image attend to: one forward pass, many clicks."""

import pytest
import torch

from atrc.backbones import build_backbone
from atrc.contexts import CONTEXTS
from atrc.contexts.label import prototypes
from atrc.distillation import ATRC, combined_atrc
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.necks import build_neck
from atrc.network import MultiTaskNetwork
from atrc.search import Supergraph, supergraph
from atrc.studies.attention.inspection import Inspection
from atrc.tasks import Boundaries, Depth, SemanticSegmentation

TASKS = SemanticSegmentation(num_classes=5), Depth(bins=4), Boundaries()
NAMES = [task.name for task in TASKS]
# Every context, and none, somewhere
GENOTYPE = Genotype(
    {
        "semseg": {"semseg": "t_label", "depth": "s_label", "edge": "none"},
        "depth": {"semseg": "global", "depth": "local", "edge": "t_label"},
        "edge": {"semseg": "none", "depth": "none", "edge": "none"},
    }
)


def network(make=lambda c: ATRC(GENOTYPE, c)):
    return MultiTaskNetwork(TASKS, build_backbone("hrnet18"), make).eval()


@pytest.fixture(scope="module")
def inspection():
    torch.manual_seed(1)
    return Inspection(network().double(), torch.rand(3, 44, 64, dtype=torch.float64))


def test_every_block_gives_what_its_map_says(inspection):
    features = {task: x[None] for task, x in inspection.features.items()}
    regions = {task: x.log()[None] for task, x in inspection.densities.items()}  # softmax undoes the logarithm
    contexts = inspection.module.contexts(features, regions)
    blocks = dict(inspection.module.blocks())
    row, column = 43, 22
    y, x = inspection.place(row, column)
    assert (y, x) == (10, 5)
    for target in NAMES:
        for source, found in inspection.maps(target, row, column).items():
            if GENOTYPE[target, source] == "none":
                assert found is None
                continue
            assert found.context == GENOTYPE[target, source]
            value, own = blocks[target, source].value, features[source]
            if found.regions is None:
                output = torch.einsum("hw,chw->c", found.pixels, value(own)[0])
            else:
                region_task = target if found.context == "t_label" else source
                pooled = prototypes(inspection.densities[region_task][None], own)
                output = torch.einsum("r,cr->c", found.regions, value(pooled[..., None])[0, ..., 0])
            torch.testing.assert_close(output, contexts[target, source][0, :, y, x], rtol=1e-9, atol=1e-9)


def test_the_output_is_that_of_the_network(inspection):
    net = network()
    image = torch.rand(3, 32, 40)
    with torch.no_grad():
        expected = net(image[None])
    for task, prediction in Inspection(net, image).output.predictions.items():
        assert torch.equal(prediction, expected.predictions[task])


def test_many_clicks_share_one_forward_pass():
    net = network()
    calls = []
    net.backbone.register_forward_hook(lambda *_: calls.append(1))
    inspection = Inspection(net, torch.rand(3, 32, 32))
    for row in range(0, 32, 8):
        inspection.maps("depth", row, 5)
    assert len(calls) == 1


def test_a_pixel_belongs_to_the_cell_that_holds_its_centre(inspection):
    assert inspection.image_size == (44, 64)
    assert inspection.grid == (11, 16)
    assert inspection.place(0, 0) == (0, 0)
    assert inspection.place(3, 4) == (0, 1)
    assert inspection.place(43, 63) == (10, 15)


def test_a_search_shows_the_best_candidate_of_every_pair():
    net = network(supergraph(NAMES))
    choices = Supergraph(net).choices
    for pair, choice in choices.items():
        with torch.no_grad():
            context = GENOTYPE[pair] if GENOTYPE[pair] in choice.contexts else "none"
            choice.alpha[choice.contexts.index(context)] = 1.0
    inspection = Inspection(net, torch.rand(3, 32, 32))
    for target in NAMES:
        found = {s: m.context if m else "none" for s, m in inspection.maps(target, 0, 0).items()}
        assert found == GENOTYPE.contexts[target]


@pytest.mark.parametrize("kind", ["atrc_static", "atrc_dynamic"])
@pytest.mark.parametrize("context", list(CONTEXTS)[1:])
def test_a_combination_shows_its_heaviest_context(kind, context):
    net = network(lambda c: combined_atrc(kind, NAMES, c))
    for _, block in net.distillation.blocks():
        logits = block.gate.logits if kind == "atrc_static" else block.gate.linear.bias
        with torch.no_grad():
            logits[0] = 2.0  # "none" adds nothing, however heavy
            if context in block.contexts:
                logits[block.contexts.index(context)] = 1.0
    assert Inspection(net, torch.rand(3, 32, 32)).maps("depth", 3, 3)["edge"].context == context


def test_of_all_levels_the_finest_is_shown():
    backbone = build_backbone("hrnet18")
    neck = build_neck("fpm", backbone.channels, backbone.strides, TASKS)
    net = MultiTaskNetwork(TASKS, backbone, lambda c: ATRC(GENOTYPE, c), neck, distil_at="all")
    inspection = Inspection(net, torch.rand(3, 64, 64))
    assert inspection.grid == (16, 16)
    assert inspection.maps("semseg", 0, 0)["depth"].pixels.shape == (16, 16)


def test_mistakes_are_named(inspection):
    with pytest.raises(UserError, match="no ATRC module.*network/global"):
        Inspection(network(None), torch.rand(3, 32, 32))
    with pytest.raises(UserError, match="no target 'normals'; the network has semseg, depth, edge"):
        inspection.maps("normals", 0, 0)
    with pytest.raises(UserError, match=r"pixel \[44,0\] is not in the image of 44x64"):
        inspection.maps("depth", 44, 0)
