"""The figures of a study's report: what they show, that it can be read, and that they are the same every time."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from atrc.contexts import CONTEXTS, get_context
from atrc.genotype import Genotype
from atrc.studies.figures.gallery import report_figures
from atrc.studies.figures.results import draw_differences, draw_proportions, draw_resources, draw_retraining, look_of
from atrc.studies.figures.searches import draw_probabilities, draw_progress, draw_reliability
from atrc.studies.figures.style import COLUMN, ink, styled, write_figure
from atrc.studies.measured import measure
from atrc.studies.plan import read_study
from atrc.studies.report import make_report
from atrc.studies.searches import chance_agreement, context_shares, read_searches
from hand_study import BOTH, CANDIDATES, FOUND, RANDOM, SEARCHED, SINGLE, finish, finished, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures") / "s"
    finished(out, SINGLE, BOTH, RANDOM, SEARCHED)
    return out


@pytest.fixture(scope="module")
def measurements(study):
    return measure(*read_study(study))


@pytest.fixture(scope="module")
def searches(measurements):
    return read_searches(measurements.rows[3])


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_retraining_is_drawn_as_mean_gains_of_both_networks(measurements):
    figure = draw_retraining(measurements, [measurements.rows[3]])
    (axes,) = figure.axes
    heights = [round(bar.get_height(), 6) for bar in axes.patches]
    # semseg -5 and 0, depth 0 and 10, their means -2.5 and 5; retrained 20 and 0, 20 and 20, 20 and 10
    assert heights == [-2.5, 5.0, 1.25, 10.0, 20.0, 15.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["semseg", "depth", "Δm"]
    assert figure.get_supylabel() == "gain over single task [%]"
    legends = [[text.get_text() for text in legend.texts] for legend in figure.legends]
    assert legends == [["sampled from the supergraph", "retrained"], ["seed 0", "seed 1"]]


def test_every_row_has_a_line_with_its_delta_m_and_costs(study):
    rows = measure(*read_study(study)).rows[1:]
    for row, m, g in zip(rows, (4.5, 5.0, 5.0), (17.0, 20.0, 21.0), strict=True):
        row.values.update(parameters={0: m * 1e6, 1: m * 1e6}, multiply_adds={0: g * 1e9, 1: g * 1e9})
    gains, parameters, multiply_adds = draw_resources(rows).axes
    marks = [line.get_xydata()[0].tolist() for line in gains.lines if line.get_marker() in list("so*")]
    assert marks == [[pytest.approx(7.5), 0], [pytest.approx(5.0), 1], [pytest.approx(15.0), 2]]
    assert [bar.get_width() for bar in parameters.patches] == [4.5, 5.0, 5.0]
    assert texts(multiply_adds) == [" 17.00", " 20.00", " 21.00"]
    assert [label.get_text() for label in gains.get_yticklabels()] == ["Both", "Random", "Searched"]


def test_differences_to_the_control_have_a_lane_for_every_seed(measurements):
    measurements = replace(measurements, study=replace(measurements.study, control="Both"))
    figure = draw_differences(measurements, measurements.rows[2:])
    semseg, depth, gain = figure.axes
    assert semseg.get_title(loc="left") == "semseg mIoU [%]"
    means = [line.get_xydata()[0] for line in semseg.lines if line.get_markersize() == 3.5]
    assert np.allclose([x for x, _ in means], [0.5, 4.5])  # -4 and 5; 4 and 5
    seeds = [line.get_xydata()[0] for line in semseg.lines if line.get_markersize() == 2.6]
    assert [x for x, _ in seeds] == [-4, 5, 4, 5]
    assert len({y for _, y in [*means, *seeds]}) == 6  # none at the height of another
    assert (semseg.xaxis_inverted(), depth.xaxis_inverted(), gain.xaxis_inverted()) == (False, True, False)
    assert figure.get_suptitle() == "difference to Both within seeds (right is better)"


def test_rows_look_like_what_they_are(tmp_path):
    rows = [BOTH, {"name": "Local", "recipes": ["network/local"]}, RANDOM, SEARCHED]
    rows.append({"name": "PAD", "recipes": ["network/pad_net_c"]})
    write_study(tmp_path / "s", *rows, seeds=(0,))
    looks = [look_of(row) for row in measure(*read_study(tmp_path / "s")).rows]
    assert [marker for marker, _, _ in looks] == ["s", "o", "o", "*", "D"]
    assert looks[1][1] == get_context("local").colour
    assert looks[2][1:] == ("white", "black")


def test_proportions_are_over_all_blocks_of_all_searches(searches):
    genotypes = [search.genotype for search in searches]
    # of 8 blocks 4 are t_label; the others one each
    expected = {"none": 12.5, "global": 12.5, "local": 12.5, "t_label": 50.0, "s_label": 12.5}
    assert context_shares(genotypes) == expected
    figure = draw_proportions({"Searched": genotypes})
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == list(expected.values())
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [
        get_context(context).colour for context in CONTEXTS
    ]
    assert texts(axes) == ["12.5", "12.5", "12.5", "50.0", "12.5"]
    assert axes.get_yticklabels()[0].get_text() == "Searched (n=2)"


def test_every_share_is_printed_narrow_ones_above():
    sources = [f"s{i}" for i in range(40)]
    row = dict.fromkeys(sources, "global") | {"s0": "local", "s1": "t_label", "s2": "t_label"}
    (axes,) = draw_proportions({"a": [Genotype({"t": row})]}).axes
    assert texts(axes) == ["92.5", "2", "5"]
    assert [text.get_position()[1] < 0 for text in axes.texts] == [False, True, False]


def test_searches_are_read_with_the_step_by_which_blocks_were_fixed(searches):
    assert [search.seed for search in searches] == [0, 1]
    first = searches[0]
    assert first.genotype.contexts == FOUND[0]
    assert first.steps == [1, 2, 3, 4]
    assert first.traces["fixed"] == [0, 1, 1, 2]
    assert first.probabilities["semseg", "semseg"]["t_label"] == pytest.approx([0.325, 0.475, 0.475, 0.475])
    fixed = {("semseg", "semseg"): 2, ("semseg", "depth"): None, ("depth", "semseg"): None, ("depth", "depth"): 4}
    assert first.fixed_by() == fixed
    assert [sum(step is not None and step <= s for step in fixed.values()) for s in first.steps] == first.traces[
        "fixed"
    ]


def test_probabilities_have_a_panel_for_every_block_and_thick_lines_once_it_is_fixed(searches):
    figure = draw_probabilities(searches)
    assert len(figure.axes) == 4
    for axes, (pair, contexts) in zip(figure.axes, CANDIDATES.items(), strict=True):
        lines = [line for line in axes.lines if line.get_linewidth() == 0.8]
        assert [line.get_color() for line in lines] == [get_context(c).colour for c in contexts] * 2
        assert len({line.get_linestyle() for line in lines}) == 2  # of the seeds
        thick = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_linewidth() == 1.8]
        step = {("semseg", "semseg"): [2, 0.475], ("depth", "depth"): [4, 0.55]}.get(pair)
        assert thick == ([pytest.approx(step)] * 2 if step else [])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["semseg", "depth"]
    assert (figure.axes[-1].get_xlabel(), figure.get_supylabel()) == ("step", "probability")


def test_progress_has_a_panel_for_every_trace(searches):
    figure = draw_progress(searches)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["mean entropy [nat]", "temperature", "entropy weight", "blocks fixed, of 4"]
    assert figure.axes[0].lines[1].get_ydata().tolist() == pytest.approx([1.5, 1.4, 1.3, 1.2])


def test_reliability_is_the_agreement_of_all_pairs_of_searches(searches):
    figure = draw_reliability([*(search.genotype for search in searches), searches[0].genotype])
    (axes,) = figure.axes
    # of three searches one pair agrees everywhere; the other two agree on the diagonal
    assert texts(axes) == ["100", "33", "33", "100"]
    assert figure.get_suptitle() == "agreement of 3 searches [%]\nmean 66.7"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("source", "target")


def test_chance_agreement_is_that_of_random_genotypes():
    tasks = ["semseg", "depth", "edge"]
    drawn = [Genotype.random(tasks, seed) for seed in range(60)]
    pairs = [one.agreement(other) for i, one in enumerate(drawn) for other in drawn[:i]]
    assert chance_agreement(tasks) == pytest.approx((3 / 4 + 6 / 5) / 9)
    assert np.mean(pairs) == pytest.approx(chance_agreement(tasks), abs=0.01)


def test_figures_are_the_same_files_every_time_and_one_column_wide(searches, tmp_path):
    genotypes = [search.genotype for search in searches]
    first = write_figure(lambda: draw_proportions({"Searched": genotypes}), tmp_path, "one")
    again = write_figure(lambda: draw_proportions({"Searched": genotypes}), tmp_path, "two")
    assert [file.name for file in first] == ["one.svg", "one.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in again]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.png", "one.svg", "two.png", "two.svg"]
    with Image.open(first[1]) as picture:
        assert picture.size[0] == 300 * COLUMN
    width = ElementTree.parse(first[0]).getroot().get("width").removesuffix("pt")
    assert float(width) == pytest.approx(72 * COLUMN)


def test_everything_in_a_figure_is_inside_it_and_large_enough(measurements, searches):
    genotypes = [search.genotype for search in searches]
    controlled = replace(measurements, study=replace(measurements.study, control="Both"))
    draws = [
        lambda: draw_differences(controlled, measurements.rows[2:]),
        lambda: draw_retraining(measurements, [measurements.rows[3]]),
        lambda: draw_proportions({"Searched": genotypes}),
        lambda: draw_probabilities(searches),
        lambda: draw_progress(searches),
        lambda: draw_reliability(genotypes),
    ]
    for draw in draws:
        with styled():
            figure = draw()
            figure.draw_without_rendering()
            box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01
            written = [text for text in figure.findobj(Text) if text.get_text()]
            assert min(text.get_fontsize() for text in written) >= 6


LONG = "ATRC with a Feature Propagation Module on a backbone of another kind, all levels"


@pytest.mark.parametrize("name", ["PAD-Net C / MTI-Net's", "PAD-Net C, distilled at all of the levels", LONG])
def test_names_of_any_length_stay_inside_their_figure(tmp_path, name):
    for cell in write_study(tmp_path / "s", SINGLE, BOTH | {"name": name}, BOTH | {"name": "Two"}, seeds=(0,)):
        finish(cell, {"semseg": 44.0, "depth": 0.9})
    measurements = measure(*read_study(tmp_path / "s"))
    for row in measurements.rows:
        row.values.update(parameters={0: 5_000_000}, multiply_adds={0: 20_000_000_000})
    draws = [
        lambda: draw_resources(measurements.rows[1:] * 6),
        lambda: draw_proportions({name: [Genotype.random(["semseg", "depth"], 0)]}),
    ]
    for draw in draws:
        with styled():
            figure = draw()
            figure.draw_without_rendering()
            box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01
            assert min(axes.get_position().width for axes in figure.axes) > 0.12


def test_ink_is_read_on_every_context():
    assert [ink(get_context(c).colour) for c in CONTEXTS] == ["black", "white", "black", "white", "white"]


def test_figures_without_numbers_are_skipped_with_the_reason(tmp_path):
    cells = write_study(tmp_path / "s", SINGLE, BOTH, SEARCHED)
    skipped = {p.name: p.missing for p in report_figures(make_report(*read_study(tmp_path / "s"))) if p.missing}
    assert skipped == {
        "resources": "no row has a Δm yet",
        "retraining": "no search is finished",
        "proportions": "no search for contexts is finished",
        "progress-searched": "no search is finished",
        "probabilities-searched": "no search is finished",
        "reliability-searched": "it needs two finished searches for contexts, there is none",
    }
    finish(cells[-2])  # seed 0 of the search, which has no single-task results yet
    finish(cells[4])
    found = {p.name: p.missing for p in report_figures(make_report(*read_study(tmp_path / "s")))}
    assert found == {
        "resources": "no row has a Δm yet",
        "retraining": "no search has a single-task result of its seed",
        "proportions": "",
        "progress-searched": "",
        "probabilities-searched": "",
        "reliability-searched": "it needs two finished searches for contexts, there is 1",
    }
    write_study(tmp_path / "other", BOTH)
    reasons = [p.missing for p in report_figures(make_report(*read_study(tmp_path / "other")))]
    assert reasons == ["no row has a Δm yet", "no row searches", "no row searches"]


def test_a_search_for_branches_has_its_progress_drawn(tmp_path):
    row = {"name": "Tree", "recipes": ["network/multi_task"], "search": ["search/branches"]}
    (cell,) = write_study(tmp_path / "s", row, SINGLE, seeds=(0,))[:1]
    finish(cell, {"semseg": 44.0, "depth": 0.9})
    table = cell.folder / "search_branches/train.csv"
    table.write_text("step,temperature,entropy,cost\n1,1.0,0.7,0.9\n2,0.05,0.6,0.8\n")
    found = {p.name: p for p in report_figures(make_report(*read_study(tmp_path / "s"))) if p.row}
    assert [p.missing for p in found.values()] == ["", "it searches branches", "it searches branches"]
    titles = [axes.get_title(loc="left") for axes in found["progress-tree"].draw().axes]
    assert titles == ["mean entropy [nat]", "temperature"]
