"""The engine: every operation of `minisd.ops` under the same name, as the machine likes it.

The two have the same arguments, results and errors, and `minisd.ops` is the one to read first. What
is different here:

- images lie in memory by rows, and are worked on slab by slab, on threads (`layout`);
- a convolution copies nothing but its padding (`conv`, `windows`, `direct`), and where there are
  many channels it needs two thirds of the multiplications (`winograd`);
- sums are taken run by run (`batchnorm`), and ReLU remembers one bit a number (`activation`);
- `sources` and `conv_norm` compute batch norm and ReLU while the next convolution reads. They are
  for `minisd.fused`, which is the only one to reach inside this package.

Where there is nothing better to be had, it is the same function: the loss.
"""

from minisd.fast.activation import add, add_relu_forward, relu_backward, relu_forward
from minisd.fast.batchnorm import batchnorm2d_backward, batchnorm2d_forward, channel_moments
from minisd.fast.conv import conv2d_backward, conv2d_forward
from minisd.fast.linear import linear_backward, linear_forward
from minisd.fast.pooling import (
    avg_pool2d_backward,
    avg_pool2d_forward,
    global_avg_pool_backward,
    global_avg_pool_forward,
    pad_channels_backward,
    pad_channels_forward,
    subsample_backward,
    subsample_forward,
    zeros,
)
from minisd.ops.loss import softmax_cross_entropy

__all__ = [
    "add",
    "add_relu_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batchnorm2d_backward",
    "batchnorm2d_forward",
    "channel_moments",
    "conv2d_backward",
    "conv2d_forward",
    "global_avg_pool_backward",
    "global_avg_pool_forward",
    "linear_backward",
    "linear_forward",
    "pad_channels_backward",
    "pad_channels_forward",
    "relu_backward",
    "relu_forward",
    "softmax_cross_entropy",
    "subsample_backward",
    "subsample_forward",
    "zeros",
]
