"""minisd: Deep Networks with Stochastic Depth from scratch, every layer and gradient by hand.

Where to look first: `minisd.stochastic_depth` (the paper), `minisd.residual` (the block),
`minisd.ops` (the mathematics), `minisd.train` (the loop), `minisd.flow` (what flows in training).
"""

from minisd import ending, flow, ops  # noqa: F401  # `ending` first: see there
from minisd.branches import basic_branch, bottleneck_branch
from minisd.fused import ConvChain, FusedBlock, fuse, one_by_one
from minisd.gates import at_least, draw_image_gates, every_other, grouped, set_image_gates
from minisd.layers import (
    BatchNorm2d,
    Conv2d,
    GlobalAvgPool,
    Layer,
    Linear,
    Parameter,
    ReLU,
    Sequential,
)
from minisd.machine import set_threads
from minisd.models import ResNet, resnet
from minisd.optim import SGD, StepSchedule
from minisd.preactivation import PreActBlock, preact_branch
from minisd.residual import ResidualBlock
from minisd.rules import constant, cosine_decay, set_survival
from minisd.stochastic_depth import (
    depth_distribution,
    draw_gates,
    expected_depth,
    linear_decay,
    set_gates,
    uniform,
)
from minisd.version import __version__

__all__ = [
    "SGD",
    "BatchNorm2d",
    "Conv2d",
    "ConvChain",
    "FusedBlock",
    "GlobalAvgPool",
    "Layer",
    "Linear",
    "Parameter",
    "PreActBlock",
    "ReLU",
    "ResNet",
    "ResidualBlock",
    "Sequential",
    "StepSchedule",
    "__version__",
    "at_least",
    "basic_branch",
    "bottleneck_branch",
    "constant",
    "cosine_decay",
    "depth_distribution",
    "draw_gates",
    "draw_image_gates",
    "every_other",
    "expected_depth",
    "flow",
    "fuse",
    "grouped",
    "linear_decay",
    "one_by_one",
    "ops",
    "preact_branch",
    "resnet",
    "set_gates",
    "set_image_gates",
    "set_survival",
    "set_threads",
    "uniform",
]
