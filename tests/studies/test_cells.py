"""What a study is to run, and what its folders say; nothing is trained."""

import re
from pathlib import Path

import pytest

from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.studies.cells import Cell
from atrc.studies.plan import plan, read_study, save_study, slug
from atrc.studies.study import Study
from tiny_study import ALONE, BROKEN, SEARCHED, write_study


def planned(tmp_path: Path, *rows: dict, **given) -> list[Cell]:
    return plan(Study.load(write_study(tmp_path / "s.yaml", "nowhere", *rows, **given)), tmp_path / "out")


def begin(cell: Cell, stage: int, step: int) -> None:
    """Pretend that a stage was begun."""
    run = cell.stage_folder(cell.stages[stage])
    run.checkpoint.parent.mkdir(parents=True)
    run.checkpoint.touch()
    (run.path / "train.csv").write_text(f"step,loss\n{step},1.0\n{step + 1},0.")


def test_cells_are_rows_by_seeds_by_tasks(tmp_path):
    cells = planned(tmp_path, ALONE, SEARCHED)
    assert [str(cell) for cell in cells] == [
        "One each, seed 0, semseg",
        "One each, seed 0, depth",
        "One each, seed 1, semseg",
        "One each, seed 1, depth",
        "ATRC / searched, seed 0",
        "ATRC / searched, seed 1",
    ]
    assert cells[3].folder == tmp_path / "out/one-each/seed1/depth"
    assert cells[5].folder == tmp_path / "out/atrc-searched/seed1"
    assert cells[3].stages[0].recipe.data.tasks == ["depth"]
    assert [cell.stages[-1].recipe.seed for cell in cells] == [0, 0, 1, 1, 0, 1]
    assert [cell.steps for cell in cells] == [2, 2, 2, 2, 4, 4]
    assert not (tmp_path / "out").exists()


def test_what_a_search_finds_takes_the_place_of_the_recipes(tmp_path):
    row = {"name": "both", "recipes": ["network/global"], "search": ["search/branches", "search/contexts"]}
    (cell,) = planned(tmp_path, row, seeds=(3,))
    branches, contexts, train = cell.stages
    assert [stage.name for stage in cell.stages] == ["search_branches", "search_contexts", "train"]
    assert [stage.search for stage in cell.stages] == [True, True, False]
    # the tree is searched before there are contexts, the contexts on the tree that was found
    assert (branches.recipe.network.distillation, branches.recipe.network.branching) == ("none", None)
    assert branches.recipe.search.space == "branches"
    assert contexts.recipe.network.branching == "search_branches/branching.json"
    assert train.recipe.network.branching == "search_branches/branching.json"
    assert train.recipe.network.genotype == "search_contexts/genotype.json"
    assert train.recipe.network.distillation == "atrc"


def test_files_are_given_relative_to_the_cell_and_data_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Genotype.uniform(["semseg"], "local").save(tmp_path / "mine.json")
    (tmp_path / "data").mkdir()
    row = {"name": "a", "set": {"network.distillation": "atrc", "network.genotype": "mine.json"}}
    study = Study.load(write_study(tmp_path / "s.yaml", "data", row, seeds=(0,)))
    (cell,) = plan(study, Path("out"))
    assert cell.stages[0].recipe.network.genotype == "../../../mine.json"
    assert cell.stages[0].recipe.data.root == str(tmp_path / "data")


def test_a_cell_is_read_back_as_it_was_written(tmp_path):
    cells = planned(tmp_path, SEARCHED, ALONE)
    study = Study.load(tmp_path / "s.yaml")
    save_study(study, cells, tmp_path / "out")
    again, read = read_study(tmp_path / "out")
    assert [cell.to_dict() for cell in read] == [cell.to_dict() for cell in cells]
    assert [cell.folder for cell in read] == [cell.folder for cell in cells]
    assert read[0].stages[0].recipe == cells[0].stages[0].recipe
    assert (again.title, again.rows, again.seeds) == (study.title, study.rows, study.seeds)


def test_a_folder_tells_how_far_its_cell_is(tmp_path):
    cell = planned(tmp_path, SEARCHED)[0]
    cell.save()
    assert (cell.state, cell.steps_done(), cell.reason()) == ("waiting", 0, None)
    begin(cell, 0, step=1)  # its table ends with half a row of step 2
    assert (cell.state, cell.steps_done()) == ("interrupted", 1)
    cell.stage_folder(cell.stages[0]).results.write_text('{"seconds": 1.5}')
    begin(cell, 1, step=1)
    assert (cell.state, cell.steps_done(), cell.seconds()) == ("interrupted", 3, 1.5)
    cell.fail("train: two\n  lines")
    assert (cell.state, cell.reason()) == ("failed", "train: two lines")
    assert not list(cell.folder.glob("*.partial"))
    cell.run.results.write_text('{"seconds": 2}')
    assert (cell.state, cell.steps_done(), cell.seconds(), cell.reason()) == ("done", 4, 3.5, None)


def test_a_changed_recipe_is_refused_where_there_is_a_checkpoint(tmp_path):
    cells = planned(tmp_path, SEARCHED, seeds=(0,))
    study = Study.load(tmp_path / "s.yaml")
    save_study(study, cells, tmp_path / "out")
    changed = planned(tmp_path, {**SEARCHED, "set": {"optim.lr": 0.2}}, seeds=(0,))
    save_study(study, changed, tmp_path / "out")  # nothing was begun
    begin(changed[0], 0, step=1)
    with pytest.raises(UserError, match=r"search_contexts: was begun with optim.lr 0.2, now the study has 0.01; rest"):
        save_study(study, cells, tmp_path / "out")
    assert Cell.load(cells[0].folder).stages[0].recipe.optim.lr == 0.2
    free = planned(tmp_path, {**SEARCHED, "set": {"optim.lr": 0.2, "devices": 2, "log_every": 5}}, seeds=(0, 1))
    save_study(study, free, tmp_path / "out")  # neither these nor more seeds change a result
    assert Cell.load(cells[0].folder).devices == 2


def test_slurms_devices_and_nodes_take_the_place_of_the_recipes(tmp_path):
    study = Study.load(write_study(tmp_path / "s.yaml", "nowhere", SEARCHED))
    cell = plan(study, tmp_path, devices=4, nodes=2)[0]
    assert (cell.devices, cell.nodes) == (4, 2)
    assert {(stage.recipe.devices, stage.recipe.nodes) for stage in cell.stages} == {(4, 2)}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"name": "A-B"}, {"name": "a b"}], "the rows 'A-B' and 'a b' would share a folder"),
        ([{"name": "a", "search": ["search/contexts"]}], "row 'a': .* needs network.distillation atrc, not none"),
        ([{**SEARCHED, "search": ["search/contexts"] * 2}], "row 'ATRC / searched': searches contexts twice"),
        ([{**SEARCHED, "search": ["search/context"]}], "no recipe 'search/context'"),
    ],
)
def test_a_study_that_cannot_run_is_named_before_it_does(tmp_path, rows, said):
    with pytest.raises(UserError, match=said):
        planned(tmp_path, *rows)


def test_what_is_no_folder_of_a_study_is_named(tmp_path):
    with pytest.raises(UserError, match="no study.yaml"):
        read_study(tmp_path)
    (tmp_path / "cell.yaml").write_text("row: a\n")
    with pytest.raises(UserError, match="cell.yaml: not the cell of a study"):
        Cell.load(tmp_path)


def test_slugs_are_names_of_folders():
    assert slug("PAD-Net A / NDDR-CNN") == "pad-net-a-nddr-cnn"
    assert all(re.fullmatch(r"[a-z0-9-]+", slug(row.name)) for row in Study.load("table1").rows)
    assert slug("深度") == "row"


def test_a_broken_row_does_not_stop_the_planning(tmp_path):
    assert len(planned(tmp_path, BROKEN, SEARCHED)) == 4


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("[]", "no stages"),
        ("[{name: [], search: false, recipe: {}}]", r"a stage of the name \[\]"),
        ("[{name: a/../b, search: false, recipe: {}}]", "a stage of the name 'a/../b'"),
        ("[{name: train, search: false, recipe: {devices: none}}]", "devices = 'none'"),
        ("[{name: train, search: false, recipe: {optim: {steps: [1]}}}]", r"steps = \[1\]"),
        ("[{name: train, search: false, recipe: {optim: [1]}}]", r"optim = \[1\]"),
    ],
)
def test_a_cell_of_values_that_cannot_be_is_refused(tmp_path, stages, said):
    (tmp_path / "cell.yaml").write_text(f"row: a\nseed: 0\ntask: null\nstages: {stages}\n")
    with pytest.raises(UserError, match=f"not the cell of a study .{said}"):
        Cell.load(tmp_path)
