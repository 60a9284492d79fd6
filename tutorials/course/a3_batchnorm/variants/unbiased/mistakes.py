"""Wrong answers to assignment 3 that only unbiased variances make, or that look different then."""

import numpy as np

FORWARD, PATHS, RUNNING = "4: Forward", "4: Backward: three paths", "4: Running statistics"
IMAGES = (0, 2, 3)

leave_out("3.1", "unbiased", why="here the output is asked for with M - 1")


def wide(v):
    """Return numbers per channel as they go with images."""
    return v[:, None, None]


def moments(x, eps, over=IMAGES, freedom=1):
    """Return mean and standard deviation, as they go with images."""
    mean = x.mean(axis=over, keepdims=True)
    M = x.size // mean.size
    total = ((x - mean) ** 2).sum(axis=over, keepdims=True)
    return mean, np.sqrt(np.divide(total, M - freedom) + eps)


def with_output(output):
    """Return a forward whose output in training is ``output(x, gamma, beta, eps)``."""

    def batchnorm2d_forward(x, gamma, beta, *running, training, momentum=0.1, eps=1e-5):
        options = {"training": training, "momentum": momentum, "eps": eps}
        y, cache = solution.batchnorm2d_forward(x, gamma, beta, *running, **options)
        return (output(x, gamma, beta, eps) if training else y), cache

    return {"batchnorm2d_forward": batchnorm2d_forward}


def with_gradients(**wrong):
    """Return a pair whose dx or dgamma in training is a function of (dy, x, y, gamma, eps)."""

    def batchnorm2d_forward(x, gamma, *args, training, momentum=0.1, eps=1e-5):
        options = {"training": training, "momentum": momentum, "eps": eps}
        y, cache = solution.batchnorm2d_forward(x, gamma, *args, **options)
        return y, (cache, training, (x, y, gamma, eps))

    def batchnorm2d_backward(dy, cache):
        inner, training, seen = cache
        names = ("dx", "dgamma", "dbeta")
        found = dict(zip(names, solution.batchnorm2d_backward(dy, inner), strict=True))
        if training:
            found |= {name: function(dy, *seen) for name, function in wrong.items()}
        return tuple(found.values())

    return {
        "batchnorm2d_forward": batchnorm2d_forward,
        "batchnorm2d_backward": batchnorm2d_backward,
    }


# ---- 3.1 ----

OUTPUT = ("normalised", "eps", "arguments")


def statistics(name, *, says, look, loses=OUTPUT, **parts):
    """A mistake in mean and standard deviation."""

    def output(x, gamma, beta, eps):
        mean, std = moments(x, eps, **parts)
        return wide(gamma) * ((x - mean) / std) + wide(beta)

    @mistake("3.1", name, loses=loses, says=says, look=look, read=FORWARD)
    def _():
        return with_output(output)


statistics(
    "biased", freedom=0,
    says="the output is a little too large: its variance is divided by M, not by M - 1",
    look="Which variance has y, if gamma is 1?",
)  # fmt: skip
statistics(
    "per-pixel", over=(0,),
    says="each pixel has statistics of its own: they are means over the images only",
    look="Which numbers have been through the same filter?",
)  # fmt: skip
statistics(
    "per-image", over=(2, 3),
    says="each image has statistics of its own: that is instance norm",
    look="Over which axes do your mean and variance go?",
)  # fmt: skip
statistics(
    "over-channels", over=(1, 2, 3),
    says="all channels of an image share their statistics: that is layer norm",
    look="Over which axes do your mean and variance go?",
)  # fmt: skip
statistics(
    "one-for-all", over=(0, 1, 2, 3),
    says="all channels share one mean and one variance",
    look="How many means does a batch with C channels have?",
)  # fmt: skip


@mistake(
    "3.1", "no-mean", loses=OUTPUT, read=FORWARD,
    says="the mean is still in the output: x is only divided",
    look="Which mean has y, if beta is 0?",
)  # fmt: skip
def _():
    return with_output(
        lambda x, gamma, beta, eps: wide(gamma) * (x / moments(x, eps)[1]) + wide(beta)
    )


# ---- 3.3 ----


@mistake(
    "3.3", "batch-in-eval", loses=("output", "arguments"), read=RUNNING,
    says="evaluation uses the batch's own statistics: the answer depends on the company",
    look="What does an image that is alone in its batch become?",
)  # fmt: skip
def batchnorm2d_forward(x, gamma, beta, *running, training, momentum=0.1, eps=1e-5):
    options = {"training": training, "momentum": momentum, "eps": eps}
    y, cache = solution.batchnorm2d_forward(x, gamma, beta, *running, **options)
    if not training:
        mean, std = moments(x, eps)
        y = wide(gamma) * ((x - mean) / std) + wide(beta)
    return y, cache


# ---- 3.4 ----


def slope(dy, x, y, gamma, eps, *, share=None, mean_share=None):
    """The gradient of x, in which the paths through mean and variance have other divisors."""
    mean, std = moments(x, eps)
    x_hat, M = (x - mean) / std, x.size // x.shape[1]
    away = dy.sum(axis=IMAGES, keepdims=True) / (mean_share or M)
    turned = x_hat * (dy * x_hat).sum(axis=IMAGES, keepdims=True) / (share or M - 1)
    return wide(gamma) / std * (dy - away - turned)


@mistake(
    "3.4", "variance-path-by-M", loses=("dx",), read=PATHS,
    says="dx: the path through the variance is divided by M, but the variance was by M - 1",
    look="By what exactly has the forward divided the sum of squares?",
)  # fmt: skip
def _():
    def dx(dy, x, *seen):
        return slope(dy, x, *seen, share=x.size // x.shape[1])

    return with_gradients(dx=dx)


@mistake(
    "3.4", "mean-path-by-M-1", loses=("dx",), read=PATHS,
    says="dx: the path through the mean is divided by M - 1, but the mean was by M",
    look="Which of the two statistics has the M - 1?",
)  # fmt: skip
def _():
    def dx(dy, x, *seen):
        return slope(dy, x, *seen, mean_share=x.size // x.shape[1] - 1)

    return with_gradients(dx=dx)


@mistake(
    "3.4", "N-for-M", loses=("dx",), read=PATHS,
    says="dx: the means divide by N, the number of images; pixels count, too",
    look="How many numbers of a channel share its mean?",
)  # fmt: skip
def _():
    def dx(dy, x, *seen):
        return slope(dy, x, *seen, mean_share=len(x), share=len(x) - 1)

    return with_gradients(dx=dx)


DGAMMA = {
    "task": "3.4",
    "loses": ("dgamma",),
    "read": PATHS,
    "look": "What stands beside gamma in the forward?",
}


@mistake(name="dgamma-x", says="dgamma goes with x: gamma was multiplied with x_hat", **DGAMMA)
def _():
    return with_gradients(dgamma=lambda dy, x, *_: (dy * x).sum(axis=IMAGES))


@mistake(name="dgamma-y", says="dgamma goes with y: gamma was multiplied with x_hat", **DGAMMA)
def _():
    return with_gradients(dgamma=lambda dy, x, y, *_: (dy * y).sum(axis=IMAGES))
