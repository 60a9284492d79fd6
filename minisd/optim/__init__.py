"""Optimisers, which move the weights along their gradients, and schedules, which give their rate.

`SGD`, `Adam` and `AdamW` are written by hand, each with its paper's equation. `StepSchedule`,
`cosine` and `one_cycle` give the learning rate at any time of a run. An optimiser or a schedule of
your own needs no base class: `Optimizer` and `Schedule` say what is asked of it.
"""

from minisd.optim.adam import Adam, AdamW
from minisd.optim.groups import Groups, no_decay_on_batchnorm
from minisd.optim.protocol import Optimizer, Schedule, State, check_optimizer
from minisd.optim.rule import DROPPED, UpdateRule
from minisd.optim.schedules import (
    SCHEDULES,
    CosineSchedule,
    OneCycleSchedule,
    StepSchedule,
    bound,
    cosine,
    one_cycle,
    schedule_from,
)
from minisd.optim.sgd import SGD

__all__ = [
    "DROPPED",
    "SCHEDULES",
    "SGD",
    "Adam",
    "AdamW",
    "CosineSchedule",
    "Groups",
    "OneCycleSchedule",
    "Optimizer",
    "Schedule",
    "State",
    "StepSchedule",
    "UpdateRule",
    "bound",
    "check_optimizer",
    "cosine",
    "no_decay_on_batchnorm",
    "one_cycle",
    "schedule_from",
]
