import json
import subprocess
import sys

import pytest

from atrc.contexts import CONTEXTS
from atrc.errors import UserError
from atrc.genotype import PUBLISHED, Genotype, SearchSpace, block_agreement, mean_agreement

TASKS = ("semseg", "depth", "normals")


def test_a_genotype_survives_saving_and_loading(tmp_path):
    genotype = Genotype.random(TASKS, seed=3)
    genotype.save(tmp_path / "g.json")
    assert Genotype.load(tmp_path / "g.json") == genotype


def test_the_published_integer_form_is_read(tmp_path):
    data = {"a": {"a": 0, "b": 1}, "b": {"a": 2, "b": 3}}
    (tmp_path / "g.json").write_text(json.dumps({"data": data, "step": 40000}))
    genotype = Genotype.load(tmp_path / "g.json")
    assert dict(genotype.items()) == {
        ("a", "a"): "none", ("a", "b"): "global", ("b", "a"): "local", ("b", "b"): "t_label",
    }  # fmt: skip
    assert genotype.step == 40000


def test_the_published_nyud_genotype_for_hrnet48_reads_as_in_its_table():
    genotype = Genotype.load("nyud_hrnet48")
    assert genotype["semseg", "depth"] == "none"
    assert genotype["normals", "depth"] == "global"
    assert genotype.counts() == {"none": 2, "global": 4, "local": 0, "t_label": 5, "s_label": 5}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_genotype_is_complete(name):
    genotype = Genotype.published(name)
    assert genotype.targets == genotype.sources
    assert sum(genotype.counts().values()) == len(genotype.targets) ** 2


def test_s_label_is_no_candidate_on_the_diagonal():
    space = SearchSpace(TASKS)
    assert "s_label" not in space.candidates("depth", "depth")
    assert space.candidates("depth", "semseg") == tuple(CONTEXTS)
    drawn = [Genotype.random(TASKS, seed)[task, task] for seed in range(50) for task in TASKS]
    assert "s_label" not in drawn
    assert set(drawn) == set(CONTEXTS) - {"s_label"}


def test_label_tasks_are_the_targets_of_t_label_and_the_sources_of_s_label():
    genotype = Genotype(
        {"a": {"a": "none", "b": "s_label", "c": "local"}, "c": {"a": "t_label", "b": "none", "c": "none"}}
    )
    assert genotype.label_tasks == ("c", "b")
    assert Genotype.uniform("ab", "global").label_tasks == ()


def test_agreement_is_the_share_of_equal_pairs():
    one = Genotype.uniform(["a", "b"], "global")
    other = Genotype({"a": {"a": "global", "b": "none"}, "b": {"a": "global", "b": "global"}})
    assert one.agreement(one) == 1
    assert one.agreement(other) == other.agreement(one) == 0.75
    with pytest.raises(UserError, match="different tasks"):
        one.agreement(Genotype.uniform(["a"], "global"))


def rows(*contexts):
    """Make a genotype of two tasks, row by row."""
    return Genotype({"a": {"a": contexts[0], "b": contexts[1]}, "b": {"a": contexts[2], "b": contexts[3]}})


RUNS = [
    rows("global", "s_label", "none", "local"),
    rows("global", "s_label", "local", "t_label"),
    rows("global", "none", "none", "global"),
    rows("global", "s_label", "none", "none"),
]


def test_mean_agreement_is_over_all_pairs_of_runs_by_hand():
    # Runs 1-2, 1-3, 1-4, 2-3, 2-4, 3-4 agree in 2, 2, 3, 1, 2 and 2 of 4 blocks.
    assert mean_agreement(RUNS) == pytest.approx((2 + 2 + 3 + 1 + 2 + 2) / 24)
    assert mean_agreement(RUNS[:2]) == RUNS[0].agreement(RUNS[1])
    assert mean_agreement(RUNS[::-1]) == mean_agreement(RUNS)


def test_block_agreement_by_hand_and_its_mean():
    agreement = block_agreement(RUNS)
    assert agreement == {"a": {"a": 1, "b": 3 / 6}, "b": {"a": 3 / 6, "b": 0}}
    assert sum(sum(row.values()) for row in agreement.values()) / 4 == pytest.approx(mean_agreement(RUNS))


def test_random_genotypes_agree_by_chance():
    # One in five off the diagonal, one in four on it: (12 / 5 + 4 / 4) / 16 for four tasks.
    drawn = [Genotype.random("abcd", seed) for seed in range(60)]
    assert mean_agreement(drawn) == pytest.approx(0.2125, abs=0.01)


@pytest.mark.parametrize("agreement", [mean_agreement, block_agreement])
def test_agreement_needs_two_runs_of_the_same_tasks(agreement):
    with pytest.raises(UserError, match="needs two genotypes or more, got 1"):
        agreement(RUNS[:1])
    with pytest.raises(UserError, match="different tasks"):
        agreement([*RUNS, Genotype.uniform(["a"], "global")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": {"a": {"a": 1, "b": 1}, "b": {"a": 1}}}', "target 'b', source 'b' is missing"),
        ('{"data": {"a": {"a": 5}}}', "context 5 of target 'a'"),
        ('{"contexts": {"a": {"a": "everywhere"}}}', "unknown context 'everywhere'.*none, global, local"),
        ('{"contexts": {}}', "at least one target"),
        ('{"contexts": {"a": 3}}', "every target needs an object"),
        ('{"contexts": {"a": {"a": "none"}}, "version": 9}', "newer atrc .format 9"),
        ('{"contexts": {"a": {"a": "none"}}, "step": "x"}', "step 'x'"),
        ("[1, 2]", "expected an object"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_a_bad_genotype_file_is_named_with_the_fault(tmp_path, content, message):
    path = tmp_path / "g.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        Genotype.load(path)
    assert str(path) in str(error.value)


def test_a_missing_genotype_file_is_named_and_the_published_ones_are_listed(tmp_path):
    with pytest.raises(UserError, match="nothere.json.*nyud_hrnet18"):
        Genotype.load(tmp_path / "nothere.json")


def test_genotypes_need_no_torch():
    code = "import sys, atrc.genotype; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("nyud_hrnet18", "3344 4344 4334 3313"),
        ("nyud_hrnet48", "3004 4114 4114 3333"),
        ("pascal_hrnet18", "33404 33434 33343 33334 33313"),
    ],
)
def test_published_genotypes_are_those_of_the_authors(name, rows):
    found = Genotype.published(name).contexts.values()
    assert " ".join("".join(str(list(CONTEXTS).index(c)) for c in row.values()) for row in found) == rows
