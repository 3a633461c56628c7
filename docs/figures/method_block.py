"""Draws a context pooling block, with the shapes of what runs through it."""

from __future__ import annotations

from svg import PLAIN, REGION, SOURCE, TARGET, arrow, box, page, rect, text

from atrc.contexts import get_context
from atrc.studies.figures.style import ink

COLUMN, GAP = 172, 14
WIDE = 3 * COLUMN + 4 * GAP
ATTEND = {
    "global": ("all pixels", "A = q · k, rows sum to 1"),
    "local": ("9x9 pixels", "A = softmax(q · k / √d)"),
    "t_label": ("target's regions", "A = softmax(q · k / √d)"),
    "s_label": ("source's regions", "A = softmax(q · k / √d)"),
}


def draw() -> str:
    """Return the figure."""
    left, middle, right = (GAP + i * (COLUMN + GAP) for i in range(3))
    half = COLUMN / 2
    parts = [
        box(left, 34, COLUMN, 48, TARGET, ["F_T", "b c h w"]),
        box(middle, 34, COLUMN, 48, SOURCE, ["F_S", "b c h w"]),
        box(right, 34, COLUMN, 48, REGION, ["A_T or A_S", "logits, b r h w"]),
        text(left + half, 22, "target features", "small middle"),
        text(middle + half, 22, "source features", "small middle"),
        text(right + half, 22, "label regions", "small middle"),
        box(right, 120, COLUMN, 48, PLAIN, ["Â: spatial softmax", "b r h w, each sums to 1"]),
        arrow((right + half, 82), (right + half, 118)),
        box(right, 206, COLUMN, 48, PLAIN, ["prototypes p = Âᵀ F_S", "b c r"]),
        arrow((right + half, 168), (right + half, 204)),
        arrow((middle + half + 40, 82), (middle + half + 40, 230), (right - 2, 230)),
        arrow((middle + half, 82), (middle + half, 288)),
        arrow((right + half, 254), (right + half, 288)),
        box(
            middle,
            290,
            2 * COLUMN + GAP,
            66,
            PLAIN,
            [
                "pixels or prototypes, b c n",
                "global, local: the pixels of F_S, n = h·w",
                "T-label, S-label: the prototypes p, n = r",
            ],
        ),
        arrow((left + half, 82), (left + half, 384)),
        arrow((middle + half, 356), (middle + half, 384)),
        arrow((right + half, 356), (right + half, 384)),
        *_projections(left, middle, right, half),
        *_attention(right + COLUMN - left, left),
        arrow((WIDE / 2, 658), (WIDE / 2, 686)),
        box(left + half, 688, WIDE - 2 * (GAP + half), 48, TARGET, ["v' = A v", "b d h w: on to the target's fuse"]),
    ]
    return page(WIDE, 750, "A context pooling block", parts)


def _projections(left: float, middle: float, right: float, half: float) -> list[str]:
    twice, once = "2 x (1x1 - BN - ReLU)", "1x1 - BN - ReLU"
    parts = [
        box(left, 386, COLUMN, 66, PLAIN, ["f_q: query", twice, "q: b d h w"]),
        box(middle, 386, COLUMN, 66, PLAIN, ["f_k: key", twice, "k: b d n"]),
        box(right, 386, COLUMN, 66, PLAIN, ["f_v: value", once, "v: b d n"]),
    ]
    return parts + [arrow((x + half, 452), (x + half, 482)) for x in (left, middle, right)]


def _attention(width: float, left: float) -> list[str]:
    parts = [
        rect(left, 484, width, 174, "none", more='rx="10" stroke-dasharray="5 4"'),
        text(left + width / 2, 508, "attention A: one of four, as the genotype says", "middle"),
    ]
    w, h = (width - 36) / 2, 58
    for i, (context, (where, how)) in enumerate(ATTEND.items()):
        colour = get_context(context).colour
        x, y = left + 12 + i % 2 * (w + 12), 522 + i // 2 * (h + 8)
        parts.append(box(x, y, w, h, colour, [f"{get_context(context).title}: {where}", how], ink(colour)))
    return parts
