import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atrc.backbones import build_backbone
from atrc.distillation import ATRC
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.search import supergraph


def network(tasks, spec=None):
    names = [task.name for task in tasks]
    if spec == "search":
        return MultiTaskNetwork(tasks, build_backbone("hrnet18"), supergraph(names))
    if spec is None:
        return MultiTaskNetwork(tasks, build_backbone("hrnet18"))
    genotype = Genotype.published(spec) if "_hrnet" in spec else Genotype.uniform(names, spec)
    return MultiTaskNetwork(tasks, build_backbone("hrnet18"), lambda c: ATRC(genotype, c))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


# Measured on the authors' code. Parameters are those of Table 1; its MAdds, up to 3 % more, count BN and ReLU too.
@pytest.mark.parametrize(
    ("spec", "parameters", "gmadds"),
    [
        (None, 4_515_556, 17.48),
        ("global", 4_734_172, 21.18),
        ("local", 4_734_172, None),
        ("t_label", 5_060_994, 25.17),
        ("s_label", 5_060_994, 25.17),
        ("nyud_hrnet18", 5_060_994, 25.05),
        ("search", 5_459_314, None),
    ],
)
def test_the_golden_counts_of_nyud_hold_to_the_unit(nyud_tasks, spec, parameters, gmadds):
    net = network(nyud_tasks, spec).eval()
    assert count(net) == parameters
    if gmadds:
        assert multiply_adds(net) == gmadds


def multiply_adds(net):
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 425, 560))
    return round(counter.get_total_flops() / 2e9, 2)


def test_the_golden_counts_of_single_task_networks(nyud_tasks, pascal_tasks):
    assert sum(count(network((task,))) for task in nyud_tasks) == 16_097_716
    assert sum(count(network((task,))) for task in pascal_tasks) == 20_120_632


def test_the_golden_counts_of_pascal(pascal_tasks):
    assert count(network(pascal_tasks)) == 4_677_752
    assert count(network(pascal_tasks, "pascal_hrnet18")) == 5_383_142


def test_the_backbone_is_that_of_the_published_networks():
    backbone = build_backbone("hrnet18")
    assert count(backbone) == 3_860_720
    assert backbone.channels == (18, 36, 72, 144)
    assert backbone.strides == (4, 8, 16, 32)


@pytest.mark.parametrize("size", [(32, 32), (33, 65), (107, 60), (1, 1)])
def test_odd_image_sizes_work(nyud_tasks, size):
    net = network(nyud_tasks, "nyud_hrnet18").eval()
    with torch.inference_mode():
        output = net(torch.rand(1, 3, *size))
    for task in nyud_tasks:
        assert output.predictions[task.name].shape == (1, task.channels, *size)
        assert output.predictions[task.name].isfinite().all()
        assert output.features[task.name].shape[-2:] == tuple(-(-s // 4) for s in size)


def test_auxiliary_predictions_send_no_gradient_into_the_backbone(nyud_tasks):
    net = network(nyud_tasks, "t_label")
    output = net(torch.rand(2, 3, 32, 32))
    sum(a.sum() for a in output.auxiliary.values()).backward()
    assert all(p.grad is None for p in net.backbone.parameters())
    assert all(p.grad is not None for p in net.auxiliary.parameters())


def test_auxiliary_heads_exist_only_where_a_block_uses_their_regions(nyud_tasks):
    assert list(network(nyud_tasks, "global").auxiliary) == []
    names = [task.name for task in nyud_tasks]
    genotype = Genotype({t: {s: "s_label" if s == "depth" else "none" for s in names} for t in names})
    net = MultiTaskNetwork(nyud_tasks, build_backbone("hrnet18"), lambda c: ATRC(genotype, c))
    assert list(net.auxiliary) == ["depth"]


def test_an_unknown_backbone_is_named_with_the_choices():
    with pytest.raises(UserError, match="unknown backbone 'vgg'; choose from hrnet18"):
        build_backbone("vgg")
