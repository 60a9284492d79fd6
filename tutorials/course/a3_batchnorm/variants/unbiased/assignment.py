# %% lift
def stretched(x):
    """Return x with larger deviations, and by how much: its biased variance is x's unbiased one."""
    M = x.size // x.shape[1]
    if M == 1:
        return x, 1.0
    factor = (M / (M - 1)) ** 0.5
    mean = x.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    return (mean + factor * (x - mean)).astype(x.dtype), factor


# %% [markdown]
# ## 3.1 Training: the output
#
# Let $x_1, \dots, x_M$ be the numbers of one channel: of all images, at all pixels. Here it is
# normalised by the *unbiased* variance, with $M - 1$ in the place of $M$:
#
# $$\mu = \frac1M \sum_i x_i, \qquad v = \frac1{M-1} \sum_i (x_i - \mu)^2, \qquad
#   \hat x_i = \frac{x_i - \mu}{\sqrt{v + \epsilon}}, \qquad y_i = \gamma \hat x_i + \beta .$$
#
# Each channel has a $\gamma$ and a $\beta$ of its own. A single number has no variance: with M = 1
# training is refused.
#
# Tasks 3.1, 3.2, 3.3 and 3.6 are all about this one function.


# %% task 3.1 Training: the output points=25 minutes=100
def batchnorm2d_forward(
    x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
):
    """Normalise each channel of a batch of images, by its unbiased variance.

    Parameters
    ----------
    x : (N, C, H, W)
    gamma, beta : (C,)
        Scale and shift. A gamma may be 0 or negative.
    running_mean, running_var : (C,)
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
        In training, if a channel has only one number: N * H * W is 1.
    """

    # solution: begin
    def called(x, gamma, running_mean, running_var):
        return ordinary.batchnorm2d_forward(
            x, gamma, beta, running_mean, running_var, training=training, momentum=momentum, eps=eps
        )

    wide, factor = stretched(x) if training else (x, 1.0)
    result = called(x, gamma, running_mean, running_var)  # moves the running statistics
    if not training:
        return result[0], {"ordinary": result[1], "factor": factor}
    y, _ = called(wide, gamma / factor, running_mean.copy(), running_var.copy())
    _, cache = called(wide, gamma, running_mean.copy(), running_var.copy())
    return y, {"ordinary": cache, "factor": factor}
    # solution: end


# %% [markdown]
# ## 3.2 Training: the running statistics
#
# In evaluation there may be only one image, and its answer must not depend on its company. So in
# training each batch also moves two arrays that belong to the caller:
#
# $$r \leftarrow (1 - m)\, r + m \cdot (\text{the batch's})$$
#
# with momentum $m$. Into the running variance goes the variance $v$ of 3.1, which is unbiased. The
# arrays may start anywhere.


# %% [markdown]
# ## 3.4 Backward
#
# In training, one number $x_j$ reaches the loss in three ways: by its own $\hat x_j$, by the mean,
# and by the variance, which are in every $\hat x_i$ of its channel. Its gradient is the sum of all
# three. Work it out on paper first: where does the $M - 1$ come in?


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
    dgamma, dbeta : (C,)
        Sums over images and pixels.
    """
    # solution: begin
    if isinstance(cache, tuple):  # the one that the docstring names
        x, *others = cache
        wide, factor = stretched(x) if others[3] else (x, 1.0)
        cache = {"ordinary": (wide, *others), "factor": factor}
    dx, dgamma, dbeta = ordinary.batchnorm2d_backward(dy, cache["ordinary"])
    return dx, dgamma / cache["factor"], dbeta
    # solution: end
