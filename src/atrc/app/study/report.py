"""`atrc study report`: the tables and figures of a study, written into its folder."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from tqdm import tqdm

from atrc.app.output import print_grid
from atrc.app.study.page import Block, page_blocks, to_markdown
from atrc.errors import UserError
from atrc.files import write_atomic
from atrc.studies.figures.gallery import ReportFigure, report_figures
from atrc.studies.figures.style import write_figure
from atrc.studies.plan import read_study
from atrc.studies.report import Report, make_report
from atrc.studies.tables.records import long_records, wide_records
from atrc.studies.tables.table import main_table, to_csv, to_latex, to_text
from atrc.studies.tables.table import to_markdown as table_to_markdown


def report_study(folder: str, out: str | None) -> dict[str, Any]:
    """Print and write the report of a study so far; return its numbers as plain values.

    Raises:
        UserError: It is not the folder of a study, or the report cannot be written.
    """
    study, cells = read_study(Path(folder))
    target = Path(out) if out else Path(folder) / "report"
    with tqdm(desc="counting", unit="network", disable=None, leave=False) as bar:
        report = make_report(study, cells, lambda name: bar.update())
    try:
        target.mkdir(parents=True, exist_ok=True)
        content = write_report(report, target)
    except OSError as error:
        raise UserError(f"cannot write to {target}: {error.strerror}; choose another --out") from None
    print_report(report, content["skipped"])
    print(target / "report.md")
    return content


def write_report(report: Report, out: Path) -> dict[str, Any]:
    """Write every file of a report into a folder; return the content of report.json."""
    drawn, skipped = _draw(report, out)
    content = report.to_dict() | {"figures": [figure.name for figure in drawn], "skipped": skipped}
    table = main_table(report.measurements)
    blocks = page_blocks(report, table, drawn, skipped)
    files = {
        "table.md": table_to_markdown(table),
        "table.tex": to_latex(table),
        "table.csv": to_csv(wide_records(report.measurements)),
        "values.csv": to_csv(long_records(report.measurements)),
        "report.json": json.dumps(content, indent=2, ensure_ascii=False) + "\n",
        "report.md": to_markdown(blocks),
        "report.html": to_html(report.study.title, blocks, out),
    }
    for name, text in files.items():
        write_atomic(out / name, text)
    return content


def to_html(title: str, blocks: Sequence[Block], figures: Path) -> str:
    """Return the page as one HTML file with the figures inside."""

    def embed(name: str) -> str:
        return base64.b64encode((figures / f"{name}.svg").read_bytes()).decode()

    environment = Environment(loader=PackageLoader("atrc.app.study", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("report.html.j2").render(title=title, blocks=blocks, embed=embed)


def print_report(report: Report, skipped: dict[str, str]) -> None:
    """Print the table, and missing parts and warnings on standard error."""
    print(f"{report.study.title}: {report.done} of {len(report.cells)} cells are done")
    print_grid(to_text(main_table(report.measurements)))
    for contrast in report.contrasts:
        print(f"Δm [%] of {contrast}")
    sys.stdout.flush()
    lines = [f"missing: {line}" for line in report.missing]
    lines += [f"no figure {name}: {reason}" for name, reason in skipped.items()]
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"warning: {warning}" for warning in report.warnings]
    for line in lines:
        print(line, file=sys.stderr)


def _draw(report: Report, out: Path) -> tuple[list[ReportFigure], dict[str, str]]:
    """Write the figures; return those that were drawn, and why the others were not."""
    drawn, skipped = [], {}
    for figure in report_figures(report):
        if figure.missing:
            skipped[figure.name] = figure.missing
        else:
            write_figure(figure.draw, out, figure.name)
            drawn.append(figure)
    return drawn, skipped
