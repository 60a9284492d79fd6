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
    # solution: begin
    biases = [None] * groups if b is None else np.split(b, groups)
    parts = zip(np.split(x, groups, axis=1), np.split(w, groups), biases, strict=True)
    found = [ordinary.conv2d_forward(*part, stride=stride, padding=padding) for part in parts]
    return np.concatenate([y for y, _ in found], axis=1), [cache for _, cache in found]
    # solution: end


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
    parts = zip(np.split(dy, len(cache), axis=1), cache, strict=True)
    dx, dw, db = zip(*(ordinary.conv2d_backward(*part) for part in parts), strict=True)
    has_bias = all(part is not None for part in db)
    return np.concatenate(dx, axis=1), np.concatenate(dw), np.concatenate(db) if has_bias else None
    # solution: end
