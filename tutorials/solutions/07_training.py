"""Solutions to the exercises of tutorial 7, to be read as if they stood in it."""

import math

import numpy as np


def warmup_cosine(epoch, lr, epochs, warmup):
    """Up in a line to epoch ``warmup``, down half a cosine to epoch ``epochs + 1``."""
    if epoch <= warmup:
        return lr * epoch / warmup
    travelled = (epoch - warmup) / (epochs + 1 - warmup)
    return lr * (1 + math.cos(math.pi * travelled)) / 2


def batches_of(seed, epoch, count, batch_size, skip=0):
    """A generator made from the pair. From ``seed + epoch``, (1, 2) and (2, 1) would be the same.

    What it costs: augmentation must be drawn like this too, and with the step as a third number if
    one wants to skip without drawing. The library instead draws again what it skips.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    starts = range(skip * batch_size, count, batch_size)
    return [order[start : start + batch_size] for start in starts]


def compare(wrong_a, wrong_b):
    """Only the images on which they disagree count, in the difference as in the test."""
    d = wrong_a.astype(int) - wrong_b
    difference = d.mean()
    error = math.sqrt((np.square(d).mean() - difference**2) / len(d))
    disagree, fewer = np.count_nonzero(d), min((d > 0).sum(), (d < 0).sum())
    tail = sum(math.comb(disagree, k) for k in range(fewer + 1)) / 2**disagree
    return difference, error, min(1.0, 2 * tail)
