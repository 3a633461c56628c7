"""Loss, metric and search curves as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from atrc.studies.figures.style import new_figure
from atrc.training.run.folder import read_table

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44")
NOT_TASKS = {"lr", "loss", "temperature", "entropy_weight", "entropy", "fixed"}


def plot_curves(runs: Sequence[Path], search: Path) -> str:
    """Draw the losses of runs, and the entropy, temperature and fixed blocks of a search, as SVG."""
    figure = new_figure(11.0, 3.4)
    losses, entropy = figure.subplots(1, 2)
    for run, colour in zip(runs, COLOURS, strict=False):
        steps, columns = _columns(run / "train.csv")
        losses.plot(steps, _relative(columns), color=colour, label=run.name)
    losses.set(xlabel="step", ylabel="task losses / their first value", title="Training", ylim=(0, None))
    steps, columns = _columns(search / "train.csv")
    blocks = len({name.rpartition("/")[0] for name in _columns(search / "search.csv")[1]})
    shown = {
        "mean entropy of the blocks [nat]": columns["entropy"],
        "Gumbel-softmax temperature": columns["temperature"],
        "share of blocks fixed": [count / blocks for count in columns["fixed"]],
    }
    for (label, values), colour in zip(shown.items(), COLOURS, strict=False):
        entropy.plot(steps, values, color=colour, label=label)
    entropy.set(xlabel="step", title="Search", ylim=(0, 1.4 * max(columns["entropy"])))  # room for the legend
    for axes in (losses, entropy):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _relative(columns: dict[str, list[float]]) -> list[float]:
    """Return the mean of the task losses, each divided by its first value."""
    names = [name for name in columns if name not in NOT_TASKS and "/" not in name]
    rows = zip(*(columns[name] for name in names), strict=True)
    return [sum(v / columns[n][0] for n, v in zip(names, row, strict=True)) / len(names) for row in rows]


def _columns(path: Path) -> tuple[list[int], dict[str, list[float]]]:
    rows = read_table(path)
    columns = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "step"}
    return [int(row["step"]) for row in rows], columns
