"""Answers to the exercises of tutorial 2: see `tests/tools/test_exercises.py`."""


# %% 1 right: a mixture of losses for each class
def smoothed_cross_entropy(logits, labels, epsilon):
    loss, dlogits = ops.softmax_cross_entropy(logits, labels)
    loss, dlogits = (1 - epsilon) * loss, (1 - epsilon) * dlogits
    K = logits.shape[1]
    for k in range(K):
        one, gradient = ops.softmax_cross_entropy(logits, np.full(len(logits), k))
        loss, dlogits = loss + epsilon / K * one, dlogits + epsilon / K * gradient
    return loss, dlogits


# %% 1 right: image by image, in a list
def smoothed_cross_entropy(logits, labels, epsilon):
    N, K = logits.shape
    loss, dlogits = 0.0, np.zeros((N, K))
    for n in range(N):
        top = max(logits[n])
        log_sum = top + np.log(sum(np.exp(s - top) for s in logits[n]))
        for k in range(K):
            q = (1 - epsilon) * (labels[n] == k) + epsilon / K
            loss += q * (log_sum - logits[n, k]) / N
            dlogits[n, k] = (np.exp(logits[n, k] - log_sum) - q) / N
    return [loss, dlogits]


# %% 1 wrong: forgot 1/N in the gradient | the gradient is wrong
def smoothed_cross_entropy(logits, labels, epsilon):
    s = logits - logits.max(axis=1, keepdims=True)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    q = (1 - epsilon) * np.eye(4)[labels] + epsilon / 4
    return -(q * log_p).sum(axis=1).mean(), np.exp(log_p) - q


# %% 1 wrong: overflows | the loss is nan
def smoothed_cross_entropy(logits, labels, epsilon):
    with np.errstate(all="ignore"):
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        q = (1 - epsilon) * np.eye(4)[labels] + epsilon / 4
        return -(q * np.log(p)).sum(axis=1).mean(), (p - q) / len(logits)


# %% 1 wrong: epsilon goes to the wrong classes only | the loss is
def smoothed_cross_entropy(logits, labels, epsilon):
    s = logits - logits.max(axis=1, keepdims=True)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    q = np.full(logits.shape, epsilon / 3)
    q[np.arange(len(q)), labels] = 1 - epsilon
    return -(q * log_p).sum(axis=1).mean(), (np.exp(log_p) - q) / len(logits)


# %% 1 wrong: the loss is a sum | the loss is
def smoothed_cross_entropy(logits, labels, epsilon):
    s = logits - logits.max(axis=1, keepdims=True)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    q = (1 - epsilon) * np.eye(4)[labels] + epsilon / 4
    return -(q * log_p).sum(), (np.exp(log_p) - q) / len(logits)


# %% 1 wrong: the plain gradient | the gradient is wrong
def smoothed_cross_entropy(logits, labels, epsilon):
    s = logits - logits.max(axis=1, keepdims=True)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    q = (1 - epsilon) * np.eye(4)[labels] + epsilon / 4
    return -(q * log_p).sum(axis=1).mean(), (np.exp(log_p) - np.eye(4)[labels]) / len(logits)


# %% 1 wrong: 0.1 is hard-coded | the loss is
def smoothed_cross_entropy(logits, labels, epsilon):
    s = logits - logits.max(axis=1, keepdims=True)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    q = 0.9 * np.eye(4)[labels] + 0.1 / 4
    return -(q * log_p).sum(axis=1).mean(), (np.exp(log_p) - q) / len(logits)


# %% 1 wrong: shifts the caller's logits | changed its argument logits
def smoothed_cross_entropy(logits, labels, epsilon):
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    q = (1 - epsilon) * np.eye(4)[labels] + epsilon / 4
    return -(q * log_p).sum(axis=1).mean(), (np.exp(log_p) - q) / len(logits)


# %% 1 wrong: a loss for each image | returned an array of shape (6,) for loss
def smoothed_cross_entropy(logits, labels, epsilon):
    s = logits - logits.max(axis=1, keepdims=True)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    q = (1 - epsilon) * np.eye(4)[labels] + epsilon / 4
    return -(q * log_p).sum(axis=1), (np.exp(log_p) - q) / len(logits)


# %% 1 wrong: the loss alone | in place of loss and dlogits
def smoothed_cross_entropy(logits, labels, epsilon):
    return ops.softmax_cross_entropy(logits, labels)[0]


# %% 2 right: the roots of a polynomial
def long_run_factor(rule, a, m):
    trace, determinant = (1 - a + m, m) if rule is momentum else (1 - a - m * a + m, m * (1 - a))
    return max(abs(np.roots([1, -trace, determinant])))


# %% 2 right: by Gelfand's formula, from one power of the matrix
def long_run_factor(rule, a, m):
    one, other = (rule(w, v, a * w, 1.0, m) for w, v in ((1.0, 0.0), (0.0, 1.0)))
    M, log_size = np.array([one, other]).T, 0.0
    for _ in range(40):  # M^(2^40), kept at size 1
        M = M @ M
        size = np.linalg.norm(M)
        M, log_size = M / size, 2 * log_size + np.log(size)
    return float(np.exp(log_size / 2**40))


# %% 2 wrong: the smaller eigenvalue | seen
def long_run_factor(rule, a, m):
    columns = [rule(w, v, a * w, 1.0, m) for w, v in ((1.0, 0.0), (0.0, 1.0))]
    return abs(np.linalg.eigvals(np.array(columns).T)).min()


# %% 2 wrong: the longest that one step makes | seen
def long_run_factor(rule, a, m):
    columns = [rule(w, v, a * w, 1.0, m) for w, v in ((1.0, 0.0), (0.0, 1.0))]
    return np.linalg.svd(np.array(columns).T, compute_uv=False)[0]


# %% 2 wrong: as if they were always a complex pair | seen
def long_run_factor(rule, a, m):
    return np.sqrt(m if rule is momentum else m * abs(1 - a))


# %% 2 wrong: momentum only | nesterov
def long_run_factor(rule, a, m):
    return abs(np.linalg.eigvals(np.array([[1 - a, -m], [a, m]]))).max()


# %% 2 wrong: plain descent | momentum
def long_run_factor(rule, a, m):
    return abs(1 - a)


# %% 2 wrong: an eigenvalue itself | where a real number is asked
def long_run_factor(rule, a, m):
    columns = [rule(w, v, a * w, 1.0, m) for w, v in ((1.0, 0.0), (0.0, 1.0))]
    return np.linalg.eigvals(np.array(columns).T)[0] + 0j


# %% 2 wrong: both of them | returned an array of shape (2,) for z
def long_run_factor(rule, a, m):
    columns = [rule(w, v, a * w, 1.0, m) for w, v in ((1.0, 0.0), (0.0, 1.0))]
    return abs(np.linalg.eigvals(np.array(columns).T))


# %% 3 right: image by image
def hessian_times(x, w, d):
    Hd = np.zeros_like(w)
    for row in x:
        s = w @ row
        p = np.exp(s) / np.exp(s).sum()
        Hd += np.outer((np.diag(p) - np.outer(p, p)) @ (d @ row), row)
    return Hd / len(x)


# %% 3 right: the whole Hessian, by einsum
def hessian_times(x, w, d):
    p = np.exp(x @ w.T)
    p /= p.sum(axis=1, keepdims=True)
    inner = np.einsum("nk,kj->nkj", p, np.eye(len(w))) - np.einsum("nk,nj->nkj", p, p)
    return np.einsum("nkj,nd,ne,je->kd", inner, x, x, d) / len(x)


# %% 3 right: a complex step of the gradient
def hessian_times(x, w, d):
    s = x @ (w + 1e-150j * d).T
    p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    return (p.T @ x).imag / 1e-150 / len(x)


# %% 3 wrong: a central difference | is there a difference in it?
def hessian_times(x, w, d):
    labels = np.zeros(len(x), int)
    ahead, behind = (gradients(x, labels, w + h * d, np.zeros(4))[1] for h in (1e-5, -1e-5))
    return (ahead - behind) / 2e-5


# %% 3 wrong: forgot that probabilities add up to one | it is off by
def hessian_times(x, w, d):
    p = np.exp(x @ w.T)
    p /= p.sum(axis=1, keepdims=True)
    return (p * (x @ d.T)).T @ x / len(x)


# %% 3 wrong: a sum over the images | it is off by
def hessian_times(x, w, d):
    p = np.exp(x @ w.T)
    p /= p.sum(axis=1, keepdims=True)
    z = x @ d.T
    return (p * (z - (p * z).sum(axis=1, keepdims=True))).T @ x


# %% 3 wrong: the mean over classes, not under p | it is off by
def hessian_times(x, w, d):
    p = np.exp(x @ w.T)
    p /= p.sum(axis=1, keepdims=True)
    z = x @ d.T
    return (p * (z - z.mean(axis=1, keepdims=True))).T @ x / len(x)


# %% 3 wrong: the curvature at zero weights | it is off by
def hessian_times(x, w, d):
    z = x @ d.T
    return (z - z.mean(axis=1, keepdims=True)).T @ x / len(x) / 4


# %% 3 wrong: transposed | returned Hd of shape (5, 4), where (4, 5) is asked
def hessian_times(x, w, d):
    p = np.exp(x @ w.T)
    p /= p.sum(axis=1, keepdims=True)
    z = x @ d.T
    return x.T @ (p * (z - (p * z).sum(axis=1, keepdims=True))) / len(x)
