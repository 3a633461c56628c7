"""The table of a study, and its forms: Markdown, LaTeX, CSV and plain text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atrc.studies.costs import Costs
from atrc.studies.measured import Column, Measured, Measurements, Spread


@dataclass(frozen=True)
class Entry:
    """One cell of a table, as it is printed.

    Attributes:
        mean: The number; empty if there is none.
        std: Its standard deviation; "-" of a single value, empty where none is shown.
        n: How many values it is of, where that is not what the row says.
        best: Whether it is the best of its column.
    """

    mean: str = ""
    std: str = ""
    n: str = ""
    best: bool = False

    def __str__(self) -> str:
        return (f"{self.mean} ± {self.std}" if self.std else self.mean) + (f" (n={self.n})" if self.n else "")


@dataclass(frozen=True)
class Head:
    """A column's head: what it is, with its unit, and whether more or less is better."""

    name: str
    unit: str = ""
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class Line:
    """A row of a study, or the paper's numbers for the row above."""

    name: str
    entries: list[Entry]
    paper: bool = False


@dataclass(frozen=True)
class Table:
    """Lines under heads; the first column, of names, has no head."""

    heads: list[Head]
    lines: list[Line]


def main_table(measurements: Measurements, costs: Mapping[str, Costs]) -> Table:
    """Lay out the results: metrics, Delta_m, parameters, multiply-adds and time, the paper's numbers below ours."""
    columns, rows = measurements.columns, measurements.rows
    searched = any(row.search_seconds for row in rows)
    heads = [Head(c.task, f"{c.metric} [{c.unit}]", c.higher_is_better) for c in columns]
    heads += [Head("Δm", "[%]", True), Head("params", "[M]"), Head("MAdds", "[G]"), Head("training", "[s]")]
    heads += [Head("search", "[s]")] if searched else []
    lines = []
    for row in rows:
        lines.append(Line(row.name, [*_entries(row, measurements, costs[row.name], searched), Entry(str(_seeds(row)))]))
        if row.row.paper:
            theirs = _paper(row.row.paper, columns)
            lines.append(Line("paper", theirs + [Entry()] * (len(heads) + 1 - len(theirs)), paper=True))
    table = Table([*heads, Head("n")], lines)
    return _with_best(table, [c.higher_is_better for c in columns] + [True])


def _entries(row: Measured, measurements: Measurements, costs: Costs, searched: bool) -> list[Entry]:
    n = _seeds(row)
    scores = [_entry(row.of_task(c.task), decimals(c.unit), n) for c in measurements.columns]
    if row is measurements.baseline:
        gain = Entry("0.00" if row.results else "")  # by definition, whatever the seed
    else:
        gain = _entry(Spread.of(measurements.gains.get(row.name, {}).values()), 2, n, sign="+")
    sizes = [
        _entry(Spread.of(count / scale for count in counts.values()), 2, n, constant=True)
        for counts, scale in ((costs.parameters, 1e6), (costs.multiply_adds, 1e9))
    ]
    times = [row.seconds, row.search_seconds] if searched else [row.seconds]
    return [*scores, gain, *sizes, *(_entry(Spread.of(time.values()), 0, n, constant=True) for time in times)]


def _paper(paper: Mapping[str, float], columns: Sequence[Column]) -> list[Entry]:
    shown = [(c.task, decimals(c.unit), "") for c in columns]
    shown += [("delta_m", 2, "+"), ("parameters", 2, ""), ("multiply_adds", 2, "")]
    return [Entry(_number(paper[key], places, sign)) if key in paper else Entry() for key, places, sign in shown]


def _seeds(row: Measured) -> int:
    """Return the number of seeds that are finished."""
    return len(row.seconds)


def decimals(unit: str) -> int:
    """Return how many decimals a metric is printed with."""
    return 4 if unit == "m" else 2


def _entry(spread: Spread | None, places: int, n: int, *, sign: str = "", constant: bool = False) -> Entry:
    """Print a mean with its deviation.

    Args:
        spread: What is printed.
        places: Decimals.
        n: Number of values that the row states.
        sign: "+" to print that too.
        constant: Leave out a deviation that is printed as 0, or is of a single value.
    """
    if spread is None:
        return Entry()
    std = "-" if spread.std is None else _number(spread.std, places)
    if constant and (spread.std is None or float(std) == 0):
        std = ""
    return Entry(_number(spread.mean, places, sign), std, "" if spread.n == n else str(spread.n))


def _number(value: float, places: int, sign: str = "") -> str:
    text = f"{value:{sign}.{places}f}"
    return text.replace("-", "", 1).replace("+", "", 1) if float(text) == 0 else text


def _with_best(table: Table, higher: Sequence[bool]) -> Table:
    """Mark the best means, as printed, of the first columns; where there is no other there is no best."""
    lines = [replace(line, entries=list(line.entries)) for line in table.lines]
    for i, better in enumerate(higher):
        own = [line.entries for line in lines if not line.paper and line.entries[i].mean]
        best = (max if better else min)((float(entries[i].mean) for entries in own), default=0.0)
        for entries in own if len(own) > 1 else []:
            entries[i] = replace(entries[i], best=float(entries[i].mean) == best)
    return Table(table.heads, lines)


def to_text(table: Table) -> list[list[str]]:
    """Return the table as a grid of words, for a terminal."""
    heads = [["", *(head.name for head in table.heads)], ["", *(_under(head) for head in table.heads)]]
    return heads + [["- paper" if line.paper else line.name, *map(str, line.entries)] for line in table.lines]


def to_markdown(table: Table) -> str:
    """Write the table in Markdown; best means are bold, the paper's numbers in italics."""
    heads = [" ".join(filter(None, (head.name, _under(head)))) for head in table.heads]
    grid = [["", *heads], ["---", *["---:"] * len(heads)]]
    for line in table.lines:
        name = "*paper*" if line.paper else line.name.replace("|", "\\|")
        grid.append([name, *(_marked(entry, "**", "*" if line.paper else "") for entry in line.entries)])
    return "".join(f"| {' | '.join(line)} |\n" for line in grid)


def to_latex(table: Table) -> str:
    """Write the table as a tabular of booktabs; best means are bold, the paper's numbers in italics."""
    heads = [r"$\Delta_m$" if head.name == "Δm" else _escaped(head.name) for head in table.heads]
    lines = ["% needs \\usepackage{booktabs}", f"\\begin{{tabular}}{{l{'r' * len(heads)}}}", "\\toprule"]
    lines += [_latex_line("", heads), _latex_line("", (_escaped(_under(h)) for h in table.heads))]
    lines += ["\\midrule"]
    for line in table.lines:
        name = r"\quad\textit{paper}" if line.paper else _escaped(line.name)
        lines.append(_latex_line(name, (_latex(entry, line.paper) for entry in line.entries)))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows of values; columns are those of any row, and what a row lacks is empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _under(head: Head) -> str:
    arrow = {None: "", True: "↑", False: "↓"}[head.higher_is_better]
    return " ".join(filter(None, (head.unit, arrow)))


def _marked(entry: Entry, bold: str, italic: str) -> str:
    if not entry.mean:
        return ""
    mark = bold if entry.best else ""
    return f"{italic}{replace(entry, mean=f'{mark}{entry.mean}{mark}')}{italic}"


def _latex(entry: Entry, paper: bool) -> str:
    if not entry.mean:
        return "" if paper else "--"
    style = "mathit" if paper else "mathbf"
    mean = f"\\{style}{{{entry.mean}}}" if paper or entry.best else entry.mean
    std = {"": "", "-": " \\pm {-}"}.get(entry.std, f" \\pm {entry.std}")
    return f"${mean}{std}$" + (f" ($n={entry.n}$)" if entry.n else "")


def _latex_line(name: str, cells: Iterable[str]) -> str:
    return " & ".join([name, *cells]) + r" \\"


SIGNS: dict[str, str | int | None] = {
    **{sign: f"\\{sign}" for sign in "&%#_${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
}


def _escaped(text: str) -> str:
    return text.translate(str.maketrans(SIGNS))
