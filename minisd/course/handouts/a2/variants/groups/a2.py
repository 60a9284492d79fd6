# %% [markdown]
# # Assignment 2: Convolution (variant groups)
#
# You write a convolution and its gradients with NumPy alone. Tutorial 3 has the mathematics. What
# every function has to do is in its docstring. Write the bodies; do not change the signatures.
# Helper functions, constants and imports of NumPy and the standard library are welcome.
#
# `minisd course check a2` checks what you have, as often as you like, without a network. The same
# properties are graded, with other numbers and some other shapes.
#
# Images are (N, C, H, W): number of images, channels, rows, columns. Filters are (F, C, KH, KW).
# Results have the dtype of the input: float32 gives float32. No function changes its arguments.


# %%
# minisd course: variant groups
import numpy as np


# %% [markdown]
# ## 2.1 How large is the output?
#
# Windows of KH x KW pixels begin every `stride` pixels, in an image with a frame of `padding` zeros
# on every side. Pixels that are too few for one more window are left over.


# %% task 2.1 The size of the output points=8 minutes=20
def conv_output_size(x_shape, w_shape, stride, padding):
    """Return (OH, OW), the rows and columns of the output.

    Parameters
    ----------
    x_shape : (N, C, H, W)
    w_shape : (F, C, KH, KW)
    stride, padding : int

    Raises
    ------
    ValueError
        If the kernel is larger than the padded image.
    """
    raise NotImplementedError("task 2.1: conv_output_size")


# %% [markdown]
# ## 2.2 Forward
#
# The channels of the image are cut into G groups of neighbours, and so are the filters. The filters
# of a group see the channels of their own group only. With $C' = C / G$ channels in a group, and
# $g$ the group of filter f, counted from 0,
#
# $$y_{n,f,i,j} = b_f + \sum_{c=0}^{C'-1} \sum_{k,l} x_{n,\,gC'+c,\,iS+k-P,\,jS+l-P}\; w_{f,c,k,l}$$
#
# with stride S and padding P; outside of the image x is zero. (The kernel is not turned. Deep
# learning calls this a convolution; mathematics calls it a cross-correlation.)


# %% task 2.2 Convolution forward points=27 minutes=150
def conv2d_forward(x, w, b=None, *, stride=1, padding=0, groups=1):
    """Convolve images with filters, group by group.

    Parameters
    ----------
    x : (N, C, H, W)
    w : (F, C / groups, KH, KW)
    b : (F,) or None
    stride, padding : int
    groups : int
        G, which divides C and F. The first F / G filters see the first C / G channels, and so on.

    Returns
    -------
    y : (N, F, OH, OW)
    cache
        Whatever your backward needs. If your forward does not work yet, `conv2d_backward` gets
        ``(x, w, b, stride, padding, groups)`` instead.
    """
    raise NotImplementedError("task 2.2: conv2d_forward")


# %% [markdown]
# ## 2.3 Backward
#
# Let dy be the gradient of the loss with respect to y. Every pixel of y has seen one window of x.
# So each term of the sum above gives one term of each gradient. A pixel of x that several windows
# have seen gets a part from each of them.


# %% task 2.3 Convolution backward points=45 minutes=210
def conv2d_backward(dy, cache):
    """Return the gradients of `conv2d_forward`.

    Parameters
    ----------
    dy : (N, F, OH, OW)
    cache
        What the forward has returned. Several forwards may come before the first backward.

    Returns
    -------
    dx : like x
    dw : like w
    db : (F,), or None if there was no bias
    """
    raise NotImplementedError("task 2.3: conv2d_backward")


# %% [markdown]
# ## 2.4 Without loops over pixels
#
# Nothing to write: these points are for 2.2 and 2.3. The work in your own lines must not grow with
# the number of pixels. Loops over kernel positions, images and channels are fine.


# %% task 2.4 Without loops over pixels points=10 minutes=90
# (nothing to write)


# %% [markdown]
# ## 2.5 Average pooling


# %% task 2.5 Average pooling points=10 minutes=70
def avg_pool2d_forward(x, kernel):
    """Return the mean of each tile of ``kernel`` x ``kernel`` pixels, and a cache.

    Parameters
    ----------
    x : (N, C, H, W)
    kernel : int

    Returns
    -------
    y : (N, C, H / kernel, W / kernel)
    cache

    Raises
    ------
    ValueError
        If H or W is no multiple of ``kernel``.
    """
    raise NotImplementedError("task 2.5: avg_pool2d_forward")


def avg_pool2d_backward(dy, cache):
    """Return dx, like x."""
    raise NotImplementedError("task 2.5: avg_pool2d_backward")
