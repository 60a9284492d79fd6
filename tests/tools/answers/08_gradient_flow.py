"""Answers to the exercises of tutorial 8: see `tests/tools/test_exercises.py`."""


# %% 1 right: block by block, a list
def mean_over_open(values, open_steps):
    means = []
    for value, steps in zip(values.T, open_steps.T, strict=True):
        seen = steps > 0
        means.append(np.average(value[seen], weights=steps[seen]) if seen.any() else np.nan)
    return means


# %% 1 right: in a copy, 0 of 0 left to NumPy
def mean_over_open(values, open_steps):
    values = values.copy()
    values[open_steps == 0] = 0
    with np.errstate(invalid="ignore"):
        return np.einsum("rl,rl->l", values, open_steps) / open_steps.sum(axis=0)


# %% 1 wrong: each record counts the same | expected
def mean_over_open(values, open_steps):
    return np.array([np.nanmean(v) if not np.isnan(v).all() else np.nan for v in values.T])


# %% 1 wrong: None as zero | expected
def mean_over_open(values, open_steps):
    means = np.nan_to_num(values).mean(axis=0)
    return np.where(open_steps.any(axis=0), means, np.nan)


# %% 1 wrong: 0 for a block that was never open | expected
def mean_over_open(values, open_steps):
    return (np.nan_to_num(values) * open_steps).sum(axis=0) / np.maximum(1, open_steps.sum(axis=0))


# %% 1 wrong: one NaN makes all NaN | expected
def mean_over_open(values, open_steps):
    return (values * open_steps).sum(axis=0) / np.maximum(1, open_steps.sum(axis=0))


# %% 1 wrong: the mean of all blocks | returned means of shape (), where (5,) is asked
def mean_over_open(values, open_steps):
    return np.nansum(values * open_steps) / open_steps.sum()


# %% 1 wrong: a mean for each record | returned means of shape (4,), where (5,) is asked
def mean_over_open(values, open_steps):
    return np.nansum(values * open_steps, axis=1) / open_steps.sum(axis=1)


# %% 1 wrong: in place | changed its argument values
def mean_over_open(values, open_steps):
    values[np.isnan(values)] = 0
    return (values * open_steps).sum(axis=0) / np.maximum(1, open_steps.sum(axis=0))


# %% 2 right: a product of polynomials
def expected_paths(survival):
    paths = np.poly1d([1.0])
    for p in survival:
        paths = paths * np.poly1d([p, 1])
    return paths.coeffs[::-1]


# %% 2 right: all choices, a list
def expected_paths(survival):
    paths = [0.0] * (len(survival) + 1)
    for choice in np.ndindex(*[2] * len(survival)):
        paths[sum(choice)] += math_prod(survival, choice)
    return paths


def math_prod(survival, choice):
    found = 1.0
    for p, through in zip(survival, choice, strict=True):
        found *= p if through else 1
    return found


# %% 2 wrong: counts open blocks | constant depth
def expected_paths(survival):
    paths = np.ones(1)
    for p in survival:
        paths = np.append((1 - p) * paths, 0) + p * np.append(0, paths)
    return paths


# %% 2 wrong: at constant depth only | for [0.9, 0.6, 0.3] expected
def expected_paths(survival):
    paths = np.ones(1)
    for _ in survival:
        paths = np.append(paths, 0) + np.append(0, paths)
    return paths


# %% 2 wrong: a share of the paths | constant depth: binomials
def expected_paths(survival):
    paths = np.ones(1)
    for p in survival:
        paths = np.append(paths, 0) + p * np.append(0, paths)
    return paths / paths.sum()


# %% 2 wrong: from the longest on | for [0.9, 0.6, 0.3] expected
def expected_paths(survival):
    paths = np.ones(1)
    for p in survival:
        paths = p * np.append(paths, 0) + np.append(0, paths)
    return paths


# %% 2 wrong: an average block for all | for [0.9, 0.6, 0.3] expected
def expected_paths(survival):
    paths, p = np.ones(1), np.mean(survival)
    for _ in survival:
        paths = np.append(paths, 0) + p * np.append(0, paths)
    return paths


# %% 2 wrong: without the shortest path | returned paths of shape (4,), where (5,) is asked
def expected_paths(survival):
    paths = np.ones(1)
    for p in survival:
        paths = np.append(paths, 0) + p * np.append(0, paths)
    return paths[1:]


# %% 3 right: products of different batches
def signal_to_noise(gradients):
    B = len(gradients)
    gram = gradients @ gradients.T
    signal = (gram.sum() - np.trace(gram)) / (B * (B - 1))
    return signal and signal / (np.trace(gram) / B - signal)


# %% 3 right: pair by pair
def signal_to_noise(gradients):
    B, noise, signal = len(gradients), 0.0, 0.0
    for i in range(B):
        for j in range(i):
            noise += ((gradients[i] - gradients[j]) ** 2).sum() / 2
            signal += np.vdot(gradients[i], gradients[j])
    return np.array(signal / noise)


# %% 3 wrong: the mean's own noise is left in it | planted 0.0, got
def signal_to_noise(gradients):
    return (gradients.mean(axis=0) ** 2).sum() / gradients.var(axis=0, ddof=1).sum()


# %% 3 wrong: the biased variance | planted
def signal_to_noise(gradients):
    noise = gradients.var(axis=0).sum()
    return ((gradients.mean(axis=0) ** 2).sum() - noise / len(gradients)) / noise


# %% 3 wrong: takes off the noise of one batch | planted
def signal_to_noise(gradients):
    noise = gradients.var(axis=0, ddof=1).sum()
    return ((gradients.mean(axis=0) ** 2).sum() - noise) / noise


# %% 3 wrong: four batches are hard-coded | planted 0.3, got
def signal_to_noise(gradients):
    noise = gradients.var(axis=0, ddof=1).sum()
    return ((gradients.mean(axis=0) ** 2).sum() - noise / 4) / noise


# %% 3 wrong: the mean of ratios | planted
def signal_to_noise(gradients):
    noise = gradients.var(axis=0, ddof=1)
    return (gradients.mean(axis=0) ** 2 / noise).mean() - 1 / len(gradients)


# %% 3 wrong: a ratio for each number | returned an array of shape (2000,) for ratio
def signal_to_noise(gradients):
    noise = gradients.var(axis=0, ddof=1)
    return (gradients.mean(axis=0) ** 2 - noise / len(gradients)) / noise


# %% 3 wrong: deviations in place | changed its argument gradients
def signal_to_noise(gradients):
    mean = gradients.mean(axis=0)
    gradients -= mean
    noise = (gradients**2).sum() / (len(gradients) - 1)
    return ((mean**2).sum() - noise / len(gradients)) / noise
