"""Every recipe is parsed and built, and takes one step forward and back."""

from pathlib import Path

import pytest
import torch

from atrc.app.cli import make_parser
from atrc.tasks import Task
from atrc.training.build import build_network
from atrc.training.losses import task_losses, total_loss
from atrc.training.recipe import Recipe

RECIPES = Path(__file__).parent.parent / "recipes"
DATA = ("nyud", "pascal", "rooms_indoor", "rooms_people")
MODELS = sorted(path.stem for path in RECIPES.glob("*.yaml") if path.stem not in DATA)


def load(*names: str) -> Recipe:
    _, parsers = make_parser()
    arguments = [word for name in names for word in ("--config", str(RECIPES / f"{name}.yaml"))]
    values = vars(parsers["train"].instantiate(parsers["train"].parse_args(arguments)))
    return Recipe(**{key: values[key] for key in Recipe.__dataclass_fields__})


def truths(task: Task, h: int, w: int) -> torch.Tensor:
    if task.name == "normals":
        return torch.nn.functional.normalize(torch.randn(2, 3, h, w), dim=1)
    return torch.rand(2, h, w) * 5 + 1 if task.name == "depth" else torch.randint(2, (2, h, w))


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", MODELS)
def test_a_recipe_builds_and_takes_a_step(data, model, nyud_tasks, pascal_tasks):
    tasks = nyud_tasks if data in ("nyud", "rooms_indoor") else pascal_tasks
    if model.startswith("atrc_") and model.split("_")[1] != {"nyud": "nyud", "rooms_indoor": "nyud"}.get(
        data, "pascal"
    ):
        pytest.skip("a genotype of other tasks: refused, as test_runs shows")
    recipe = load(data, model)
    assert recipe.network.pretrained == (data in ("nyud", "pascal"))
    recipe.network.pretrained = False
    network = build_network(recipe.network, tasks)
    output = network(torch.rand(2, 3, 33, 47))
    truth = {task.name: truths(task, 33, 47) for task in tasks}
    valid = {task.name: torch.rand(2, 33, 47) < 0.9 for task in tasks}
    loss = total_loss(task_losses(output, truth, valid, tasks), tasks)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
