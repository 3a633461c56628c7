"""Draws the figures of docs/method.md, in docs/assets/method: python docs/figures/method.py"""

from pathlib import Path

import method_block
import method_contexts
import method_search

OUT = Path(__file__).parent.parent / "assets" / "method"
FIGURES = {
    "contexts": method_contexts.draw,
    "block": method_block.draw,
    "mixture": method_search.draw_mixture,
    "course": method_search.draw_course,
    "genotype": method_search.draw_genotype,
    "logo": method_search.draw_logo,
}

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        (OUT / f"{name}.svg").write_text(draw(), encoding="utf-8")
