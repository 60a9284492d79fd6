"""Survival rules by name, and one's own.

A survival rule is a function of the number of blocks L, and perhaps of p_L, that gives the
survival probabilities p_1 to p_L. The paper's two rules, linear decay (eq. 4) and uniform, are in
`minisd.stochastic_depth`. Wherever a rule is asked for, a name in `RULES`, a function, or the
probabilities themselves will do: `survival_probabilities` makes checked probabilities of each.

The second argument of a function is p_L if it has no default, or is called ``p``, ``p_last`` or
``p_L``. Another one, such as ``power=2``, keeps its default.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

from minisd.ops.check import whole_number
from minisd.residual import NoShortcut
from minisd.stochastic_depth import HasBlocks, check_survival, linear_decay, uniform

_NAMES_OF_P_LAST = ("p", "p_last", "p_L")
Rule = Callable[..., Iterable[float]]
"""A survival rule: ``rule(num_blocks, p_last)``, or ``rule(num_blocks)``, gives p_1 to p_L."""


def constant(num_blocks: int, p_last: float = 1.0) -> list[float]:
    """Constant depth: every block is always open, p_l = 1.

    ``p_last`` plays no part. It is here so that all rules are called alike.

    Examples
    --------
    >>> constant(3)
    [1.0, 1.0, 1.0]
    """
    return [1.0] * whole_number("num_blocks", num_blocks, 1)


def cosine_decay(num_blocks: int, p_last: float = 0.5) -> list[float]:
    """Survival probabilities that fall along half a cosine, from p_0 = 1 to p_L.

        p_l = p_L + (1 - p_L) (1 + cos(pi l / L)) / 2

    It falls slowly at first and at the end, and fastest in the middle. The expected depth is that
    of linear decay, since the cosines of l and L - l cancel. So training takes as long; but early
    blocks are open more often, and late ones less. This rule is not in the paper.

    Examples
    --------
    >>> [round(p, 3) for p in cosine_decay(4, p_last=0.5)]
    [0.927, 0.75, 0.573, 0.5]
    """
    L, (p_last,) = whole_number("num_blocks", num_blocks, 1), check_survival([p_last])
    return [
        p_last + (1 - p_last) * (1 + math.cos(math.pi * block / L)) / 2 for block in range(1, L + 1)
    ]


RULES: dict[str, Rule] = {
    "linear": linear_decay,
    "uniform": uniform,
    "constant": constant,
    "cosine": cosine_decay,
}
"""The survival rules that have a name. Another one is any function of L, or of L and p_L."""


def survival_probabilities(
    rule: str | Rule | Iterable[float] | None, num_blocks: int, p_last: float | None = None
) -> list[float]:
    """Return the checked probabilities p_1 to p_L that a rule gives for L blocks.

    Parameters
    ----------
    rule : str, function, L floats, or None
        A name in `RULES`; a function of L, or of L and p_L; the probabilities themselves; or None,
        constant depth.
    num_blocks : int
        L.
    p_last : float, optional
        p_L, for a rule that takes one. None: the rule's own default.

    Raises
    ------
    ValueError
        If there is no rule of this name, if a rule fails, or if what it gives is not L
        probabilities in [0, 1].
    TypeError
        If it gives something else than numbers.

    Examples
    --------
    >>> survival_probabilities("linear", 4, 0.5)
    [0.875, 0.75, 0.625, 0.5]
    >>> survival_probabilities(lambda L: [1 - 0.1 * l for l in range(L)], 3)
    [1.0, 0.9, 0.8]
    """
    L = whole_number("num_blocks", num_blocks, 1)
    if rule is None:
        rule = constant
    if isinstance(rule, str):
        if rule not in RULES:
            raise ValueError(
                f"there is no survival rule {rule!r}: use {', '.join(RULES)}, a function of the "
                "number of blocks, or a list of probabilities"
            )
        rule = RULES[rule]
    if not callable(rule):
        return _exactly(L, check_survival(rule), "there are")
    name = f"the survival rule {getattr(rule, '__name__', type(rule).__name__)}"
    try:
        probs = rule(*_arguments(rule, L, p_last))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name} failed for {L} blocks: {what}") from error
    try:
        return _exactly(L, check_survival(probs), "it gave")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must give {L} probabilities for {L} blocks: {error}") from None


def _arguments(rule: Rule, num_blocks: int, p_last: float | None) -> tuple[Any, ...]:
    """Return the arguments that a rule is called with: p_L only if given, and if it takes one."""
    if p_last is None:
        return (num_blocks,)
    try:
        signature = inspect.signature(rule)
        signature.bind(num_blocks, p_last)
    except (TypeError, ValueError):  # it takes one argument; or it is built in and does not say
        return (num_blocks,)
    second = [*signature.parameters.values()][:2][-1]
    is_another_setting = second.default is not second.empty and second.name not in _NAMES_OF_P_LAST
    return (num_blocks,) if is_another_setting else (num_blocks, p_last)


def _exactly(num_blocks: int, probs: list[float], what: str) -> list[float]:
    """Return the probabilities; raise unless there is one for each block."""
    if len(probs) != num_blocks:
        raise ValueError(
            f"{num_blocks} blocks need as many survival probabilities, but {what} {len(probs)}"
        )
    return probs


def set_survival(model: HasBlocks, survival: str | Rule | Iterable[float]) -> None:
    """Set the survival probability p_l of every block, for the forwards from now on.

    Nothing else changes: neither weights nor gates. If it raises, no block has changed.

    Parameters
    ----------
    survival : L floats, a function of L, or a name in `RULES`

    Raises
    ------
    ValueError, TypeError
        If these are not L probabilities in [0, 1]; if one is 0 where ``scale="train"`` divides by
        it; or if one is below 1 in a network without shortcuts.

    Examples
    --------
    >>> import numpy as np
    >>> from minisd import resnet
    >>> model = resnet(8, rng=np.random.default_rng(0))
    >>> set_survival(model, [1, 0.9, 0.8])
    >>> model.survival_probs
    [1.0, 0.9, 0.8]
    """
    probs = survival_probabilities(survival, len(model.blocks))
    for number, (block, p) in enumerate(zip(model.blocks, probs, strict=True), start=1):
        if p == 0 and block.scale == "train":
            raise ValueError(
                f"scale='train' divides by the survival probability, which is 0 for block {number}"
            )
        if p < 1 and isinstance(block.shortcut, NoShortcut):
            raise ValueError(
                f"with shortcut 'none' nothing passes a closed block: block {number} must have "
                f"survival probability 1, got {p}"
            )
    for block, p in zip(model.blocks, probs, strict=True):
        block.survival_prob = p
