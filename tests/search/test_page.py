"""That docs/search.md is true."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from atrc.app.cli import expand, make_parser
from atrc.backbones import build_backbone
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.search import Supergraph, count_cost, supergraph
from atrc.training.recipe import Recipe, SearchConfig

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/search.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(atrc .*)$", PAGE.replace("\\\n", ""), re.M)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.S))
def test_every_python_snippet_of_the_page_runs(code):
    exec(compile(code, "search.md", "exec"), {})


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_page_is_understood(line):
    parser, _ = make_parser()
    assert parser.parse_args(expand(shlex.split(line, comments=True)[1:])).command


def test_the_defaults_of_the_page_are_those_of_the_recipe():
    values = {field.name: getattr(SearchConfig(), field.name) for field in fields(SearchConfig)}
    rows = re.findall(r"\| ([^|]*) \| ([^|]*) \| `search\.(\w+)` \|", PAGE)
    assert {key for *_, key in rows} == set(values) - {"space"}
    for start, end, key in rows:
        expected = values[key] if isinstance(values[key], tuple) else (values[key], values[key])
        assert (float(start), float(end)) == expected
    assert (Recipe().optim.lr, Recipe().optim.steps, Recipe().data.batch_size) == (0.01, 40_000, 8)


def test_the_shares_of_the_page_are_counted(nyud_tasks):
    names = [task.name for task in nyud_tasks]
    network = MultiTaskNetwork(nyud_tasks, build_backbone("hrnet18"), supergraph(names))
    cost = count_cost(network, (425, 560))
    shares = [cost.of(Genotype.uniform(names, context)) / cost.most for context in ("none", "global", "local")]
    shares += [
        cost.of(Genotype.published("nyud_hrnet18")) / cost.most,
        cost.of(Genotype.uniform(names, "t_label")) / cost.most,
    ]
    assert cost.of(Genotype.uniform(names, "s_label")) / cost.most == shares[-1]
    shares.append(cost.expected(Supergraph(network)).item())
    table = PAGE[PAGE.index("| Genotype | Share |") :]
    assert [float(share) for share in re.findall(r"\| ([01][.\d]*) \|", table)[:6]] == [round(s, 3) for s in shares]
    assert f"of {cost.most / 1e9:.2f} G" in PAGE
    assert 0.5 < sum(cost.heads.values()) / cost.most < 0.6
    assert round(cost.blocks["semseg", "depth"]["local"] / cost.most, 3) == 0.027
