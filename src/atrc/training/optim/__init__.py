"""Optimisers, learning-rate schedules, parameter groups and the moving average of the weights."""

from atrc.training.optim.ema import averaged, make_ema
from atrc.training.optim.groups import parameter_groups
from atrc.training.optim.optimizers import OPTIMIZERS, Joint, build_optimizer
from atrc.training.optim.schedules import SCHEDULES, build_schedule

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Joint",
    "averaged",
    "build_optimizer",
    "build_schedule",
    "make_ema",
    "parameter_groups",
]
