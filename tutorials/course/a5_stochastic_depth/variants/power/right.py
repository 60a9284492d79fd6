"""Right answers to assignment 5 about polynomial decay in an unusual form."""

import math

import numpy as np


@right("5.1", "arrays")
def polynomial_decay(num_blocks, p_last, power):
    return 1 - np.linspace(0, 1, num_blocks + 1)[1:] ** power * (1 - p_last)


@right("5.1", "by logarithms, a tuple")
def polynomial_decay(num_blocks, p_last, power):
    logs = (power * (math.log(block) - math.log(num_blocks)) for block in range(1, num_blocks + 1))
    return tuple(1 - math.exp(log) + math.exp(log) * p_last for log in logs)
