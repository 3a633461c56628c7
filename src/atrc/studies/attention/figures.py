"""Figure 3 of the paper: what one pixel attends to. Matplotlib is imported where it draws: it is slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8

from atrc.contexts import get_context
from atrc.studies.attention.inspection import ContextMap, Inspection, region_task
from atrc.studies.figures.style import GREY, new_figure, plain_axes
from atrc.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# h w image, y x feature grid

COLOURS = "inferno"  # perceptually uniform
OPACITY = 0.75  # of a map over its image
REGIONS = 5  # label regions that are shown, the most attended
CELL, TITLE = 1.45, 0.28  # width of a panel, and what its title takes [in]

Picture = UInt8[np.ndarray, "h w 3"]


def draw_attention(
    inspection: Inspection,
    photo: Picture,
    pixel: tuple[int, int],
    maps: Mapping[str, Mapping[str, ContextMap | None]],
) -> Figure:
    """Draw a row of panels for every target: where the pixel is, and its map over every source.

    Below a map are the regions of a label context, or the window of a local one.

    Source: Fig. 3.

    Args:
        inspection: The network and what it made of the image.
        photo: The image.
        pixel: Row and column in it [px].
        maps: By target and source.
    """
    columns = 1 + max(len(row) for row in maps.values())
    height = CELL * photo.shape[0] / photo.shape[1] + TITLE
    figure = new_figure(CELL * columns, 2 * height * len(maps))
    panels = figure.subplots(2 * len(maps), columns, squeeze=False)
    for i, (target, row) in enumerate(maps.items()):
        above, below = panels[2 * i], panels[2 * i + 1]
        _draw_target(above[0], below[0], inspection, photo, pixel, target)
        for upper, lower, (source, found) in zip(above[1:], below[1:], row.items(), strict=False):
            _draw_source(upper, lower, inspection, photo, pixel, target, source, found)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_box_aspect(photo.shape[0] / photo.shape[1])
        plain_axes(axes)
    return figure


def _draw_target(
    above: Axes, below: Axes, inspection: Inspection, photo: Picture, pixel: tuple[int, int], target: str
) -> None:
    task = inspection.tasks[target]
    above.imshow(photo)
    above.set_title(f"pixel of {target}", loc="left", weight="bold")
    below.imshow(task.colour(task.decode(inspection.output.predictions[target].float().cpu())[0].numpy()))
    below.set_title(f"predicted {target}", loc="left", color=GREY)
    for axes in (above, below):
        _mark(axes, pixel)


def _draw_source(
    above: Axes,
    below: Axes,
    inspection: Inspection,
    photo: Picture,
    pixel: tuple[int, int],
    target: str,
    source: str,
    found: ContextMap | None,
) -> None:
    if found is None:
        above.imshow(np.full_like(photo, 245))
        above.set_title(f"from {source}: none", loc="left", color=GREY)
        return
    above.imshow(overlay(found.pixels.numpy(), photo))
    _mark(above, pixel)
    above.set_title(f"from {source}: {get_context(found.context).title}", loc="left")
    if found.regions is not None:
        task = inspection.tasks[region_task(found, target, source)]
        draw_regions(below, task, found.regions.numpy())
    elif window := get_context(found.context).window:
        _draw_window(below, found.pixels.numpy(), window, inspection.place(*pixel), photo.shape[1] / photo.shape[0])
    else:
        below.set_title(describe_range(found.pixels.numpy()), loc="left", color=GREY)


def overlay(weights: Float[np.ndarray, "y x"], photo: Picture) -> Picture:
    """Lay a map over the grey image; the colours span its values, and at least what every pixel gets of an even map."""
    from matplotlib import colormaps

    smooth = F.interpolate(torch.from_numpy(weights)[None, None], photo.shape[:2], mode="bilinear")[0, 0].numpy()
    low, high = float(weights.min()), float(weights.max())
    share = np.clip((smooth - low) / max(high - low, 1 / weights.size), 0, 1)
    grey = np.repeat(photo.mean(2, keepdims=True), 3, 2) / 255
    mixed = OPACITY * colormaps[COLOURS](share)[..., :3] + (1 - OPACITY) * grey
    return (255 * mixed).round().astype(np.uint8)


def describe_range(weights: Float[np.ndarray, "y x"]) -> str:
    """Say what the least and the greatest weight are, in shares of what every pixel would get of an even map.

    >>> describe_range(np.array([[0.05, 0.15], [0.4, 0.4]]))
    '0.20 to 1.60 × even'
    """
    shares = [float(value) * weights.size for value in (weights.min(), weights.max())]
    low, high = (f"{share:.2f}" if share < 10 else f"{share:.0f}" for share in shares)
    return f"{low} to {high} \N{MULTIPLICATION SIGN} even"


def draw_regions(axes: Axes, task: Task, weights: Float[np.ndarray, " r"]) -> None:
    """Draw the label regions that get most, as bars in their colours."""
    order = np.argsort(-weights)[:REGIONS]
    axes.set_title(f"regions of {task.name}", loc="left", color=GREY)
    axes.set(xlim=(0, weights.max()), ylim=(REGIONS, 0))
    for place, region in enumerate(order.tolist()):
        colour = task.region_colours[region] / 255
        share = float(weights[region])
        axes.barh(place + 0.8, share, 0.26, color=colour, edgecolor="0.4", linewidth=0.4, clip_on=False)
        axes.text(0, place + 0.62, task.region_names[region], size=5.5, va="bottom", ha="left")
        axes.text(weights.max(), place + 0.62, f"{100 * share:.1f} %", size=5.5, va="bottom", ha="right")


def _draw_window(
    axes: Axes, weights: Float[np.ndarray, "y x"], side: int, cell: tuple[int, int], aspect: float
) -> None:
    """Draw the window of a local context; it ends at the border of the image."""
    rows, columns = (slice(max(0, place - side // 2), place + side // 2 + 1) for place in cell)
    window = weights[rows, columns]
    axes.imshow(window, cmap=COLOURS, vmin=0)
    _mark(axes, (cell[0] - rows.start, cell[1] - columns.start))
    high = max(window.shape[0], window.shape[1] / aspect)
    axes.set(xlim=(-0.5, high * aspect - 0.5), ylim=(high - 0.5, -0.5))
    axes.set_title(f"window: {describe_range(window)}", loc="left", color=GREY)


def _mark(axes: Axes, pixel: tuple[int, int]) -> None:
    row, column = pixel
    for colour, width in (("black", 2.4), ("white", 1.2)):
        axes.plot(column, row, "x", color=colour, markersize=6 + (width > 2) * 1.2, markeredgewidth=width)
