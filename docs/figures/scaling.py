"""Draws how ATRC grows, from `benchmarks/network.py scaling --json NUMBERS`: python docs/figures/scaling.py NUMBERS"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

from atrc.contexts import get_context
from atrc.studies.figures.style import PAGE, write_figure

OUT = Path(__file__).parent.parent / "assets" / "benchmarks"
MARKERS = {"global": "o", "local": "s", "t_label": "^", "s_label": "v"}
UNITS = {"s": "time [ms]", "mb": "memory [MB]"}


def draw(rows: list[dict]) -> Figure:
    """Time above, memory below; over pixels, tasks and regions."""
    over = list(dict.fromkeys(row["over"] for row in rows))
    figure = Figure(figsize=(PAGE, 3.4), layout="constrained")
    panels = figure.subplots(2, len(over), sharex="col", sharey="row")
    for panel_row, (quantity, unit) in zip(panels, UNITS.items(), strict=True):
        for axes, name in zip(panel_row, over, strict=True):
            for row in (row for row in rows if row["over"] == name):
                power = row["time" if quantity == "s" else "memory"]
                values = [1e3 * x if quantity == "s" else x for x in row[quantity]]
                label = f"{get_context(row['context']).title}: $n^{{{power:.2f}}}$"
                look = {"color": get_context(row["context"]).colour, "marker": MARKERS[row["context"]], "markersize": 3}
                axes.loglog(row["n"], values, label=label, **look)
            axes.set_xticks(row["n"], [f"{n // 1024}k" if n >= 1024 else str(n) for n in row["n"]])
            axes.minorticks_off()
            axes.legend(loc="upper left")
        panel_row[0].set_ylabel(unit)
    for axes, name in zip(panels[-1], over, strict=True):
        axes.set_xlabel(name)
    return figure


if __name__ == "__main__":
    numbers = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["scaling"]
    OUT.mkdir(parents=True, exist_ok=True)
    print(*write_figure(lambda: draw(numbers), OUT, "scaling"), sep="\n")
