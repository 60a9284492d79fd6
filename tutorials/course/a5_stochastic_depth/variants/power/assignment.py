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
    # solution: begin
    depths = [block / num_blocks for block in range(1, num_blocks + 1)]
    return [1 - depth**power * (1 - p_last) for depth in depths]
    # solution: end


def expected_depth(probs):
    """Return how many blocks are open on average, a float.

    Parameters
    ----------
    probs : list or array of L floats
        Survival probabilities by any rule.
    """
    # solution: begin
    return ordinary.expected_depth(probs)
    # solution: end
