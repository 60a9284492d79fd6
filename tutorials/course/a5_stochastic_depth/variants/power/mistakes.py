"""Wrong answers to assignment 5 about polynomial decay."""

import numpy as np

RULES = "6: How likely to be open? The survival rules"

leave_out(
    "5.1", "from-zero", "L-minus-1", "decays-to-1-minus", "with-block-0", "other-end",
    why="they are about linear_decay, which is not asked for; below they are about another rule",
)  # fmt: skip


def entry(name, *, says, look):
    """A mistake whose forms have the same words."""
    return mistake("5.1", name, loses=("polynomial decay",), says=says, look=look, read=RULES)


@entry(
    "from-zero",
    says="one block too early: your first block is certain, and your last one is above p_L",
    look="From which number to which does l run?",
)
def polynomial_decay(num_blocks, p_last, power):
    return [1 - (block / num_blocks) ** power * (1 - p_last) for block in range(num_blocks)]


two_ends = entry(
    "L-minus-1",
    says="your last block has p_L, but your first one is certain: 1 belongs to the input, block 0",
    look="What is p_1 for L = 4, p_L = 0.5 and k = 1?",
)


@two_ends
def polynomial_decay(num_blocks, p_last, power):
    return [1 - (block / (num_blocks - 1)) ** power * (1 - p_last) for block in range(num_blocks)]


@two_ends
def polynomial_decay(num_blocks, p_last, power):
    return 1 - np.linspace(0, 1, num_blocks) ** power * (1 - p_last)


@entry(
    "decays-to-1-minus",
    says="your last block survives with 1 - p_L: p_L is how often it is there, not how often it is "
    "missing",
    look="Which p does your last block have for p_L = 0.9?",
)
def polynomial_decay(num_blocks, p_last, power):
    return [1 - (block / num_blocks) ** power * p_last for block in range(1, num_blocks + 1)]


@entry(
    "with-block-0",
    says="L + 1 numbers: block 0 is the input, and has no gate",
    look="From which number to which does l run?",
)
def polynomial_decay(num_blocks, p_last, power):
    return [1 - (block / num_blocks) ** power * (1 - p_last) for block in range(num_blocks + 1)]


@entry(
    "other-end",
    says="the right numbers in reverse order: your first block is the one that is open least",
    look="Which blocks does everything after them rely on?",
)
def polynomial_decay(num_blocks, p_last, power):
    return solution.polynomial_decay(num_blocks, p_last, power)[::-1]


@entry(
    "power-ignored",
    says="right for k = 1 only: that is a linear decay",
    look="Where does the power enter?",
)
def polynomial_decay(num_blocks, p_last, power):
    return solution.polynomial_decay(num_blocks, p_last, 1)


@entry(
    "power-of-all",
    says="the power is taken of (l / L) (1 - p_L): so your last block does not have p_L",
    look="Which p does your last block have for k = 2 and p_L = 0.5?",
)
def polynomial_decay(num_blocks, p_last, power):
    return [1 - (1 - p) ** power for p in solution.polynomial_decay(num_blocks, p_last, 1)]


@entry(
    "power-of-p",
    says="the power is taken of the probability of the linear decay: so your last block does not "
    "have p_L",
    look="Which p does your last block have for k = 2 and p_L = 0.5?",
)
def polynomial_decay(num_blocks, p_last, power):
    return [p**power for p in solution.polynomial_decay(num_blocks, p_last, 1)]


@entry(
    "power-times",
    says="l / L is multiplied by k: k is a power",
    look="What is (l / L)^k for l = L?",
)
def polynomial_decay(num_blocks, p_last, power):
    return [1 - block / num_blocks * power * (1 - p_last) for block in range(1, num_blocks + 1)]


@entry(
    "one-over-power",
    says="that is the root: the larger your k, the more the early blocks are closed",
    look="Is (1/2)^2 larger or smaller than 1/2?",
)
def polynomial_decay(num_blocks, p_last, power):
    return solution.polynomial_decay(num_blocks, p_last, 1 / power)
