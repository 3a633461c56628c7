# ruff: noqa: E501
"""Draws the data flow of every system, in docs/assets/systems: python docs/figures/systems.py

A figure is a string of boxes and arrows. `name(column,row kind: label / second line)` is a box, `a>b` an arrow, `a-b` a
dashed one (detached, or weights). Target task T is blue, source task S orange, what works on them grey.
"""

import re
from pathlib import Path
from xml.sax.saxutils import escape

OUT = Path(__file__).parent.parent / "assets" / "systems"
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 132, 46, 44, 18, 14
FILL = {"T": "#cfe0f5", "S": "#f9dcc0", "op": "#ececec", "out": "#cfe0f5", "gate": "#e4d3ec", "image": "#ffffff"}

PAIR = "T(0,0 T: F_T / target) S(0,2 S: F_S / source)"
CONTEXT = PAIR + " q(1,1 op: query / 2 x 1x1 - BN) k(1,2 op: {key} / {projection}) a(2,1 gate: {attend} / {how})"
CONTEXT += " fuse(3,1 op: fuse / all sources) join(4,0 op: join / 1x1 - BN - ReLU) out(5,0 out: refined F_T)"
CONTEXT += " T>q S>k q>a k>a a>fuse fuse>join T>join join>out"
MIXED = PAIR + " g(1,1 gate: global) l(1,2 gate: local) t(1,3 gate: T-label) s(1,4 gate: S-label) "
MIXED += "fuse(3,0 op: fuse / join) out(4,0 out: refined F_T) "
MIXED += "T>g S>l S>t S>s S>g g>sum l>sum t>sum s>sum sum>fuse T>fuse fuse>out "
NETWORK = "image(0,1 image: image) back(1,1 op: backbone / shared)"


def context(key: str, projection: str, attend: str, how: str, more: str = "") -> str:
    return CONTEXT.format(key=key, projection=projection, attend=attend, how=how) + " " + more


SYSTEMS = {
    "single_task": "i(0,0 image: image) b(1,0 op: backbone) h(2,0 op: head T) f(3,0 T: F_T) p(4,0 out: P_T) "
    "j(0,1 image: image) c(1,1 op: backbone) k(2,1 op: head S) g(3,1 S: F_S) o(4,1 S: P_S) "
    "i>b b>h h>f f>p j>c c>k k>g g>o",
    "multi_task": NETWORK + " h(2,0 op: head T) k(2,2 op: head S) f(3,0 T: F_T) g(3,2 S: F_S) p(4,0 out: P_T) "
    "o(4,2 S: P_S) image>back back>h back>k h>f k>g f>p g>o",
    "cross_stitch": PAIR + " mix(1,1 op: weighed sum / per channel) out(2,0 out: refined F_T) T>mix S>mix mix>out",
    "nddr": PAIR + " cat(1,1 op: concatenate) conv(2,1 op: 1x1 - BN - ReLU) out(3,0 out: refined F_T) "
    "T>cat S>cat cat>conv conv>out",
    "pad_net_b": PAIR + " m(1,2 op: 3x3 / message) sum(2,0 op: sum / all sources) c(3,0 op: 1x1) "
    "out(4,0 out: refined F_T) T>sum S>m m>sum sum>c c>out",
    "pad_net_c": PAIR + " m(1,2 op: 3x3 / message) g(1,1 gate: sigmoid of 3x3 / gate) x(2,2 op: gated message) "
    "sum(3,0 op: sum / all sources) c(4,0 op: 1x1) out(5,0 out: refined F_T) T>sum S>m S>g m>x g>x x>sum sum>c c>out",
    "psd": PAIR + " a(1,1 gate: pattern of T / 9x9 similarity) b(1,2 gate: pattern of S / 9x9 similarity) "
    "mix(2,1 op: mix patterns / across tasks) d(3,0 op: diffuse / F_T over 9x9) out(4,0 out: refined F_T) "
    "T>a S>b a>mix b>mix mix>d d>out T>d",
    "pap": PAIR + " a(1,1 gate: affinity of T / all pairs) b(1,2 gate: affinity of S / all pairs) "
    "mix(2,1 op: mix affinities / across tasks) d(3,0 op: diffuse / F_T, all pixels) out(4,0 out: refined F_T) "
    "T>a S>b a>mix b>mix mix>d d>out T>d",
    "global": context("key, value", "1x1 - BN", "all pixels of S", "linear kernel"),
    "local": context("key, value", "1x1 - BN", "9x9 around", "softmax"),
    "t_label": context(
        "key, value", "of prototypes", "regions of T", "softmax", "r(0,3 gate: A_T / label regions) p(1,3 op: prototypes "
        "/ means of F_S) r>p S>p p>k",
    ).replace(" S>k", ""),
    "s_label": context(
        "key, value", "of prototypes", "regions of S", "softmax", "r(0,3 gate: A_S / label regions) p(1,3 op: prototypes "
        "/ means of F_S) r>p S>p p>k",
    ).replace(" S>k", ""),
    "atrc": PAIR + " g(1,1 gate: T from T / global) l(1,2 gate: T from S / T-label) n(1,3 gate: T from U / none) "
    "fuse(2,1 op: fuse / 1x1 - BN) join(3,0 op: join / 1x1 - BN - ReLU) out(4,0 out: refined F_T) "
    "gen(0,3 op: genotype / found by search) T>g S>l g>fuse l>fuse fuse>join T>join join>out gen-n gen-l",
    "atrc_static": MIXED + "sum(2,2 op: weighed sum / learned weights)",
    "atrc_dynamic": MIXED + "sum(2,2 op: weighed sum / per image) w(2,3 op: means of F_T, F_S / linear - softmax) w-sum",
    "fpm": "b3(0,0 op: level 3 / stride 32) h3(1,0 op: 2 basic blocks / per task) t3(2,0 T: F_T, level 3) "
    "i3(3,0 gate: initial / prediction) p(2,1 op: propagation / attention over tasks) b2(2,2 op: level 2 / stride 16) "
    "h2(3,2 op: 2 basic blocks / per task) t2(4,2 T: F_T, level 2) i2(5,2 gate: initial / prediction) "
    "fine(4,3 op: propagation / on to level 0) b3>h3 h3>t3 t3>i3 t3>p p>h2 b2>h2 h2>t2 t2>i2 t2>fine",
    "mti_net": "f(0,1 op: FPM / levels per task) l3(1,0 gate: gated messages / level 3) l2(1,1 gate: gated messages / "
    "level 2, 1) l0(1,2 gate: gated messages / level 0) cat(2,1 op: upsample / concatenate) h(3,1 op: head T) "
    "out(4,1 out: F_T) f>l3 f>l2 f>l0 l3>cat l2>cat l0>cat cat>h h>out",
    "atrc_fpm": "f(0,1 op: FPM / levels per task) cat(1,1 op: upsample / concatenate) h(2,0 op: head T) k(2,2 op: head S) "
    "t(3,0 T: F_T) s(3,2 S: F_S) a(4,1 gate: ATRC / finest level) out(5,0 out: refined F_T) "
    "f>cat cat>h cat>k h>t k>s t>a s>a a>out",
    "atrc_all": "f(0,1 op: FPM / levels per task) l3(1,0 gate: ATRC / level 3) l2(1,1 gate: ATRC / level 2, 1) "
    "l0(1,2 gate: ATRC / level 0) cat(2,1 op: upsample / concatenate) h(3,1 op: head T) out(4,1 out: F_T) "
    "f>l3 f>l2 f>l0 l3>cat l2>cat l0>cat cat>h h>out",
    "aspp": "b(0,1 op: backbone / stride 4 and 16) s(1,0 op: 1x1 to 48 / stride 4) a(1,1 gate: ASPP of T / stride 16) "
    "c(1,2 gate: ASPP of S / stride 16) h(2,0 op: head T) k(2,2 op: head S) t(3,0 T: F_T) u(3,2 S: F_S) "
    "b>s b>a b>c s>h a>h s>k c>k h>t k>u",
    "bmtas": "i(0,1 image: image) a(1,1 op: stage 1 / all tasks) b(2,1 op: stage 2 / all tasks) c(3,0 T: stage 3 / T and U) "
    "d(3,2 S: stage 3 / S) e(4,0 T: stage 4 / T and U) f(4,2 S: stage 4 / S) h(5,0 op: heads T, U) k(5,2 op: head S) "
    "i>a a>b b>c b>d c>e d>f e>h f>k",
}  # fmt: skip

BOX = re.compile(r"([\w']+)\((\d+),(\d+) (\w+): ([^()]*?)\)")
ARROW = re.compile(r"(?<![\w(])([\w']+)([>-])([\w']+)(?![\w(])")
STYLE = (
    "<style>text{font:13px Helvetica,Arial,sans-serif;fill:#1d1d1d;text-anchor:middle}.small{font-size:11px;fill:#444}"
    "path{stroke:#666;fill:none;stroke-width:1.4}rect{stroke:#666}</style>"
)
HEAD = '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
HEAD += '<path d="M0 0L8 4L0 8z" style="fill:#666;stroke:none"/></marker></defs>'


def draw(name: str, text: str) -> str:
    """Return the SVG of one system."""
    boxes = {box[1]: (int(box[2]), int(box[3]), box[4], box[5]) for box in BOX.finditer(text)}
    arrows = [arrow.groups() for arrow in ARROW.finditer(BOX.sub(" ", text))]
    unknown = {end for a, _, b in arrows for end in (a, b)} - set(boxes)
    assert not unknown, (name, unknown)
    w = MARGIN * 2 + (1 + max(box[0] for box in boxes.values())) * (WIDTH + GAP_X) - GAP_X
    h = MARGIN * 2 + (1 + max(box[1] for box in boxes.values())) * (HEIGHT + GAP_Y) - GAP_Y
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" role="img" '
        f'aria-label="Data flow of {name}">',
        STYLE,
        HEAD,
        f'<rect width="{w}" height="{h}" rx="10" fill="#fff" style="stroke:none"/>',
        *(line(boxes[a], boxes[b], dashed=kind == "-") for a, kind, b in arrows),
        *(rectangle(*box) for box in boxes.values()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def corner(column: int, row: int) -> tuple[int, int]:
    """Return the upper left corner of a box."""
    return MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)


def line(start: tuple, end: tuple, dashed: bool) -> str:
    """Connect two boxes: side to side, or top to bottom within a column."""
    (x0, y0), (x1, y1) = corner(*start[:2]), corner(*end[:2])
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    if start[0] == end[0]:
        down = y1 > y0
        x = x0 + WIDTH // 2
        return f'<path d="M{x} {y0 + HEIGHT if down else y0}L{x} {y1 if down else y1 + HEIGHT}" marker-end="url(#a)"{dash}/>'
    a, b = x0 + WIDTH, y0 + HEIGHT // 2
    c, d = x1, y1 + HEIGHT // 2
    bend = a + GAP_X * 0.5 if end[0] == start[0] + 1 else c - GAP_X * 0.5
    return f'<path d="M{a} {b}C{bend} {b} {bend} {d} {c} {d}" marker-end="url(#a)"{dash}/>'


def rectangle(column: int, row: int, kind: str, label: str) -> str:
    """Return a box with one or two lines of text."""
    x, y = corner(column, row)
    first, _, second = (escape(part.strip()) for part in label.partition("/"))
    middle = x + WIDTH / 2
    stroke = ' stroke-width="2.5"' if kind == "out" else ""
    box = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="{FILL[kind]}"{stroke}/>'
    top = y + (20 if second else 28)
    box += f'<text x="{middle}" y="{top}">{first}</text>'
    return box + (f'<text class="small" x="{middle}" y="{y + 36}">{second}</text>' if second else "")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in SYSTEMS.items():
        (OUT / f"{name}.svg").write_text(draw(name, text), encoding="utf-8")
