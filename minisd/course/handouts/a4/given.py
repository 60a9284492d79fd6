"""What assignment 4 gives: batch norm, and four operations of the library. No ReLU, no pooling."""

import inspect

from minisd.ops.activation import add

GIVEN = '''import numpy as np

from minisd import ops


def bn(x, gamma, beta):
    """Batch norm in training: return y and a cache."""
    zeros, ones = np.zeros_like(gamma), np.ones_like(gamma)
    return ops.batchnorm2d_forward(x, gamma, beta, zeros, ones, training=True)


def bn_backward(dy, cache):
    """Return dx, dgamma, dbeta."""
    return ops.batchnorm2d_backward(dy, cache)
'''

FACE = '''"""The operations that assignment 4 gives."""

from minisd.ops.activation import add
from minisd.ops.batchnorm import batchnorm2d_backward, batchnorm2d_forward
from minisd.ops.conv import conv2d_backward, conv2d_forward
from minisd.ops.linear import linear_backward, linear_forward


def __getattr__(name):
    kind = AttributeError if name.startswith("_") else ImportError
    raise kind(f"assignment 4 does not give {name}")
'''
ADD = f"""from minisd.backend import Array
from minisd.ops.check import check_arrays, check_shape


{inspect.getsource(add)}"""
STAGED = {
    **dict.fromkeys(("errors.py", "gpu.py", "backend.py")),
    **{f"ops/{name}.py": None for name in ("check", "sums", "conv", "batchnorm", "linear")},
    "ops/__init__.py": FACE,
    "ops/activation.py": ADD,
}
"""No ReLU and no pooling: they are what 4.1 and 4.4 ask for."""
ALLOWED = ("minisd",)
