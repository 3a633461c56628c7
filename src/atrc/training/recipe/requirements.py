"""What a run asks of its recipe, checked before anything starts."""

from __future__ import annotations

from torch.compiler import list_backends

from atrc.errors import UserError
from atrc.training.balancing import require_balancing
from atrc.training.recipe import Recipe


def require_usable(recipe: Recipe, search: bool, processes: int) -> None:
    """Refuse what cannot be run, or not together.

    Args:
        recipe: What is to be run.
        search: Whether it is searched.
        processes: Over how many the batch is split.

    Raises:
        UserError: The first such thing: its key, its value and what would do.
    """
    _require_numbers(recipe)
    batch = recipe.data.batch_size
    if batch % processes:
        raise UserError(f"data.batch_size {batch} does not divide over {processes} devices")
    if recipe.network.neck == "aspp" and batch == processes:
        raise UserError(
            f"network.neck aspp normalises the mean of every image over the batch, so it needs two images a process; "
            f"data.batch_size {batch} gives {processes} one each"
        )
    if recipe.compile is not None and recipe.compile not in (backends := list_backends(exclude_tags=())):
        raise UserError(f"compile: torch.compile has no backend '{recipe.compile}'; choose from {', '.join(backends)}")
    if recipe.compile and recipe.recompute in ("distillation", "network"):
        raise UserError("recompute and compile do not go together: compiled code decides itself what it keeps")
    if search:
        _require_searchable(recipe)
    require_balancing(recipe, search, processes)


def _require_numbers(recipe: Recipe) -> None:
    least: dict[str, tuple[float | None, float]] = {
        "data.batch_size": (recipe.data.batch_size, 1),
        "data.workers": (recipe.data.workers, 0),
        "optim.steps": (recipe.optim.steps, 1),
        "optim.lr": (recipe.optim.lr, 0),
        "optim.weight_decay": (recipe.optim.weight_decay, 0),
        "optim.power": (recipe.optim.power, 0),
        "optim.warmup": (recipe.optim.warmup, 0),
        "network.attention_channels": (recipe.network.attention_channels, 1),
        "search.lr": (recipe.search.lr, 0),
        "search.cost_weight": (recipe.search.cost_weight, 0),
        "seed": (recipe.seed, 0),
        "validate_every": (recipe.validate_every, 0),
        "log_every": (recipe.log_every, 1),
        "timeout": (recipe.timeout, 1),
    }
    for key, (value, bound) in least.items():
        if value is not None and not value >= bound:
            raise UserError(f"{key} is {value}; it has to be {bound} or more")
    network = recipe.network
    below_one = {"network.dropout": network.dropout, "network.drop_path": network.drop_path}
    below_one |= {"network.own_weight": network.own_weight, "optim.momentum": recipe.optim.momentum}
    for key, share in below_one.items():
        if not 0 <= share < 1:
            raise UserError(f"{key} is {share}; it has to be from 0 to less than 1")
    for key, norm in {"optim.clip": recipe.optim.clip, "search.clip": recipe.search.clip}.items():
        if norm is not None and not norm > 0:
            raise UserError(f"{key} is {norm}; the largest norm of a gradient has to be above 0")
    if not min(recipe.search.temperature) > 0:
        raise UserError(f"search.temperature is {list(recipe.search.temperature)}; both have to be above 0")
    if not min(recipe.data.crop) >= 1:
        raise UserError(f"data.crop is {list(recipe.data.crop)}; height and width have to be 1 or more")
    smallest, largest = recipe.data.scale
    if not 0 < smallest <= largest < float("inf"):
        raise UserError(f"data.scale is {[smallest, largest]}; it goes from above 0 to as much or more")


def _require_searchable(recipe: Recipe) -> None:
    network, space = recipe.network, recipe.search.space
    if recipe.compile:
        raise UserError("compile is for training: the graph of a search changes with every fixed block; leave it out")
    if space == "contexts" and network.distillation not in ("none", "atrc"):
        raise UserError(
            f"search.space contexts searches ATRC, not network.distillation {network.distillation}; "
            "leave that out, or train it without a search"
        )
    if space == "branches" and network.branching is not None:
        raise UserError(
            f"search.space branches finds the branching, so network.branching {network.branching} has no place; "
            "leave one of them out"
        )
