# %% [markdown]
# # Assignment 2: Convolution (variant dilation)
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
# minisd course: variant dilation
import numpy as np


# %% [markdown]
# ## 2.1 How large is the output?
#
# The pixels that a kernel looks at lie `dilation` pixels apart, D. With D = 1 they are neighbours;
# with D = 2 a kernel of 3 x 3 weights looks at every second pixel of 5 x 5, and so on. Such windows
# begin every `stride` pixels, in an image with a frame of `padding` zeros on every side. Pixels
# that are too few for one more window are left over.


# %% task 2.1 The size of the output points=8 minutes=20
def conv_output_size(x_shape, w_shape, stride, padding, dilation):
    """Return (OH, OW), the rows and columns of the output.

    Parameters
    ----------
    x_shape : (N, C, H, W)
    w_shape : (F, C, KH, KW)
    stride, padding, dilation : int

    Raises
    ------
    ValueError
        If the kernel, with its gaps, is larger than the padded image.
    """
    raise NotImplementedError("task 2.1: conv_output_size")


# %% [markdown]
# ## 2.2 Forward
#
# $$y_{n,f,i,j} = b_f + \sum_{c,k,l} x_{n,c,\,iS+kD-P,\,jS+lD-P}\; w_{f,c,k,l}$$
#
# with stride S, padding P and dilation D; outside of the image x is zero. (The kernel is not
# turned. Deep learning calls this a convolution; mathematics calls it a cross-correlation.)


# %% task 2.2 Convolution forward points=27 minutes=150
def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
    """Convolve images with dilated filters.

    Parameters
    ----------
    x : (N, C, H, W)
    w : (F, C, KH, KW)
    b : (F,) or None
    stride, padding : int
    dilation : int
        How far apart the pixels are that neighbouring weights look at.

    Returns
    -------
    y : (N, F, OH, OW)
    cache
        Whatever your backward needs. If your forward does not work yet, `conv2d_backward` gets
        ``(x, w, b, stride, padding, dilation)`` instead.
    """
    raise NotImplementedError("task 2.2: conv2d_forward")


# %% [markdown]
# ## 2.3 Backward
#
# Let dy be the gradient of the loss with respect to y. Every pixel of y has seen one window of x,
# with gaps in it. So each term of the sum above gives one term of each gradient. A pixel of x that
# several windows have seen gets a part from each of them; one that lies in the gaps of all windows
# has a gradient of zero.


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
