"""Photographs the explorer, in docs/assets/explore*.png: python docs/figures/explore.py [MODEL [COMPARE]]

Needs Chromium. The example is a rendered room, so the same network gives the same pictures.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "benchmarks"))
sys.path.append(str(ROOT / "tests"))
from explorer_load import server  # noqa: E402

from chromium import browsing, find_chromium  # noqa: E402

OUT = ROOT / "docs" / "assets"
QUIET = (
    "document.querySelector('.reading')?.textContent && !document.querySelector('[aria-busy]')"
    " && document.querySelectorAll('#examples img').length && !document.querySelector('#message').textContent"
    " && [...document.images].every(image => image.complete)"
)
MOST = 400_000  # of a picture [bytes]
SHOTS = {  # name: what is shown, and the window
    "explore": ("task=depth&source=semseg&row=330&column=260&fade=60", {"width": 1280, "height": 1010}),
    "explore-dark": (
        "task=normals&source=semseg&row=300&column=330&over=prediction",
        {"width": 1280, "height": 1010, "dark": True},
    ),
    "explore-phone": ("task=semseg&source=depth&row=330&column=260", {"width": 390, "height": 1400, "phone": True}),
}
PAIR = ("explore-compare", "task=semseg&row=330&column=260", {"width": 1280, "height": 880})


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="rooms-atrc")
    parser.add_argument("compare", nargs="?")
    options = parser.parse_args()
    shots = [(name, f"show=0&{what}", window) for name, (what, window) in SHOTS.items()]
    take(options.model, None, shots)
    if options.compare:
        take(options.model, options.compare, [PAIR])


def take(model: str, compare: str | None, shots: list[tuple[str, str, dict]]) -> None:
    """Photograph a server's page."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("no Chromium or Chrome on the PATH")
    with server(model, None, compare) as (port, _), browsing(chromium) as new_page:
        page = new_page()
        for name, what, window in shots:
            page.emulate(scale=1.0, **window)
            page.open(f"http://127.0.0.1:{port}/#{what}")
            page.wait(QUIET, 120)
            path = OUT / f"{name}.png"
            page.screenshot(path)
            shrink(path)
            print(path.relative_to(ROOT), path.stat().st_size // 1000, "kB")


def shrink(path: Path) -> None:
    """Make a picture small enough for a repository, if it is not: fewer colours, dithered where they run out."""
    picture = Image.open(path).convert("RGB")
    picture.save(path, optimize=True)
    if path.stat().st_size > MOST:
        fewer = picture.quantize(256, Image.Quantize.MEDIANCUT, kmeans=2)
        picture.quantize(palette=fewer, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    main()
