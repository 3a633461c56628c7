"""Time and memory of one prediction: in PyTorch, in ONNX Runtime, compiled.

    python benchmarks/inference.py [none] [nyud_hrnet18] [global] .. [--size H W] [--threads N] [--compile]

Networks are HRNet18 for the tasks of NYUD-v2, named by their genotype; `none` is the multi-task network. All forms
return classes, metres, unit vectors and probabilities, and are compared before they are timed. They take turns within a
repeat, in both orders; times are medians. Memory is the highest resident size over the size before, with the network
loaded, in a process of its own (Linux).
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from timing import machine, peak_megabytes, seconds

from atrc.app.export import compare, require_equal
from atrc.data.nyud import nyud_tasks
from atrc.network import MultiTaskNetwork, NetworkConfig, build_network
from atrc.sharing.export import Deployed, Predict, export_network

FORMS = ("PyTorch", "ONNX Runtime")
SMALL = (64, 64)


def make_network(genotype: str) -> MultiTaskNetwork:
    """Random weights; the contexts count and features have their usual size, as after training."""
    torch.manual_seed(0)
    config = NetworkConfig() if genotype == "none" else NetworkConfig(distillation="atrc", genotype=genotype)
    network = build_network(config, nyud_tasks())
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            if module.affine:
                torch.nn.init.ones_(module.weight)
    with torch.no_grad():
        network.train()(torch.rand(2, 3, *SMALL))
    return network.eval()


def make_predict(form: str, network: MultiTaskNetwork, path: Path) -> Predict:
    """What predicts in a form; in ONNX Runtime from a file, on as many threads as PyTorch."""
    if form == "ONNX Runtime":
        return open_session(path)
    deployed = Deployed(network).eval()
    return torch.compile(deployed) if form == "compiled" else deployed


def open_session(path: Path) -> Predict:
    """As `atrc.sharing.export.open_onnx`, on a number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def predict(image: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(names, map(torch.from_numpy, session.run(None, {"image": image.numpy()})), strict=True))

    return predict


def make_step(form: str, genotype: str, path: Path, size: tuple[int, int]) -> Callable[[], None]:
    """Predict one image."""
    predict, image = make_predict(form, make_network(genotype), path), torch.rand(1, 3, *size)

    def step() -> None:
        with torch.inference_mode():
            predict(image)

    return step


def measure(genotype: str, forms: tuple[str, ...], size: tuple[int, int], repeats: int) -> list[dict]:
    """All forms of one network."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        network, path = make_network(genotype), Path(folder) / "network.onnx"
        export_network(network, path)
        for form in forms:
            require_equal(compare(network, make_predict(form, network, path), [torch.rand(1, 3, *SMALL)]))
        times = seconds({form: make_step(form, genotype, path, size) for form in forms}, repeats)
        for form in forms:
            peak = peak_megabytes(make_step, (form, genotype, path, SMALL), (form, genotype, path, size))
            rows.append({"network": genotype, "form": form, "ms": 1e3 * times[form], "peak_mb": peak})
            faster, less = rows[0]["ms"] / rows[-1]["ms"], rows[0]["peak_mb"] / peak
            print(
                f"| {genotype} | {form} | {rows[-1]['ms']:.0f} | {faster:.2f}x | {peak:.0f} | {less:.2f}x |", flush=True
            )
    return rows


def main() -> None:
    """Print Markdown; with --json, also write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["none", "nyud_hrnet18"])
    parser.add_argument("--size", type=int, nargs=2, default=(425, 560))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile too; it needs a C++ compiler, and minutes"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size, forms = tuple(options.size), (*FORMS, *(("compiled",) if options.compile else ()))
    print(f"{machine()}, ONNX Runtime {onnxruntime.__version__}, float32, one image of {size[0]}x{size[1]}\n")
    print("| network | form | time [ms] | faster | peak memory [MB] | less |\n|---|---|---|---|---|---|")
    rows = [row for network in options.networks for row in measure(network, forms, size, options.repeats)]
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "size": size, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
