# %% [markdown]
# # Assignment 3: Batch normalisation (variant pairs)
#
# You write batch normalisation and its gradients with NumPy alone. Tutorial 4 has the mathematics.
# What every function has to do is in its docstring. Write the bodies; do not change the signatures.
# Helper functions, constants and imports of NumPy and the standard library are welcome.
#
# `minisd course check a3` checks what you have, as often as you like, without a network. The same
# properties are graded, with other numbers and some other shapes.
#
# Images are (N, C, H, W): number of images, channels, rows, columns. A channel has $M = NHW$
# numbers in a batch. Results have the dtype of the input: float32 gives float32. No function
# changes its arguments, except for the running statistics in training.


# %%
# minisd course: variant pairs
import numpy as np


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
    raise NotImplementedError("task 3.1: batchnorm2d_forward")


# %% [markdown]
# ## 3.2 Training: the running statistics
#
# In evaluation there may be only one image, and its answer must not depend on its company. So in
# training each batch also moves two arrays that belong to the caller:
#
# $$r \leftarrow (1 - m)\, r + m \cdot (\text{the batch's})$$
#
# with momentum $m$. What goes into the running variance is the *unbiased* variance of the batch,
# with $M - 1$ in the place of $M$. The arrays may start anywhere.


# %% task 3.2 Training: the running statistics points=15 minutes=50
# (a part of batchnorm2d_forward)


# %% [markdown]
# ## 3.3 Evaluation
#
# The running statistics take the place of $\mu$ and $v$; all else is as above. One image of one
# pixel is fine here.


# %% task 3.3 Evaluation points=10 minutes=30
# (a part of batchnorm2d_forward)


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
    raise NotImplementedError("task 3.4: batchnorm2d_backward")


# %% [markdown]
# ## 3.5 Backward in evaluation
#
# If the forward was one in evaluation, its mean and variance were constants. Which of the three
# ways are left?


# %% task 3.5 Backward in evaluation points=8 minutes=40
# (a part of batchnorm2d_backward)


# %% [markdown]
# ## 3.6 Far from zero
#
# In float32 a number has seven digits. In training, let the mean of a channel be 10,000 times its
# standard deviation. Your forward should still give what it gives in float64, to a few per cent.


# %% task 3.6 Far from zero points=5 minutes=30
# (a part of batchnorm2d_forward)


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
    raise NotImplementedError("task 3.7: fold")
