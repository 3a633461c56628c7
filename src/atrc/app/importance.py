"""`atrc importance`: how much every target of a trained ATRC network relies on every source."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrc.app.evaluate import read_baselines
from atrc.app.output import print_grid
from atrc.errors import UserError
from atrc.files import write_atomic
from atrc.studies.figures.style import write_figure
from atrc.studies.importance.figures import describe_contexts, describe_drop, draw_importance, draw_reliability
from atrc.studies.importance.runs import Settings, measure_run, measure_study
from atrc.studies.importance.scores import RowImportance
from atrc.studies.plan import slug

Baseline = str | Sequence[str] | None


def show_importance(
    runs: Sequence[str],
    study: str | None,
    rows: Sequence[str] | None,
    baseline: Baseline,
    settings: Settings,
    out: str | None,
) -> list[dict[str, Any]]:
    """Measure, print and draw the importance of runs, or of the rows of a study; return it as plain values.

    The arguments are the options of `atrc importance`.

    Raises:
        UserError: Both or neither are given, or one of them cannot be measured.
    """
    if bool(runs) == bool(study):
        raise UserError("give the folders or checkpoints of runs, or --study FOLDER")
    if study:
        if baseline:
            raise UserError("--baseline: drops in a study compare with its own single-task row; leave this out")
        measured = measure_study(Path(study), settings, rows, tell=lambda line: print(line, file=sys.stderr))
        folder = Path(out) if out else Path(study) / "importance"
        for row in measured:
            _show(row, folder, slug(row.name))
        content = [row.to_dict() for row in measured]
        write_atomic(folder / "importance.json", json.dumps(content, indent=2) + "\n")
        return content
    if rows:
        raise UserError("--rows: only a study has rows; give its folder with --study")
    row = _measure_runs(runs, baseline, settings)
    alone = len(runs) == 1 and Path(runs[0]).is_dir()
    _show(row, Path(out) if out else Path(runs[0] if alone else "importance"), "importance")
    return [row.to_dict()]


def _measure_runs(runs: Sequence[str], baseline: Baseline, settings: Settings) -> RowImportance:
    measured = [measure_run(run, settings) for run in runs]
    bases = None
    if baseline:
        known = [read_baselines(baseline, one.protocol) for one in measured]
        bases = [{task: result.value for task, (_, result) in one.items()} for one in known]
    name = Path(runs[0]).name if len(runs) == 1 else f"{len(runs)} runs"
    return RowImportance(name, [], [one.importance for one in measured], bases)


def _show(row: RowImportance, folder: Path, name: str) -> None:
    """Print a row, and write its table and figures."""
    print_row(row)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{name}.csv"]
        write_atomic(files[0], to_csv(row))
        files += write_figure(lambda: draw_importance(row), folder, name)
        if row.agreement is not None:
            files += write_figure(lambda: draw_reliability(row), folder, f"{name}-reliability")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --out") from None
    for file in files:
        print(file, file=sys.stderr)


def print_row(row: RowImportance) -> None:
    """Print the drops of a row, targets down and sources across, and their correlation with reliability."""
    table = row.table
    targets, sources = (list(dict.fromkeys(pair[i] for pair in table)) for i in (0, 1))
    against = "the single-task results" if row.baselines else "the network itself"
    print(f"{row.name}: drop in Delta_m against {against} [%], a row for every target")
    grid = [["", *sources]]
    grid += [[target, *(describe_drop(table[target, source]) for source in sources)] for target in targets]
    print_grid(grid)
    if row.agreement is not None:
        found = "none, one of them does not vary" if row.correlation is None else f"{row.correlation:.2f}"
        print(f"correlation with the agreement of {row.searches} searches, over {len(table)} blocks: {found}")


def to_csv(row: RowImportance) -> str:
    """Return a CSV table with a line for every block."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["target", "source", "context", "mean", "std", *(["agreement"] if row.agreement else [])])
    for pair, drop in row.table.items():
        extra = [f"{row.agreement[pair]:.6g}"] if row.agreement else []
        writer.writerow([*pair, describe_contexts(row.contexts(pair)), f"{drop.mean:.6g}", f"{drop.std:.6g}", *extra])
    return file.getvalue()
