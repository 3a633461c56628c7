"""Draws what each context lets one target pixel attend to, over a rendered room with its true label regions."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from jaxtyping import Bool, Integer, UInt8
from PIL import Image
from svg import INK, page, rect, text

from atrc.contexts import CONTEXTS, get_context
from atrc.studies.figures.style import ink
from atrc.tasks import Depth, SemanticSegmentation
from atrc.tasks.colours import paint_scalar
from atrc_rooms import CLASSES, View, render_room

SCENE, SIZE, STRIDE = (3, 7), (240, 320), 4
TARGET = 42, 59  # row and column of the target pixel on the feature grid: on the armchair
WIDTH, HEIGHT, HEAD, GAP = 316, 237, 46, 8  # of a panel
SMALL = 60  # regions of fewer cells are not named


def draw() -> str:
    """Return the figure: the image, and five contexts of target semseg, source depth."""
    view = render_room("indoor", SCENE, SIZE)
    cells = slice(STRIDE // 2, None, STRIDE)
    semseg, depth = view.semseg[cells, cells], torch.from_numpy(view.depth[cells, cells].copy())
    bins = Depth().region_labels(depth).numpy()
    panels = [
        ("image", "target pixel of semseg; source task: depth", ""),
        ("global", "all source pixels", _tint(get_context("global").colour)),
        ("local", "9x9 source pixels around it", _window(get_context("local").colour)),
        ("t_label", f"prototypes of semseg regions: {len(np.unique(semseg))} in view", _classes(view, semseg)),
        ("s_label", f"prototypes of depth regions: {len(np.unique(bins))} in view", _bins(bins)),
        ("none", "nothing: the pair is cut", _tint("#ffffff", 0.75)),
    ]
    parts = [f'<defs><image id="room" width="{WIDTH}" height="{HEIGHT}" href="{_jpeg(view.image)}"/></defs>']
    parts += [f'<defs><image id="grey" width="{WIDTH}" height="{HEIGHT}" href="{_jpeg(_grey(view.image))}"/></defs>']
    for i, panel in enumerate(panels):
        x, y = GAP + i % 2 * (WIDTH + GAP), GAP + i // 2 * (HEIGHT + HEAD + GAP)
        parts.append(f'<g transform="translate({x} {y})">{_panel(*panel)}</g>')
    rows = len(panels) // 2
    return page(GAP + 2 * (WIDTH + GAP), GAP + rows * (HEIGHT + HEAD + GAP), "What a pixel attends to", parts)


def _panel(context: str, caption: str, overlay: str) -> str:
    colour = get_context(context).colour if context in CONTEXTS else INK
    name = get_context(context).title if context in CONTEXTS else "image"
    chip = rect(0, 2, 9 * len(name) + 16, 22, colour, "none", 'rx="5"')
    head = chip + text(8, 18, name, "bold", ink(colour)) + text(0, 40, caption, "small")
    picture = f'<use href="#{"room" if context == "image" else "grey"}"/>'
    frame = rect(0, 0, WIDTH, HEIGHT, "none", colour, 'stroke-width="2"')
    return head + f'<g transform="translate(0 {HEAD})">{picture}{overlay}{frame}{_cross()}</g>'


def _place(row: float, column: float) -> tuple[float, float]:
    """Return where the centre of a cell is in a panel."""
    return (column + 0.5) * STRIDE * WIDTH / SIZE[1], (row + 0.5) * STRIDE * HEIGHT / SIZE[0]


def _cross() -> str:
    x, y = _place(*TARGET)
    plus = f"M{x - 9:g} {y:g}h18M{x:g} {y - 9:g}v18"
    return f'<path d="{plus}" stroke="#fff" stroke-width="6"/><path d="{plus}" stroke="{INK}" stroke-width="2.5"/>'


def _tint(colour: str, opacity: float = 0.45) -> str:
    return rect(0, 0, WIDTH, HEIGHT, colour, "none", f'fill-opacity="{opacity}"')


def _window(colour: str) -> str:
    """Return the 9x9 cells around the target pixel."""
    cell_w, cell_h = STRIDE * WIDTH / SIZE[1], STRIDE * HEIGHT / SIZE[0]
    x, y = _place(TARGET[0] - 4.5, TARGET[1] - 4.5)
    lines = "".join(
        f"M{x + i * cell_w:g} {y:g}v{9 * cell_h:g}M{x:g} {y + i * cell_h:g}h{9 * cell_w:g}" for i in range(10)
    )
    box = rect(x, y, 9 * cell_w, 9 * cell_h, colour, INK, 'fill-opacity="0.7" stroke-width="1.5"')
    return box + f'<path d="{lines}" stroke="{INK}" stroke-width="0.4"/>'


def _classes(view: View, semseg: Integer[np.ndarray, "h w"]) -> str:
    names = CLASSES["indoor"]
    colours = SemanticSegmentation(num_classes=len(names)).colours
    labels = {k: names[k].replace("_", " ") for k in np.unique(semseg)}
    return _regions(semseg, colours, labels, get_context("t_label").colour)


def _bins(bins: Integer[np.ndarray, "h w"]) -> str:
    task = Depth()
    every, shares = np.unique(bins), (np.arange(task.bins) + 0.5) / task.bins
    colours = paint_scalar(shares[None], shares[every[0]], shares[every[-1]], "viridis_r")[0]
    middles = task.nearest * (task.farthest / task.nearest) ** shares
    labels = {k: f"{middles[k]:.1f} m" if k in every[::3] else "" for k in every}
    return _regions(bins, colours, labels, get_context("s_label").colour)


def _regions(
    regions: Integer[np.ndarray, "h w"], colours: UInt8[np.ndarray, "r 3"], labels: dict[int, str], colour: str
) -> str:
    """Return regions as a veil, with a line from the target pixel to a dot in each: its prototype."""
    veil = f'<image width="{WIDTH}" height="{HEIGHT}" preserveAspectRatio="none" opacity="0.8" '
    veil += f'style="image-rendering:pixelated" href="{_png(colours[regions])}"/>'
    x, y = _place(*TARGET)
    spokes, dots = [], []
    for region, label in labels.items():
        a, b = _place(*_middle(regions == region))
        spokes.append(f"M{x:g} {y:g}L{a:.1f} {b:.1f}")
        dots.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="5" fill="{colour}" stroke="#fff" stroke-width="1.5"/>')
        if label and (regions == region).sum() >= SMALL:
            a = min(max(a, 4.2 * len(label)), WIDTH - 4.2 * len(label))  # not over the edge
            halo = f'style="paint-order:stroke;stroke:#fff;stroke-width:3px;fill:{INK}"'
            dots.append(f'<text x="{a:.1f}" y="{b - 9:.1f}" class="small middle" {halo}>{label}</text>')
    lines = "".join(spokes)
    halo = f'<path d="{lines}" stroke="#fff" stroke-width="4"/><path d="{lines}" stroke="{colour}" stroke-width="1.8"/>'
    return veil + halo + "".join(dots)


def _middle(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """Return the cell of a region that is nearest to its middle."""
    cells = np.argwhere(mask)
    row, column = cells[((cells - np.median(cells, 0)) ** 2).sum(1).argmin()]
    return int(row), int(column)


def _grey(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def _jpeg(image: UInt8[np.ndarray, "h w 3"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _png(image: UInt8[np.ndarray, "h w 3"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
