"""Time and memory of ATRC: the module, whole training and search steps, and how both grow.

    python benchmarks/network.py [module] [step] [scaling] [--device cpu|cuda ..] [--threads N] [--clock wall|cpu]

`textbook` runs the contexts as they are written in `atrc.contexts`, neighbourhoods unfolded and attention maps stored;
`fast` runs them with the kernels of `atrc.ops`. Forms take turns within a repeat, in both orders; times are medians.
Memory is the highest resident size over the size before, in a process of its own (Linux); on a GPU, what PyTorch
allocated there. Without --device, the CPU and a GPU, if there is one, are measured. On a busy machine `--threads 1
--clock cpu` counts the process's own time only.
"""

import argparse
import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from timing import CLOCKS, exponent, machine, peak_megabytes, seconds

from atrc.backbones import build_backbone
from atrc.data.nyud import nyud_tasks
from atrc.distillation import ATRC
from atrc.genotype import Genotype
from atrc.network import MultiTaskNetwork
from atrc.ops import KERNELS
from atrc.search import supergraph
from atrc.training.execution import default_recompute, recompute
from atrc.training.losses import task_losses
from atrc.training.phases.search import ContextSearch
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import Recipe

HEIGHT, WIDTH, CHANNELS = 425, 560, 67  # the paper's images; HRNet18's features
GRID = (107, 140)
GENOTYPE = Genotype.published("nyud_hrnet18")
REGIONS = {"semseg": 40, "depth": 40, "normals": 40, "edge": 2}
Clock = Callable[[], float]
FORMS = ("textbook", "fast")
STEPS = (
    "multi-task",
    "ATRC",
    "ATRC, textbook",
    "ATRC, recompute",
    "search",
    "search, keep",
    "search, half fixed",
    "search, fixed",
)


def make_module(
    form: str, batch: int, grid: tuple[int, int], genotype: Genotype = GENOTYPE, regions: int = 0, device: str = "cpu"
):
    """A forward and backward pass of the module alone."""
    torch.manual_seed(0)
    module = ATRC(genotype, CHANNELS, dropout=0.0).to(device)
    for row in module.rows.values():
        torch.nn.init.ones_(row.fuse[1].weight)  # or no gradient reaches the blocks
    tasks = genotype.targets
    features = {task: torch.randn(batch, CHANNELS, *grid, device=device, requires_grad=True) for task in tasks}
    logits = {task: torch.randn(batch, regions or REGIONS[task], *grid, device=device) for task in module.label_tasks}
    wanted = [*features.values(), *module.parameters()]

    def step() -> None:
        with kernels(form != "textbook"):
            refined = module(features, logits)
        torch.autograd.grad(sum(x.sum() for x in refined.values()), wanted, allow_unused=True)

    return step


@contextlib.contextmanager
def kernels(wanted: bool) -> Iterator[None]:
    """Use the kernels of the contexts, or their plain form."""
    kept = dict(KERNELS)
    if not wanted:
        KERNELS.clear()
    try:
        yield
    finally:
        KERNELS.update(kept)


def make_step(form: str, batch: int, size: tuple[int, int], device: str = "cpu") -> Callable[[], None]:
    """A training step of a whole network: forward, losses, backward, SGD; in a search, Adam too."""
    torch.manual_seed(0)
    tasks, recipe = nyud_tasks(), Recipe()
    names = [task.name for task in tasks]
    search = form.startswith("search")
    make = None if form == "multi-task" else supergraph(names) if search else functools.partial(ATRC, GENOTYPE)
    network = MultiTaskNetwork(tasks, build_backbone("hrnet18"), make).to(device)
    kept = {"recompute": "network", "keep": "nothing"}.get(form.rpartition(", ")[2], default_recompute(network))
    recompute(network, kept)
    phase = ContextSearch(network, recipe) if search else TrainPhase(network, recipe)
    if fixed := {"search, half fixed": 8, "search, fixed": 16}.get(form):
        fix(phase, fixed)
    image, truth, valid = random_batch(tasks, batch, size, device)
    optimizer = phase.optimizer

    def step() -> None:
        phase.before(0)
        with kernels(form != "ATRC, textbook"):
            output = network(image)
        losses = task_losses(output, truth, valid, tasks, lambda count: count)
        total = phase.balancing.total(losses)
        if (extra := phase.regulariser(0)) is not None:
            total = total + extra
        phase.balancing.backward(total, losses, torch.Tensor.backward, lambda count: count)
        optimizer.step()
        optimizer.zero_grad()

    return step


def fix(phase: ContextSearch, count: int) -> None:
    """Fix the first blocks to the released genotype."""
    for (pair, choice), _ in zip(phase.supergraph.choices.items(), range(count), strict=False):
        context = "t_label" if GENOTYPE[pair] == "s_label" and pair[0] == pair[1] else GENOTYPE[pair]
        with torch.no_grad():
            choice.alpha[choice.contexts.index(context)] = 9.0
    phase.supergraph.fix(0.3)


def random_batch(tasks, batch: int, size: tuple[int, int], device: str):
    """Labels of no scene, valid everywhere."""
    valid = {task.name: torch.ones(batch, *size, dtype=torch.bool, device=device) for task in tasks}
    truth = {
        "semseg": torch.randint(40, (batch, *size)),
        "depth": torch.rand(batch, *size) * 9 + 0.7,
        "normals": torch.nn.functional.normalize(torch.randn(batch, 3, *size), dim=1),
        "edge": torch.randint(2, (batch, *size)),
    }
    truth = {name: labels.to(device) for name, labels in truth.items()}
    return torch.rand(batch, 3, *size, device=device), truth, valid


def measure_module(repeats: int, clock: Clock, device: str) -> list[dict]:
    """The module, its textbook form first."""
    rows = []
    print("| images | form | time [ms] | faster | peak memory [MB] | less |\n|---|---|---|---|---|---|")
    for batch in (1, 4):
        times = seconds({form: make_module(form, batch, GRID, device=device) for form in FORMS}, repeats, clock)
        rest = (GENOTYPE, 0, device)
        memory = {
            form: peak_megabytes(make_module, (form, 1, (8, 8), *rest), (form, batch, GRID, *rest)) for form in FORMS
        }
        for form in FORMS:
            faster, less = times["textbook"] / times[form], memory["textbook"] / memory[form]
            print(f"| {batch} | {form} | {1e3 * times[form]:.0f} | {faster:.2f}x | {memory[form]:.0f} | {less:.2f}x |")
            rows.append({"batch": batch, "form": form, "ms": 1e3 * times[form], "peak_mb": memory[form]})
    return rows


def measure_steps(repeats: int, clock: Clock, device: str, batch: int) -> list[dict]:
    """Whole steps, the multi-task network's first."""
    rows = []
    size = (HEIGHT, WIDTH)
    times = seconds({form: make_step(form, batch, size, device) for form in STEPS}, repeats, clock)
    memory = {
        form: peak_megabytes(make_step, (form, 2, (32, 32), device), (form, batch, size, device)) for form in STEPS
    }
    print("| step | time [ms] | of multi-task | peak memory [MB] | of multi-task |\n|---|---|---|---|---|")
    for form in STEPS:
        ratio, more = times[form] / times["multi-task"], memory[form] / memory["multi-task"]
        print(f"| {form} | {1e3 * times[form]:.0f} | {ratio:.2f} | {memory[form]:.0f} | {more:.2f} |")
        rows.append({"form": form, "batch": batch, "ms": 1e3 * times[form], "ratio": ratio, "peak_mb": memory[form]})
    return rows


def measure_scaling(repeats: int, clock: Clock, device: str) -> list[dict]:
    """Time and memory over pixels, tasks and regions, by context."""
    contexts = ("global", "local", "t_label", "s_label")
    grids = {n * n: (n, n) for n in (32, 64, 128, 256)}
    rows = []
    print("| context | grows with | from - to | time exponent | memory exponent |\n|---|---|---|---|---|")
    for context in contexts:
        cases = {"pixels": {n: (uniform(4, context), grid, 40) for n, grid in grids.items()}}
        cases["tasks"] = {n: (uniform(n, context), (64, 64), 40) for n in (2, 4, 6, 8)}
        if "label" in context:
            cases["regions"] = {n: (uniform(4, context), (64, 64), n) for n in (8, 32, 128, 256)}
        for name, case in cases.items():
            steps = {n: make_module("fast", 1, grid, genotype, r, device) for n, (genotype, grid, r) in case.items()}
            times = seconds(steps, repeats, clock)
            memory = {
                n: peak_megabytes(
                    make_module, ("fast", 1, (8, 8), genotype, r, device), ("fast", 1, grid, genotype, r, device)
                )
                for n, (genotype, grid, r) in case.items()
            }
            row = {"context": context, "over": name, "n": list(times), "s": list(times.values())}
            row |= {"mb": list(memory.values())}
            row |= {"time": exponent(times, times.values()), "memory": exponent(memory, memory.values())}
            print(f"| {context} | {name} | {min(times)} - {max(times)} | {row['time']:.2f} | {row['memory']:.2f} |")
            rows.append(row)
    return rows


def uniform(tasks: int, context: str) -> Genotype:
    """One context between so many tasks."""
    return Genotype.uniform([f"task{n}" for n in range(tasks)], context)


def main() -> None:
    """Print Markdown; with --json, also write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["module", "step", "scaling"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2, help="images of a whole step")
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--device", nargs="+", default=devices)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = CLOCKS[options.clock]
    if "cuda" in options.device:
        torch.cuda.init()  # so that `machine` names it
    found: dict[str, object] = {"machine": machine()}
    print(f"{machine()}, float32, forward + backward, {HEIGHT}x{WIDTH}")
    measures = {
        "module": measure_module,
        "step": functools.partial(measure_steps, batch=options.batch),
        "scaling": measure_scaling,
    }
    for device in options.device:
        for what in options.what:
            name = what if device == "cpu" else f"{what}, {device}"
            print(f"\n{name}\n")
            found[name] = measures[what](options.repeats, clock, device)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
