import pytest

from atrc.branching import Branching
from atrc.errors import UserError

TREE = Branching(((("a", "b", "c"),), (("a", "c"), ("b",)), (("a",), ("c",), ("b",))))


def test_a_tree_knows_its_tasks_stages_and_parents():
    assert TREE.tasks == ("a", "b", "c")
    assert TREE.stages == 4
    assert [TREE.parent(1, 0), TREE.parent(1, 1)] == [0, 0]
    assert [TREE.parent(2, i) for i in range(3)] == [0, 0, 1]


def test_branching_at_a_stage_shares_what_is_before():
    assert Branching.at(1, "ab", 3).groups == ((("a",), ("b",)), (("a",), ("b",)))
    assert Branching.at(3, "ab", 3).groups == ((("a", "b"),), (("a", "b"),))


def test_a_branching_survives_its_file(tmp_path):
    TREE.save(tmp_path / "b.json")
    assert Branching.load(tmp_path / "b.json") == TREE
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ((), "at least one stage"),
        (((("a", "b"),), (("a",),)), "stage 3: every task must be in exactly one group; the tasks are a, b"),
        (((("a",), ("a",)),), "stage 2: every task must be in exactly one group"),
        (((("a",), ("b",)), (("a", "b"),)), "stage 3 joins a, b, which stage 2 has split already"),
    ],
)
def test_what_is_no_tree_is_refused(groups, said):
    with pytest.raises(UserError, match=said):
        Branching(groups)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "not a branching; `atrc search"),
        ('{"format": "atrc-branching", "version": 9}', "newer atrc .format 9, this reads up to 1.: update"),
        ('{"format": "atrc-branching", "version": 1}', "must list the groups"),
        ('{"format": "atrc-branching", "version": 1, "groups": [[["a"], []]]}', "b.json': stage 2: every task"),
    ],
)
def test_a_faulty_file_is_named(tmp_path, text, said):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(UserError, match=said):
        Branching.load(tmp_path / "b.json")


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match="branching file 'nowhere.json' cannot be read"):
        Branching.load("nowhere.json")
