"""Starting from what is trained already: frozen parts, and weights of another network."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial

from torch import Tensor, nn

from atrc.errors import UserError
from atrc.genotype import Genotype, SearchSpace
from atrc.network import MultiTaskNetwork
from atrc.tasks import Task
from atrc.training.loading import load
from atrc.training.optim.groups import pretrained_part

STAGES = re.compile(r"stages:(\d+)")
CANDIDATE = re.compile(r"(.*\brows\.(\w+)\.blocks\.(\w+))\.candidates\.(\w+)_context\.(.*)")  # of a mixture


def require_freezable(what: str) -> None:
    """Refuse a `network.freeze` that is not "backbone" or "stages:N".

    Raises:
        UserError: Names the choices.
    """
    if what != "backbone" and not STAGES.fullmatch(what):
        raise UserError(f"network.freeze is '{what}'; choose backbone, or stages:N for its first N stages")


def freeze(network: MultiTaskNetwork, what: str | None) -> None:
    """Keep a part of the backbone as it is: without gradients, and in evaluation mode for good.

    Args:
        network: Changed in place.
        what: "backbone", "stages:N" for its first N stages, or None for nothing. Layers that we add to a backbone
            of timm, such as the pyramid of a vision transformer, are trained.

    Raises:
        UserError: The backbone does not have so many stages.
    """
    for part in _parts(network.backbone, what) if what else ():
        part.requires_grad_(False).eval()
        for module in part.modules():
            module.train = partial(_stay, module)  # type: ignore[method-assign]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """Take the place of `train` in frozen modules."""
    return module


def _parts(backbone: nn.Module, what: str) -> list[nn.Module]:
    require_freezable(what)
    if what == "backbone":
        return [pretrained_part(backbone)]
    count, stages = int(what.removeprefix("stages:")), backbone.stages()  # type: ignore[operator]
    if not 1 <= count <= len(stages):
        raise UserError(f"network.freeze is '{what}'; this backbone has the stages 1 to {len(stages)}")
    return stages[:count]


def initialise(network: MultiTaskNetwork, where: str) -> str:
    """Take the weights of another network where they fit; return what was taken and what was not, in one line.

    Outputs of tasks with other classes do not fit, nor do architecture parameters of a search. From a search, a network
    takes the candidates that its genotype chose.

    Args:
        network: Changed in place.
        where: What `atrc.load` takes.

    Raises:
        UserError: There is no such network, or nothing of it fits.
    """
    source = load(where)
    theirs = {task.name: task for task in source.tasks}
    other = {task.name for task in network.tasks if not _same_outputs(task, theirs.get(task.name))}
    own, weights = network.state_dict(), _with_chosen(source.state_dict(), network.genotype)
    fitting = {key: value for key, value in weights.items() if _fits(key, value, own, other)}
    parameters = [name for name, _ in network.named_parameters()]
    if not any(name in fitting for name in parameters):
        raise UserError(f"network.init {where}: none of its weights fits this network; check network.backbone")
    network.load_state_dict(fitting, strict=False)
    missing = Counter(".".join(name.split(".")[:2]) for name in parameters if name not in fitting)
    scratch = ", ".join(f"{part} ({count})" for part, count in missing.items())
    taken = f"{len(parameters) - missing.total()} of {len(parameters)} parameters fit"
    return f"network.init {where}: {taken}; trained from scratch: {scratch or 'nothing'}"


def _with_chosen(weights: dict[str, Tensor], genotype: Genotype | SearchSpace | None) -> dict[str, Tensor]:
    """Add the candidates of a search that a genotype chooses, under the names of blocks with one context."""
    if not isinstance(genotype, Genotype):
        return weights
    found = {}
    for key, value in weights.items():
        if match := CANDIDATE.fullmatch(key):
            block, target, source, context, rest = match.groups()
            if genotype.contexts.get(target, {}).get(source) == context:
                found[f"{block}.{rest}"] = value
    return weights | found


def _same_outputs(task: Task, other: Task | None) -> bool:
    return type(task) is type(other) and (task.channels, task.region_names) == (other.channels, other.region_names)


def _fits(key: str, value: Tensor, own: dict[str, Tensor], other: set[str]) -> bool:
    part, _, rest = key.partition(".")
    of_task = part in ("final", "auxiliary") and rest.partition(".")[0] in other
    searched = key.endswith((".alpha", "operator_alpha", ".fixed"))
    return key in own and own[key].shape == value.shape and not of_task and not searched
