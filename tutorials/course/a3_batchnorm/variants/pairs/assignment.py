# %% lift
def paired(x):
    """Return each pair of channels as one channel, whose rows are those of the two."""
    N, C, H, W = x.shape
    return x.reshape(N, C // 2, 2 * H, W)


def unpaired(y):
    """Undo `paired`."""
    N, pairs, H, W = y.shape
    return y.reshape(N, 2 * pairs, H // 2, W)


# %% [markdown]
# ## 3.1 Training: the output
#
# Here two neighbouring channels are normalised as one: channels 0 and 1, channels 2 and 3, and so
# on. Let $x_1, \dots, x_M$ be the numbers of a pair: of both channels, of all images, at all
# pixels. So $M = 2NHW$.
#
# $$\mu = \frac1M \sum_i x_i, \qquad v = \frac1M \sum_i (x_i - \mu)^2, \qquad
#   \hat x_i = \frac{x_i - \mu}{\sqrt{v + \epsilon}}, \qquad y_i = \gamma \hat x_i + \beta .$$
#
# Each pair has a $\gamma$ and a $\beta$ of its own. An odd number of channels is refused.
#
# Tasks 3.1, 3.2, 3.3 and 3.6 are all about this one function.


# %% task 3.1 Training: the output points=25 minutes=100
def batchnorm2d_forward(
    x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
):
    """Normalise each pair of channels of a batch of images.

    Parameters
    ----------
    x : (N, C, H, W)
    gamma, beta : (C / 2,)
        Scale and shift of the pairs. A gamma may be 0 or negative.
    running_mean, running_var : (C / 2,)
        In training they follow the statistics of the batches: the arrays themselves are changed,
        in place. In evaluation they are used, and stay as they are.
    training : bool
    momentum : float
        The share of the new batch in the running statistics.
    eps : float
        Added to the variance, in training and in evaluation.

    Returns
    -------
    y : (N, C, H, W)
    cache
        Whatever your backward needs. If your forward does not work yet, `batchnorm2d_backward`
        gets ``(x, gamma, running_mean, running_var, training, eps)`` instead.

    Raises
    ------
    ValueError
        If C is odd.
    """
    # solution: begin
    options = {"training": training, "momentum": momentum, "eps": eps}
    arrays = gamma, beta, running_mean, running_var
    if x.shape[1] % 2:  # refused as a single number is in the ordinary assignment
        single = x[:1, ::2, :1, :1]
        return ordinary.batchnorm2d_forward(single, *arrays, **{**options, "training": True})
    y, cache = ordinary.batchnorm2d_forward(paired(x), *arrays, **options)
    return unpaired(y), {"ordinary": cache}
    # solution: end


# %% [markdown]
# ## 3.4 Backward
#
# In training, one number $x_j$ reaches the loss in three ways: by its own $\hat x_j$, by the mean,
# and by the variance, which are in every $\hat x_i$ of its pair. Its gradient is the sum of all
# three. Work it out on paper first.


# %% task 3.4 Backward in training points=30 minutes=180
def batchnorm2d_backward(dy, cache):
    """Return the gradients of `batchnorm2d_forward`.

    Parameters
    ----------
    dy : (N, C, H, W)
    cache
        What the forward has returned. Other forwards may come between a forward and its backward,
        in training, too: they move the running statistics.

    Returns
    -------
    dx : (N, C, H, W)
    dgamma, dbeta : (C / 2,)
        Sums over images, pixels, and the two channels.
    """
    # solution: begin
    if isinstance(cache, tuple):  # the one that the docstring names
        x, *others = cache
        cache = {"ordinary": (paired(x), *others)}
    dx, dgamma, dbeta = ordinary.batchnorm2d_backward(paired(dy), cache["ordinary"])
    return unpaired(dx), dgamma, dbeta
    # solution: end


# %% [markdown]
# ## 3.7 Fold it into the convolution
#
# In evaluation batch norm multiplies each channel by a constant and adds another. The convolution
# before it can do that itself. Let its output be
#
# $$z_{n,f,i,j} = b_f + \sum_{c,k,l} x_{n,c,i+k,j+l}\; w_{f,c,k,l} .$$
#
# Find the filters and the bias that give at once what batch norm, in evaluation, makes of z. The
# filters, which make its channels, come in pairs.


# %% task 3.7 Fold it into the convolution points=7 minutes=50
def fold(w, b, gamma, beta, running_mean, running_var, eps):
    """Return a convolution that does what a convolution and the batch norm after it do.

    Parameters
    ----------
    w : (F, C, KH, KW)
        F is even.
    b : (F,) or None
        Of the convolution. None: it has no bias.
    gamma, beta, running_mean, running_var : (F / 2,)
        Of the batch norm after it, which is in evaluation.
    eps : float

    Returns
    -------
    w : (F, C, KH, KW)
    b : (F,)
        An array, also if there was no bias.
    """
    # solution: begin
    norm = gamma, beta, running_mean, running_var, eps
    halves = [
        ordinary.fold(w[i::2], None if b is None else b[i::2], *norm)
        for i in (0, 1)
    ]  # fmt: skip
    ws, bs = zip(*halves, strict=True)
    folded = np.stack(ws, axis=1).reshape(w.shape)
    return folded, None if bs[0] is None else np.stack(bs, axis=1).reshape(-1)
    # solution: end
