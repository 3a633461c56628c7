"""The golden loss curves of a training and a search: `python tests/trust/golden.py` writes golden.json anew.

In float64, on drawn scenes that are stored without loss, so that no codec has a say. What other processors and
libraries change is in the last digits of sums, 1e-16 of a number; a step multiplies that by what its batch norms have
for a condition, at this size up to 1e3, and the losses are taken in float32. The augmentation resizes 8-bit images, and
one grey level in some pixels, which other kernels may round otherwise, moves a loss by about 1e-4. Hence the tolerance
of 2e-3: a tenth of what leaving out the weight decay or one task's weight would move the last step by.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from runs import tiny

sys.path.append(str(Path(__file__).parents[1]))

from atrc.training.folder import read_table
from atrc.training.loop import fit
from folders import write_nyud

KINDS = ("train", "search")
TOLERANCE = 2e-3
STEPS = 5
COLUMNS = {"train": ("loss", "semseg", "depth", "normals", "edge")}
COLUMNS["search"] = (*COLUMNS["train"], "entropy")


def curves(root: Path) -> dict[str, dict[str, list[float]]]:
    """Run both, in a folder, and return their curves."""
    torch.set_num_threads(1)
    data = write_nyud(root / "NYUD_MT", train=6, val=1, images="png", labels="png")
    found = {}
    for kind in KINDS:
        what = tiny(root / kind, data, STEPS, precision="64", distillation="atrc", genotype="random:1")
        what.data.crop, what.validate_every, what.deterministic = (48, 64), 0, True
        fit(what, search=kind == "search", progress=False)
        torch.use_deterministic_algorithms(False)  # again
        rows = read_table(root / kind / "train.csv")
        found[kind] = {column: [float(f"{float(row[column]):.6g}") for row in rows] for column in COLUMNS[kind]}
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        kept = {"tolerance": TOLERANCE, **curves(Path(folder))}
    Path(__file__).with_name("golden.json").write_text(json.dumps(kept, indent=1) + "\n")
