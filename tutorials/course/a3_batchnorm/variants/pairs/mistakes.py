"""Wrong answers to assignment 3 that only pairs of channels make, or that look different then."""

import numpy as np

FORWARD, PATHS = "4: Forward", "4: Backward: three paths"
RUNNING, FOLDING = "4: Running statistics", "4: Exercises"

leave_out("3.3", "refuses-in-eval", why="a pair has two numbers at least")


def wide(v):
    """Return numbers per channel as they go with images."""
    return v[:, None, None]


def turned(x):
    """Return the channels so that those whose distance is C / 2 are neighbours."""
    N, C, H, W = x.shape
    return x.reshape(N, 2, C // 2, H, W).swapaxes(1, 2).reshape(x.shape)


def turned_back(y):
    """Undo `turned`."""
    N, C, H, W = y.shape
    return y.reshape(N, C // 2, 2, H, W).swapaxes(1, 2).reshape(y.shape)


def forward(task, name, *, loses, says, look, read=FORWARD):
    """A mistake of which the decorated function gives y, from y and all that a forward gets.

    ``again`` calls the right forward; what it does to running statistics is forgotten.
    """

    def add(change):
        @mistake(task, name, loses=loses, says=says, look=look, read=read)
        def batchnorm2d_forward(x, gamma, beta, mean, var, **options):
            def again(x, gamma, beta):
                return solution.batchnorm2d_forward(
                    x, gamma, beta, mean.copy(), var.copy(), **options
                )[0]

            result = change(x, gamma, beta, again, options)
            _, cache = solution.batchnorm2d_forward(x, gamma, beta, mean, var, **options)
            return result, cache

        return change

    return add


def per_channel(x, eps):
    """Return x normalised channel by channel."""
    mean, var = (f(x, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.var))
    return (x - mean) / np.sqrt(var + eps)


# ---- 3.1 ----

OUTPUT = ("normalised", "eps", "arguments")


@forward(
    "3.1", "pairs-ignored", loses=OUTPUT,
    says="each channel has statistics of its own: two neighbours have them together",
    look="How many means does a batch with 6 channels have?",
)  # fmt: skip
def _(x, gamma, beta, again, options):
    if not options["training"]:
        return again(x, gamma, beta)
    x_hat = per_channel(x, options.get("eps", 1e-5))
    return wide(gamma.repeat(2)) * x_hat + wide(beta.repeat(2))


@forward(
    "3.1", "halves-for-pairs", loses=OUTPUT,
    says="your pairs are channels c and c + C / 2: pairs are neighbours",
    look="Which channel goes with channel 0, if there are 6?",
)  # fmt: skip
def _(x, gamma, beta, again, options):
    if not options["training"]:
        return again(x, gamma, beta)
    return turned_back(again(turned(x), gamma, beta))


@forward(
    "3.1", "gamma-of-halves", loses=OUTPUT,
    says="gamma and beta go round (0, 1, 0, 1), but neighbours have the same (0, 0, 1, 1)",
    look="Which gamma has channel 1?",
)  # fmt: skip
def _(x, gamma, beta, again, options):
    if not options["training"]:
        return again(x, gamma, beta)
    x_hat = again(x, np.ones_like(gamma), np.zeros_like(beta))
    return wide(np.tile(gamma, 2)) * x_hat + wide(np.tile(beta, 2))


@mistake(
    "3.1", "not-refused", loses=("refusal",), read=FORWARD,
    says="an odd number of channels is taken: a ValueError is asked for",
    look="Which channel goes with the last one of three?",
)  # fmt: skip
def batchnorm2d_forward(x, *args, **options):
    even = np.concatenate([x, x[:, -1:]], axis=1) if x.shape[1] % 2 else x
    y, cache = solution.batchnorm2d_forward(even, *args, **options)
    return y[:, : x.shape[1]], cache


# ---- 3.2 ----

BOTH = ("running mean", "running var")


def running(name, *, loses, says, look):
    """A mistake of which the decorated function gives the batch's mean and variance."""

    def add(moments):
        @mistake("3.2", name, loses=loses, says=says, look=look, read=RUNNING)
        def batchnorm2d_forward(x, gamma, beta, mean, var, *, training, momentum=0.1, eps=1e-5):
            kept = mean.copy(), var.copy()
            options = {"training": training, "momentum": momentum, "eps": eps}
            result = solution.batchnorm2d_forward(x, gamma, beta, *kept, **options)
            if training:
                for array, new in zip((mean, var), moments(x), strict=True):
                    array[...] = (1 - momentum) * array + momentum * new
            return result

        return moments

    return add


@running(
    "first-of-a-pair", loses=BOTH,
    says="the running statistics are those of the first channel of each pair",
    look="From which channels is the mean of a pair?",
)  # fmt: skip
def _(x):
    return x[:, ::2].mean(axis=(0, 2, 3)), x[:, ::2].var(axis=(0, 2, 3), ddof=1)


@running(
    "M-of-one-channel", loses=("running var",),
    says="unbiased by NHW/(NHW-1), but M counts both channels of the pair: M = 2NHW",
    look="From how many numbers is the variance of a pair?",
)  # fmt: skip
def _(x):
    M = x[:, 0].size
    pairs = x.reshape(len(x), -1, 2, *x.shape[2:])
    return pairs.mean(axis=(0, 2, 3, 4)), pairs.var(axis=(0, 2, 3, 4)) * (M / (M - 1))


@running(
    "bessel-N", loses=("running var",),
    says="unbiased by N/(N-1), but pixels and both channels count, too: M = 2NHW",
    look="From how many numbers is the variance of a pair?",
)  # fmt: skip
def _(x):
    pairs = x.reshape(len(x), -1, 2, *x.shape[2:])
    var = pairs.var(axis=(0, 2, 3, 4))
    return pairs.mean(axis=(0, 2, 3, 4)), var * (len(x) / (len(x) - 1))


# ---- 3.4 ----


def backward(task, name, *, loses, says, look):
    """A mistake of which the decorated function changes the results in training."""

    def add(change):
        @mistake(task, name, loses=loses, says=says, look=look, read=PATHS)
        def _():
            def batchnorm2d_forward(x, *args, training, **options):
                y, cache = solution.batchnorm2d_forward(x, *args, training=training, **options)
                return y, {"of": cache, "training": training, "x": x, "gamma": args[0], **options}

            def batchnorm2d_backward(dy, cache):
                found = solution.batchnorm2d_backward(dy, cache["of"])
                return change(dy, cache, *found) if cache["training"] else found

            return {
                "batchnorm2d_forward": batchnorm2d_forward,
                "batchnorm2d_backward": batchnorm2d_backward,
            }

        return change

    return add


@backward(
    "3.4", "pairs-ignored", loses=("dx",),
    says="dx: the means are those of each channel, but two neighbours have them together",
    look="How many numbers share a mean?",
)  # fmt: skip
def _(dy, cache, dx, dgamma, dbeta):
    pairs = cache["x"].reshape(len(dy), -1, 2, *dy.shape[2:])
    mean, var = (f(pairs, axis=(0, 2, 3, 4), keepdims=True) for f in (np.mean, np.var))
    std = np.sqrt(var + cache.get("eps", 1e-5))
    x_hat = ((pairs - mean) / std).reshape(dy.shape)
    slope = wide((cache["gamma"] / std.ravel()).repeat(2))
    means = [(dy * v).mean(axis=(0, 2, 3), keepdims=True) for v in (1, x_hat)]
    return slope * (dy - means[0] - x_hat * means[1]), dgamma, dbeta


@backward(
    "3.4", "one-number-a-channel", loses=("dgamma", "dbeta"),
    says="dgamma and dbeta have a number for each channel: a pair has one gamma and one beta",
    look="Which shape has gamma, and which dgamma?",
)  # fmt: skip
def _(dy, cache, dx, dgamma, dbeta):
    return dx, dgamma.repeat(2), dy.sum(axis=(0, 2, 3))


# ---- 3.7 ----


@mistake(
    "3.7", "scale-of-halves", loses=("w", "b", "arguments"), read=FOLDING,
    says="gamma and the others go round (0, 1, 2, 0, 1, 2), but neighbouring filters have the same "
    "(0, 0, 1, 1, 2, 2)",
    look="Which gamma has filter 1?",
)  # fmt: skip
def fold(w, b, gamma, beta, running_mean, running_var, eps):
    scale = np.tile(gamma / np.sqrt(running_var + eps), 2)
    shift = np.tile(beta, 2) - scale * np.tile(running_mean, 2)
    return w * scale[:, None, None, None], shift if b is None else shift + scale * b
