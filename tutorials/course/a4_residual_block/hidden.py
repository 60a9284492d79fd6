"""The hidden cases of assignment 4: the same properties, other shapes. Not in the package."""

import numpy as np

from minisd.course.checks import Case
from minisd.course.handouts.a4.cases import block, misfit, numbers, shrinking


def reordered(draw):
    """Return a function that draws the same, with x and dy in another order in memory."""

    def drawn(rng):
        values = draw(rng)
        for name in ("x", "dy"):
            values[name] = np.asarray(values[name].T, order="C").T
        return values

    return drawn


CONSTANT = Case("gamma2 = 0 in another size", block(2, 3, 7, 4, constant=True))
ZEROS = Case("exact zeros before both ReLUs", block(3, 4, 6, 5, zeros=True))
MEMORY = Case("memory in another order", reordered(block(2, 3, 4, 6)))
ALPHAS = [
    Case("alpha = -0.7", block(2, 4, 4, 5, alpha=-0.7)),
    Case("alpha = 1.5 with memory in another order", reordered(block(2, 3, 4, 6, alpha=1.5))),
]
SCALED_ZEROS = Case("alpha = 3 with exact zeros", block(3, 4, 5, 4, zeros=True, alpha=3))
SHRINKS = [
    Case("3 to 7 channels at stride 3", shrinking(2, 3, 6, 9, 7, 3)),
    Case("memory in another order", reordered(shrinking(3, 4, 4, 6, 9, 2))),
    Case("no new channels", shrinking(3, 4, 8, 4, 4, 4)),
]
HIDDEN = {
    "4.1 output": [Case("memory in another order", reordered(numbers(3, 4, 5)))],
    "4.1 its gradient": [
        Case("memory in another order", reordered(numbers(3, 4, 5))),
        Case("many exact zeros", numbers(40, zeros=True)),
    ],
    "4.2 output": [ZEROS, MEMORY],
    "4.2 shortcut and last ReLU": [CONSTANT],
    "4.3 dx, dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2": [ZEROS, MEMORY],
    "4.4 output": SHRINKS,
    "4.4 its gradient": SHRINKS,
    "4.4 refuses": [Case("7 columns at stride 3", misfit(6, 7, 3, 3))],
    "4.5 output": [*ALPHAS, SCALED_ZEROS],
    "4.5 dx and grads, dalpha": [*ALPHAS, SCALED_ZEROS],
}
