# %% [markdown]
# # Assignment 4: Residual block and shortcuts (variant zeros_first)
#
# You build the block of the residual networks from parts that exist, and write its gradients by
# hand. Tutorial 5 has the mathematics. What every function has to do is in its docstring. Write the
# bodies; do not change the signatures. Helper functions and constants are welcome.
#
# `minisd course check a4` checks what you have, as often as you like, without a network. The same
# properties are graded, with other numbers and some other shapes.
#
# Images are (N, C, H, W): number of images, channels, rows, columns. Results have the dtype of x.
# No function changes its arguments, nor the arrays in a dict that it is given.
#
# A forward returns y and a cache, which is whatever its backward needs. Several forwards may come
# before the first backward; each backward comes once. If a forward does not work yet, its backward
# gets the tuple of the forward's arguments as its cache: `(x, p)` for `block_backward`.
#
# Given are `bn` and `bn_backward` below, and of `minisd.ops` this: `conv2d_forward`,
# `conv2d_backward`, `batchnorm2d_forward`, `batchnorm2d_backward`, `linear_forward`,
# `linear_backward`, `add`. Nothing else of minisd is there when your file is checked.


# %%
# minisd course: variant zeros_first
import numpy as np

from minisd import ops


def bn(x, gamma, beta):
    """Batch norm in training: return y and a cache."""
    zeros, ones = np.zeros_like(gamma), np.ones_like(gamma)
    return ops.batchnorm2d_forward(x, gamma, beta, zeros, ones, training=True)


def bn_backward(dy, cache):
    """Return dx, dgamma, dbeta."""
    return ops.batchnorm2d_backward(dy, cache)


# %% [markdown]
# ## 4.1 ReLU
#
# $$y = \max(x, 0)$$
#
# The slope is 1 where x is positive, and 0 where it is negative. At exactly 0 there is none; we
# take 0.


# %% task 4.1 ReLU points=10 minutes=30
def relu_forward(x):
    """Return max(x, 0).

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    y : like x
    cache
        Whatever your backward needs.
    """
    raise NotImplementedError("task 4.1: relu_forward")


def relu_backward(dy, cache):
    """Return the gradient of `relu_forward`.

    Parameters
    ----------
    dy : like x
        The gradient of the loss with respect to y.
    cache
        What the forward has returned.

    Returns
    -------
    dx : like x
        Where x is exactly 0, so is dx.
    """
    raise NotImplementedError("task 4.1: relu_backward")


# %% [markdown]
# ## 4.2 The block
#
# $$y = \mathrm{ReLU}\bigl(f(x) + x\bigr), \qquad
#   f = \text{conv} \to \text{bn} \to \text{ReLU} \to \text{conv} \to \text{bn}$$
#
# The branch f has two convolutions and two batch norms. The shortcut is x itself.


# %% task 4.2 Block forward points=20 minutes=75
def block_forward(x, p):
    """Return ReLU(f(x) + x).

    Parameters
    ----------
    x : (N, C, H, W)
    p : dict
        The parameters of the branch: ``w1`` and ``w2`` (C, C, 3, 3), the filters of its two
        convolutions, which have stride 1, padding 1 and no bias; ``gamma1``, ``beta1``, ``gamma2``,
        ``beta2`` (C,), scale and shift of its two batch norms.

    Returns
    -------
    y : (N, C, H, W)
    cache
        Whatever your backward needs.
    """
    raise NotImplementedError("task 4.2: block_forward")


# %% [markdown]
# ## 4.3 Backward through the block
#
# Walk back through the forward, line by line. An addition hands the gradient that arrives to both
# of its terms. What has been used twice gets the sum of two gradients.


# %% task 4.3 Block backward points=35 minutes=120
def block_backward(dy, cache):
    """Return the gradients of `block_forward`.

    Parameters
    ----------
    dy : (N, C, H, W)
    cache
        What the forward has returned.

    Returns
    -------
    dx : (N, C, H, W)
    grads : dict
        The gradient of each parameter, under its own key: ``w1``, ``gamma1`` and so on.
    """
    raise NotImplementedError("task 4.3: block_backward")


# %% [markdown]
# ## 4.4 A shortcut between two shapes
#
# Where a network doubles its channels, its images shrink, and x no longer fits to f(x). The
# cheapest shortcut cuts each image into tiles of S x S pixels and takes their means; the channels
# that are missing are zeros. Here they come *first*. With Z of them before the C channels of x,
#
# $$y_{nchv} = 0 \quad (c < Z), \qquad
#   y_{nchv} = \frac{1}{S^2} \sum_{i, j = 0}^{S - 1} x_{n,\,c-Z,\,Sh+i,\,Sv+j} \quad (c \ge Z)$$


# %% task 4.4 Padded shortcut points=20 minutes=75
def pad_shortcut_forward(x, out_channels, stride):
    """Return channels of zeros, followed by the mean of each tile.

    Parameters
    ----------
    x : (N, C, H, W)
    out_channels : int
        Channels of the output. Any number from C on.
    stride : int
        S, rows and columns of a tile. 1 leaves the pixels as they are.

    Returns
    -------
    y : (N, out_channels, H / stride, W / stride)
        The new channels come before those of x, which keep their order.
    cache
        Whatever your backward needs.

    Raises
    ------
    ValueError
        If ``out_channels`` is less than C, or H or W no multiple of ``stride``.
    """
    raise NotImplementedError("task 4.4: pad_shortcut_forward")


def pad_shortcut_backward(dy, cache):
    """Return dx, like x."""
    raise NotImplementedError("task 4.4: pad_shortcut_backward")


# %% [markdown]
# ## 4.5 A branch with a volume knob
#
# $$y = \mathrm{ReLU}\bigl(\alpha\, f(x) + x\bigr)$$
#
# with one number $\alpha$ for the whole block, which is learned like any other parameter. (Networks
# that begin with $\alpha = 0$ begin as the identity.)


# %% task 4.5 Scaled block points=15 minutes=60
def scaled_block_forward(x, p, alpha):
    """Return ReLU(alpha * f(x) + x), with the branch f of `block_forward`.

    Parameters
    ----------
    x, p
        As in `block_forward`.
    alpha : float

    Returns
    -------
    y : (N, C, H, W)
    cache
        Whatever your backward needs.
    """
    raise NotImplementedError("task 4.5: scaled_block_forward")


def scaled_block_backward(dy, cache):
    """Return the gradients of `scaled_block_forward`.

    Returns
    -------
    dx : (N, C, H, W)
    grads : dict
        As in `block_backward`.
    dalpha : a number
    """
    raise NotImplementedError("task 4.5: scaled_block_backward")
