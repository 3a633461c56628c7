"""The figures of a study's report: what they show, that it can be read, and that they are the same every time."""

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from atrc.contexts import CONTEXTS, get_context
from atrc.genotype import Genotype
from atrc.studies.costs import Costs
from atrc.studies.figures.gallery import pictures
from atrc.studies.figures.labels import MARKER, find_offsets
from atrc.studies.figures.results import context_shares, draw_proportions, draw_resources, draw_retraining, look_of
from atrc.studies.figures.searches import draw_probabilities, draw_progress, draw_reliability
from atrc.studies.figures.style import COLUMN, ink, styled, write_figure
from atrc.studies.measured import measure
from atrc.studies.plan import read_study
from atrc.studies.report import make_report
from atrc.studies.searches import chance_agreement, read_searches
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
    assert [text.get_text() for text in figure.legends[0].texts] == ["sampled from the supergraph", "retrained"]


def test_points_of_rows_stand_at_their_costs_and_delta_m(measurements):
    rows = measurements.rows[1:]
    sizes = {"Both": (4.5e6, 17e9), "Random": (5.0e6, 20e9), "Searched": (5.0e6, 21e9)}
    costs = {
        name: Costs(dict.fromkeys((0, 1), int(m)), dict.fromkeys((0, 1), int(g))) for name, (m, g) in sizes.items()
    }
    figure = draw_resources(measurements, costs, rows)
    left, right = figure.axes
    marks = [[line.get_xydata()[0] for line in axes.lines if line.get_marker() in "so*"] for axes in (left, right)]
    assert np.allclose(marks[0], [(4.5, 7.5), (5.0, 5.0), (5.0, 15.0)])
    assert np.allclose(marks[1], [(17.0, 7.5), (20.0, 5.0), (21.0, 15.0)])
    assert (left.get_xlabel(), right.get_xlabel(), left.get_ylabel()) == (
        "parameters [M]",
        "multiply-adds [G]",
        "Δm [%]",
    )
    assert texts(left) == texts(right) == ["1", "2", "3"]
    keys = [text.get_text().strip() for text in figure.legends[0].texts]
    assert keys == ["1  Both", "2  Random", "3  Searched", "single task"]


def test_rows_look_like_what_they_are(tmp_path):
    rows = [BOTH, {"name": "Local", "recipes": ["network/local"]}, RANDOM, SEARCHED]
    rows.append({"name": "PAD", "recipes": ["network/pad_net_c"]})
    write_study(tmp_path / "s", *rows, seeds=(0,))
    looks = [look_of(row) for row in measure(*read_study(tmp_path / "s")).rows]
    assert [look.marker for look in looks] == ["s", "o", "o", "*", "D"]
    assert looks[1].face == get_context("local").colour
    assert (looks[2].face, looks[2].edge) == ("white", "black")


@pytest.mark.parametrize("seed", range(8))
def test_labels_cover_neither_one_another_nor_points(seed):
    # Twelve points as crowded as those of Table 1, in a panel of 100 x 100 pt, with labels of two digits
    rng = np.random.default_rng(seed)
    centres = np.concatenate([rng.normal(30, 8, (7, 2)), rng.normal(70, 6, (5, 2))])
    reach = np.stack([np.zeros(12), np.full(12, 4.0)], 1)
    half = np.tile([4.4, 3.5], (12, 1))
    placed = centres + find_offsets(centres, reach, 2 * half, np.array([0.0, 0.0, 100.0, 100.0]))
    gaps = np.abs(placed[:, None] - placed[None]) - (half[:, None] + half[None])
    assert ((gaps.max(-1) >= -1e-9) | np.eye(12, dtype=bool)).all()
    assert ((np.abs(placed[:, None] - centres[None]) - half[:, None] - MARKER).max(-1) >= -1e-9).all()
    assert (placed - half >= 0).all()
    assert (placed + half <= 100).all()


def test_labels_of_neighbours_are_not_mistaken_for_one_another():
    centres = np.array([[50.0, 50.0], [54.6, 50.0]])
    offsets = find_offsets(centres, np.zeros((2, 2)), np.full((2, 2), 6.0), np.array([0.0, 0.0, 100.0, 100.0]))
    placed = centres + offsets
    distances = np.linalg.norm(placed[:, None] - centres[None], axis=-1)
    assert distances[0, 0] + 1 < distances[0, 1]
    assert distances[1, 1] + 1 < distances[1, 0]


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


def test_probabilities_have_a_panel_for_every_block_and_a_dot_where_it_was_fixed(searches):
    figure = draw_probabilities(searches)
    assert len(figure.axes) == 4
    for axes, (pair, contexts) in zip(figure.axes, CANDIDATES.items(), strict=True):
        lines = [line for line in axes.lines if line.get_marker() == "None"]
        assert [line.get_color() for line in lines] == [get_context(c).colour for c in contexts] * 2
        dots = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "o"]
        step = {("semseg", "semseg"): [2, 0.475], ("depth", "depth"): [4, 0.55]}.get(pair)
        assert dots == ([pytest.approx(step)] * 2 if step else [])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["semseg", "depth"]
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("step (rows: targets, columns: sources)", "probability")


def test_progress_has_a_panel_for_every_trace(searches):
    figure = draw_progress(searches)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["mean entropy [nat]", "temperature", "entropy weight", "blocks fixed, of 4"]
    assert figure.axes[0].lines[1].get_ydata().tolist() == pytest.approx([1.5, 1.4, 1.3, 1.2])


def test_reliability_is_the_agreement_of_all_pairs_of_searches(searches):
    figure = draw_reliability([*(search.genotype for search in searches), searches[0].genotype])
    (axes,) = figure.axes
    # of three searches one pair is alike everywhere; the other two agree on the diagonal
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
    draws = [
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
    costs = {row.name: Costs({0: 5_000_000}, {0: 20_000_000_000}) for row in measurements.rows}
    draws = [
        lambda: draw_resources(measurements, costs, measurements.rows[1:] * 6),
        lambda: draw_proportions({name: [Genotype.random(["semseg", "depth"], 0)]}),
    ]
    for draw in draws:
        with styled():
            figure = draw()
            figure.draw_without_rendering()
            box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01
            assert min(axes.get_position().width for axes in figure.axes) > 0.3


def test_ink_is_read_on_every_context():
    assert [ink(get_context(c).colour) for c in CONTEXTS] == ["black", "white", "black", "white", "white"]


def test_figures_without_numbers_are_skipped_with_the_reason(tmp_path):
    cells = write_study(tmp_path / "s", SINGLE, BOTH, SEARCHED)
    skipped = {p.name: p.missing for p in pictures(make_report(*read_study(tmp_path / "s"))) if not p.draw}
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
    found = {p.name: p.missing for p in pictures(make_report(*read_study(tmp_path / "s")))}
    assert found == {
        "resources": "no row has a Δm yet",
        "retraining": "no search has a single-task result of its seed",
        "proportions": "",
        "progress-searched": "",
        "probabilities-searched": "",
        "reliability-searched": "it needs two finished searches for contexts, there is 1",
    }
    write_study(tmp_path / "other", BOTH)
    reasons = [p.missing for p in pictures(make_report(*read_study(tmp_path / "other")))]
    assert reasons == ["no row has a Δm yet", "no row searches", "no row searches"]


def test_a_search_for_branches_has_its_progress_drawn(tmp_path):
    row = {"name": "Tree", "recipes": ["network/multi_task"], "search": ["search/branches"]}
    (cell,) = write_study(tmp_path / "s", row, SINGLE, seeds=(0,))[:1]
    finish(cell, {"semseg": 44.0, "depth": 0.9})
    table = cell.folder / "search_branches/train.csv"
    table.write_text("step,temperature,entropy,cost\n1,1.0,0.7,0.9\n2,0.05,0.6,0.8\n")
    found = {p.name: p for p in pictures(make_report(*read_study(tmp_path / "s"))) if p.row}
    assert [p.missing for p in found.values()] == ["", "it searches branches", "it searches branches"]
    titles = [axes.get_title(loc="left") for axes in found["progress-tree"].draw().axes]
    assert titles == ["mean entropy [nat]", "temperature"]
