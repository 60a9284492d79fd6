"""Solutions to the exercises of tutorial 8, to be read as if they stood in it."""

import numpy as np


def mean_over_open(values, open_steps):
    """Weight each record by its open steps; 0 of 0 is the NaN of a block that was never open."""
    total = (np.nan_to_num(values) * open_steps).sum(axis=0)
    count = open_steps.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def expected_paths(survival):
    """One more block: each path goes on along the shortcut, and along the branch if it is open.

    So the numbers of paths are the coefficients of prod_l (1 + p_l z). Each factor begins with 1,
    not with 1 - p_l as when we count open blocks: a shortcut is always there.
    """
    paths = np.ones(1)
    for p in survival:
        paths = np.append(paths, 0) + p * np.append(0, paths)
    return paths


def signal_to_noise(gradients):
    """Both parts without bias: E ||mean g||^2 = ||mu||^2 + tr(Sigma) / B.

    To ask a network: gradients of its first convolution for some batches, gates drawn for each,
    `np.array([...])` of the flattened ``model.stem.layers[0].w.grad``. With few batches the answer
    is noisy itself, and may come out below 0 where there is no signal to be seen.
    """
    noise = gradients.var(axis=0, ddof=1).sum()
    signal = (gradients.mean(axis=0) ** 2).sum() - noise / len(gradients)
    return signal / noise
