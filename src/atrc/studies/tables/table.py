"""The table of a study, and its forms: Markdown, LaTeX, CSV and plain text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from atrc.studies.measured import COSTS, DELTA_M, TIMES, Measured, Measurements, Quantity, Spread


class Entry(NamedTuple):
    """One cell of a table, as it is printed.

    Attributes:
        mean: The number; empty if there is none.
        spread: Its deviation or interval; "-" for a single value, empty where none is shown.
        n: Its number of values, if the row states another.
        best: Whether it is the best of its column.
    """

    mean: str = ""
    spread: str = ""
    n: str = ""
    best: bool = False

    def __str__(self) -> str:
        return (f"{self.mean} ± {self.spread}" if self.spread else self.mean) + (f" (n={self.n})" if self.n else "")


class Head(NamedTuple):
    """The head of a column: its name, its unit, and whether higher is better."""

    name: str
    unit: str = ""
    higher_is_better: bool | None = None

    @property
    def under(self) -> str:
        """The second line: the unit, and an arrow in the better direction."""
        arrow = {None: "", True: "↑", False: "↓"}[self.higher_is_better]
        return f"{self.unit} {arrow}".strip()


class Line(NamedTuple):
    """A row of a study, or the paper's numbers for the row above."""

    name: str
    entries: list[Entry]
    paper: bool = False


class Table(NamedTuple):
    """Lines under heads; the first column, of names, has no head."""

    heads: list[Head]
    lines: list[Line]


def main_table(measurements: Measurements) -> Table:
    """Lay out metrics, Delta_m, differences to the control, costs and times, with the paper's numbers below ours."""
    metrics = [*measurements.columns, DELTA_M]
    heads = [Head(_name(q), f"{q.metric} [{q.unit}]".strip(), q.higher_is_better) for q in metrics]
    if measurements.control:
        heads += [Head(f"{_name(q)} vs control", f"[{q.unit}]", q.higher_is_better) for q in metrics]
    heads += [Head("params", "[M]"), Head("MAdds", "[G]"), Head("training", "[s]")]
    heads += [Head("search", "[s]")] if any(row.of("search_seconds") for row in measurements.rows) else []
    heads += [Head("n")]
    lines = []
    for row in measurements.rows:
        lines.append(Line(row.name, _entries(row, measurements, metrics, len(heads))))
        if paper := row.row.paper:
            theirs = [_known(paper.get(q.name), q) for q in metrics]
            theirs += [Entry()] * len(metrics) if measurements.control else []
            theirs += [_known(paper.get(q.name), q) for q in COSTS]
            lines.append(Line("paper", theirs + [Entry()] * (len(heads) - len(theirs)), paper=True))
    return _with_best(Table(heads, lines), len(metrics))


def _name(quantity: Quantity) -> str:
    return "Δm" if quantity is DELTA_M else quantity.name


def _entries(row: Measured, measurements: Measurements, metrics: Sequence[Quantity], width: int) -> list[Entry]:
    n = len(row.seeds)
    entries = [_entry(row.spread(q.name), n, decimals(q.unit), sign=_sign(q)) for q in metrics]
    if row is measurements.baseline:
        entries[-1] = Entry("0.00" if row.results else "")  # by definition, for every seed
    for quantity in metrics if measurements.control else []:
        difference = measurements.difference(row, quantity.name)
        entry = _entry(difference, n, decimals(quantity.unit), sign="+")
        if difference and difference.interval is not None:
            entry = entry._replace(spread=_number(difference.interval, decimals(quantity.unit)))
        entries.append(entry)
    for quantity, scale, places in (*zip(COSTS, (1e6, 1e9), (2, 2), strict=True), *((time, 1, 0) for time in TIMES)):
        spread = Spread.of(value / scale for value in row.of(quantity.name).values())
        entries.append(_entry(spread, n, places, constant=True))
    return [*entries[: width - 1], Entry(str(n))]  # without the search, if no row searches


def _known(value: float | None, quantity: Quantity) -> Entry:
    return Entry() if value is None else Entry(_number(value, decimals(quantity.unit), _sign(quantity)))


def _sign(quantity: Quantity) -> str:
    return "+" if quantity is DELTA_M else ""


def decimals(unit: str) -> int:
    """Return how many decimals a metric is printed with."""
    return 4 if unit == "m" else 2


def _entry(spread: Spread | None, n: int, places: int, *, sign: str = "", constant: bool = False) -> Entry:
    """Print a mean with its deviation.

    Args:
        spread: What is printed.
        n: Number of values that the row states.
        places: Decimals.
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


def _with_best(table: Table, columns: int) -> Table:
    """Mark the best means, as printed, of the first columns, where several rows have one."""
    for i, head in enumerate(table.heads[:columns]):
        own = [line.entries for line in table.lines if not line.paper and line.entries[i].mean]
        best = (max if head.higher_is_better else min)((float(entries[i].mean) for entries in own), default=0.0)
        for entries in own if len(own) > 1 else []:
            entries[i] = entries[i]._replace(best=float(entries[i].mean) == best)
    return table


def to_text(table: Table) -> list[list[str]]:
    """Return the table as a grid of words, for a terminal."""
    heads = [["", *(head.name for head in table.heads)], ["", *(head.under for head in table.heads)]]
    return heads + [["- paper" if line.paper else line.name, *map(str, line.entries)] for line in table.lines]


def to_markdown(table: Table) -> str:
    """Write the table in Markdown; best means are bold, the paper's numbers in italics."""
    heads = [f"{head.name} {head.under}".strip() for head in table.heads]
    grid = [["", *heads], ["---", *["---:"] * len(heads)]]
    for line in table.lines:
        name = "*paper*" if line.paper else line.name.replace("|", "\\|")
        grid.append([name, *(_marked(entry, "**", "*" if line.paper else "") for entry in line.entries)])
    return "".join(f"| {' | '.join(line)} |\n" for line in grid)


def to_latex(table: Table) -> str:
    """Write the table as a tabular of booktabs; best means are bold, the paper's numbers in italics."""
    heads = [_escaped(head.name) for head in table.heads]
    lines = ["% needs \\usepackage{booktabs}", f"\\begin{{tabular}}{{l{'r' * len(heads)}}}", "\\toprule"]
    lines += [_latex_line("", heads), _latex_line("", (_escaped(head.under) for head in table.heads))]
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


def _marked(entry: Entry, bold: str, italic: str) -> str:
    if not entry.mean:
        return ""
    mark = bold if entry.best else ""
    return f"{italic}{entry._replace(mean=f'{mark}{entry.mean}{mark}')}{italic}"


def _latex(entry: Entry, paper: bool) -> str:
    if not entry.mean:
        return "" if paper else "--"
    style = "mathit" if paper else "mathbf"
    mean = f"\\{style}{{{entry.mean}}}" if paper or entry.best else entry.mean
    spread = {"": "", "-": r" \pm {-}"}.get(entry.spread, rf" \pm {entry.spread}")
    return f"${mean}{spread}$" + (f" ($n={entry.n}$)" if entry.n else "")


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
    return text.replace("Δm", "\0").translate(str.maketrans(SIGNS)).replace("\0", r"$\Delta_m$")
