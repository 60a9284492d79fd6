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
    # solution: begin
    y, cache = ordinary.pad_shortcut_forward(x[:, ::-1], out_channels, stride)
    return y[:, ::-1], cache
    # solution: end


def pad_shortcut_backward(dy, cache):
    """Return dx, like x."""
    # solution: begin
    return ordinary.pad_shortcut_backward(dy[:, ::-1], cache)[:, ::-1]
    # solution: end
