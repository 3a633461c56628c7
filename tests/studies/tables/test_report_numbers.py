"""The numbers of a study's report, against ones computed by hand."""

import csv
import io
import math
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from atrc.errors import UserError
from atrc.network import build_network
from atrc.studies.comparable import compare_protocols, training_warnings
from atrc.studies.costs import Counter
from atrc.studies.measured import Measurements, Spread, measure
from atrc.studies.plan import read_study
from atrc.studies.report import make_report
from atrc.studies.searches import contrasts
from atrc.studies.tables.records import long_records, nested_records, wide_records
from atrc.studies.tables.table import main_table, to_csv, to_latex, to_markdown, to_text
from atrc.tasks import Boundaries, Depth, SemanticSegmentation, SurfaceNormals, tasks_to_dicts
from atrc.training.run.checkpoint import Checkpoint
from hand_study import BOTH, RANDOM, SEARCHED, SINGLE, finish, finished, write_results, write_study

ROOT2 = math.sqrt(2)


def measured(out: Path) -> Measurements:
    return measure(*read_study(out))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Measurements:
    out = tmp_path_factory.mktemp("numbers") / "s"
    finished(out, SINGLE, BOTH, RANDOM, SEARCHED)
    return measured(out)


def test_means_and_sample_deviations_are_over_the_seeds(whole):
    both = whole.rows[1]
    assert astuple(both.spread("semseg")) == pytest.approx((44.5, 1 / ROOT2, 2))
    assert astuple(both.spread("depth")) == pytest.approx((1.25, 0.7 / ROOT2, 2))
    assert Spread.of([3.0]) == Spread(3.0, None, 1)
    assert Spread.of([]) is None
    assert whole.rows[0].of("seconds") == {0: 200.0, 1: 202.0}  # of both tasks
    assert (whole.rows[3].of("seconds"), whole.rows[3].of("search_seconds")) == (
        {0: 100.0, 1: 101.0},
        {0: 50.0, 1: 50.0},
    )


def test_delta_m_is_against_the_single_tasks_of_the_same_seed(whole):
    assert whole.baseline is whole.rows[0]
    gains = [row.of("delta_m") for row in whole.rows]
    assert gains == [pytest.approx(g) for g in ({0: 0, 1: 0}, {0: 10, 1: 5}, {0: 5, 1: 5}, {0: 20, 1: 10})]
    both, searched = whole.rows[1], whole.rows[3]
    assert whole.task_gains(both.results)["semseg"] == pytest.approx({0: 10.0, 1: -10.0})
    sampled = whole.task_gains(searched.sampled)
    assert sampled == {"semseg": pytest.approx({0: -5.0, 1: 0.0}), "depth": pytest.approx({0: 0.0, 1: 10.0})}
    assert whole.task_gains(both.sampled) == {}
    assert whole.notes == []


def test_rows_are_compared_with_the_control_within_seeds(whole):
    whole = replace(whole, study=replace(whole.study, control="Both"))
    searched = whole.rows[3]
    difference = whole.difference(searched, "semseg")  # 48 - 44 and 50 - 45
    assert astuple(difference) == pytest.approx((4.5, 1 / ROOT2, 2))
    # Student's t of one degree of freedom is 12.7062; times 0.7071 over the root of 2
    assert difference.interval == pytest.approx(6.3531, abs=1e-4)
    assert whole.difference(whole.control, "semseg") is None
    table = main_table(whole)
    heads = [head.name for head in table.heads]
    assert heads[3:6] == ["semseg vs control", "depth vs control", "Δm vs control"]
    assert list(map(str, table.lines[3].entries[3:6])) == ["+4.50 ± 6.35", "-0.0500 ± 0.6353", "+7.50 ± 31.77"]
    assert list(map(str, table.lines[1].entries[3:6])) == ["", "", ""]
    assert r"\Delta_m$ vs control" in to_latex(table)
    assert "| +4.50 ± 6.35 | -0.0500 ± 0.6353 |" in to_markdown(table)
    wide = wide_records(whole)[3]
    assert [wide[f"semseg_vs_control_{key}"] for key in ("mean", "n", "interval")] == [4.5, 2, difference.interval]
    assert nested_records(whole)[3]["semseg"]["vs_control"] == difference.to_dict()


def test_a_control_that_is_not_a_row_is_named(tmp_path):
    with pytest.raises(UserError, match="control: no row 'Boht'; there are Single task, Both"):
        write_study(tmp_path / "s", SINGLE, BOTH, control="Boht")


def test_a_seed_without_its_single_tasks_has_no_delta_m_and_is_named(tmp_path):
    cells = finished(tmp_path / "s", SINGLE, BOTH)
    assert str(cells[3]) == "Single task, seed 1, depth"
    (cells[3].run.path / "results.json").unlink()
    found = measured(tmp_path / "s")
    assert found.rows[1].of("delta_m") == {0: 10.0}
    assert found.notes == ["Both: no Delta_m of seed 1: no single-task result of depth with this seed"]
    assert found.task_gains(found.rows[1].results)["semseg"] == {0: pytest.approx(10.0), 1: pytest.approx(-10.0)}
    line = to_text(main_table(found))[3]
    assert line[1:4] == ["44.50 ± 0.71", "1.2500 ± 0.4950", "+10.00 ± - (n=1)"]
    assert line[-1] == "2"
    assert to_text(main_table(found))[2][1] == "45.00 ± 7.07 (n=2)"  # of a single-task row one seed is done


def test_what_is_no_number_is_left_out_and_named(tmp_path):
    cells = finished(tmp_path / "s", SINGLE, BOTH)
    finish(cells[-1], {"semseg": math.nan, "depth": 1.6})
    found = measured(tmp_path / "s")
    assert found.rows[1].spread("semseg") == Spread(44.0, None, 1)
    assert found.rows[1].of("delta_m") == {0: 10.0}
    assert found.notes[0] == "Both: seed 1, train: semseg has no mIoU, nothing was scored"
    assert found.notes[1].startswith("Both: no Delta_m of seed 1: semseg is nan")


def test_a_study_without_a_single_task_row_says_that_it_has_no_delta_m(tmp_path):
    finished(tmp_path / "s", BOTH)
    found = measured(tmp_path / "s")
    assert (found.baseline, found.rows[0].of("delta_m")) == (None, {})
    assert found.notes == ["no single-task row: there is no Delta_m"]
    assert to_text(main_table(found))[2][3] == ""


def test_a_row_that_lacks_tasks_is_named(tmp_path):
    finished(tmp_path / "s", SINGLE, {**BOTH, "set": {"data.tasks": ["depth"]}})
    cells = read_study(tmp_path / "s")[1]
    for cell in cells[-2:]:
        write_results(cell.run.path, {"depth": 0.9}, seconds=1.0)
    found = measured(tmp_path / "s")
    assert found.rows[1].of("delta_m") == pytest.approx({0: 10.0, 1: 55.0})
    assert found.notes == ["Both: its Delta_m is without semseg, which it does not predict"]


def test_tables_state_directions_and_n_and_mark_the_best(whole):
    rows = to_markdown(main_table(whole)).splitlines()
    assert rows[0] == (
        "|  | semseg mIoU [%] ↑ | depth RMSE [m] ↓ | Δm [%] ↑ | params [M] | MAdds [G] "
        "| training [s] | search [s] | n |"
    )
    assert rows[2] == "| Single task | 45.00 ± 7.07 | 1.5000 ± 0.7071 | 0.00 |  |  | 201 ± 1 |  | 2 |"
    assert rows[5] == (
        "| Searched | **49.00** ± 1.41 | **1.2000** ± 0.5657 | **+15.00** ± 7.07 |  |  | 100 ± 1 | 50 | 2 |"
    )
    assert "**" not in rows[3] + rows[4]
    latex = to_latex(main_table(whole)).splitlines()
    assert latex[1:3] == [r"\begin{tabular}{lrrrrrrrr}", r"\toprule"]
    assert latex[4].startswith(r" & mIoU [\%] $\uparrow$ & RMSE [m] $\downarrow$ & [\%] $\uparrow$ & [M]")
    assert (
        r"Searched & $\mathbf{49.00} \pm 1.41$ & $\mathbf{1.2000} \pm 0.5657$ & $\mathbf{+15.00} \pm 7.07$" in latex[9]
    )
    assert {line.count("&") for line in latex if line.endswith(r"\\")} == {8}


def test_a_single_seed_has_no_deviation(tmp_path):
    finished(tmp_path / "s", SINGLE, BOTH, seeds=(0,))
    found = measured(tmp_path / "s")
    found.rows[1].values.update({"parameters": {0: 4_514_604}, "multiply_adds": {0: 892_153_728}})
    table = main_table(found)
    assert to_text(table)[3] == ["Both", "44.00 ± -", "0.9000 ± -", "+10.00 ± -", "4.51", "0.89", "100", "1"]
    assert r"Both & $\mathbf{44.00} \pm {-}$" in to_latex(table)


def test_ties_as_printed_are_all_best(tmp_path):
    cells = finished(tmp_path / "s", BOTH, RANDOM, seeds=(0,))
    finish(cells[1], {"semseg": 44.001, "depth": 0.95})
    found = measured(tmp_path / "s")
    rows = to_markdown(main_table(found)).splitlines()
    assert rows[2].startswith("| Both | **44.00** ± - | **0.9000** ± - |")
    assert rows[3].startswith("| Random | **44.00** ± - | 0.9500 ± - |")


def test_the_papers_numbers_stand_below_ours_and_are_never_best(tmp_path):
    paper = {"semseg": 90.0, "delta_m": -1.89, "parameters": 4.52, "multiply_adds": 17.59}
    finished(tmp_path / "s", SINGLE, {**BOTH, "paper": paper})
    found = measured(tmp_path / "s")
    table = main_table(found)
    rows = to_markdown(table).splitlines()
    assert rows[3].startswith("| Both | 44.50 ± 0.71 |")
    assert rows[4] == "| *paper* | *90.00* |  | *-1.89* | *4.52* | *17.59* |  |  |"
    assert r"\quad\textit{paper} & $\mathit{90.00}$ &  & $\mathit{-1.89}$" in to_latex(table)
    assert wide_records(found)[1]["paper_delta_m"] == -1.89


def test_names_are_escaped(tmp_path):
    cells = write_study(tmp_path / "s", {**BOTH, "name": "A & B|C_1 <50%"}, seeds=(0,))
    finish(cells[0], {"semseg": 1.0, "depth": 1.0})
    found = measured(tmp_path / "s")
    table = main_table(found)
    assert r"A \& B\textbar{}C\_1 \textless{}50\% & " in to_latex(table)
    assert r"| A & B\|C_1 <50% | " in to_markdown(table)


def test_records_hold_every_number_in_full(whole):
    whole = measure(whole.study, [cell for row in whole.rows for cell in row.cells])
    whole.rows[1].values.update({"parameters": {0: 7, 1: 7}, "multiply_adds": {0: 9, 1: 11}})
    long = list(csv.DictReader(io.StringIO(to_csv(long_records(whole)))))
    picked = [r for r in long if (r["row"], r["seed"], r["quantity"]) == ("Searched", "1", "depth")]
    assert [(r["network"], float(r["value"]), r["unit"]) for r in picked] == [
        ("sampled", 1.8, "m"),
        ("trained", 1.6, "m"),
    ]
    wide = list(csv.DictReader(io.StringIO(to_csv(wide_records(whole)))))
    assert [row["row"] for row in wide] == ["Single task", "Both", "Random", "Searched"]
    both = wide[1]
    assert [float(both[f"delta_m_{key}"]) for key in ("mean", "std", "n")] == pytest.approx([7.5, 5 / ROOT2, 2])
    assert [float(both[f"multiply_adds_{key}"]) for key in ("mean", "std")] == pytest.approx([10, ROOT2])
    assert wide[2]["parameters_mean"] == ""
    nested = nested_records(whole)[1]
    assert nested["delta_m"]["values"] == {0: 10.0, 1: pytest.approx(5.0)}
    assert nested["parameters"]["mean"] == 7


def test_a_search_is_compared_with_its_controls_by_seed(whole):
    (contrast,) = contrasts(whole)
    assert (contrast.searched, contrast.control) == ("Searched", "Random")
    assert str(contrast) == "Searched against Random: +10.00 ± 63.53 (n=2)"  # 20 - 5 and 10 - 5; half the 95 % interval


def test_controls_are_genotypes_that_nobody_chose_in_the_same_network(tmp_path):
    rows = [
        {"name": "Local", "recipes": ["network/local"]},
        {"name": "Published", "recipes": ["network/atrc_nyud_hrnet18"]},
        {"name": "Wide", "recipes": ["network/local"], "set": {"network.attention_channels": 8}},
    ]
    cells = write_study(tmp_path / "s", SINGLE, SEARCHED, *rows, seeds=(0,))
    for cell in cells:
        values = {"semseg": 48.0, "depth": 1.0} if cell.row in ("Local", "Published", "Wide") else None
        finish(cell, values)
    (contrast,) = contrasts(measured(tmp_path / "s"))
    assert str(contrast) == "Searched against Local: +10.00 (n=1)"


def test_other_protocols_are_warned_about_by_their_keys(tmp_path):
    cells = finished(tmp_path / "s", SINGLE, BOTH, RANDOM)
    assert compare_protocols(measured(tmp_path / "s").rows)[1] == []
    for cell in cells[-4:-2]:
        finish(cell, images=7, crop=[64, 64])
    finish(cells[-1], tasks={"semseg": "mIoU()", "depth": "RMSE(clip=1)"})
    protocol, warnings = compare_protocols(measured(tmp_path / "s").rows)
    assert warnings == [
        "Both (there; seeds 0, 1) was measured by another protocol than Single task (here): "
        "images is 7 there and 10 here; crop is [64, 64] there and [32, 32] here",
        "Random (there; seed 1) was measured by another protocol than Single task (here): "
        "metric of depth is 'RMSE(clip=1)' there and 'RMSE()' here",
    ]
    assert protocol["tasks"] == {"semseg": "mIoU()", "depth": "RMSE()"}


def test_rows_that_were_trained_otherwise_are_warned_about(tmp_path):
    finished(tmp_path / "s", SINGLE, {**BOTH, "set": {"optim.steps": 8, "optim.lr": 0.5}}, SEARCHED)
    assert training_warnings(measured(tmp_path / "s").rows) == [
        "Both was trained by another recipe than Single task: optim.steps 8, not 4; optim.lr 0.5, not 0.01"
    ]


def test_what_is_missing_is_said_row_by_row(tmp_path):
    cells = write_study(tmp_path / "s", SINGLE, BOTH, SEARCHED)
    finish(cells[0])
    finish(cells[4])
    cells[5].folder.mkdir(exist_ok=True)
    cells[5].fail("train: no memory")
    cells[6].folder.joinpath("search_contexts").mkdir()
    cells[6].folder.joinpath("search_contexts/train.csv").write_text("step,loss\n3,1.0\n")
    assert make_report(*read_study(tmp_path / "s")).missing == [
        "Single task: 1 of 4 cells are done; not begun: seed 0 depth, seed 1 semseg, seed 1 depth",
        "Both: 1 of 2 cells are done; seed 1 failed (train: no memory)",
        "Searched: 0 of 2 cells are done; seed 0 is at step 3 of 8; not begun: seed 1",
    ]


def test_costs_are_counted_from_checkpoints_once_for_each_architecture(tmp_path):
    every = {"data.tasks": [], "data.crop": [32, 32]}
    tasks = SemanticSegmentation(num_classes=40), Depth(), SurfaceNormals(), Boundaries()
    cells = write_study(tmp_path / "s", {**BOTH, "set": every}, {**SINGLE, "set": {"data.tasks": ["depth"]}})
    for cell in cells:
        finish(cell, {"depth": 1.0})
    for cell, own in ((cells[0], tasks), (cells[2], tasks[1:2])):
        recipe = cell.stages[-1].recipe
        network = build_network(recipe.network, own, seed=0)
        parts = {"genotype": None, "branching": None, "layout": "", "training": {}, "network": network.state_dict()}
        saved = Checkpoint(4, 1.0, "train", recipe.to_dict(), tasks_to_dicts(own), **parts)
        saved.save(cell.run.checkpoint)
    counted: list[str] = []
    rows, counter = measured(tmp_path / "s").rows, Counter(counted.append)
    assert [counter.add_to(row) for row in rows] == [[], []]
    both, single = (row.values for row in rows)
    assert both["parameters"] == {0: 4_515_556, 1: 4_515_556}  # golden: the paper's multi-task baseline
    assert list(single["parameters"]) == [0, 1]
    assert counted == ["Both, seed 0", "Single task, seed 0, depth"]
    assert both["multiply_adds"][0] > single["multiply_adds"][0] > 0
    assert 0 < single["parameters"][0] < both["parameters"][0]


def test_a_network_without_a_checkpoint_is_not_counted_and_named(tmp_path):
    finished(tmp_path / "s", BOTH)
    row = measured(tmp_path / "s").rows[0]
    (note,) = Counter().add_to(row)
    assert (row.of("parameters"), row.of("multiply_adds")) == ({}, {})
    assert note.startswith("Both: parameters and multiply-adds are unknown for seed 0, 1: ")
    assert "seed0/train/checkpoints/last.ckpt: no such checkpoint" in note
