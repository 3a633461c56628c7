"""Draws the search: a relaxed block, its Gumbel-softmax samples, its course over the steps, and a genotype."""

from __future__ import annotations

from functools import cache

import torch
from atrc.search.mixture import Choice
from svg import INK, LINE, PLAIN, SOFT, SOURCE, TARGET, arrow, box, line, page, rect, text
from torch import Tensor

from atrc.contexts import CONTEXTS, get_context
from atrc.genotype import Genotype
from atrc.search.schedule import linear
from atrc.studies.figures.style import ink
from atrc.training.recipe import Recipe, SearchConfig

WIDTH = 572
EXAMPLE = (0.05, 0.25, 0.1, 0.4, 0.2)  # p of a block, in the order of CONTEXTS
TOY_LOSSES = {"none": 0.008, "global": 0.002, "local": 0.005, "t_label": 0.0, "s_label": 0.001}


def draw_mixture() -> str:
    """Return a block in the supergraph: all candidates, weighed by a sample, and more samples below."""
    choice = _choice(EXAMPLE)
    choice.sample(_noise(1)[0], 0.5)
    weights = _weights(choice)
    parts = [box(14, 117, 78, 48, TARGET, ["F_T"]), box(14, 197, 78, 48, SOURCE, ["F_S"])]
    for i, (context, weight) in enumerate(zip(CONTEXTS, weights, strict=True)):
        y, colour = 16 + i * 67, get_context(context).colour
        words = [get_context(context).title, f"p = {EXAMPLE[i]:.2f}"]
        parts += [
            f'<path d="M92 141C116 141 116 {y + 20} 138 {y + 20}M92 221C116 221 116 {y + 30} 138 {y + 30}" '
            f'fill="none" stroke="{LINE}"/>',
            box(140, y, 124, 52, colour, words, ink(colour)),
            rect(278, y + 17, 90, 18, PLAIN, "none"),
            rect(278, y + 17, 90 * weight, 18, colour, LINE),
            text(376, y + 31, f"ẑ = {weight:.2f}", "small"),
            f'<path d="M434 {y + 26}H452V181" fill="none" stroke="{LINE}" stroke-width="1.5"/>',
        ]
    parts += [arrow((452, 181), (470, 181)), box(472, 157, 86, 48, PLAIN, ["Σ ẑ · v'", "to the fuse"])]
    parts += _samples(choice, 376)
    return page(WIDTH, 618, "A relaxed block and its Gumbel-softmax samples", parts)


def _samples(choice: Choice, top: float) -> list[str]:
    """Return bars of samples at three temperatures; the noise is the same at each."""
    parts = [text(14, top, "samples ẑ of this p, one bar each; below one another: the same noise", "small")]
    columns = 14
    w = (WIDTH - 28 - 70) / columns
    for i, temperature in enumerate((1.0, 0.3, 0.05)):
        y = top + 12 + i * 72
        parts += [text(14, y + 34, f"λ = {temperature:g}")]
        for j, noise in enumerate(_noise(columns)):
            choice.sample(noise, temperature)
            at = y
            for context, weight in zip(CONTEXTS, _weights(choice), strict=True):
                parts.append(rect(84 + j * w, at, w - 6, 60 * weight, get_context(context).colour, "none"))
                at += 60 * weight
            parts.append(rect(84 + j * w, y, w - 6, 60, "none", LINE))
    return parts


def draw_course() -> str:
    """Return the schedules of a search, and what they make of a toy block whose candidates have constant losses."""
    steps, config = Recipe().optim.steps, SearchConfig()
    toy, fixed = _toy()
    every = (0, steps - 1)
    schedules = [
        ("temperature λ", config.temperature, (0.0, 1.0), ("0", "1")),
        ("entropy weight", config.entropy_weight, (-0.02, 0.06), ("-0.02", "+0.06")),
    ]
    parts, top = [], 34
    for title, ends, (low, high), names in schedules:
        parts += _axes(top, 76, title, names)
        points = [(_x(s / steps), top + 76 * (1 - (linear(ends, s, steps) - low) / (high - low))) for s in every]
        parts.append(line(points, INK))
        if low < 0:
            zero = top + 76 * high / (high - low)
            parts.append(f'<path d="M{_x(0):g} {zero:g}H{_x(1):g}" stroke="{SOFT}" stroke-dasharray="4 4"/>')
            parts.append(text(_x(0.25) + 8, zero + 16, "0 at a quarter; before it, p is kept even", "small"))
        top += 120
    parts += _axes(top, 190, "p of a toy block's candidates", ("0", "1"))
    for context in CONTEXTS:
        points = [(_x(i * 100 / steps), top + 190 * (1 - p[context])) for i, p in enumerate(toy)]
        parts.append(line(points, get_context(context).colour, 2.5))
    parts += _mark(top, 190, fixed / steps, toy[min(fixed // 100 + 1, len(toy) - 1)])
    parts += [
        text(_x(0), top + 212, "step 0", "small"),
        text(_x(1), top + 212, f"{steps:,}".replace(",", " "), "small end"),
    ]
    parts += _legend(top + 238)
    return page(WIDTH, top + 256, "The course of a search", parts)


def _mark(top: float, height: float, share: float, p: dict[str, float]) -> list[str]:
    """Return the mark of the step at which the block was fixed."""
    best, y = max(p, key=lambda context: p[context]), top + height * (1 - max(p.values()))
    return [
        f'<path d="M{_x(share):.1f} {top}v{height}" stroke="{SOFT}" stroke-dasharray="4 4"/>',
        f'<circle cx="{_x(share):.1f}" cy="{y:.1f}" r="5" fill="{get_context(best).colour}" stroke="{INK}"/>',
        text(_x(share) + 8, top + 18, "the best leads by 0.3: fixed for good", "small"),
    ]


def _axes(top: float, height: float, title: str, names: tuple[str, str]) -> list[str]:
    return [
        text(_x(0), top - 10, title),
        f'<path d="M{_x(0):g} {top}v{height}H{_x(1):g}" fill="none" stroke="{LINE}"/>',
        text(_x(0) - 6, top + height, names[0], "small end"),
        text(_x(0) - 6, top + 10, names[1], "small end"),
    ]


def _legend(top: float) -> list[str]:
    parts = []
    for i, context in enumerate(CONTEXTS):
        x = _x(0) + i * 98
        parts += [
            rect(x, top - 11, 14, 14, get_context(context).colour),
            text(x + 20, top + 1, get_context(context).title, "small"),
        ]
    return parts


def draw_genotype() -> str:
    """Return the genotype that the authors released for NYUD-v2 with HRNet18, as a grid."""
    genotype, cell = Genotype.published("nyud_hrnet18"), 104
    parts = [text(132 + 2 * cell, 20, "source S", "small middle"), text(14, 44, "target T", "small")]
    for j, source in enumerate(genotype.sources):
        parts.append(text(132 + (j + 0.5) * cell, 44, source, "middle"))
    for i, target in enumerate(genotype.targets):
        parts.append(text(120, 86 + i * 58, target, "end"))
        for j, source in enumerate(genotype.sources):
            context = genotype[target, source]
            colour = get_context(context).colour
            lines = [get_context(context).title]
            parts.append(box(134 + j * cell, 56 + i * 58, cell - 6, 50, colour, lines, ink(colour)))
    return page(WIDTH, 296, "The genotype released for NYUD-v2 with HRNet18", parts)


def draw_logo() -> str:
    """Return the site's mark: a genotype of 3x3."""
    names = ("global", "t_label", "s_label", "s_label", "t_label", "local", "t_label", "global", "t_label")
    cells = [
        rect(2 + i % 3 * 10, 2 + i // 3 * 10, 8, 8, get_context(c).colour, "none", 'rx="1.5"')
        for i, c in enumerate(names)
    ]
    paper = rect(0, 0, 32, 32, "#ffffff", "none", 'rx="5"')
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    return "\n".join([head, paper, *cells, "</svg>"]) + "\n"


def _x(share: float) -> float:
    return 62 + share * (WIDTH - 62 - 20)


def _choice(probabilities: tuple[float, ...]) -> Choice:
    choice = Choice(CONTEXTS)
    with torch.no_grad():
        choice.alpha.copy_(torch.tensor(probabilities).log())
    return choice


def _weights(choice: Choice) -> list[float]:
    assert choice.weights is not None
    return [float(weight) for weight in choice.weights.detach()]


def _noise(count: int) -> Tensor:
    """Return standard Gumbel noise, the same in every drawing."""
    return -(-torch.rand(count, len(CONTEXTS), generator=torch.Generator().manual_seed(7)).log()).log()


@cache
def _toy() -> tuple[list[dict[str, float]], int]:
    """Search one block by the recipe's own schedules; return p every 100 steps, and when it was fixed."""
    steps, config, choice = Recipe().optim.steps, SearchConfig(), Choice(CONTEXTS)
    losses = torch.tensor([TOY_LOSSES[context] for context in CONTEXTS])
    adam = torch.optim.Adam(choice.parameters(), config.lr)
    course, fixed, noise = [], steps, _noise(steps)
    for step in range(steps):
        if step % 100 == 0:
            course.append(dict(zip(CONTEXTS, choice.probabilities().tolist(), strict=True)))
        if fixed < steps:
            continue
        choice.sample(noise[step], linear(config.temperature, step, steps))
        loss = (choice.weights * losses).sum() + linear(config.entropy_weight, step, steps) * choice.entropy()
        adam.zero_grad()
        loss.backward()
        adam.step()
        if choice.fix_if_decided(config.lead):
            fixed = step
    return course, fixed
