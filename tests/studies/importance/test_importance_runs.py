"""Importance of runs and studies: what is kept, what it is compared with, and its correlation with reliability."""

import itertools
import json

import pytest
import torch

from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.network import NetworkConfig, build_network
from atrc.studies.figures.style import styled
from atrc.studies.importance import runs as importance_runs
from atrc.studies.importance.figures import describe_contexts, draw_importance, draw_reliability
from atrc.studies.importance.runs import Settings, measure_run, measure_study
from atrc.studies.importance.scores import Importance, RowImportance, correlation
from atrc.studies.plan import plan, save_study
from atrc.studies.study import Study
from atrc.tasks import tasks_to_dicts
from atrc.training.evaluation.evaluate import Result
from atrc.training.recipe import DataConfig, OptimConfig, Recipe
from atrc.training.run.checkpoint import Checkpoint
from tiny_study import write_study

TASKS = ["semseg", "depth"]
RESULTS = {"semseg": Result("mIoU", 40.0, "%", True, 0.0), "depth": Result("RMSE", 0.5, "m", False, 0.0)}
SINGLE = {"name": "Single task", "single_task": True, "set": {"data.tasks": TASKS}}
SEARCHED = {
    "name": "ATRC",
    "recipes": ["network/global"],
    "search": ["search/contexts"],
    "set": {"data.tasks": TASKS},
}
# What the searches of two seeds found: they agree about two of four blocks.
FOUND = (
    Genotype({"semseg": {"semseg": "t_label", "depth": "local"}, "depth": {"semseg": "none", "depth": "global"}}),
    Genotype({"semseg": {"semseg": "t_label", "depth": "global"}, "depth": {"semseg": "none", "depth": "local"}}),
)


def save_run(folder, data, genotype, distillation="atrc"):
    """Write what a run of four steps would have saved, without the steps."""
    data = open_dataset(data, "val", TASKS)
    network = NetworkConfig(distillation=distillation, genotype="global" if genotype else None)
    recipe = Recipe(
        data=DataConfig(root=str(data.root), crop=(32, 32), batch_size=2), network=network, optim=OptimConfig(steps=4)
    )
    torch.manual_seed(0)
    Checkpoint(
        step=4,
        seconds=1.0,
        phase="train",
        recipe=recipe.to_dict(),
        tasks=tasks_to_dicts(data.tasks),
        genotype=genotype and genotype.contexts,
        branching=None,
        layout=data.layout,
        network=build_network(network, data.tasks, genotype).state_dict(),
        training={},
    ).save(folder / "checkpoints" / "last.ckpt")
    return folder


def results(values):
    found = {task: vars(RESULTS[task]) | {"value": value} for task, value in values.items()}
    return json.dumps({"seconds": 1.0, "results": found})


@pytest.fixture
def pretended(monkeypatch):
    """Measure nothing: every run loses what is set here. Returns the list of calls."""
    calls = []

    def measured(network, dataset, crop, **settings):
        calls.append(settings)
        contexts = dict(network.genotype.items())
        lost = {("semseg", "semseg"): [30.0, 32.0], ("semseg", "depth"): [39.0, 39.0], ("depth", "depth"): [0.55, 0.65]}
        return Importance(contexts, RESULTS, {pair: lost[pair] for pair in lost if contexts[pair] != "none"})

    monkeypatch.setattr(importance_runs, "measure_importance", measured)
    return calls


def test_a_run_is_measured_once_for_the_same_question(tmp_path, nyud_folder, pretended):
    run = save_run(tmp_path / "run", nyud_folder, FOUND[0])
    first = measure_run(run, Settings(permutations=2))
    assert measure_run(run, Settings(permutations=2)).importance == first.importance
    assert len(pretended) == 1
    kept = json.loads((run / "importance.json").read_text())
    assert (kept["permutations"], kept["protocol"]["split"], kept["blocks"][0]["values"]) == (2, "val", [30.0, 32.0])
    measure_run(run, Settings(permutations=3))
    measure_run(run, Settings(permutations=3, seed=1))
    assert len(pretended) == 3
    save_run(run, nyud_folder, FOUND[1])  # another network
    measure_run(run, Settings(permutations=3, seed=1))
    (run / "importance.json").write_text("{half")
    measure_run(run, Settings(permutations=3, seed=1))
    assert len(pretended) == 5
    measure_run(run / "checkpoints" / "last.ckpt", Settings())  # a file has no folder to keep it in
    assert len(pretended) == 6


def test_a_run_is_measured_for_real(tmp_path, nyud_folder):
    run = save_run(tmp_path / "run", nyud_folder, FOUND[0])
    found = measure_run(run, Settings(permutations=1))
    assert list(found.importance.permuted) == [("semseg", "semseg"), ("semseg", "depth"), ("depth", "depth")]
    assert found.importance.contexts == dict(FOUND[0].items())
    assert (found.protocol["images"], found.protocol["checkpoint"]) == (3, "last")
    # The fuse's BN starts at 0: nothing depends on the contexts yet.
    assert found.importance.permuted["depth", "depth"] == [found.importance.results["depth"].value]


def make_study(tmp_path, data, singles=((0, 50.0, 0.4), (1, 50.0, 0.5))):
    """Write the folder of a study as if it had run: two searched seeds, and single-task results of some seeds."""
    file = write_study(tmp_path / "study.yaml", data, SINGLE, SEARCHED, steps=4)
    cells = plan(Study.load(file), tmp_path / "out")
    save_study(Study.load(file), cells, tmp_path / "out")
    values = {(seed, task): value for seed, *both in singles for task, value in zip(TASKS, both, strict=True)}
    for cell in cells:
        if cell.task and (cell.seed, cell.task) in values:
            cell.run.path.mkdir(parents=True)
            cell.run.results.write_text(results({cell.task: values[cell.seed, cell.task]}))
        if not cell.task:
            save_run(cell.run.path, data, FOUND[cell.seed])
            search = cell.stage_folder(cell.stages[0])
            search.path.mkdir()
            FOUND[cell.seed].save(search.genotype)
            for run in (search, cell.run):
                run.results.write_text(results({"semseg": 40.0, "depth": 0.5}))
    return tmp_path / "out"


def test_a_study_averages_seeds_against_its_own_single_task_networks(tmp_path, nyud_folder, pretended):
    lines = []
    (row,) = measure_study(make_study(tmp_path, nyud_folder), Settings(permutations=2), tell=lines.append)
    assert lines == ["ATRC, seed 0", "ATRC, seed 1"]
    assert (row.name, row.seeds, row.searches) == ("ATRC", [0, 1], 2)
    assert row.baselines == [{"semseg": 50.0, "depth": 0.4}, {"semseg": 50.0, "depth": 0.5}]
    # Delta_m is half of the relative gains: (10 + 8) / 2 of 50; 0.1 of 0.4, of 0.5.
    drops = {pair: (drop.mean, drop.std) for pair, drop in row.table.items()}
    assert drops["semseg", "semseg"] == pytest.approx((9.0, 0.0))
    assert drops["depth", "depth"] == pytest.approx(((12.5 + 10) / 2, 2.5 / 2**0.5))
    assert drops["depth", "semseg"] == (0.0, 0.0)
    assert row.agreement == {pair: float(FOUND[0][pair] == FOUND[1][pair]) for pair, _ in FOUND[0].items()}
    means = {pair: mean for pair, (mean, _) in drops.items()}
    assert row.correlation == correlation(means, row.agreement)
    assert len(pretended) == 2
    measure_study(tmp_path / "out", Settings(permutations=2), tell=lines.append)
    assert len(pretended) == 2  # all was kept


def test_without_all_single_task_results_drops_are_relative_to_the_network(tmp_path, nyud_folder, pretended):
    lines = []
    folder = make_study(tmp_path, nyud_folder, singles=((0, 50.0, 0.4),))
    (row,) = measure_study(folder, Settings(), tell=lines.append)
    assert row.baselines is None
    assert "not every seed has single-task results" in lines[-1]
    assert row.to_dict()["relative_to"] == "own results"
    assert row.table["semseg", "semseg"].mean == pytest.approx(100 * 9 / 40 / 2)


def test_the_correlation_is_pearsons():
    x = {("a", "a"): 1.0, ("a", "b"): 2.0, ("b", "a"): 4.0}
    y = {("a", "a"): 2.0, ("a", "b"): 1.0, ("b", "a"): 6.0}
    # deviations (-4/3, -1/3, 5/3) and (-1, -2, 3): products 7, squares 14/3 and 14
    assert correlation(x, y) == pytest.approx(7 / (14 / 3 * 14) ** 0.5)
    assert correlation(x, dict.fromkeys(x, 1.0)) is None


def row_of(runs=2, agreement=True):
    importance = [
        Importance(dict(FOUND[i % 2].items()), RESULTS, {("semseg", "semseg"): [30.0 + i, 32.0]}) for i in range(runs)
    ]
    shares = {pair: float(pair[0] == pair[1]) for pair, _ in FOUND[0].items()}
    return RowImportance("ATRC", list(range(runs)), importance, None, shares if agreement else None, runs)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_figure_writes_every_block():
    figure = draw_importance(row_of())
    shown = texts(figure)
    assert shown[:3] == ["10.94", "± 0.44", "T-label"]  # of runs: 11.25 and 10.625
    assert "2 contexts" in shown
    assert shown.count("none") == 1
    assert figure.axes[0].get_title(loc="left") == "ATRC: 2 runs (±), 2 permutations each"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == TASKS
    assert draw_importance(row_of(1)).axes[0].get_title(loc="left") == "ATRC: 2 permutations (±)"


def test_blocks_that_lose_nothing_are_pale_and_long_names_are_folded():
    row = row_of()
    same = [Importance(run.contexts, run.results, {("semseg", "semseg"): [40.0]}) for run in row.runs]
    axes = draw_importance(RowImportance("combined " * 9, [0, 1], same, None, None, 0)).axes[0]
    assert axes.images[0].get_clim() == (0, 1.0)
    assert max(map(len, axes.get_title(loc="left").split("\n"))) <= 52


@pytest.mark.parametrize("number", [4, 5, 6])
def test_no_text_of_the_figure_covers_another(number):
    tasks = ["semseg", "human_parts", "normals", "edge", "sal", "depth"][:number]
    results = dict.fromkeys(tasks, RESULTS["semseg"])
    runs = [
        Importance(dict(Genotype.uniform(tasks, context).items()), results, {(tasks[0], tasks[0]): [30.0]})
        for context in ("t_label", "t_label", "global")
    ]
    with styled():
        figure = draw_importance(RowImportance("ATRC", [0, 1, 2], runs, None, None, 0))
        figure.draw_without_rendering()
        axes = figure.axes[0]
        boxes = [text.get_window_extent() for text in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())]
    assert texts(figure).count("T-label 2/3") == number**2
    assert not [one for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]


def test_every_block_has_a_line_with_its_importance_and_agreement():
    with styled():
        figure = draw_reliability(row_of())
        figure.draw_without_rendering()
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01
    importance, agreement = figure.axes
    names = [label.get_text() for label in importance.get_yticklabels()]
    assert names[0] == "semseg \N{LEFTWARDS ARROW} semseg"  # the most important first
    assert len(names) == 4
    assert sorted(bar.get_width() for bar in agreement.patches) == [0, 0, 100, 100]
    assert figure.get_suptitle() == "ATRC: r = 0.58, 4 blocks, 2 searches; squares: own task"
    assert importance.get_xlim()[1] >= 1
    assert describe_contexts(["local"]) == "local"


def test_mistakes_are_named(tmp_path, nyud_folder, pretended):
    folder = make_study(tmp_path, nyud_folder)
    with pytest.raises(UserError, match="no row 'Rien'; there are Single task, ATRC"):
        measure_study(folder, Settings(), rows=["Rien"])
    with pytest.raises(UserError, match="no finished run of a network with ATRC"):
        measure_study(folder, Settings(), rows=["Single task"])
    with pytest.raises(UserError, match="not the folder of a study"):
        measure_study(folder / "atrc", Settings())
    with pytest.raises(UserError, match="--device warp: not available here"):
        measure_run(folder, Settings(device="warp"))
