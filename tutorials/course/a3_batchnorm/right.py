"""Right answers to assignment 3 in an unusual form. They must have full marks."""

import numpy as np


@right("3.4", "rows of numbers, a dict as a cache, one path at a time")
def _():
    def rows(x):
        return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])

    def images(rows, shape):
        N, C, H, W = shape
        return rows.reshape(N, H, W, C).transpose(0, 3, 1, 2)

    def batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
    ):
        flat = rows(x)
        mean, var = running_mean, running_var
        if training:
            if len(flat) < 2:
                raise ValueError("too few")
            mean, var = flat.mean(axis=0), flat.var(axis=0)
            running_mean *= 1 - momentum
            running_mean += momentum * mean
            running_var *= 1 - momentum
            running_var += momentum * flat.var(axis=0, ddof=1)
        centred = flat - mean
        root = np.sqrt(var + eps)
        cache = {"centred": centred, "root": root, "gamma": gamma, "training": training}
        return images(gamma * (centred / root) + beta, x.shape), cache

    def batchnorm2d_backward(dy, cache):
        centred, root, M = cache["centred"], cache["root"], len(cache["centred"])
        drows = rows(dy)
        dbeta = drows.sum(axis=0)
        dgamma = (drows * centred / root).sum(axis=0)
        dhat = drows * cache["gamma"]
        dcentred = dhat / root
        if not cache["training"]:
            return images(dcentred, dy.shape), dgamma, dbeta
        droot = -(dhat * centred).sum(axis=0) / root**2
        dvar = droot / (2 * root)
        dcentred = dcentred + 2 * centred * dvar / M
        dmean = -dcentred.sum(axis=0)
        return images(dcentred + dmean / M, dy.shape), dgamma, dbeta

    return locals()


@right("3.4", "channel by channel, with the Jacobian, results in Fortran order")
def _():
    class Channel:
        """What one channel remembers."""

        def __init__(self, numbers, gamma, beta, mean, var, eps, training):
            self.root, self.gamma, self.training = (var + eps) ** 0.5, gamma, training
            self.hat = (numbers - mean) / self.root
            self.y = gamma * self.hat + beta

        def back(self, dy):
            """Return dx, dgamma, dbeta."""
            M = dy.size
            jacobian = np.eye(M, dtype=dy.dtype)
            if self.training:
                jacobian -= (1 + np.outer(self.hat, self.hat)) / dy.dtype.type(M)
            return self.gamma / self.root * (jacobian @ dy), dy @ self.hat, dy.sum()

    def batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
    ):
        y, channels = np.empty(x.shape, x.dtype, order="F"), []
        for c in range(x.shape[1]):
            numbers = x[:, c].reshape(-1)
            mean, var = running_mean[c], running_var[c]
            if training:
                if numbers.size == 1:
                    raise ValueError
                mean = numbers.mean()
                var = ((numbers - mean) ** 2).mean()
                running_mean[c] += momentum * (mean - running_mean[c])
                running_var[c] += momentum * (np.var(numbers, ddof=1) - running_var[c])
            channels.append(
                Channel(numbers, gamma[c], beta[c], mean, var, x.dtype.type(eps), training)
            )
            y[:, c] = channels[c].y.reshape(y[:, c].shape)
        return y, channels

    def batchnorm2d_backward(dy, cache):
        dx = np.empty_like(dy, order="F")
        dgamma = np.zeros(len(cache), dy.dtype)
        dbeta = dgamma.copy()
        for c, channel in enumerate(cache):
            part, dgamma[c], dbeta[c] = channel.back(dy[:, c].reshape(-1))
            dx[:, c] = part.reshape(dx[:, c].shape)
        dx.flags.writeable = False
        return [dx, dgamma, dbeta]

    return locals()


@right("3.4", "in float64, y = a x + b, the backward of Ioffe and Szegedy's paper")
def _():
    def batchnorm2d_forward(x, gamma, beta, running_mean, running_var, **options):
        eps, momentum = options.get("eps", 1e-5), options.get("momentum", 0.1)
        exact = x.astype(np.float64)
        kept = running_mean[None, :, None, None].copy(), running_var[None, :, None, None].copy()
        if options["training"]:
            M = exact[:, 0].size
            if M == 1:
                raise ValueError
            mean = np.einsum("nchw->c", exact)[None, :, None, None] / M
            var = np.einsum("nchw,nchw->c", exact - mean, exact - mean)[None, :, None, None] / M
            for array, new in ((running_mean, mean), (running_var, var * M / (M - 1))):
                np.copyto(array, array - momentum * (array - new.ravel()), casting="same_kind")
            kept = mean, var
        factor = gamma[None, :, None, None] / np.sqrt(kept[1] + eps)
        y = factor * exact + (beta[None, :, None, None] - factor * kept[0])
        return y.astype(x.dtype), (exact, gamma, *kept, eps, options["training"])

    def batchnorm2d_backward(dy, cache):
        x, gamma, mean, var, eps, training = cache
        M, axes = x[:, 0].size, (0, 2, 3)
        dx_hat = dy * gamma[None, :, None, None].astype(np.float64)
        dvar = (dx_hat * (x - mean) * -0.5 * (var + eps) ** -1.5).sum(axes, keepdims=True)
        dmean = (-dx_hat / np.sqrt(var + eps)).sum(axes, keepdims=True)
        dmean += dvar * (-2 * (x - mean)).mean(axes, keepdims=True)
        dx = dx_hat / np.sqrt(var + eps)
        if training:
            dx += dvar * 2 * (x - mean) / M + dmean / M
        dgamma = (dy * (x - mean) / np.sqrt(var + eps)).sum(axes)
        return dx.astype(dy.dtype), dgamma.astype(dy.dtype), dy.sum(axes)

    return locals()


@right("3.4", "the formula times M")
def batchnorm2d_backward(dy, cache):
    x_hat, std, gamma, training = cache
    N, C, H, W = dy.shape
    dbeta = dy.sum(axis=(0, 2, 3), keepdims=True)
    dgamma = np.add.reduce(dy * x_hat, axis=(0, 2, 3), keepdims=True)
    slope = (gamma / std).reshape(1, C, 1, 1)
    dx = slope * dy
    if training:
        dx = slope / (N * H * W) * ((N * H * W) * dy - dbeta - x_hat * dgamma)
    return dx, np.squeeze(dgamma, (0, 2, 3)), dbeta[0, :, 0, 0]


FORWARD = (
    "normalised", "eps", "arguments", "refusal", "running mean", "running var",
    "still in evaluation", "output", "far from zero",
)  # fmt: skip


@right("3.4", "the backward alone, with the cache that the handout names", loses=FORWARD)
def _():
    def batchnorm2d_forward(x, *args, **options):
        raise KeyError("not yet")

    def batchnorm2d_backward(dy, cache):
        x, gamma, running_mean, running_var, training, eps = cache
        mean, var = running_mean, running_var
        if training:
            mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        std = np.sqrt(var + eps)
        x_hat = (x - mean[:, None, None]) / std[:, None, None]
        return solution.batchnorm2d_backward(dy, (x_hat, std, gamma, training))

    return locals()


@right("3.1", "statistics of the rows of a matrix, read-only y, a cache that is a function")
def _():
    def batchnorm2d_forward(
        x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5
    ):
        C = x.shape[1]
        matrix = np.moveaxis(x, 1, 0).reshape(C, -1)
        mean, var = running_mean.reshape(C, 1), running_var.reshape(C, 1)
        if training:
            M = matrix.shape[1]
            if M <= 1:
                raise ValueError("M")
            mean = matrix.sum(axis=1, keepdims=True) / M
            var = np.square(matrix - mean).sum(axis=1, keepdims=True) / M
            running_mean[:] = np.average([running_mean, mean[:, 0]], 0, [1 - momentum, momentum])
            unbiased = var[:, 0] * M / (M - 1)
            running_var[:] = np.average([running_var, unbiased], 0, [1 - momentum, momentum])
        inverse = np.power(var + eps, -0.5).astype(x.dtype)
        hat = (matrix - mean) * inverse

        def shaped(matrix):
            return np.moveaxis(matrix.reshape(C, *np.delete(x.shape, 1)), 0, 1)

        def back(dy):
            d = np.moveaxis(dy, 1, 0).reshape(C, -1)
            dgamma, dbeta = (d * hat).sum(axis=1), d.sum(axis=1)
            if training:
                d = d - d.mean(axis=1, keepdims=True)
                d = d - hat * (d * hat).mean(axis=1, keepdims=True)
            return shaped(gamma[:, None] * inverse * d), dgamma, dbeta

        y = shaped(gamma[:, None] * hat + beta[:, None])
        y.flags.writeable = False
        return y, back

    def batchnorm2d_backward(dy, cache):
        return cache(dy)

    return locals()


@right("3.7", "filter by filter")
def fold(w, b, gamma, beta, running_mean, running_var, eps):
    new_w, new_b = np.array(w), np.zeros(len(w), w.dtype)
    for f in range(len(w)):
        new_w[f] *= gamma[f] * (running_var[f] + eps) ** -0.5
        old = 0 if b is None else b[f]
        new_b[f] = (old - running_mean[f]) / (running_var[f] + eps) ** 0.5 * gamma[f] + beta[f]
    return [new_w, new_b]


@right("3.7", "what the forward makes of 0 and of 1")
def fold(w, b, gamma, beta, running_mean, running_var, eps):
    F = len(gamma)
    b = np.zeros(F, w.dtype) if b is None else b

    def normed(z):
        x = z.reshape(1, F, 1, 1)
        running = running_mean.copy(), running_var.copy()
        options = {"training": False, "eps": eps}
        return solution.batchnorm2d_forward(x, gamma, beta, *running, **options)[0].reshape(F)

    scale = normed(np.ones_like(b)) - normed(np.zeros_like(b))
    return np.einsum("fckl,f->fckl", w, scale), normed(b)


@right("3.7", "a product with a diagonal matrix")
def fold(w, b, gamma, beta, running_mean, running_var, eps):
    diagonal = np.diag(gamma / np.sqrt(running_var + eps))
    centred = -running_mean if b is None else b - running_mean
    return (diagonal @ w.reshape(len(w), -1)).reshape(w.shape), diagonal @ centred + beta
