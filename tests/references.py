"""Slow, obvious versions of the operations, to compare with. Loops, no cleverness."""

import math

import numpy as np


def conv2d(x, w, b, stride, padding):
    """Seven loops, as the definition in `minisd.fast.conv` has it."""
    N, C, H, W = x.shape
    F, _, KH, KW = w.shape
    OH, OW = (H + 2 * padding - KH) // stride + 1, (W + 2 * padding - KW) // stride + 1
    y = np.zeros((N, F, OH, OW), x.dtype)
    for n, f, oh, ow in np.ndindex(N, F, OH, OW):
        total = 0.0 if b is None else b[f]
        for c, i, j in np.ndindex(C, KH, KW):
            h, v = oh * stride + i - padding, ow * stride + j - padding
            if 0 <= h < H and 0 <= v < W:
                total += w[f, c, i, j] * x[n, c, h, v]
        y[n, f, oh, ow] = total
    return y


def conv2d_gradients(dy, x, w, stride, padding):
    """Every product of the forward, once more, sent back to both of its factors."""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    H, W = x.shape[2:]
    for n, f, oh, ow in np.ndindex(*dy.shape):
        for c, i, j in np.ndindex(*w.shape[1:]):
            h, v = oh * stride + i - padding, ow * stride + j - padding
            if 0 <= h < H and 0 <= v < W:
                dx[n, c, h, v] += w[f, c, i, j] * dy[n, f, oh, ow]
                dw[f, c, i, j] += x[n, c, h, v] * dy[n, f, oh, ow]
    return dx, dw, dy.sum(axis=(0, 2, 3))


def batchnorm2d(x, gamma, beta, mean, var, eps=1e-5):
    """One channel at a time."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        y[:, c] = gamma[c] * (x[:, c] - mean[c]) / np.sqrt(var[c] + eps) + beta[c]
    return y


def batchnorm2d_gradients(dy, x, gamma, mean, var, eps, training):
    """Every dx_j as the sum over i of dy_i times the slope of y_i along x_j, channel by channel."""
    N, C, H, W = x.shape
    dx, dgamma, dbeta = np.zeros_like(x), np.zeros(C), np.zeros(C)
    M = N * H * W
    for c in range(C):
        std = np.sqrt(var[c] + eps)
        d = dy[:, c].ravel()
        x_hat = (x[:, c].ravel() - mean[c]) / std
        dbeta[c], dgamma[c] = d.sum(), (d * x_hat).sum()
        slopes = np.eye(M)  # of x_hat_i along x_j, times std
        if training:
            for i, j in np.ndindex(M, M):
                slopes[i, j] -= 1 / M + x_hat[i] * x_hat[j] / M
        dx[:, c] = (gamma[c] / std * (d @ slopes)).reshape(N, H, W)
    return dx, dgamma, dbeta


def relu(x):
    """One number at a time."""
    y = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        if x[place] > 0:
            y[place] = x[place]
    return y


def relu_gradient(dy, x):
    dx = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        if x[place] > 0:
            dx[place] = dy[place]
    return dx


def avg_pool2d(x, K):
    N, C, H, W = x.shape
    y = np.zeros((N, C, H // K, W // K))
    for n, c, h, v in np.ndindex(x.shape):
        y[n, c, h // K, v // K] += x[n, c, h, v] / K**2
    return y


def avg_pool2d_gradient(dy, shape, K):
    dx = np.zeros(shape)
    for n, c, h, v in np.ndindex(*shape):
        dx[n, c, h, v] = dy[n, c, h // K, v // K] / K**2
    return dx


def global_avg_pool(x):
    N, C, H, W = x.shape
    y = np.zeros((N, C))
    for n, c, h, v in np.ndindex(x.shape):
        y[n, c] += x[n, c, h, v] / (H * W)
    return y


def global_avg_pool_gradient(dy, shape):
    dx = np.zeros(shape)
    for n, c, h, v in np.ndindex(*shape):
        dx[n, c, h, v] = dy[n, c] / (shape[2] * shape[3])
    return dx


def pad_channels(x, F):
    N, _, H, W = x.shape
    y = np.zeros((N, F, H, W))
    for n, c, h, v in np.ndindex(x.shape):
        y[n, c, h, v] = x[n, c, h, v]
    return y


def pad_channels_gradient(dy, shape):
    dx = np.zeros(shape)
    for place in np.ndindex(*shape):
        dx[place] = dy[place]
    return dx


def subsample(x, S):
    N, C, H, W = x.shape
    y = np.zeros((N, C, -(-H // S), -(-W // S)))
    for n, c, h, v in np.ndindex(y.shape):
        y[n, c, h, v] = x[n, c, h * S, v * S]
    return y


def subsample_gradient(dy, shape, S):
    dx = np.zeros(shape)
    for n, c, h, v in np.ndindex(dy.shape):
        dx[n, c, h * S, v * S] = dy[n, c, h, v]
    return dx


def linear(x, w, b):
    y = np.zeros((len(x), len(w)))
    for n, k in np.ndindex(y.shape):
        y[n, k] = sum(x[n, d] * w[k, d] for d in range(x.shape[1])) + (0 if b is None else b[k])
    return y


def linear_gradients(dy, x, w):
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(len(w))
    for n, k in np.ndindex(dy.shape):
        db[k] += dy[n, k]
        for d in range(x.shape[1]):
            dx[n, d] += dy[n, k] * w[k, d]
            dw[k, d] += dy[n, k] * x[n, d]
    return dx, dw, db


def softmax_cross_entropy(logits, labels, of):
    """Image by image, with Python's own floating-point numbers."""
    loss, dlogits = 0.0, np.zeros_like(logits)
    for n, label in enumerate(labels):
        powers = [math.exp(value - max(logits[n])) for value in logits[n]]
        for k, power in enumerate(powers):
            dlogits[n, k] = (power / sum(powers) - (k == label)) / of
        loss -= math.log(powers[label] / sum(powers)) / of
    return loss, dlogits
