"""`atrc study report`: its files, and what it says aloud."""

import base64
import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from atrc.app.cli import main
from hand_study import BOTH, RANDOM, SEARCHED, SINGLE, finish, finished, write_study

PAGE = (Path(__file__).parent.parent.parent / "docs/study.md").read_text(encoding="utf-8")
FILES = {"report.md", "report.html", "report.json", "table.md", "table.tex", "table.csv", "values.csv"}
FIGURES = {"retraining", "proportions", "progress-searched", "probabilities-searched", "reliability-searched"}


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "s"
    finished(folder, SINGLE, BOTH, RANDOM, SEARCHED)
    main(["study", "report", str(folder), "--json", str(folder / "numbers.json")])
    return folder


def test_the_report_is_written_into_the_studys_folder(reported):
    written = {file.name for file in (reported / "report").iterdir()}
    assert written == FILES | {f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")}
    assert (reported / "numbers.json").read_text() == (reported / "report/report.json").read_text().replace(
        "Δ", "\\u0394"
    )


def test_the_page_shows_the_table_and_every_figure(reported):
    page = (reported / "report/report.md").read_text(encoding="utf-8")
    assert (reported / "report/table.md").read_text(encoding="utf-8") in page
    assert set(re.findall(r"!\[.*?\]\((.*?)\.png\)", page)) == FIGURES
    assert "- Searched against Random: +10.00 ± 63.53 (n=2)\n" in page
    assert "Two searches agree on 50.0 % of the blocks; by chance they would agree on 22.5 %." in page
    assert "| semseg ← semseg | t_label, 2 | t_label, 2 |\n| semseg ← depth | s_label, - | global, - |\n" in page
    assert "- no figure resources: no checkpoint to count is left\n" in page
    assert "## Warnings" not in page


def test_the_html_page_holds_its_figures_and_loads_nothing(reported):
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open, self.sources, self.best = [], [], []

        def handle_starttag(self, tag, attributes):
            values = dict(attributes)
            if tag not in ("meta", "img"):
                self.open.append(tag)
            if tag == "img":
                self.sources.append(values["src"])
            assert tag not in ("script", "link")
            self.is_best = values.get("class") == "best"

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

        def handle_data(self, data):
            if self.open[-1:] == ["td"] and self.is_best:
                self.best.append(data)

    reader = Reader()
    reader.feed((reported / "report/report.html").read_text(encoding="utf-8"))
    assert reader.open == []
    assert reader.best == ["49.00 ± 1.41", "1.2000 ± 0.5657", "+15.00 ± 7.07"]
    drawn = [base64.b64decode(source.removeprefix("data:image/svg+xml;base64,")) for source in reader.sources]
    files = {(reported / f"report/{name}.svg").read_bytes() for name in FIGURES}
    assert set(drawn) == files


def test_the_numbers_are_there_for_other_programs(reported):
    content = json.loads((reported / "report/report.json").read_text(encoding="utf-8"))
    assert (content["cells"], content["done"]) == (10, 10)
    assert content["rows"][1]["delta_m"]["mean"] == pytest.approx(7.5)
    assert content["contrasts"] == [
        {
            "searched": "Searched",
            "control": "Random",
            "mean": pytest.approx(10.0),
            "std": pytest.approx(50**0.5),
            "n": 2,
            "interval": pytest.approx(63.53, abs=0.01),
        }
    ]
    found = content["searches"]["Searched"]
    assert found["agreement"] == 0.5
    assert found["block_agreement"]["semseg"] == {"semseg": 1.0, "depth": 0.0}
    assert found["fixed_by"]["0"] == {"semseg/semseg": 2, "semseg/depth": None, "depth/semseg": None, "depth/depth": 4}
    assert set(content["figures"]) == FIGURES
    assert list(content["skipped"]) == ["resources"]
    with (reported / "report/values.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file)) == {
            "row": "Single task", "seed": "0", "network": "trained", "quantity": "semseg", "metric": "mIoU",
            "unit": "%", "value": "40.0",
        }  # fmt: skip


def test_another_call_writes_the_same_files(reported, tmp_path, capsys):
    main(["study", "report", str(reported), "--out", str(tmp_path / "again")])
    for file in (reported / "report").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "again/report.md")


def test_an_unfinished_study_is_reported_as_far_as_it_is_and_warnings_are_loud(tmp_path, capsys):
    cells = write_study(tmp_path / "s", SINGLE, BOTH, SEARCHED)
    for cell in cells[:3]:
        finish(cell)
    finish(cells[4], images=7)
    main(["study", "report", str(tmp_path / "s"), "--json", "-"])
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert content["done"] == 4
    lines = printed.err.splitlines()
    assert lines[0] == "By hand: 4 of 8 cells are done"
    assert "missing: Both: 1 of 2 cells are done; not begun: seed 1" in lines
    assert "missing: Searched: 0 of 2 cells are done; not begun: seed 0, seed 1" in lines
    assert "no figure retraining: no search is finished" in lines
    warning = (
        "Both (there; seed 0) was measured by another protocol than Single task (here): images is 7 there and 10 here"
    )
    assert f"warning: {warning}" in lines
    page = (tmp_path / "s/report/report.md").read_text(encoding="utf-8")
    assert f"## Warnings\n\n- {warning}\n" in page
    assert page.index("## Warnings") < page.index("## Results")


def test_a_study_of_which_nothing_ran_has_a_report_too(tmp_path, capsys):
    write_study(tmp_path / "s", SINGLE, SEARCHED)
    main(["study", "report", str(tmp_path / "s")])
    assert "By hand: 0 of 6 cells are done" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "s/report").iterdir()} == FILES


@pytest.mark.parametrize("place", ["nothing", "file"])
def test_what_is_no_study_is_named(tmp_path, capsys, place):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        main(["study", "report", str(tmp_path / place)])
    assert stop.value.code == 2
    assert "not the folder of a study (it has no study.yaml)" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_named(tmp_path, capsys):
    write_study(tmp_path / "s", SINGLE)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        main(["study", "report", str(tmp_path / "s"), "--out", str(tmp_path / "file")])
    assert stop.value.code == 2
    assert re.search(r"cannot write to .*file: File exists; choose another --out", capsys.readouterr().err)


def test_the_page_names_every_file():
    for name in FILES | {name.removesuffix("-searched") for name in FIGURES} | {"resources", "differences"}:
        assert f"`{name}" in PAGE, name
