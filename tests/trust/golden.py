"""The golden loss curves of a training and a search: `python tests/trust/golden.py` writes golden.json.

In float64, on drawn scenes that are stored without loss and not resized, so that neither codecs nor the rounding of
grey levels have a say. Other processors and libraries still add in another order, and at this size, where a batch norm
may have eight values, every step makes more of that. With PyTorch's kernels of no vectors and none of ours
(`ATEN_CPU_CAPABILITY=default ATRC_NO_COMPILER=1`), which stand for another processor, the five steps differed by up to
1e-6, 4e-4, 2e-2, 4e-2 and 4e-2 of a loss. The tolerances are a few times that: the first step holds the data, the
initial weights and the losses, the second the gradients and the learning rate, the others that it learns. To the bit,
on one processor, is another test.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1]))

from atrc.training.loop import fit
from atrc.training.run.folder import read_table
from folders import write_nyud
from runs import tiny

KINDS = ("train", "search")
TOLERANCES = (1e-5, 2e-3, 0.1, 0.2, 0.2)  # of every step, relative
COLUMNS = {"train": ("loss", "semseg", "depth", "normals", "edge")}
COLUMNS["search"] = (*COLUMNS["train"], "entropy")


def curves(root: Path) -> dict[str, dict[str, list[float]]]:
    """Run both, in a folder, and return their curves."""
    torch.set_num_threads(1)
    data = write_nyud(root / "NYUD_MT", train=6, val=1, images="png", labels="png")
    found = {}
    for kind in KINDS:
        what = tiny(root / kind, data, len(TOLERANCES), precision="64", distillation="atrc", genotype="random:1")
        what.network.backbone = "hrnet18"
        what.data.crop, what.data.scale, what.validate_every, what.deterministic = (48, 64), (1.0, 1.0), 0, True
        fit(what, search=kind == "search", progress=False)
        torch.use_deterministic_algorithms(False)  # again
        rows = read_table(root / kind / "train.csv")
        found[kind] = {column: [float(f"{float(row[column]):.6g}") for row in rows] for column in COLUMNS[kind]}
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        kept = {"tolerances": TOLERANCES, **curves(Path(folder))}
    Path(__file__).with_name("golden.json").write_text(json.dumps(kept, indent=1) + "\n")
