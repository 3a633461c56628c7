"""Draws the figures of docs/method.md, in docs/assets/method: python docs/figures/method.py"""

from pathlib import Path

import block
import contexts
import searching

OUT = Path(__file__).parent.parent / "assets" / "method"
FIGURES = {
    "contexts": contexts.draw,
    "block": block.draw,
    "mixture": searching.draw_mixture,
    "course": searching.draw_course,
    "genotype": searching.draw_genotype,
    "logo": searching.draw_logo,
}

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        (OUT / f"{name}.svg").write_text(draw(), encoding="utf-8")
