# %% [markdown]
# # Assignment 2: Convolution
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
    # solution: begin
    size = []
    for image, kernel in zip(x_shape[2:], w_shape[2:], strict=True):
        room = image + 2 * padding - kernel
        if room < 0:
            raise ValueError(f"a kernel of {kernel} does not fit into {image + 2 * padding} pixels")
        size.append(room // stride + 1)
    return tuple(size)
    # solution: end


# %% [markdown]
# ## 2.2 Forward
#
# $$y_{n,f,i,j} = b_f + \sum_{c,k,l} x_{n,c,\,iS+k-P,\,jS+l-P}\; w_{f,c,k,l}$$
#
# with stride S and padding P; outside of the image x is zero. (The kernel is not turned. Deep
# learning calls this a convolution; mathematics calls it a cross-correlation.)


# %% task 2.2 Convolution forward points=27 minutes=150
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    """Convolve images with filters.

    Parameters
    ----------
    x : (N, C, H, W)
    w : (F, C, KH, KW)
    b : (F,) or None
    stride, padding : int

    Returns
    -------
    y : (N, F, OH, OW)
    cache
        Whatever your backward needs. If your forward does not work yet, `conv2d_backward` gets
        ``(x, w, b, stride, padding)`` instead.
    """
    # solution: begin
    N, C, H, W = x.shape
    F, _, KH, KW = w.shape
    OH, OW = (H + 2 * padding - KH) // stride + 1, (W + 2 * padding - KW) // stride + 1
    frame = np.zeros((N, C, H + 2 * padding, W + 2 * padding), x.dtype)
    frame[:, :, padding : padding + H, padding : padding + W] = x
    y = np.zeros((N, F, OH, OW), x.dtype)
    for k in range(KH):
        for j in range(KW):
            rows = slice(k, k + stride * (OH - 1) + 1, stride)
            columns = slice(j, j + stride * (OW - 1) + 1, stride)
            y += np.einsum("nchw,fc->nfhw", frame[:, :, rows, columns], w[:, :, k, j])
    if b is not None:
        y += b[:, None, None]
    return y, (x, w, b, stride, padding)
    # solution: end


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
    # solution: begin
    x, w, b, stride, padding = cache
    N, C, H, W = x.shape
    KH, KW = w.shape[2:]
    OH, OW = dy.shape[2:]
    frame = np.zeros((N, C, H + 2 * padding, W + 2 * padding), x.dtype)
    frame[:, :, padding : padding + H, padding : padding + W] = x
    dframe, dw = np.zeros_like(frame), np.zeros_like(w)
    for k in range(KH):
        for j in range(KW):
            rows = slice(k, k + stride * (OH - 1) + 1, stride)
            columns = slice(j, j + stride * (OW - 1) + 1, stride)
            dw[:, :, k, j] = np.einsum("nfhw,nchw->fc", dy, frame[:, :, rows, columns])
            dframe[:, :, rows, columns] += np.einsum("nfhw,fc->nchw", dy, w[:, :, k, j])
    dx = dframe[:, :, padding : padding + H, padding : padding + W]
    db = None if b is None else dy.sum(axis=(0, 2, 3))
    return dx, dw, db
    # solution: end


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
    # solution: begin
    N, C, H, W = x.shape
    if H % kernel or W % kernel:
        raise ValueError(f"{H}x{W} pixels cannot be cut into tiles of {kernel}")
    tiles = x.reshape(N, C, H // kernel, kernel, W // kernel, kernel)
    return tiles.mean(axis=(3, 5)), kernel
    # solution: end


def avg_pool2d_backward(dy, cache):
    """Return dx, like x."""
    # solution: begin
    kernel = cache
    return dy.repeat(kernel, axis=2).repeat(kernel, axis=3) / dy.dtype.type(kernel * kernel)
    # solution: end
