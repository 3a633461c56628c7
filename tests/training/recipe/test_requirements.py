from contextlib import suppress

import pytest

from atrc.errors import UserError
from atrc.training import logs
from atrc.training.recipe import DataConfig, NetworkConfig, OptimConfig, Recipe, SearchConfig
from atrc.training.recipe.files import read_recipe, recipe_path, shipped_names
from atrc.training.recipe.requirements import require_usable


def test_the_defaults_can_be_run():
    for search in (False, True):
        require_usable(Recipe(), search, 2)


@pytest.mark.parametrize("name", shipped_names())
def test_every_recipe_that_comes_with_atrc_can_be_run(name, monkeypatch):
    monkeypatch.setattr(logs, "needs_extra", lambda *_: suppress(ImportError))
    require_usable(read_recipe([recipe_path(name)]), name.startswith("search/"), 1)


@pytest.mark.parametrize(
    ("parts", "search", "processes", "said"),
    [
        ({"data": DataConfig(batch_size=0)}, False, 1, "data.batch_size is 0; it has to be 1 or more"),
        ({"data": DataConfig(batch_size=3)}, False, 2, "data.batch_size 3 does not divide over 2 devices"),
        ({"optim": OptimConfig(steps=0)}, False, 1, "optim.steps is 0"),
        ({"network": NetworkConfig(attention_channels=-3)}, False, 1, "network.attention_channels is -3"),
        ({"network": NetworkConfig(dropout=2.0)}, False, 1, "network.dropout is 2.0; it has to be from 0 to less"),
        ({"data": DataConfig(workers=-1)}, False, 1, "data.workers is -1; it has to be 0 or more"),
        ({"data": DataConfig(crop=(0, 560))}, False, 1, r"data.crop is \[0, 560\]; height and width"),
        ({"data": DataConfig(scale=(2.0, 0.5))}, False, 1, r"data.scale is \[2.0, 0.5\]"),
        ({"data": DataConfig(scale=(0.0, 1.0))}, False, 1, r"data.scale is \[0.0, 1.0\]"),
        ({"data": DataConfig(scale=(0.5, float("inf")))}, False, 1, r"data.scale is \[0.5, inf\]"),
        ({"optim": OptimConfig(lr=-0.1)}, False, 1, "optim.lr is -0.1"),
        ({"optim": OptimConfig(weight_decay=float("nan"))}, False, 1, "optim.weight_decay is nan"),
        ({"optim": OptimConfig(power=-1.0)}, False, 1, "optim.power is -1.0"),
        ({"optim": OptimConfig(warmup=-1)}, False, 1, "optim.warmup is -1"),
        ({"optim": OptimConfig(momentum=1.0)}, False, 1, "optim.momentum is 1.0; it has to be from 0 to less than 1"),
        ({"optim": OptimConfig(clip=0.0)}, False, 1, "optim.clip is 0.0; the largest norm"),
        ({"search": SearchConfig(clip=-1.0)}, True, 1, "search.clip is -1.0; the largest norm"),
        ({"search": SearchConfig(lr=-1.0)}, True, 1, "search.lr is -1.0"),
        ({"seed": -1}, False, 1, "seed is -1"),
        ({"validate_every": -1}, False, 1, "validate_every is -1"),
        ({"log_every": 0}, False, 1, "log_every is 0; it has to be 1 or more"),
        ({"timeout": 0}, False, 1, "timeout is 0"),
        ({"search": SearchConfig(cost_weight=-1.0)}, True, 1, "search.cost_weight is -1.0; it has to be 0 or more"),
        ({"search": SearchConfig(cost_weight=float("nan"))}, True, 1, "search.cost_weight is nan"),
        ({"search": SearchConfig(temperature=(1.0, 0.0))}, True, 1, r"search.temperature is \[1.0, 0.0\]"),
        ({"network": NetworkConfig(neck="aspp"), "data": DataConfig(batch_size=2)}, False, 2, "gives 2 one each"),
        ({"network": NetworkConfig(distillation="psd")}, True, 1, "searches ATRC, not network.distillation psd"),
        ({"compile": "inductor"}, True, 1, "compile is for training"),
        ({"optim": OptimConfig(optimizer="adamm")}, False, 1, "optim.optimizer is 'adamm'; choose from sgd, .*adamw"),
        ({"optim": OptimConfig(schedule="step")}, False, 1, "optim.schedule is 'step'; choose from polynomial, cosine"),
        ({"optim": OptimConfig(layer_decay=0.0)}, False, 1, "optim.layer_decay is 0.0; it has to be above 0 and at"),
        ({"optim": OptimConfig(backbone_lr_factor=-1.0)}, False, 1, "optim.backbone_lr_factor is -1"),
        ({"optim": OptimConfig(accumulate=0)}, False, 1, "optim.accumulate is 0; it has to be 1 or more"),
        (
            {"optim": OptimConfig(accumulate=3)},
            False,
            2,
            "optim.accumulate 3 does not divide the 4 images of each of 2",
        ),
        ({"optim": OptimConfig(accumulate=2, balancing="uncertainty")}, False, 1, "needs the whole batch at once; set"),
        ({"optim": OptimConfig(ema=1.0)}, False, 1, "optim.ema is 1.0; it has to be from 0 to less than 1"),
        ({"optim": OptimConfig(ema=0.9)}, True, 1, "optim.ema is for training"),
        ({"log": ["csv", "wandbee"]}, False, 1, "log names 'wandbee'; choose from csv, tensorboard, wandb, mlflow"),
        ({"network": NetworkConfig(freeze="stem")}, False, 1, "network.freeze is 'stem'; choose backbone, or stages:N"),
        (
            {"network": NetworkConfig(freeze="backbone", branching="at:2")},
            False,
            1,
            "network.freeze backbone does not go with network.branching at:2",
        ),
        (
            {"network": NetworkConfig(branching="at:2"), "optim": OptimConfig(layer_decay=0.9)},
            False,
            1,
            "optim.layer_decay does not go with network.branching",
        ),
        (
            {"network": NetworkConfig(freeze="backbone"), "search": SearchConfig(space="branches")},
            True,
            1,
            "leave out network.freeze backbone",
        ),
        ({"compile": "inductr"}, False, 1, "no backend 'inductr'; choose from .*inductor"),
        ({"compile": "inductor", "recompute": "network"}, False, 1, "recompute and compile do not go together"),
        (
            {"network": NetworkConfig(branching="at:2"), "search": SearchConfig(space="branches")},
            True,
            1,
            "leave out network.branching at:2",
        ),
    ],
)
def test_what_cannot_be_run_is_named(parts, search, processes, said):
    with pytest.raises(UserError, match=said):
        require_usable(Recipe(**parts), search, processes)
