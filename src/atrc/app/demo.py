"""`atrc demo`: the whole method on rendered rooms, small enough for two CPU cores."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from atrc.app.data.rooms import write_rooms
from atrc.app.evaluate import compare
from atrc.app.report.demo import Row, print_table, write_report
from atrc.data.layouts import open_dataset
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.images import read_image
from atrc.training.evaluation.evaluate import constant_results, evaluation_loader
from atrc.training.loop import fit
from atrc.training.recipe import DataConfig, NetworkConfig, OptimConfig, Recipe, SearchConfig
from atrc.training.resources import count_multiply_adds, count_parameters
from atrc.training.run.checkpoint import Checkpoint, checkpoint_path

SIZE = (96, 128)
BACKBONE = "hrnet18"
TRAIN, VAL = 240, 40
STEPS, SEARCH_STEPS = 450, 200


def run_demo(out: Path, image: Path | None, seed: int) -> None:
    """Render, train the baseline, search, retrain, compare, and write the report; finished parts are not repeated."""
    if image is not None:
        read_image(image)  # before minutes of training: the path may be wrong
    began = time.perf_counter()
    data = out / "rooms"
    say(f"1/5  {TRAIN + VAL} rendered rooms, {SIZE[0]}x{SIZE[1]} -> {data}")
    write_rooms(data, "indoor", train=TRAIN, val=VAL, size=SIZE, seed=seed)
    baseline = demo_recipe(out / "baseline", data, seed)
    say(f"2/5  multi-task baseline, {STEPS} steps -> {baseline.out}")
    rows = [train(baseline, "multi-task baseline")]
    searching = replace(
        baseline,
        out=str(out / "search"),
        optim=replace(baseline.optim, steps=SEARCH_STEPS),
        # The paper's rate of 5e-4 is for 40,000 steps; in so few steps each one has to move alpha further.
        search=SearchConfig(lr=0.02),
    )
    say(f"3/5  search, {SEARCH_STEPS} steps -> {searching.out}")
    genotype = search(searching)
    say("\n".join("     " + line for line in str(genotype).splitlines()))
    found = replace(
        baseline,
        out=str(out / "atrc"),
        network=replace(baseline.network, distillation="atrc", genotype=str(searching.folder / "genotype.json")),
    )
    say(f"4/5  the found genotype from scratch, {STEPS} steps -> {found.out}")
    rows.append(train(found, "ATRC, searched"))
    rows[1] = replace(rows[1], delta_m=gain(rows[1], rows[0]))
    dataset = open_dataset(str(data), "val")
    rows.insert(0, Row("best constant", constant_results(dataset.tasks, evaluation_loader(dataset, SIZE, 4, 0))))
    say(f"5/5  report -> {out / 'report.html'}\n")
    print_table(rows)
    write_report(out, rows, genotype, [baseline, found], searching, image)
    say(f"\nopen {out / 'report.html'} ({time.perf_counter() - began:.0f} s in all)")


def say(text: str) -> None:
    """Print a line of progress."""
    tqdm.write(text)


def demo_recipe(out: Path, data: Path, seed: int) -> Recipe:
    """Return the recipe of the baseline; the other runs change as little as possible."""
    return Recipe(
        out=str(out),
        network=NetworkConfig(backbone=BACKBONE),
        data=DataConfig(root=str(data), crop=SIZE, batch_size=4, scale=(0.75, 1.5)),
        optim=OptimConfig(steps=STEPS, lr=0.02, warmup=50),
        seed=seed,
        validate_every=150,
        log_every=10,
    )


def gain(row: Row, baseline: Row) -> float | None:
    """Return Delta_m [%]; None with a message if it is not defined against this baseline."""
    try:
        return compare(row.results, baseline.results)
    except UserError as error:
        say(f"no Delta_m: {error}")
        return None


def train(recipe: Recipe, name: str) -> Row:
    """Train, or read a finished run, and measure the cost of the network."""
    results = fit(recipe, resume=True)
    saved = Checkpoint.load(checkpoint_path(recipe.folder))
    network = saved.build()
    cost = count_parameters(network), count_multiply_adds(network, recipe.data.crop)
    return Row(name, results, network, *cost, saved.seconds)


def search(recipe: Recipe) -> Genotype:
    """Search, or read a finished search."""
    fit(recipe, search=True, resume=True)
    return Genotype.load(recipe.folder / "genotype.json")
