"""That importing stays quick: what is slow to import is imported where it is used. Modules are checked, not seconds."""

import subprocess
import sys

import numpy as np

ARRAYS = {"numpy", "torch"}
MODELS = {"timm", "torch._dynamo", "torchvision"}  # torchvision imports torch._dynamo, which takes longer than torch
HEAVY = {"atrc_rooms", "embreex", "lightning", "matplotlib", "numba", "tensorboard", "torchmetrics", "trimesh"}
EXTRAS = {"av", "onnx", "onnxruntime", "onnxscript", "starlette", "submitit", "torchjd", "transformers", "uvicorn"}


def imported(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has imported after some code."""
    last = f"{code}\nimport sys; print('modules:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", last], check=True, capture_output=True, text=True)
    return set(done.stdout.rpartition("modules:")[2].split())


def test_importing_atrc_imports_nothing():
    assert not imported("import atrc") & (ARRAYS | MODELS | HEAVY | EXTRAS | {"jaxtyping", "yaml"})


def test_genotypes_need_no_arrays():
    code = "from atrc import Genotype, SearchSpace, UserError"
    assert not imported(code) & (ARRAYS | MODELS | HEAVY | EXTRAS)


def test_what_goes_into_foreign_networks_needs_torch_alone():
    found = imported("from atrc import ATRC, local_attention\nfrom atrc.contexts.label import TLabel")
    assert "torch" in found
    assert not found & (MODELS | HEAVY | EXTRAS)


def test_networks_and_data_sets_need_nothing_that_only_metrics_kernels_and_pictures_do():
    code = "from atrc import MultiTaskNetwork, build_backbone, open_dataset\nfrom atrc.tasks import TASKS"
    assert not imported(code) & (HEAVY | EXTRAS)


def test_boundary_scores_need_no_torch_and_compile_nothing_before_the_first_image(tmp_path):
    for name in ("predictions", "truths"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.eye(20))
    command = ["boundaries", str(tmp_path / "predictions"), str(tmp_path / "truths"), "--max-dist", "0.1"]
    code = (
        "import sys\nfrom atrc.metrics import boundary_scores\nassert 'numba' not in sys.modules\n"
        f"from atrc.app.cli import main\nmain({command})"
    )
    assert not imported(code) & ({"torch"} | MODELS | HEAVY | EXTRAS) - {"numba"}


def test_help_needs_no_arrays():
    tries = "\n".join(
        f"try: main({arguments})\nexcept SystemExit: pass"
        for arguments in (["--help"], ["train", "--help"], ["study", "run", "--help"])
    )
    assert not imported(f"from atrc.app.cli import main\n{tries}") & (ARRAYS | MODELS | HEAVY | EXTRAS)
