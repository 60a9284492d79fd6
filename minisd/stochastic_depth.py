"""Deep Networks with Stochastic Depth (Huang, Sun, Liu, Sedra, Weinberger 2016, arXiv:1603.09382).

The whole paper in one paragraph. A residual network has L blocks. For each mini-batch every block l
draws a gate b_l ~ Bernoulli(p_l):

    H_l = ReLU(b_l f_l(H_{l-1}) + id(H_{l-1}))                                      (eq. 2)

With b_l = 1 this is an ordinary residual block. Where b_l = 0 it is replaced by its shortcut:

    H_l = ReLU(f_l(H_{l-1}) + id(H_{l-1}))                                          (eq. 1)
    H_l = id(H_{l-1})                                                               (eq. 3)

So training runs a short network, a different one each time, and gradients travel a short way. The
survival probability falls linearly with depth, from p_0 = 1 (the input) to p_L:

    p_l = 1 - (l / L) (1 - p_L)                                                     (eq. 4)

At test time all blocks are present, each weighted by how often it took part in training:

    H_l = ReLU(p_l f_l(H_{l-1}) + id(H_{l-1}))                                      (eq. 5)

Equations 2 and 5 are `minisd.residual.ResidualBlock.forward`. This module has the rest: the
paper's survival rules, the gates, and the expected depth of the network. Other rules, and one's
own, are in `minisd.rules`.

The gates have their own random generator, so that changing p_L does not change the order of the
images. They are drawn here, once per mini-batch, and never inside a forward. So a forward can be
repeated with the same gates, for instance to take a finite difference.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from minisd.layer import check_generator
from minisd.ops.check import cannot_take, whole_number
from minisd.residual import ResidualBlock

Sampler = Callable[[Sequence[float], np.random.Generator], list[bool]]
"""Draws the L gates of a mini-batch on the host: ``sample(probabilities, rng)``."""


class HasBlocks(Protocol):
    """Any network with a list of its residual blocks, first to last, such as a `ResNet`."""

    blocks: list[ResidualBlock]


def linear_decay(num_blocks: int, p_last: float = 0.5) -> list[float]:
    """Survival probabilities that fall linearly with depth, p_l = 1 - (l/L)(1 - p_L) (eq. 4).

    All later blocks use the features that early blocks compute. So early blocks should be present
    more often. Even the first block may be closed, because l starts at 1.

    Examples
    --------
    >>> linear_decay(4, p_last=0.5)
    [0.875, 0.75, 0.625, 0.5]
    """
    L, (p_last,) = whole_number("num_blocks", num_blocks, 1), check_survival([p_last])
    # eq. 4 in another order of terms, which gives exactly p_L for l = L
    return [p_last + (1 - p_last) * (1 - block / L) for block in range(1, L + 1)]


def uniform(num_blocks: int, p: float = 0.5) -> list[float]:
    """The same survival probability for every block, p_l = p.

    Examples
    --------
    >>> uniform(3, p=0.5)
    [0.5, 0.5, 0.5]
    """
    return check_survival([p]) * whole_number("num_blocks", num_blocks, 1)


def check_survival(survival_probs: Iterable[float]) -> list[float]:
    """Return the probabilities as a list of floats; raise unless each lies in [0, 1]."""
    if not isinstance(survival_probs, Iterable):
        raise TypeError(
            f"survival probabilities are a list, one for each block, got {survival_probs!r}: for "
            "the same one everywhere use uniform(num_blocks, p)"
        )
    probs = list(survival_probs)
    for block, p in enumerate(probs, start=1):
        if isinstance(p, bool | np.bool_) or not isinstance(p, int | float | np.number):
            raise TypeError(f"survival probabilities must be numbers, got {p!r} for block {block}")
    for block, p in enumerate(probs, start=1):
        if not 0 <= p <= 1:  # also catches NaN
            raise ValueError(
                f"survival probabilities must lie in [0, 1], got {p}"
                + (f" for block {block}" if len(probs) > 1 else "")
            )
    return [float(p) for p in probs]  # now, as an int may be too large for a float


def expected_depth(survival_probs: Sequence[float]) -> float:
    """Expected number of open blocks, E[L~] = sum of p_l (section 3).

    Under linear decay with p_L = 0.5 it is (3L - 1)/4: three quarters of the blocks.

    Examples
    --------
    >>> expected_depth(linear_decay(54))
    40.25
    """
    return math.fsum(check_survival(survival_probs))


def depth_distribution(survival_probs: Sequence[float]) -> np.ndarray:
    """Exact distribution of the number of open blocks.

    A sum of independent Bernoulli variables with different p_l is Poisson-binomial. It is computed
    block by block. After one more block, k blocks are open in two cases: k were open and this block
    is closed, or k - 1 were open and this block is open.

    Returns
    -------
    distribution : (L + 1,) float64
        ``distribution[k]`` is the probability that exactly k blocks are open.

    Examples
    --------
    >>> depth_distribution([0.5, 0.5]).tolist()
    [0.25, 0.5, 0.25]
    """
    distribution = np.ones(1)
    for p in check_survival(survival_probs):
        longer = np.zeros(len(distribution) + 1)
        longer[:-1] += (1 - p) * distribution
        longer[1:] += p * distribution
        distribution = longer
    return distribution


def sample_gates(survival_probs: Sequence[float], rng: np.random.Generator) -> list[bool]:
    """Draw b_l ~ Bernoulli(p_l), each on its own, without setting the gates."""
    draws = rng.random(len(survival_probs))  # in [0, 1): p = 1 is always open, p = 0 never
    return [bool(u < p) for u, p in zip(draws, survival_probs, strict=True)]


def draw_gates(
    model: HasBlocks, rng: np.random.Generator, *, sample: Sampler = sample_gates
) -> list[bool]:
    """Draw b_l ~ Bernoulli(p_l) for every block and set the gates. Call it once per mini-batch.

    It always draws L random numbers, whatever the probabilities.

    Parameters
    ----------
    sample : function of (probabilities, rng), optional
        Draws the gates in another way, such as `minisd.gates.every_other`: it returns L bools.

    Returns
    -------
    gates : list of L bool
        On the host, because the host decides which blocks run on a GPU.

    Raises
    ------
    ValueError, TypeError
        If ``sample`` is not such a function, or does not return one gate for each block (see
        `set_gates`). The gates are then as they were.
    """
    check_generator("draw_gates", rng)
    probs = [block.survival_prob for block in model.blocks]
    is_usual = sample is sample_gates
    gates = sample_gates(probs, rng) if is_usual else _drawn_by(sample, probs, rng, model)
    set_gates(model, gates)
    return gates


def _drawn_by(
    sample: Sampler, probs: list[float], rng: np.random.Generator, model: HasBlocks
) -> list[bool]:
    """Return the gates that ``sample`` draws; raise an error that names it unless they fit."""
    name = getattr(sample, "__name__", type(sample).__name__)
    if why := cannot_take(sample, probs, rng):
        raise TypeError(
            f"{name} cannot draw gates: that is done by a function of (probabilities, rng), such "
            f"as every_other or grouped(2); {why}"
        )
    gates = sample(probs, rng)
    try:
        return check_gates(model, gates)
    except (TypeError, ValueError) as error:
        raise type(error)(f"the gates that {name} drew: {error}") from None


def set_gates(model: HasBlocks, gates: Sequence[bool]) -> None:
    """Open and close the blocks for the next training forwards, for all images alike.

    Raises
    ------
    ValueError
        If the number of gates is not the number of blocks.
    TypeError
        If a gate is not True or False (1 or 0). A probability, for instance, would count as open.
    """
    for block, gate in zip(model.blocks, check_gates(model, gates), strict=True):
        block.is_open = gate
        block.image_gates = None


def check_gates(model: HasBlocks, gates: Sequence[bool]) -> list[bool]:
    """Return the gates as a list of bool; raise, as `set_gates` does, unless they fit."""
    if not hasattr(gates, "__len__"):
        raise TypeError(f"gates are a list of bools, one for each block, got {gates!r}")
    if len(gates) != len(model.blocks):
        raise ValueError(
            f"{len(model.blocks)} blocks need {len(model.blocks)} gates, got {len(gates)}"
        )
    for gate in gates:
        if not isinstance(gate, bool | int | np.bool_ | np.integer) or gate not in (0, 1):
            raise TypeError(
                f"a gate must be True (open) or False (closed), on the host, got {gate!r}"
            )
    return [bool(gate) for gate in gates]
