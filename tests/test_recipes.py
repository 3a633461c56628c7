"""Every recipe is parsed and built, alone and in the rows of the paper's tables, and takes a step forward and back."""

import re
from functools import partial

import pytest
import torch

from atrc.errors import UserError
from atrc.network import NetworkConfig, build_network
from atrc.search.build import build_supergraph
from atrc.studies.study import Row, Study
from atrc.tasks import Task
from atrc.training.losses import task_losses, total_loss
from atrc.training.recipe.files import read_recipe, recipe_path, shipped_names

TABLES = [Study.load(f"table{n}") for n in range(1, 6)]
STUDIES = [*TABLES, Study.load("beyond")]
ROWS = [pytest.param(study, row, id=f"{study.title[:7]}-{row.name}") for study in STUDIES for row in study.rows]
NAMES = [name for name in shipped_names() if not name.startswith("data/")]


def truths(task: Task, h: int, w: int) -> torch.Tensor:
    if task.name == "normals":
        return torch.nn.functional.normalize(torch.randn(2, 3, h, w), dim=1)
    return torch.rand(2, h, w) * 5 + 1 if task.name == "depth" else torch.randint(2, (2, h, w))


def step(config: NetworkConfig, tasks: tuple[Task, ...], h: int = 33, w: int = 47) -> torch.nn.Module:
    """Take a step forward and back; every parameter must get a finite gradient."""
    network = build_network(config, tasks)
    output = network(torch.rand(2, 3, h, w))
    truth = {task.name: truths(task, h, w) for task in tasks}
    valid = {task.name: torch.rand(2, h, w) < 0.9 for task in tasks}
    loss = total_loss(task_losses(output, truth, valid, tasks), tasks)
    loss.backward()
    assert loss.isfinite()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    return network


@pytest.mark.parametrize(("study", "row"), ROWS)
def test_a_row_of_a_study_builds_and_takes_a_step(study, row):
    recipe = study.recipe(row)
    assert recipe.network.pretrained
    assert recipe.optim.steps == 40_000
    assert recipe.data.crop == ((425, 560) if study.layout == "nyud" else (512, 512))
    assert study.seeds == [0, 1, 2, 3, 4]
    recipe.network.pretrained = False
    step(recipe.network, study.tasks[:1] if row.single_task else study.tasks)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_builds_on_rendered_rooms(name, nyud_tasks, pascal_tasks):
    people = "pascal" in name
    recipe = read_recipe([recipe_path(f"data/rooms_{'people' if people else 'indoor'}"), recipe_path(name)])
    assert not recipe.network.pretrained or name.startswith("backbone/")
    recipe.network.pretrained = False
    build_network(recipe.network, pascal_tasks if people else nyud_tasks)


@pytest.mark.parametrize("search", [None, "search/contexts", "search/branches"])
@pytest.mark.parametrize("data", ["data/nyud", "data/pascal", "data/rooms_indoor", "data/rooms_people"])
def test_data_and_search_recipes_take_a_step(data, search, nyud_tasks, pascal_tasks):
    names = [data, *([search] if search else ["network/global"])]
    recipe = read_recipe([recipe_path(name) for name in names], {"network.pretrained": False})
    tasks = nyud_tasks if data in ("data/nyud", "data/rooms_indoor") else pascal_tasks
    build = partial(build_supergraph, space=recipe.search.space) if search else build_network
    network = build(recipe.network, tasks)
    output = network(torch.rand(2, 3, 33, 47))
    assert set(output.predictions) == {task.name for task in tasks}
    sum(x.square().mean() for x in output.predictions.values()).backward()


@pytest.mark.parametrize("layout", ["nyud", "pascal"])
def test_every_row_of_a_table_has_the_papers_numbers(layout):
    study = next(study for study in TABLES if study.layout == layout)
    for row in study.rows:
        assert set(row.paper) - {"parameters", "multiply_adds"} == {*(task.name for task in study.tasks), "delta_m"}


def test_later_recipes_and_single_keys_win():
    recipe = read_recipe(
        [recipe_path("data/pascal"), recipe_path("network/global")], {"optim.lr": 0.1, "data.tasks": ["sal"]}
    )
    assert (recipe.optim.lr, recipe.data.tasks, recipe.network.genotype) == (0.1, ["sal"], "global")
    assert recipe.data.crop == (512, 512)


def test_a_recipe_is_found_beside_the_study_first(tmp_path):
    (tmp_path / "mine.yaml").write_text("optim: {steps: 7}\n")
    (tmp_path / "study.yaml").write_text("{title: t, layout: nyud, recipes: [mine.yaml], rows: [{name: a}]}")
    study = Study.load(tmp_path / "study.yaml")
    assert study.recipe(study.rows[0]).optim.steps == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not readable YAML"),
        ("[1]", "a study is a mapping of keys to values, not list"),
        ("{title: t, layout: nyud}", "required: rows"),
        ("{title: t, layout: nyud, rows: [], seed: [1]}", "Option 'seed' is not accepted"),
        ("{title: t, layout: nyud, rows: [], seeds: many}", "key \"seeds\": Expected a <class 'list'>"),
        ("{title: t, layout: nyud, rows: []}", "at least one row"),
        ("{title: t, layout: kitti, rows: [{name: a}]}", "unknown layout 'kitti'; choose from nyud, pascal"),
        ("{title: t, layout: nyud, rows: [{name: a}, {name: a}]}", "two rows are named 'a'"),
        ("{title: t, layout: nyud, rows: [{name: a, recipe: [x]}]}", "Option 'recipe' is not accepted"),
    ],
)
def test_a_faulty_study_is_named(tmp_path, text, said):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError, match="s.yaml: .*" + re.escape(said)):
        Study.load(tmp_path / "s.yaml")


def test_what_a_study_does_not_find_is_named(tmp_path):
    with pytest.raises(
        UserError, match="no study 'table9'; give a YAML file or one of beyond, rooms, rooms_people, table1"
    ):
        Study.load("table9")
    study = Study("t", "nyud", [Row("a", ["network/glob"]), Row("b", set={"optim.stps": 3})])
    with pytest.raises(UserError, match="no recipe 'network/glob'; .* network/global"):
        study.recipe(study.rows[0])
    with pytest.raises(UserError, match="optim.stps"):
        study.recipe(study.rows[1])


def test_every_recipe_of_a_network_is_in_a_study():
    used = {
        name
        for study in [*STUDIES, Study.load("rooms"), Study.load("rooms_people")]
        for row in study.rows
        for name in (*study.recipes, *row.recipes, *row.search)
    }
    unused = {name for name in shipped_names() if name not in used and not name.startswith("training/")}
    assert unused == {"data/rooms_indoor", "data/rooms_people"}
