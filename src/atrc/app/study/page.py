"""The content of a study's report, for Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atrc.genotype import mean_agreement
from atrc.studies.figures.gallery import ReportFigure
from atrc.studies.report import Report
from atrc.studies.searches import Search, chance_agreement
from atrc.studies.tables.table import Table, to_text
from atrc.studies.tables.table import to_markdown as table_to_markdown


@dataclass(frozen=True)
class Block:
    """A part of a page.

    Attributes:
        kind: "title", "heading", "text", "list", "table" or "figure".
        text: The text, or the caption of a figure.
        lines: The items of a list, or the rows of a table: (text, kind) with kind "", "best" or "paper".
        heads: The head rows of a table.
        markdown: The table in Markdown.
        name: The name of a figure's files.
    """

    kind: str
    text: str = ""
    lines: list = field(default_factory=list)
    heads: list[list[str]] = field(default_factory=list)
    markdown: str = ""
    name: str = ""


LEGEND = (
    "Mean ± sample standard deviation over n seeds, - if there is only one; the best means are bold. Δm is the mean "
    "gain per task over the single-task networks of this study with the same seed; its deviation is that of the "
    "seeds' own Δm. Parameters and multiply-adds (convolutions, matrix products, attention; one image) are counted "
    "from the checkpoints; single-task networks are added up. Training and search are wall time on the machines used."
)
CONTROL = (
    " Columns vs control are differences to {} within seeds: mean ± half the 95 % confidence interval (Student's t)."
)


def page_blocks(report: Report, table: Table, drawn: Sequence[ReportFigure], skipped: Mapping[str, str]) -> list[Block]:
    """Return the blocks of a report."""
    legend = LEGEND + (CONTROL.format(report.study.control) if report.study.control else "")
    blocks = [Block("title", report.study.title)]
    blocks += [Block("text", f"{report.done} of {len(report.cells)} cells are done.")]
    if report.warnings:
        blocks += [Block("heading", "Warnings"), Block("list", lines=report.warnings)]
    blocks += [Block("heading", "Results"), _results(table), Block("text", legend), *_measured(report)]
    if report.contrasts:
        head = "Difference in Δm [%] between searches and their controls within seeds, ± half the 95 % interval:"
        blocks += [Block("text", head), Block("list", lines=list(map(str, report.contrasts)))]
    blocks += [Block("figure", figure.caption, name=figure.name) for figure in drawn if figure.row is None]
    for name, searches in report.searches.items():
        figures = [figure for figure in drawn if figure.row == name]
        blocks += _searches(name, searches, figures) if searches else []
    left = [*report.missing, *report.notes, *(f"no figure {name}: {reason}" for name, reason in skipped.items())]
    if left:
        blocks += [Block("heading", "What is missing"), Block("list", lines=left)]
    return blocks


def _results(table: Table) -> Block:
    heads, grid = to_text(table)[:2], []
    for line in table.lines:
        kinds = ["paper" if line.paper else "best" if entry.best else "" for entry in line.entries]
        name = ("paper", "paper") if line.paper else (line.name, "")
        grid.append([name, *zip(map(str, line.entries), kinds, strict=True)])
    return Block("table", heads=heads, lines=grid, markdown=table_to_markdown(table))


def _measured(report: Report) -> list[Block]:
    """Describe how the numbers were measured."""
    if (protocol := report.protocol) is None:
        return []
    size, crop = ("x".join(map(str, protocol[key])) for key in ("image", "crop"))
    metrics = ", ".join(f"{task} {metric}" for task, metric in protocol["tasks"].items())
    text = (
        f"Measured on {protocol['images']} images of {size} px, split {protocol['split']}, of {protocol['layout']}; "
        f"{protocol['padding']} of {crop} px; {protocol['checkpoint']} checkpoint; {metrics}."
    )
    return [Block("text", text)]


def _searches(name: str, searches: Sequence[Search], figures: Sequence[ReportFigure]) -> list[Block]:
    blocks = [Block("heading", f"Searches of {name}")]
    genotypes = [search.genotype for search in searches if search.genotype]
    if len(genotypes) > 1:
        chance = chance_agreement(genotypes[0].targets)
        agreed = f"Two searches agree on {100 * mean_agreement(genotypes):.1f} % of the blocks"
        blocks.append(Block("text", f"{agreed}; by chance they would agree on {100 * chance:.1f} %."))
    if genotypes:
        text = "The choice of every seed, and the logged step by which the block was fixed; - if it never was:"
        blocks += [Block("text", text), _choices([search for search in searches if search.genotype])]
    return blocks + [Block("figure", figure.caption, name=figure.name) for figure in figures]


def _choices(searches: Sequence[Search]) -> Block:
    """Tabulate the choice of every seed for every block."""
    heads = ["target ← source", *(f"seed {search.seed}" for search in searches)]
    fixed = [search.fixed_by() for search in searches]
    grid = []
    for target, source in searches[0].probabilities:
        chosen = [search.genotype[target, source] for search in searches if search.genotype]
        steps = ["-" if found[target, source] is None else str(found[target, source]) for found in fixed]
        grid.append([f"{target} ← {source}", *(f"{c}, {step}" for c, step in zip(chosen, steps, strict=True))])
    lines = [heads, ["---"] * len(heads), *grid]
    markdown = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return Block("table", heads=[heads], lines=[[(text, "") for text in line] for line in grid], markdown=markdown)


def to_markdown(blocks: Sequence[Block]) -> str:
    """Write a page in Markdown; figures are files next to it."""
    return "\n".join(_markdown(block) for block in blocks)


def _markdown(block: Block) -> str:
    if block.kind == "table":
        return block.markdown
    if block.kind == "list":
        return "".join(f"- {line}\n" for line in block.lines)
    if block.kind == "figure":
        return f"![{block.name}]({block.name}.png)\n\n*{block.text}* ([SVG]({block.name}.svg))\n"
    return {"title": "# ", "heading": "## ", "text": ""}[block.kind] + block.text + "\n"
