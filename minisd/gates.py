"""Other ways to draw the gates: with a structure, or for each image of the batch.

In the paper the gates of a mini-batch are independent: b_l ~ Bernoulli(p_l). A *structured* way
makes them depend on one another. It is a function of (probabilities, rng) that returns L bools on
the host, and it is called once per mini-batch:

    draw_gates(model, rng, sample=every_other)

In evaluation a branch is weighted by p_l, because it was open with that probability in training
(eq. 5). So a structured way should leave the *marginal* probability P(b_l = 1) at p_l, whatever
else it does. `every_other` and `grouped` do, exactly. `at_least` cannot, and says what it does.

A way of one's own is such a function, too:

    def first_half_open(probabilities, rng):
        half = len(probabilities) // 2
        return [True] * half + sample_gates(probabilities[half:], rng)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minisd.layer import check_generator
from minisd.ops.check import whole_number
from minisd.stochastic_depth import HasBlocks, Sampler, check_survival, set_gates

# ---- with a structure ----


def every_other(survival_probs: Sequence[float], rng: np.random.Generator) -> list[bool]:
    """Close no two neighbours together, as far as the probabilities allow it.

    One number u ~ U(0, 1) decides for all blocks. Odd blocks are open if u < p_l, even blocks if
    1 - u <= p_l. Each block is then open with probability p_l, exactly. Two neighbours are both
    closed with probability max(0, 1 - p_l - p_{l+1}): never, if their probabilities add up to 1 or
    more. With p_l = 0.5 everywhere, exactly every other block is open.

    Examples
    --------
    >>> gates = every_other([0.5] * 4, np.random.default_rng(0))
    >>> gates in ([True, False, True, False], [False, True, False, True])
    True
    """
    u = rng.random()
    return [bool(u >= 1 - p if block % 2 else u < p) for block, p in enumerate(survival_probs)]


def grouped(k: int) -> Sampler:
    """Return a way to draw that opens and closes ``k`` neighbouring blocks together.

    Blocks 1 to k share one number u ~ U(0, 1), the next k share another, and so on. A block is
    open if u < p_l. So each is open with probability p_l, exactly. Blocks of a group whose
    probabilities differ are open together with the smaller of them.

    Examples
    --------
    >>> gates = grouped(2)([0.5] * 4, np.random.default_rng(0))
    >>> gates[0] == gates[1] and gates[2] == gates[3]
    True
    """
    k = whole_number("grouped: k", k, 1)

    def in_groups(survival_probs: Sequence[float], rng: np.random.Generator) -> list[bool]:
        draws = rng.random(-(-len(survival_probs) // k))
        return [bool(draws[block // k] < p) for block, p in enumerate(survival_probs)]

    in_groups.__name__ = in_groups.__qualname__ = f"grouped({k})"  # a run saves it
    return in_groups


def at_least(k: int) -> Sampler:
    """Return a way to draw independent gates, given that at least ``k`` blocks are open.

    As if all gates were drawn again and again until k or more are open; but with L random numbers
    each time. Block l is open with the conditional probability

        p_l T_{l+1}(k - a - 1) / T_l(k - a),

    where a blocks before it are open, and T_l(j) is the probability that at least j of the blocks
    l to L are open when all are independent.

    The marginals are *not* p_l, but larger: see `open_probabilities`. Where that matters, and the
    probability of fewer than k open blocks is not small, evaluate with those:
    ``set_survival(model, open_probabilities(probs, k))`` after training.

    Raises
    ------
    ValueError
        When it is called: if fewer than k of the probabilities are above 0.

    Examples
    --------
    >>> sum(at_least(3)([0.1] * 4, np.random.default_rng(0))) >= 3
    True
    """
    k = whole_number("at_least: k", k, 0)

    def at_least_k(survival_probs: Sequence[float], rng: np.random.Generator) -> list[bool]:
        tails = _tails(survival_probs, k)
        gates: list[bool] = []
        missing = k
        for block, (p, u) in enumerate(
            zip(survival_probs, rng.random(len(survival_probs)), strict=True)
        ):
            if missing:
                p = p * tails[block + 1, missing - 1] / tails[block, missing]
            gates.append(bool(u < p))
            missing = max(missing - gates[-1], 0)
        return gates

    at_least_k.__name__ = at_least_k.__qualname__ = f"at_least({k})"
    return at_least_k


def open_probabilities(survival_probs: Sequence[float], k: int) -> list[float]:
    """Return P(b_l = 1), for every block, if at least ``k`` blocks are open: see `at_least`.

    By Bayes' rule it is p_l P(at least k - 1 of the others are open) / P(at least k are open).

    Examples
    --------
    >>> open_probabilities([0.5, 0.5], 1)  # open in two of the three cases that are left
    [0.6666666666666666, 0.6666666666666666]
    """
    probs, k = check_survival(survival_probs), whole_number("open_probabilities: k", k, 0)
    of_all = _tails(probs, k)[0, k]
    found = []
    for block, p in enumerate(probs):
        others = probs[:block] + probs[block + 1 :]
        of_others = _tails(others, k - 1)[0, k - 1] if k else 1
        found.append(float(p * of_others / of_all))
    return found


def _tails(survival_probs: Sequence[float], k: int) -> NDArray[np.float64]:
    """Return T_l(j), the probability of at least j open blocks among l to L: (L + 1, k + 1)."""
    tails = np.zeros((len(survival_probs) + 1, k + 1))
    tails[:, 0] = 1
    for block in reversed(range(len(survival_probs))):
        p, after = survival_probs[block], tails[block + 1]
        tails[block, 1:] = p * after[:-1] + (1 - p) * after[1:]
    if tails[0, k] == 0:
        raise ValueError(
            f"at least {k} blocks cannot be open: only {sum(p > 0 for p in survival_probs)} of "
            f"the {len(survival_probs)} survival probabilities are above 0"
        )
    return tails


# ---- for each image ----


def draw_image_gates(
    model: HasBlocks, rng: np.random.Generator, batch_size: int
) -> NDArray[np.bool_]:
    """Draw a gate for every image in every block, and set them. Call it once per mini-batch.

    This is stochastic depth as torchvision's ``stochastic_depth(mode="row")`` and timm's
    ``DropPath`` have it; with ``resnet(..., scale="train")``, which divides by p_l, it is the same
    function. Image n of the batch goes through

        H = ReLU(b_ln f_l(x_n) + id(x_n)),    b_ln ~ Bernoulli(p_l)

    **It saves no time.** Every branch runs on the whole batch, and the results that are not wanted
    are multiplied by 0. The network of a step is not shorter; only each image sees a shorter one.
    So batch norms in the branch see all images: those that are multiplied by 0 move the running
    statistics, and, through the statistics of the batch, the gradients of the others. No gradient
    of a branch is None.

    Returns
    -------
    gates : (L, N) bool
        On the host. `set_gates` and `draw_gates` go back to one gate for all images.
    """
    check_generator("draw_image_gates", rng)
    N = whole_number("draw_image_gates: batch_size", batch_size, 1)
    probs = np.array([block.survival_prob for block in model.blocks])
    gates = rng.random((len(probs), N)) < probs[:, None]
    set_image_gates(model, gates)
    return gates


def set_image_gates(model: HasBlocks, gates: NDArray[np.bool_]) -> None:
    """Set the gate of every image in every block, for the next training forwards.

    Parameters
    ----------
    gates : (L, N) bool, on the host

    Raises
    ------
    TypeError, ValueError
        If it is another array. A forward of another number of images raises a ValueError.
    """
    L = len(model.blocks)
    if not isinstance(gates, np.ndarray) or gates.dtype != np.bool_:
        what = getattr(gates, "dtype", type(gates).__name__)
        raise TypeError(f"gates of images must be a NumPy array of bool, on the host, got {what}")
    if gates.ndim != 2 or len(gates) != L or gates.shape[1] == 0:
        raise ValueError(
            f"{L} blocks need gates of images of shape ({L}, batch size), got {gates.shape}"
        )
    set_gates(model, [True] * L)
    for block, of_images in zip(model.blocks, gates.copy(), strict=True):
        block.image_gates = of_images
