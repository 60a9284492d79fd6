"""Right answers to assignment 1 with a temperature, written without an ordinary softmax."""

import math

import numpy as np


@right("1.3", "logarithms of sums, image by image")
def softmax_cross_entropy(logits, labels, temperature):
    loss, dlogits = 0.0, np.empty_like(logits)
    for n, label in enumerate(labels):
        scores = [float(s) / temperature for s in logits[n]]
        top = max(scores)
        log_sum = top + math.log(math.fsum(math.exp(s - top) for s in scores))
        loss += (log_sum - scores[label]) / len(labels)
        for k, s in enumerate(scores):
            slope = math.exp(s - log_sum) - (k == label)
            dlogits[n, k] = slope / (temperature * len(labels))
    return loss, dlogits


@right("1.3", "a power of the probabilities at 1")
def softmax_cross_entropy(logits, labels, temperature):
    onehot = (labels[:, None] == np.arange(logits.shape[1])).astype(logits.dtype)
    shifted = logits - logits.max(axis=1, keepdims=True)
    unscaled = np.exp(shifted / temperature)
    total = unscaled.sum(axis=1, keepdims=True)
    losses = np.log(total)[:, 0] - (onehot * shifted).sum(axis=1) / temperature
    return np.mean(losses), (unscaled / total - onehot) / (len(logits) * temperature)


@right("1.5", "written out")
def train(images, labels, steps, batch, lr, rng, temperature):
    truth = np.eye(int(labels.max()) + 1)[labels]
    w, b = np.zeros((truth.shape[1], images.shape[1])), np.zeros(truth.shape[1])
    for _ in range(steps):
        chosen = rng.choice(len(images), size=batch, replace=False)
        s = (images[chosen] @ w.T + b) / temperature
        p = np.exp(s - s.max(axis=1, keepdims=True))
        d = (p / p.sum(axis=1, keepdims=True) - truth[chosen]) / (batch * temperature)
        w -= lr * d.T @ images[chosen]
        b -= lr * d.sum(axis=0)
    return w, b


@right("1.5", "by the functions before")
def train(images, labels, steps, batch, lr, rng, temperature):
    weights = [np.zeros((labels.max() + 1, images.shape[1])), np.zeros(labels.max() + 1)]
    for _ in range(steps):
        chosen = rng.choice(len(images), batch, replace=False)
        scores, cache = solution.linear_forward(images[chosen], *weights)
        _, d = solution.softmax_cross_entropy(scores, labels[chosen], temperature)
        gradients = solution.linear_backward(d, cache)[1:]
        weights = [old - lr * g for old, g in zip(weights, gradients, strict=True)]
    return weights
