"""What a run requires of its recipe, checked before anything starts."""

from __future__ import annotations

from torch.compiler import list_backends

from atrc.errors import UserError
from atrc.training.balancing import require_balancing
from atrc.training.fine_tuning import require_freezable
from atrc.training.logs import require_loggers
from atrc.training.optim import OPTIMIZERS, SCHEDULES
from atrc.training.recipe import Recipe


def require_usable(recipe: Recipe, search: bool, processes: int) -> None:
    """Refuse values that are not possible, or not together.

    Args:
        recipe: What is to be run.
        search: Whether it is searched.
        processes: Over how many the batch is split.

    Raises:
        UserError: Names the first such key, its value and the cure.
    """
    _require_numbers(recipe)
    _require_ranges(recipe)
    _require_batch(recipe, processes)
    _require_compilable(recipe)
    _require_optim(recipe)
    _require_network(recipe)
    require_loggers(recipe.log)
    if search:
        _require_searchable(recipe)
    require_balancing(recipe, search, processes)


def _require_batch(recipe: Recipe, processes: int) -> None:
    batch, parts = recipe.data.batch_size, recipe.optim.accumulate
    if batch % processes:
        raise UserError(f"data.batch_size {batch} does not divide over {processes} devices")
    if batch % (processes * parts):
        each = f" of each of {processes} devices" if processes > 1 else ""
        raise UserError(
            f"optim.accumulate {parts} does not divide the {batch // processes} images{each}; change data.batch_size"
        )
    if recipe.network.neck == "aspp" and batch == processes * parts:
        raise UserError(
            "network.neck aspp normalises the mean of every image over the batch, so it needs two images at a time; "
            f"data.batch_size {batch} gives {processes * parts} one each"
        )


def _require_compilable(recipe: Recipe) -> None:
    if recipe.compile is not None and recipe.compile not in (backends := list_backends(exclude_tags=())):
        raise UserError(f"compile: torch.compile has no backend '{recipe.compile}'; choose from {', '.join(backends)}")
    if recipe.compile and recipe.recompute in ("distillation", "network"):
        raise UserError("recompute and compile do not go together: compiled code decides itself what it keeps")


def _require_optim(recipe: Recipe) -> None:
    optim = recipe.optim
    for key, name, known in (("optimizer", optim.optimizer, OPTIMIZERS), ("schedule", optim.schedule, SCHEDULES)):
        if name not in known:
            raise UserError(f"optim.{key} is '{name}'; choose from {', '.join(known)}")
    if optim.accumulate > 1 and optim.balancing != "fixed":
        raise UserError(
            f"optim.balancing {optim.balancing} needs the whole batch at once; set optim.accumulate 1 or "
            "optim.balancing fixed"
        )
    if optim.layer_decay != 1 and recipe.network.branching is not None:
        raise UserError(
            "optim.layer_decay does not go with network.branching, which copies layers; take optim.backbone_lr_factor"
        )


def _require_network(recipe: Recipe) -> None:
    if (what := recipe.network.freeze) is None:
        return
    require_freezable(what)
    if recipe.network.branching is not None:
        raise UserError(
            f"network.freeze {what} does not go with network.branching {recipe.network.branching}, whose copies of "
            "the stages are to differ; leave one of them out"
        )


def _require_numbers(recipe: Recipe) -> None:
    data, optim, search = recipe.data, recipe.optim, recipe.search
    least: dict[str, tuple[float | None, float]] = {
        "data.batch_size": (data.batch_size, 1),
        "data.workers": (data.workers, 0),
        "optim.steps": (optim.steps, 1),
        "optim.lr": (optim.lr, 0),
        "optim.weight_decay": (optim.weight_decay, 0),
        "optim.power": (optim.power, 0),
        "optim.warmup": (optim.warmup, 0),
        "optim.backbone_lr_factor": (optim.backbone_lr_factor, 0),
        "optim.accumulate": (optim.accumulate, 1),
        "network.attention_channels": (recipe.network.attention_channels, 1),
        "search.lr": (search.lr, 0),
        "search.cost_weight": (search.cost_weight, 0),
        "seed": (recipe.seed, 0),
        "validate_every": (recipe.validate_every, 0),
        "log_every": (recipe.log_every, 1),
        "timeout": (recipe.timeout, 1),
    }
    for key, (value, bound) in least.items():
        if value is not None and not value >= bound:
            raise UserError(f"{key} is {value}; it has to be {bound} or more")
    network = recipe.network
    below_one = {
        "network.dropout": network.dropout, "network.drop_path": network.drop_path,
        "network.own_weight": network.own_weight, "optim.momentum": optim.momentum, "optim.ema": optim.ema or 0,
        "search.warmup": search.warmup,
    }  # fmt: skip
    for key, share in below_one.items():
        if not 0 <= share < 1:
            raise UserError(f"{key} is {share}; it has to be from 0 to less than 1")


def _require_ranges(recipe: Recipe) -> None:
    for key, norm in {"optim.clip": recipe.optim.clip, "search.clip": recipe.search.clip}.items():
        if norm is not None and not norm > 0:
            raise UserError(f"{key} is {norm}; the largest norm of a gradient has to be above 0")
    if not 0 < recipe.optim.layer_decay <= 1:
        raise UserError(f"optim.layer_decay is {recipe.optim.layer_decay}; it has to be above 0 and at most 1")
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
    if recipe.optim.ema is not None:
        raise UserError("optim.ema is for training: a search exports its genotype, not its weights; leave it out")
    if space == "contexts" and network.distillation not in ("none", "atrc"):
        raise UserError(
            f"search.space contexts searches ATRC, not network.distillation {network.distillation}; "
            "leave that out, or train it without a search"
        )
    if space == "contexts" and recipe.search.warmup:
        raise UserError("search.warmup belongs to search.space branches; leave it out")
    if space == "branches":
        for key, given in {
            "network.branching": network.branching, "network.freeze": network.freeze,
            "optim.layer_decay": None if recipe.optim.layer_decay == 1 else recipe.optim.layer_decay,
        }.items():  # fmt: skip
            if given is not None:
                raise UserError(f"search.space branches copies the stages of the backbone; leave out {key} {given}")
