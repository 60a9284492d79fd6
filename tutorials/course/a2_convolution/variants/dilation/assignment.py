# %% lift
def spread(w, dilation):
    """Return w with gaps of zeros: a dilated kernel is an ordinary one that has them."""
    F, C, KH, KW = w.shape
    wide = np.zeros((F, C, (KH - 1) * dilation + 1, (KW - 1) * dilation + 1), w.dtype)
    wide[:, :, ::dilation, ::dilation] = w
    return wide


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
    # solution: begin
    reach = [(kernel - 1) * dilation + 1 for kernel in w_shape[2:]]
    return ordinary.conv_output_size(x_shape, (*w_shape[:2], *reach), stride, padding)
    # solution: end


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
    # solution: begin
    y, cache = ordinary.conv2d_forward(x, spread(w, dilation), b, stride=stride, padding=padding)
    return y, (cache, dilation)
    # solution: end


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
    # solution: begin
    inner, dilation = cache
    dx, dw, db = ordinary.conv2d_backward(dy, inner)
    return dx, dw[:, :, ::dilation, ::dilation], db
    # solution: end
