"""That docs/drop-in.md is true: its networks run, and ATRC learns in them."""

import re
from pathlib import Path

import pytest
import torch

from atrc import ATRC, Genotype

PAGE = (Path(__file__).parent.parent / "docs/drop-in.md").read_text(encoding="utf-8")
SECTIONS = {
    section.partition("\n")[0]: re.findall(r"```python\n(.*?)```", section, re.S)
    for section in re.split(r"^#+ ", PAGE, flags=re.M)
    if "```python" in section
}
NETWORKS = [title for title, blocks in SECTIONS.items() if "nn.Module" in blocks[0]]


def execute(snippet: str, names: dict) -> dict:
    exec(compile(snippet, "drop-in.md", "exec"), names)
    return names


def test_there_are_three_foreign_networks_in_under_30_lines_each():
    assert [title.split()[-1] for title in NETWORKS] == ["segmentation_models.pytorch", "DeepLabV3", "transformers"]
    assert max(len(SECTIONS[title][0].splitlines()) for title in NETWORKS) < 30


@pytest.mark.parametrize("title", [title for title in SECTIONS if title not in NETWORKS])
def test_the_other_snippets_run(title):
    for snippet in SECTIONS[title]:
        refined = execute(snippet, {}).get("refined", {})
        assert all(x.shape == (2, 64, 30, 40) for x in refined.values())


@pytest.mark.parametrize("title", NETWORKS)
def test_atrc_learns_in_a_foreign_network_from_the_second_step_on(title):
    names = execute(SECTIONS[title][0], {})
    network = names["network"]
    (atrc,) = (module for module in network.modules() if isinstance(module, ATRC))
    shapes = []
    atrc.register_forward_hook(lambda module, given, refined: shapes.append((_shapes(given[0]), _shapes(refined))))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    learning = []
    for _ in range(2):
        optimizer.zero_grad()
        output = network(torch.rand(2, 3, 64, 96))
        predictions = output[0] if isinstance(output, tuple) else output
        assert {p.shape[2:] for p in predictions.values()} == {(64, 96)}
        torch.stack([(p - torch.rand_like(p)).square().mean() for p in predictions.values()]).sum().backward()
        optimizer.step()
        learning.append({name for name, p in atrc.named_parameters() if p.grad.count_nonzero()})
    first, second = learning
    assert not any(".blocks." in name or ".fuse.0." in name for name in first)
    assert second == dict(atrc.named_parameters()).keys()
    assert all(before == after for before, after in shapes)
    for training in SECTIONS[title][1:]:
        execute(training, names)


def test_atrc_runs_under_autocast():
    module = ATRC(Genotype({"a": {"a": "t_label", "b": "s_label"}, "b": {"a": "local", "b": "global"}}), channels=8)
    features = {task: torch.randn(2, 8, 6, 5) for task in "ab"}
    with torch.autocast("cpu", torch.bfloat16):
        refined = module(features, features)
    assert all(x.isfinite().all() for x in refined.values())


def _shapes(features: dict) -> dict:
    return {task: x.shape for task, x in features.items()}
