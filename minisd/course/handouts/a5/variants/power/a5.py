# %% [markdown]
# # Assignment 5: Stochastic depth (variant power)
#
# You write what makes a residual network short in training and deep in testing: the gates, the
# block that they open and close, and what follows for its weights. Tutorial 6 has the mathematics.
# What each function has to do is in its docstring. Write the bodies; do not change the signatures.
# Helper functions, constants and imports of NumPy and the standard library are welcome.
#
# `minisd.ops`, `minisd.layer` and `minisd.layers` are given, the rest of the library is not. You
# need `Layer`, and perhaps `ReLU`.
#
# `minisd course check a5` checks what you have, as often as you like, without a network. The same
# properties are graded, with other numbers and some other shapes.
#
# Block l of L is *open* with probability $p_l$, its survival probability, else *closed*. Blocks are
# counted from 1. No function changes its arguments, except where it says so.


# %%
# minisd course: variant power
import math

import numpy as np

from minisd.layer import Layer
from minisd.layers import ReLU


# %% [markdown]
# ## 5.1 How often is a block open?
#
# Early blocks make what all the others use, so they are open more often. With polynomial decay,
#
# $$p_l = 1 - \Big(\frac{l}{L}\Big)^k\,(1 - p_L), \qquad l = 1, \ldots, L.$$
#
# The power k = 1 is the linear decay of the paper. A larger one spares the early blocks, and closes
# the last ones all the more.


# %% task 5.1 Survival probabilities points=10 minutes=20
def polynomial_decay(num_blocks, p_last, power):
    """Return the survival probabilities p_1, ..., p_L of polynomial decay.

    Parameters
    ----------
    num_blocks : int
        L, at least 1.
    p_last : float
        p_L, from 0 to 1.
    power : float
        k, above 0.

    Returns
    -------
    probs : list, tuple or array of L floats
    """
    raise NotImplementedError("task 5.1: polynomial_decay")


def expected_depth(probs):
    """Return how many blocks are open on average, a float.

    Parameters
    ----------
    probs : list or array of L floats
        Survival probabilities by any rule.
    """
    raise NotImplementedError("task 5.1: expected_depth")


# %% [markdown]
# ## 5.2 Gates
#
# For each mini-batch every block draws a gate. A run can be repeated only if all chance comes from
# generators that the caller gives, and if it is known how much is drawn from them.


# %% task 5.2 Drawing the gates points=10 minutes=20
def sample_gates(probs, rng):
    """Draw a gate for each block.

    Exactly one call ``u = rng.random(L)``, whatever the probabilities are. Block l is open where
    u < p.

    Parameters
    ----------
    probs : list or array of L floats
    rng : numpy Generator

    Returns
    -------
    gates : list, tuple or array of L bools
        True is open.
    """
    raise NotImplementedError("task 5.2: sample_gates")


# %% [markdown]
# ## 5.3 A block with a gate
#
# $$H_l = \mathrm{ReLU}\big(b_l\, f_l(H_{l-1}) + \mathrm{id}(H_{l-1})\big),
#   \qquad b_l \in \{0, 1\}$$
#
# In training, the gate $b_l$ says whether the branch $f_l$ is there. It is set from outside, once
# for each mini-batch; the block itself draws nothing. A closed branch is not multiplied by zero: it
# is not entered, in neither direction.


# %% task 5.3 The block in training points=35 minutes=150
class GatedBlock(Layer):
    """A residual block with a gate: ReLU(b f(x) + shortcut(x)).

    In training (``self.training``):

    - Open: ``ReLU(f(x) + shortcut(x))``, and its gradients.
    - Closed: ``ReLU(shortcut(x))``. The branch is not entered: its layers run neither forward nor
      backward. So running statistics do not move, and ``grad`` of its parameters stays None, "not
      reached". What is in a closed branch does not matter, even if it is infinite.

    Parameters
    ----------
    branch, shortcut : Layer
        f and the way around it. Their outputs have one shape, which need not be that of x.
    survival_prob : float
        p, from 0 to 1. It plays a part in 5.4 only.
    scale : "test" or "train"
        See 5.4.

    Attributes
    ----------
    is_open : bool
        The gate that the next training forward uses, True at first. It is set from outside; the
        block never changes it. A backward goes by the gate of its own forward: ``is_open`` may
        have been set anew before it.
    """

    def __init__(self, branch, shortcut, survival_prob=1.0, scale="test"):
        raise NotImplementedError("task 5.3: GatedBlock")

    def forward(self, x):
        """Return y. It has the dtype of x, and x is not changed."""
        raise NotImplementedError("task 5.3: GatedBlock")

    def backward(self, dy):
        """Return dx, the gradient of the last forward, which was one in training.

        The gradients of parameters are added up by the inner layers, in their own ``backward``.
        Each of them has to be called at most once. ``dy`` is not changed.
        """
        raise NotImplementedError("task 5.3: GatedBlock")


# %% [markdown]
# ## 5.4 The weight of the branch
#
# The points are for the same class. In evaluation every branch runs, and the gate plays no part.
# The branch has been there with probability p, and everything after it is used to that. So with
# `scale="test"`, as in the paper, it is weighted by p in evaluation:
#
# $$H_l = \mathrm{ReLU}\big(p_l\, f_l(H_{l-1}) + \mathrm{id}(H_{l-1})\big).$$
#
# With `scale="train"` it is the other way round: an open branch counts $f/p$ in training, and $f$
# in evaluation. A ValueError is asked for if p is 0 then; it may come from the class or from its
# first forward. (A backward after a forward in evaluation is not asked for.)


# %% task 5.4 The block in evaluation, and both scales points=15 minutes=60
# (nothing to write)


# %% [markdown]
# ## 5.5 How many are open?
#
# Gates are independent, but not alike. Go from block to block: with one block more, k are open if k
# were open and this one is closed, or if k - 1 were open and this one is open, too.


# %% task 5.5 The distribution of depth points=10 minutes=60
def depth_distribution(probs):
    """Return the probabilities that exactly 0, 1, ..., L blocks are open.

    Parameters
    ----------
    probs : list or array of L floats
        L may be 100: there is no time to go through all patterns of gates.

    Returns
    -------
    distribution : list, tuple or array of L + 1 floats
    """
    raise NotImplementedError("task 5.5: depth_distribution")


# %% [markdown]
# ## 5.6 The mean of all networks
#
# Training with gates trains $2^L$ networks at once. Here they have no ReLUs: block l is a matrix,
# and open it makes h into $h + A_l h$. Then their mean can be had exactly.


# %% task 5.6 The ensemble of linear networks points=10 minutes=60
def ensemble_mean(matrices, probs, x):
    """Return the mean of the outputs of all 2^L networks, weighted by their probabilities.

    In each of them h starts as x. Block 1 comes first: where it is open, h becomes h + A h.

    Parameters
    ----------
    matrices : (L, D, D)
        A_1, ..., A_L, float64. L is at most 8: you may go through all networks, or find a short
        way.
    probs : (L,)
    x : (D,) or (D, B)

    Returns
    -------
    mean : like x
    """
    raise NotImplementedError("task 5.6: ensemble_mean")


# %% [markdown]
# ## 5.7 The step of a weight whose block was closed
#
# Gradient descent with momentum moves each weight w and its velocity v,
#
# $$g = dw + \lambda w, \qquad v \leftarrow m v + g, \qquad w \leftarrow w - \eta v,$$
#
# with momentum m, weight decay $\lambda$ and learning rate $\eta$. What if dw is None, since the
# block was closed? Paper and released code disagree.


# %% task 5.7 The step of a dropped weight points=10 minutes=50
def step_dropped(w, v, dw, *, lr, momentum, weight_decay, dropped):
    """Return w and v after one step.

    Parameters
    ----------
    w, v : arrays of one shape and dtype
        You may write into them, or return new ones of the same dtype.
    dw : like w, or None
        None: the block of w was closed. It is not changed.
    lr, momentum, weight_decay : float
    dropped : "freeze" or "coast"
        What happens where dw is None. "freeze": nothing, w and v stay as they are, bit for bit.
        "coast": a step as if dw were zero. Where there is a gradient, both take the usual step.

    Returns
    -------
    w, v
    """
    raise NotImplementedError("task 5.7: step_dropped")
