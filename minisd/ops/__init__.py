"""The book: every operation in textbook form, each ``x_forward`` directly above its ``x_backward``.

A forward returns ``(y, cache)``; the backward takes ``dy``, the gradient of the loss with respect
to ``y``, and that cache, and returns the gradients with respect to the inputs, in their order.

Images are NCHW: ``N`` images, ``C`` channels, ``H`` rows, ``W`` columns. Every function keeps the
dtype it was given, float32 or float64, and writes into none of its arguments, batch norm's running
statistics excepted. In memory the images may lie in any order.

`minisd.fast` has the same names and computes the same, as the machine likes it. Networks use that
one unless they are told otherwise: ``model.use(ops)`` lets a network compute with this page by
page, so that a breakpoint set here is met.
"""

from minisd.ops.activation import add, add_relu_forward, relu_backward, relu_forward
from minisd.ops.batchnorm import batchnorm2d_backward, batchnorm2d_forward, channel_moments
from minisd.ops.conv import conv2d_backward, conv2d_forward
from minisd.ops.linear import linear_backward, linear_forward
from minisd.ops.loss import softmax_cross_entropy
from minisd.ops.pooling import (
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
