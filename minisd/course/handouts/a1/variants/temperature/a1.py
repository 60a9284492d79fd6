# %% [markdown]
# # Assignment 1: Is this gradient right? (variant temperature)
#
# You build the instrument that tells a right gradient from a wrong one, the two layers of a linear
# classifier with their gradients, and the loop that trains it, with NumPy alone. Tutorials 1 and 2
# have the mathematics. What every function has to do is in its docstring. Write the bodies; do not
# change the signatures. Helper functions, constants and imports of NumPy and the standard library
# are welcome.
#
# `minisd course check a1` checks what you have, as often as you like, without a network. The same
# properties are graded, with other numbers and some other shapes.
#
# Results have the dtype of the input: float32 gives float32. No function changes its arguments,
# unless its docstring says that it may.


# %%
# minisd course: variant temperature
import numpy as np


# %% [markdown]
# ## 1.1 The slope, measured
#
# The slope of f along the i-th number of x, without a formula for it:
#
# $$\frac{\partial f}{\partial x_i} \approx \frac{f(x + h\,e_i) - f(x - h\,e_i)}{2h}$$
#
# where $e_i$ is 1 at place i and 0 elsewhere. One number moves at a time, and all others stay where
# they are. The two errors go against each other: a large h bends the slope, a small one loses
# digits. So whoever calls chooses h.


# %% task 1.1 Numerical gradient points=15 minutes=40
def numeric_gradient(f, x, h=1e-5):
    """Return the gradient of f at x by central differences.

    Parameters
    ----------
    f : function
        Takes an array of the shape of x, and returns one number.
    x : array of float64
        Of any shape, with 0 to 3 dimensions; its memory may be in any order. You may write to it,
        but when you return it must be as it was, to the last bit.
    h : float
        The step. Use it as it is.

    Returns
    -------
    gradient : array, like x
        Its element i is ``(f(x + h e_i) - f(x - h e_i)) / (2 h)``.
    """
    raise NotImplementedError("task 1.1: numeric_gradient")


# %% [markdown]
# ## 1.2 A linear layer
#
# $$y_{nk} = \sum_d x_{nd}\, w_{kd} + b_k$$
#
# N inputs of D numbers give N outputs of K numbers. w has one row for each output.
#
# Let dy be the gradient of the loss with respect to y. Every number of w, of x and of b was used in
# some of the $y_{nk}$. Its gradient is the sum over these uses. Whether the loss is a mean or a sum
# is the loss's affair: a layer multiplies and sums.


# %% task 1.2 Linear layer points=30 minutes=50
def linear_forward(x, w, b=None):
    """Multiply by a matrix and add a bias.

    Parameters
    ----------
    x : (N, D)
    w : (K, D)
    b : (K,) or None

    Returns
    -------
    y : (N, K)
    cache
        Whatever your backward needs. If your forward does not work yet, `linear_backward` gets
        ``(x, w, b)`` instead.
    """
    raise NotImplementedError("task 1.2: linear_forward")


def linear_backward(dy, cache):
    """Return the gradients of `linear_forward`.

    Parameters
    ----------
    dy : (N, K)
    cache
        What the forward has returned. Several forwards may come before the first backward.

    Returns
    -------
    dx : (N, D)
    dw : (K, D)
    db : (K,), or None if there was no bias
    """
    raise NotImplementedError("task 1.2: linear_backward")


# %% [markdown]
# ## 1.3 Softmax with a temperature, and cross-entropy
#
# Each row of the logits s holds the scores of one image. Divided by a temperature T, they become
# probabilities, and the loss is the mean, over the images, of minus the logarithm of the right
# class's probability:
#
# $$p_{nk} = \frac{e^{s_{nk} / T}}{\sum_j e^{s_{nj} / T}}, \qquad
#   L = -\frac{1}{N} \sum_n \log p_{n,t_n}$$
#
# where $t_n$ is the label of image n. A high temperature makes the classes alike, a low one lets
# the largest score take all. The gradient is that of this loss with respect to s: work it out.
#
# Scores may be large, and probabilities may be too small for any float. The loss must be right
# then, too: with T = 1, a right class that lies 1,000 below another costs 1,000.


# %% task 1.3 Softmax with a temperature, and cross-entropy points=25 minutes=70
def softmax_cross_entropy(logits, labels, temperature):
    """Return the mean cross-entropy of the softmax of ``logits``, and its gradient.

    Parameters
    ----------
    logits : (N, K)
        Any finite numbers.
    labels : (N,), integers
        The right classes, from 0 to K - 1. K may be 1.
    temperature : float
        T, above 0. The softmax is that of ``logits / T``.

    Returns
    -------
    loss : number
        What `float` takes.
    dlogits : (N, K)
        Gradient of the loss with respect to ``logits``.
    """
    raise NotImplementedError("task 1.3: softmax_cross_entropy")


# %% [markdown]
# ## 1.4 A step with momentum
#
# $$g = dw + \lambda w, \qquad v \leftarrow m\,v + g, \qquad w \leftarrow w - \text{lr}\; v$$
#
# The velocity v is a sum of gradients, with weight decay $\lambda$ in them. The weight moves by the
# new velocity. (This is plain momentum, not Nesterov's.)


# %% task 1.4 Momentum points=15 minutes=30
def sgd_step(w, v, dw, lr, momentum, weight_decay):
    """Take a step of gradient descent with momentum.

    Parameters
    ----------
    w, v, dw : arrays of one shape
        Weight, velocity and gradient. You may write to w and v, but not to dw.
    lr, momentum, weight_decay : float
        The learning rate may be another one in the next step.

    Returns
    -------
    w, v
        After the step: new arrays, or the same ones.
    """
    raise NotImplementedError("task 1.4: sgd_step")


# %% [markdown]
# ## 1.5 Training
#
# Put it together: scores by `linear_forward`, loss and gradient by `softmax_cross_entropy`, the
# gradients of w and b by `linear_backward`. A step takes `lr * dw` off w and `lr * db` off b: no
# momentum, no weight decay. When this task is graded, your functions of 1.2 to 1.4 are replaced by
# right ones; when you check it yourself, they are your own.
#
# Whoever has the same generator must get the same result. So all random numbers come from `rng`,
# and what is drawn from it is prescribed.


# %% task 1.5 Training points=15 minutes=50
def train(images, labels, steps, batch, lr, rng, temperature):
    """Train a linear classifier by gradient descent on random batches.

    w and b begin at zero. Each step draws the places of its images by
    ``rng.choice(n, batch, replace=False)``, and nothing else is drawn. It moves w and b against the
    gradient of the mean loss of these images.

    Parameters
    ----------
    images : (n, D)
        Used as they are.
    labels : (n,), integers
        There are K classes: the largest label is K - 1.
    steps, batch : int
        How many steps, and how many images in each: at most n.
    lr : float
    rng : numpy.random.Generator
    temperature : float
        Of the softmax in the loss.

    Returns
    -------
    w : (K, D)
    b : (K,)
    """
    raise NotImplementedError("task 1.5: train")
