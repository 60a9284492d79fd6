"""Answers to the exercises of tutorial 4: see `tests/tools/test_exercises.py`."""


# %% 1 right: by einsum, and the bias from an image of zeros
def fold(w, gamma, beta, running_mean, running_var, eps):
    inv_std = (running_var + eps) ** -0.5
    y = (np.zeros(len(w)) - running_mean) * inv_std * gamma + beta
    return np.einsum("fcij,f,f->fcij", w, inv_std, gamma), y


# %% 1 right: filter by filter, in a copy
def fold(w, gamma, beta, running_mean, running_var, eps):
    w, b = w.copy(), beta.copy()
    for f in range(len(w)):
        w[f] *= gamma[f] / np.sqrt(running_var[f] + eps)
        b[f] -= gamma[f] * running_mean[f] / np.sqrt(running_var[f] + eps)
    return w, b


# %% 1 wrong: forgot eps | got it wrong by
def fold(w, gamma, beta, running_mean, running_var, eps):
    scale = gamma / np.sqrt(running_var)
    return w * scale[:, None, None, None], beta - scale * running_mean


# %% 1 wrong: eps beside the root | got it wrong by
def fold(w, gamma, beta, running_mean, running_var, eps):
    scale = gamma / (np.sqrt(running_var) + eps)
    return w * scale[:, None, None, None], beta - scale * running_mean


# %% 1 wrong: 0.05 is hard-coded | got it wrong by
def fold(w, gamma, beta, running_mean, running_var, eps):
    scale = gamma / np.sqrt(running_var + 0.05)
    return w * scale[:, None, None, None], beta - scale * running_mean


# %% 1 wrong: gamma may be negative | got it wrong by
def fold(w, gamma, beta, running_mean, running_var, eps):
    scale = np.sqrt(gamma**2 / (running_var + eps))
    return w * scale[:, None, None, None], beta - scale * running_mean


# %% 1 wrong: the mean is not scaled | got it wrong by
def fold(w, gamma, beta, running_mean, running_var, eps):
    scale = gamma / np.sqrt(running_var + eps)
    return w * scale[:, None, None, None], beta - running_mean


# %% 1 wrong: scales along the kernel's columns | got it wrong by
def fold(w, gamma, beta, running_mean, running_var, eps):
    scale = gamma / np.sqrt(running_var + eps)
    return w * scale, beta - scale * running_mean


# %% 1 wrong: in place | your fold changed its argument w: work on a copy
def fold(w, gamma, beta, running_mean, running_var, eps):
    scale = gamma / np.sqrt(running_var + eps)
    w *= scale[:, None, None, None]
    return w, beta - scale * running_mean


# %% 2 right: one batch after the other
def pooled(counts, means, variances):
    n, mean, squares = 0, np.zeros(means.shape[1]), np.zeros(means.shape[1])
    for m, batch_mean, variance in zip(counts, means, variances, strict=True):
        difference = batch_mean - mean
        squares += m * variance + difference**2 * n * m / (n + m)
        mean = mean + difference * m / (n + m)
        n += m
    return mean, squares / (n - 1)


# %% 2 right: in lists, with the squares in float64
def pooled(counts, means, variances):
    n, found = sum(counts.tolist()), []
    for m, v in zip(means.T.tolist(), variances.T.tolist(), strict=True):
        mean = sum(k * each for k, each in zip(counts.tolist(), m, strict=True)) / n
        squares = sum(
            k * (each + (one - mean) ** 2)
            for k, each, one in zip(counts.tolist(), v, m, strict=True)
        )
        found.append((mean, squares / (n - 1)))
    return list(zip(*found, strict=True))


# %% 2 right: the statistics of numbers with these statistics
def pooled(counts, means, variances):
    numbers = []
    for n, mean, variance in zip(counts, means.astype(float), variances.astype(float), strict=True):
        standard = np.array([1, -1] * (n // 2))[:, None]
        numbers.append(mean + np.sqrt(variance) * standard)
    numbers = np.concatenate(numbers)
    return numbers.mean(axis=0), numbers.var(axis=0, ddof=1)


# %% 2 wrong: the mean of means | mean: expected
def pooled(counts, means, variances):
    n = counts[:, None]
    mean = means.mean(axis=0)
    squares = (n * (variances + (means - mean) ** 2)).sum(axis=0)
    return mean, squares / (n.sum() - 1)


# %% 2 wrong: the biased variance | variance: expected
def pooled(counts, means, variances):
    n = counts[:, None]
    mean = (n * means).sum(axis=0) / n.sum()
    return mean, (n * (variances + (means - mean) ** 2)).sum(axis=0) / n.sum()


# %% 2 wrong: the mean of the variances only | variance: expected
def pooled(counts, means, variances):
    n = counts[:, None]
    return (n * means).sum(axis=0) / n.sum(), (n * variances).sum(axis=0) / (n.sum() - 1)


# %% 2 wrong: the variance of the means only | variance: expected
def pooled(counts, means, variances):
    n = counts[:, None]
    mean = (n * means).sum(axis=0) / n.sum()
    return mean, (n * (means - mean) ** 2).sum(axis=0) / (n.sum() - 1)


# %% 2 wrong: E[x^2] - E[x]^2 in float32 | variance: expected
def pooled(counts, means, variances):
    n = counts[:, None].astype(np.float32)
    mean = (n * means).sum(axis=0) / n.sum()
    square = (n * (variances + means**2)).sum(axis=0) / n.sum()
    return mean, (square - mean**2) * n.sum() / (n.sum() - 1)


# %% 2 wrong: takes the variances for unbiased ones | variance: expected
def pooled(counts, means, variances):
    n = counts[:, None]
    mean = (n * means).sum(axis=0) / n.sum()
    squares = ((n - 1) * variances + n * (means - mean) ** 2).sum(axis=0)
    return mean, squares / (n.sum() - 1)


# %% 2 wrong: all channels together | returned mean of shape (), where (3,) is asked
def pooled(counts, means, variances):
    return np.average(means.mean(axis=1), weights=counts), variances.mean()


# %% 2 wrong: deviations in the means themselves | changed its argument means
def pooled(counts, means, variances):
    n = counts[:, None]
    mean = (n * means).sum(axis=0) / n.sum()
    means -= mean.astype(np.float32)
    return mean, (n * (variances + means**2)).sum(axis=0) / (n.sum() - 1)


# %% 3 right: image by image and group by group
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    N, C = dy.shape[:2]
    dx, size = np.zeros(dy.shape), C // groups
    for n in range(N):
        for g in range(groups):
            part = slice(g * size, (g + 1) * size)
            inside, seen = gamma[part, None, None] * dy[n, part], x_hat[n, part]
            inside = inside - inside.mean() - seen * (inside * seen).mean()
            dx[n, part] = inside / std[n, g, 0]
    return dx, np.einsum("nchw,nchw->c", dy, x_hat), np.einsum("nchw->c", dy)


# %% 3 right: as a projection, in a list
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    flat = (len(dy), groups, -1)
    u, v = (dy * gamma[:, None, None]).reshape(flat), x_hat.reshape(flat)
    ones = np.ones_like(v)
    for direction in (ones, v):
        along = (u * direction).sum(axis=2, keepdims=True) / ones.sum(axis=2, keepdims=True)
        u = u - along * direction
    dbeta = dy.sum(axis=(0, 2, 3))
    return [(u / std).reshape(dy.shape), (dy * x_hat).sum(axis=(0, 2, 3)), dbeta]


# %% 3 wrong: gamma in front, as in batch norm | the gradient is wrong
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    flat = (len(dy), groups, -1)
    u, v = dy.reshape(flat), x_hat.reshape(flat)
    dx = (u - u.mean(axis=2, keepdims=True) - v * (u * v).mean(axis=2, keepdims=True)) / std
    dx = gamma[:, None, None] * dx.reshape(dy.shape)
    return dx, (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))


# %% 3 wrong: forgot the mean | the gradient is wrong
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    flat = (len(dy), groups, -1)
    u, v = (gamma[:, None, None] * dy).reshape(flat), x_hat.reshape(flat)
    dx = (u - v * (u * v).mean(axis=2, keepdims=True)) / std
    return dx.reshape(dy.shape), (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))


# %% 3 wrong: forgot the variance | the gradient is wrong
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    u = (gamma[:, None, None] * dy).reshape(len(dy), groups, -1)
    dx = (u - u.mean(axis=2, keepdims=True)) / std
    return dx.reshape(dy.shape), (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))


# %% 3 wrong: gamma and beta have a mean, not a sum | the gradient is wrong
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    flat = (len(dy), groups, -1)
    u, v = (gamma[:, None, None] * dy).reshape(flat), x_hat.reshape(flat)
    dx = (u - u.mean(axis=2, keepdims=True) - v * (u * v).mean(axis=2, keepdims=True)) / std
    return dx.reshape(dy.shape), (dy * x_hat).mean(axis=(0, 2, 3)), dy.mean(axis=(0, 2, 3))


# %% 3 wrong: a single group only | groups = 2
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    flat = (len(dy), 1, -1)
    u, v = (gamma[:, None, None] * dy).reshape(flat), x_hat.reshape(flat)
    dx = u - u.mean(axis=2, keepdims=True) - v * (u * v).mean(axis=2, keepdims=True)
    dx = (dx.reshape(len(dy), groups, -1) / std).reshape(dy.shape)
    return dx, (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))


# %% 3 wrong: in groups still | returned dx of shape
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    flat = (len(dy), groups, -1)
    u, v = (gamma[:, None, None] * dy).reshape(flat), x_hat.reshape(flat)
    dx = (u - u.mean(axis=2, keepdims=True) - v * (u * v).mean(axis=2, keepdims=True)) / std
    return dx, (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))


# %% 3 wrong: scales the cache | changed its argument cache
def groupnorm_backward(dy, cache):
    x_hat, std, gamma, groups = cache
    x_hat *= gamma[:, None, None]
    return dy, (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
