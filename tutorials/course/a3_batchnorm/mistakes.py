"""Wrong answers to assignment 3 that students really give."""

from functools import partial

import numpy as np

FORWARD, PATHS = "4: Forward", "4: Backward: three paths"
RUNNING, BIAS = "4: Running statistics", "4: What follows for the convolution before it"
FOLDING = "4: Exercises"
IMAGES = (0, 2, 3)


def wide(v):
    """Return numbers per channel as they go with images; what has more axes already, as it is."""
    return v[:, None, None] if v.ndim == 1 else v


def unbiased(var, x):
    """Return the variance with M - 1 in the place of M."""
    M = x.size // x.shape[1]
    return var * (M / (M - 1))


def forward(
    x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5,
    over=IMAGES, variance=None, refuses=True, move=None, move_later=None, at_rest=None,
    divide=None, affine=None,
):  # fmt: skip
    """A forward with exchangeable parts: statistics, how they move, what divides, gamma and beta.

    Its cache is (x_hat, std, gamma, training, x, mean, var, eps).
    """
    mean, var = running_mean.copy(), running_var.copy()
    if training:
        if refuses and x.size == x.shape[1]:
            raise ValueError
        mean = x.mean(axis=over, keepdims=True)
        var = variance(x, mean) if variance else ((x - mean) ** 2).mean(axis=over, keepdims=True)
        if over == IMAGES:
            mean, var = mean.reshape(-1), var.reshape(-1)
            if move:
                move(running_mean, running_var, mean, var, momentum, x, eps)
            else:
                running_mean[...] = (1 - momentum) * running_mean + momentum * mean
                running_var[...] = (1 - momentum) * running_var + momentum * unbiased(var, x)
    elif at_rest:
        mean, var = at_rest(x, running_mean, running_var, momentum)
    std = divide(var, eps) if divide else np.sqrt(var + eps)
    x_hat = (x - wide(mean)) / wide(std)
    y = affine(x_hat, gamma, beta) if affine else wide(gamma) * x_hat + wide(beta)
    return y, (x_hat, std, gamma, training, x, mean, var, eps)


def with_backward(batchnorm2d_backward):
    """Return a backward, and a forward whose cache has all that it may need."""
    return {"batchnorm2d_forward": forward, "batchnorm2d_backward": batchnorm2d_backward}


def back(dy, cache, *, in_training=None, in_evaluation=None, dgamma=None, dbeta=None):
    """A backward with exchangeable parts."""
    if not cache[3] and in_evaluation:
        dx = in_evaluation(dy, *cache)
    elif cache[3] and in_training:
        dx = in_training(dy, *cache)
    else:
        dx, _, _ = solution.batchnorm2d_backward(dy, cache[:4])
    dgamma = dgamma(dy, *cache) if dgamma else (dy * cache[0]).sum(axis=IMAGES)
    dbeta = dbeta(dy) if dbeta else dy.sum(axis=IMAGES)
    return dx, dgamma, dbeta


def mean_of(x):
    """Every channel's mean, as it goes with images."""
    return x.mean(axis=IMAGES, keepdims=True)


def projected(dy, x_hat, *, mean=1, variance=1, of=mean_of):
    """dy without its parts along 1 and along x_hat, or with a share of them."""
    return dy - mean * of(dy) - variance * x_hat * of(dy * x_hat)


def paths(slope=lambda std, gamma: gamma / std, *, training=True, **parts):
    """Return a pair that differs in dx of one mode: its slope, or the weights of the paths."""

    def dx(dy, x_hat, std, gamma, *_):
        return wide(slope(std, gamma)) * projected(dy, x_hat, **parts)

    return with_backward(partial(back, **{"in_training" if training else "in_evaluation": dx}))


# ---- 3.1 ----

OUTPUT = ("normalised", "eps", "arguments")


@mistake(
    "3.1", "per-pixel", loses=OUTPUT, read=FORWARD,
    says="each pixel has statistics of its own: they are means over the images only",
    look="Which numbers have been through the same filter?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, over=(0,))


@mistake(
    "3.1", "per-image", loses=OUTPUT, read=FORWARD,
    says="each image has statistics of its own: that is instance norm",
    look="Over which axes do your mean and variance go?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, over=(2, 3))


@mistake(
    "3.1", "over-channels", loses=OUTPUT, read=FORWARD,
    says="all channels of an image share their statistics: that is layer norm",
    look="Over which axes do your mean and variance go?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, over=(1, 2, 3))


@mistake(
    "3.1", "one-for-all", loses=OUTPUT, read=FORWARD,
    says="all channels share one mean and one variance",
    look="How many means does a batch with C channels have?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, over=(0, 1, 2, 3))


@mistake(
    "3.1", "unbiased", loses=OUTPUT, read=FORWARD,
    says="the output is a little too small: its variance is divided by M - 1, not by M",
    look="Which variance has y, if gamma is 1?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(
        *args, **options,
        variance=lambda x, mean: x.var(axis=IMAGES, ddof=1, keepdims=True),
        move=lambda rm, rv, *_: None,
    )  # fmt: skip


@mistake(
    "3.1", "eps-outside", loses=("eps",), read=FORWARD,
    says="eps is added to the standard deviation, not to the variance",
    look="Is your eps inside or outside of the root?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, divide=lambda var, eps: np.sqrt(var) + eps)


@mistake(
    "3.1", "no-eps", loses=("eps",), read=FORWARD,
    says="eps does nothing: wrong where a channel hardly varies, NaN where it does not at all",
    look="What is the standard deviation of a channel that does not vary?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, divide=lambda var, eps: np.sqrt(var))


@mistake(
    "3.1", "eps-fixed", loses=("eps",), read=FORWARD,
    says="right for eps = 1e-5 only: the argument eps is not used",
    look="Where does your eps come from?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, divide=lambda var, eps: np.sqrt(var + 1e-5))


@mistake(
    "3.1", "divides-by-var", loses=OUTPUT, read=FORWARD,
    says="divided by the variance: there is no root",
    look="Which unit has the variance, if x is in metres?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, divide=lambda var, eps: var + eps)


@mistake(
    "3.1", "no-mean", loses=OUTPUT, read=FORWARD,
    says="the mean is still in the output: x is only divided",
    look="Which mean has y, if beta is 0?",
)  # fmt: skip
def batchnorm2d_forward(x, *args, **options):
    y, cache = forward(x, *args, **options)
    _, std, gamma, training, _, mean, *_ = cache
    return (y + wide(gamma * mean / std) if training else y), cache


GAMMA_AXIS = {
    "task": "3.1",
    "name": "gamma-axis",
    "loses": OUTPUT,
    "read": FORWARD,
    "says": "gamma and beta do not go along the channels: right, if at all, where axes are equal",
    "look": "Along which axis of an image does gamma have to vary?",
}


@mistake(**GAMMA_AXIS)
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, affine=lambda x_hat, gamma, beta: gamma * x_hat + beta)


@mistake(**GAMMA_AXIS)
def batchnorm2d_forward(*args, **options):
    def affine(x_hat, gamma, beta):
        return gamma[:, None] * x_hat + beta[:, None]

    return forward(*args, **options, affine=affine)


@mistake(**GAMMA_AXIS)
def batchnorm2d_forward(*args, **options):
    def affine(x_hat, gamma, beta):
        return gamma[:, None, None, None] * x_hat + beta[:, None, None, None]

    return forward(*args, **options, affine=affine)


NOT_REFUSED = {
    "task": "3.1",
    "name": "not-refused",
    "loses": ("refusal",),
    "read": RUNNING,
    "says": "one number per channel has no variance: a ValueError is asked for",
    "look": "What comes out of your forward if N, H and W are 1?",
}


@mistake(**NOT_REFUSED)
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, refuses=False)  # divides by zero


@mistake(**NOT_REFUSED)
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, refuses=False, move=lambda *_: None)


# ---- 3.2 ----


def moving(mean_share=None, var_share=None, *, var_of=unbiased):
    """Return a function that moves the running statistics by other shares of old and new."""

    def move(running_mean, running_var, mean, var, momentum, x, eps):
        for running, new, share in (
            (running_mean, mean, mean_share),
            (running_var, var_of(var, x), var_share),
        ):
            old_share, new_share = share(momentum) if share else (1 - momentum, momentum)
            running[...] = old_share * running + new_share * new

    return move


def reversed_shares(momentum):
    """Return the shares of old and new the wrong way round."""
    return momentum, 1 - momentum


BOTH = ("running mean", "running var")


@mistake(
    "3.2", "momentum-reversed", loses=BOTH, read=RUNNING,
    says="momentum = 0.1 moves them nine tenths of the way: it is the share of the *new* batch",
    look="How far does momentum = 0.1 let them move?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, move=moving(reversed_shares, reversed_shares))


@mistake(
    "3.2", "momentum-fixed", loses=BOTH, read=RUNNING,
    says="right for momentum = 0.1 only: the argument is not used",
    look="Where does your momentum come from?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, move=moving(lambda m: (0.9, 0.1), lambda m: (0.9, 0.1)))


@mistake(
    "3.2", "never-forgets", loses=BOTH, read=RUNNING,
    says="the batch is added, but nothing of the old is taken off: they grow and grow",
    look="Where do they end up if all batches have the same statistics?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, move=moving(lambda m: (1, m), lambda m: (1, m)))


@mistake(
    "3.2", "last-batch", loses=BOTH, read=RUNNING,
    says="they are those of the last batch: nothing of the old is kept",
    look="What is left of the batches before the last one?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, move=moving(lambda m: (0, 1), lambda m: (0, 1)))


@mistake(
    "3.2", "biased-running", loses=("running var",), read=RUNNING,
    says="the biased variance goes in: it is too small by (M-1)/M",
    look="Which variance does a sample say of what it was drawn from?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, move=moving(var_of=lambda var, x: var))


@mistake(
    "3.2", "bessel-N", loses=("running var",), read=RUNNING,
    says="unbiased by N/(N-1), but pixels count, too: M = N H W",
    look="From how many numbers is the variance of a channel?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    def var_of(var, x):
        return var * (len(x) / (len(x) - 1))

    return forward(*args, **options, move=moving(var_of=var_of))


@mistake(
    "3.2", "bessel-reversed", loses=("running var",), read=RUNNING,
    says="the variance is multiplied by (M-1)/M, which makes it smaller still",
    look="Is the unbiased variance larger or smaller than the biased one?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    def var_of(var, x):
        return var * (var / unbiased(var, x))

    return forward(*args, **options, move=moving(var_of=var_of))


VAR_OF_STD = {
    "task": "3.2",
    "name": "var-of-std",
    "loses": ("running var",),
    "read": RUNNING,
    "says": "the standard deviation goes into running_var: it is the root of what is asked",
    "look": "What does evaluation take a root of?",
}


@mistake(**VAR_OF_STD)
def batchnorm2d_forward(*args, **options):
    return forward(
        *args, **options, move=moving(var_of=lambda var, x: np.sqrt(unbiased(var, x)))
    )  # fmt: skip


@mistake(**VAR_OF_STD)
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, move=moving(var_of=lambda var, x: np.sqrt(var)))


EPS_IN_RUNNING = {
    "task": "3.2",
    "name": "eps-in-running",
    "loses": ("running var",),
    "read": RUNNING,
    "says": "eps goes into running_var; evaluation will add it once more",
    "look": "How often is eps added on the way to y in evaluation?",
}


@mistake(**EPS_IN_RUNNING)
def batchnorm2d_forward(*args, eps=1e-5, **options):
    def var_of(var, x):
        return unbiased(var, x) + eps

    return forward(*args, **options, eps=eps, move=moving(var_of=var_of))


@mistake(**EPS_IN_RUNNING)
def batchnorm2d_forward(*args, eps=1e-5, **options):
    def var_of(var, x):
        return unbiased(var + eps, x)

    return forward(*args, **options, eps=eps, move=moving(var_of=var_of))


@mistake(
    "3.2", "rebinds", loses=(*BOTH, "still in evaluation"), read=RUNNING,
    says="after a forward in training, the arrays of the caller are as they were",
    look="Does `running_mean = ...` write into an array, or name a new one?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    return forward(*args, **options, move=lambda *_: None)


@mistake(
    "3.2", "moves-in-eval", loses=("still in evaluation",), read=RUNNING,
    says="evaluation moves the running statistics: only training may",
    look="Would the same image have the same answer twice?",
)  # fmt: skip
def batchnorm2d_forward(*args, training, **options):
    result = forward(*args, training=training, **options)
    if not training:
        forward(*args, training=True, **options)
    return result


# ---- 3.3 ----


BATCH_IN_EVAL = {
    "task": "3.3",
    "name": "batch-in-eval",
    "loses": ("output", "arguments"),
    "read": RUNNING,
    "says": "evaluation uses the batch's own statistics: the answer depends on the company",
    "look": "What does an image that is alone in its batch become?",
}


@mistake(**BATCH_IN_EVAL)
def batchnorm2d_forward(*args, **options):
    def of_the_batch(x, running_mean, running_var, momentum):
        mean = x.mean(axis=IMAGES)
        return mean, ((x - wide(mean)) ** 2).mean(axis=IMAGES)

    return forward(*args, **options, at_rest=of_the_batch)


@mistake(**BATCH_IN_EVAL)
def batchnorm2d_forward(*args, training, **options):
    if args[0].size == args[0].shape[1]:
        raise ValueError
    moves = None if training else (lambda *_: None)
    return forward(*args, training=True, **options, move=moves)


@mistake(
    "3.3", "refuses-in-eval", loses=("output",), read=RUNNING,
    says="evaluation refuses one number per channel: there the variance is known already",
    look="In which of the two modes is a variance of the batch needed?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    if args[0].size == args[0].shape[1]:
        raise ValueError
    return forward(*args, **options)


def in_evaluation(divide):
    """Return a forward that divides by something else in evaluation."""

    def batchnorm2d_forward(*args, training, **options):
        if training:
            return forward(*args, training=True, **options)
        return forward(*args, training=False, **options, divide=divide)

    return {"batchnorm2d_forward": batchnorm2d_forward}


@mistake(
    "3.3", "no-eps", loses=("output",), read=FORWARD,
    says="eps is missing in evaluation",
    look="Which four lines do training and evaluation have in common?",
)  # fmt: skip
def _():
    return in_evaluation(lambda var, eps: np.sqrt(var))


@mistake(
    "3.3", "eps-outside", loses=("output",), read=FORWARD,
    says="in evaluation eps is added to the standard deviation, not to the variance",
    look="Is your eps inside or outside of the root?",
)  # fmt: skip
def _():
    return in_evaluation(lambda var, eps: np.sqrt(var) + eps)


@mistake(
    "3.3", "divides-by-var", loses=("output", "arguments"), read=FORWARD,
    says="in evaluation it is divided by running_var: there is no root",
    look="What is running_var the square of?",
)  # fmt: skip
def _():
    return in_evaluation(lambda var, eps: var + eps)


@mistake(
    "3.3", "no-gamma-beta", loses=("output", "arguments"), read=FORWARD,
    says="gamma and beta are missing in evaluation",
    look="What does evaluation do with what was learned?",
)  # fmt: skip
def batchnorm2d_forward(*args, **options):
    y, cache = forward(*args, **options)
    return (y if cache[3] else cache[0]), cache


# ---- 3.4 ----


@mistake(
    "3.4", "no-mean-path", loses=("dx",), read=PATHS,
    says="dx: the path through the mean is missing",
    look="What happens to y if all numbers of a channel grow by the same?",
)  # fmt: skip
def _():
    return paths(mean=0)


@mistake(
    "3.4", "no-variance-path", loses=("dx",), read=PATHS,
    says="dx: the path through the variance is missing",
    look="What happens to y if all deviations of a channel are doubled?",
)  # fmt: skip
def _():
    return paths(variance=0)


@mistake(
    "3.4", "half-variance-path", loses=("dx",), read=PATHS,
    says="dx: the path through the variance has half of its weight",
    look="What is the derivative of a square?",
)  # fmt: skip
def _():
    return paths(variance=0.5)


@mistake(
    "3.4", "direct-only", loses=("dx",), read=PATHS,
    says="dx: the paths through mean and variance are missing; that is right in evaluation only",
    look="On which numbers of the channel does y_i depend?",
)  # fmt: skip
def _():
    return paths(mean=0, variance=0)


@mistake(
    "3.4", "no-gamma", loses=("dx",), read=PATHS,
    says="dx lacks gamma",
    look="What does a gamma of 0 let through?",
)  # fmt: skip
def _():
    return paths(lambda std, gamma: 1 / std)


@mistake(
    "3.4", "N-for-M", loses=("dx",), read=PATHS,
    says="dx: the means divide by N, the number of images; pixels count, too",
    look="How many numbers of a channel share its mean?",
)  # fmt: skip
def _():
    return paths(of=lambda x: x.sum(axis=IMAGES, keepdims=True) / len(x))


@mistake(
    "3.4", "mean-over-images", loses=("dx",), read=PATHS,
    says="dx: the means are those over the images at each pixel; pixels count, too",
    look="How many numbers of a channel share its mean?",
)  # fmt: skip
def _():
    return paths(of=lambda x: x.mean(axis=0))


@mistake(
    "3.4", "sums-for-means", loses=("dx",), read=PATHS,
    says="dx: the paths through mean and variance weigh M times too much: sums for means",
    look="By how much does the mean move if one number grows by 1?",
)  # fmt: skip
def _():
    return paths(of=lambda x: x.sum(axis=IMAGES, keepdims=True))


@mistake(
    "3.4", "std-squared", loses=("dx",), read=PATHS,
    says="dx is divided by the variance, not by its root",
    look="By what does y grow if x grows by 1 and the statistics stay?",
)  # fmt: skip
def _():
    return paths(lambda std, gamma: gamma / std**2)


@mistake(
    "3.4", "no-eps", loses=("dx", "dgamma"), read=PATHS,
    says="right for a small eps only: your backward's standard deviation has no eps in it",
    look="By what exactly has the forward divided?",
)  # fmt: skip
def _():
    def hat(x, mean, var):
        return (x - wide(mean)) / wide(np.sqrt(var))

    def in_training(dy, x_hat, std, gamma, training, x, mean, var, eps):
        return wide(gamma / np.sqrt(var)) * projected(dy, hat(x, mean, var))

    def dgamma(dy, x_hat, std, gamma, training, x, mean, var, eps):
        x_hat = hat(x, mean, var) if training else x_hat
        return (dy * x_hat).sum(axis=IMAGES)

    return with_backward(partial(back, in_training=in_training, dgamma=dgamma))


@mistake(
    "3.4", "divides-by-gamma", loses=("dx", "dgamma"), read=PATHS,
    says="NaN where gamma is 0: x_hat cannot be got back from y by dividing by gamma",
    look="What is left of x in y if gamma is 0?",
)  # fmt: skip
def _():
    def hat(x_hat, gamma):
        return wide(gamma) * x_hat / wide(gamma)

    def in_training(dy, x_hat, std, gamma, *_):
        return wide(gamma / std) * projected(dy, hat(x_hat, gamma))

    def dgamma(dy, x_hat, std, gamma, training, *_):
        return (dy * (hat(x_hat, gamma) if training else x_hat)).sum(axis=IMAGES)

    return with_backward(partial(back, in_training=in_training, dgamma=dgamma))


DGAMMA_X = {
    "task": "3.4",
    "name": "dgamma-x",
    "read": PATHS,
    "says": "dgamma goes with x: gamma was multiplied with x_hat",
    "look": "What stands beside gamma in the forward?",
}


@mistake(**DGAMMA_X, loses=("dgamma",))
def _():
    def dgamma(dy, x_hat, std, gamma, training, x, *_):
        return (dy * (x if training else x_hat)).sum(axis=IMAGES)

    return with_backward(partial(back, dgamma=dgamma))


@mistake(**DGAMMA_X, loses=("dx", "dgamma"))
def _():
    def in_training(dy, x_hat, std, gamma, training, x, *_):
        return wide(gamma / std) * (dy - mean_of(dy) - x_hat * mean_of(dy * x))

    def dgamma(dy, x_hat, std, gamma, training, x, *_):
        return (dy * (x if training else x_hat)).sum(axis=IMAGES)

    return with_backward(partial(back, in_training=in_training, dgamma=dgamma))


@mistake(
    "3.4", "dgamma-centred", loses=("dgamma",), read=PATHS,
    says="dgamma goes with x - mean: it is not divided by the standard deviation",
    look="What stands beside gamma in the forward?",
)  # fmt: skip
def _():
    def dgamma(dy, x_hat, std, gamma, training, x, mean, *_):
        return (dy * ((x - wide(mean)) if training else x_hat)).sum(axis=IMAGES)

    return with_backward(partial(back, dgamma=dgamma))


@mistake(
    "3.4", "dgamma-y", loses=("dgamma",), read=PATHS,
    says="dgamma goes with y: gamma was multiplied with x_hat",
    look="What stands beside gamma in the forward?",
)  # fmt: skip
def _():
    def batchnorm2d_forward(*args, **options):
        y, cache = forward(*args, **options)
        return y, (*cache, y)

    def batchnorm2d_backward(dy, cache):
        *cache, y = cache
        return back(
            dy, cache, dgamma=lambda *_: (dy * (y if cache[3] else cache[0])).sum(axis=IMAGES)
        )

    return locals()


MEANS = {
    "task": "3.4",
    "name": "mean-for-sum",
    "read": PATHS,
    "says": "dgamma and dbeta are means over images and pixels: 1/M of the gradient",
    "look": "Who divides by the number of images, the layer or the loss?",
}


def mean_of_dy(dy):
    """Return the mean of dy by channel."""
    return dy.mean(axis=IMAGES)


def mean_dgamma(dy, x_hat, std, gamma, training, *_):
    """Return a mean in training."""
    return (dy * x_hat).mean(axis=IMAGES) if training else (dy * x_hat).sum(axis=IMAGES)


@mistake(**MEANS, loses=("dgamma",))
def _():
    return with_backward(partial(back, dgamma=mean_dgamma))


@mistake(**MEANS, loses=("dbeta",))
def _():
    return with_backward(partial(back, dbeta=mean_of_dy))


@mistake(**MEANS, loses=("dgamma", "dbeta"))
def _():
    return with_backward(partial(back, dgamma=mean_dgamma, dbeta=mean_of_dy))


@mistake(**MEANS, loses=("dx", "dgamma", "dbeta"))
def _():
    def in_training(dy, x_hat, std, gamma, *_):
        M = dy.size // dy.shape[1]
        return wide(gamma / std) * (dy - mean_of(dy) / M - x_hat * mean_of(dy * x_hat) / M)

    return with_backward(
        partial(back, in_training=in_training, dgamma=mean_dgamma, dbeta=mean_of_dy)
    )


OVER_N = {
    "task": "3.4",
    "name": "sum-over-images",
    "read": PATHS,
    "says": "a sum over the images only: one number a channel is asked",
    "look": "How many numbers of y has each gamma, or beta, been in?",
}


@mistake(**OVER_N, loses=("dbeta",))
def _():
    return with_backward(partial(back, dbeta=lambda dy: dy.sum(axis=0)))


@mistake(**OVER_N, loses=("dgamma",))
def _():
    def dgamma(dy, x_hat, *_):
        return (dy * x_hat).sum(axis=0)

    return with_backward(partial(back, dgamma=dgamma))


@mistake(**OVER_N, loses=("dgamma", "dbeta"))
def _():
    def dgamma(dy, x_hat, *_):
        return (dy * x_hat).sum(axis=0)

    return with_backward(partial(back, dgamma=dgamma, dbeta=lambda dy: dy.sum(axis=0)))


# ---- 3.5 ----


TRAINING_FORMULA = {
    "task": "3.5",
    "name": "training-formula",
    "loses": ("dx",),
    "read": BIAS,
    "says": "dx is that of training: in evaluation mean and variance are constants",
    "look": "Does running_mean depend on this x?",
}


@mistake(**TRAINING_FORMULA)
def _():
    return paths(training=False)


@mistake(**TRAINING_FORMULA)
def _():
    return paths(training=False, variance=0)


@mistake(
    "3.5", "no-scale", loses=("dx",), read=PATHS,
    says="dx is not divided by the standard deviation",
    look="By what does y grow if x grows by 1?",
)  # fmt: skip
def _():
    return paths(lambda std, gamma: gamma, training=False, mean=0, variance=0)


@mistake(
    "3.5", "no-gamma", loses=("dx",), read=PATHS,
    says="dx lacks gamma",
    look="What does a gamma of 0 let through?",
)  # fmt: skip
def _():
    return paths(lambda std, gamma: 1 / std, training=False, mean=0, variance=0)


@mistake(
    "3.5", "batch-statistics", loses=("dx", "dgamma, dbeta"), read=RUNNING,
    says="the backward uses the batch's statistics, the forward used the running ones",
    look="By what has the forward divided in evaluation?",
)  # fmt: skip
def _():
    def moments(x, eps):
        mean = mean_of(x)
        return mean, np.sqrt(mean_of((x - mean) ** 2) + eps)

    def in_evaluation(dy, x_hat, std, gamma, training, x, mean, var, eps):
        return wide(gamma) / moments(x, eps)[1] * dy

    def dgamma(dy, x_hat, std, gamma, training, x, mean, var, eps):
        mean, std = moments(x, eps)
        return (dy * (x_hat if training else (x - mean) / std)).sum(axis=IMAGES)

    return with_backward(partial(back, in_evaluation=in_evaluation, dgamma=dgamma))


STALE = {
    "task": "3.5",
    "name": "statistics-have-moved",
    "loses": ("after a training step",),
    "read": RUNNING,
    "says": "your cache holds the caller's running statistics, which a training step has moved",
    "look": "Is running_var still what it was when the forward divided by it?",
}


def stale(*, of_x_hat):
    """Return a pair whose cache has the running arrays, and uses them in the backward."""

    def batchnorm2d_forward(x, gamma, beta, running_mean, running_var, **options):
        y, cache = forward(x, gamma, beta, running_mean, running_var, **options)
        return y, (cache, running_mean, running_var)

    def batchnorm2d_backward(dy, cache):
        (x_hat, std, gamma, training, x, mean, var, eps), running_mean, running_var = cache
        if not training:
            std = np.sqrt(running_var + eps)
            x_hat = (x - wide(running_mean)) / wide(std) if of_x_hat else x_hat
        return solution.batchnorm2d_backward(dy, (x_hat, std, gamma, training))

    return {
        "batchnorm2d_forward": batchnorm2d_forward,
        "batchnorm2d_backward": batchnorm2d_backward,
    }


@mistake(**STALE)
def _():
    return stale(of_x_hat=False)


@mistake(**STALE)
def _():
    return stale(of_x_hat=True)


# ---- 3.6 ----

ONE_PASS = {
    "task": "3.6",
    "name": "one-pass",
    "loses": ("far from zero",),
    "read": FORWARD,
    "says": "NaN or noise in float32: two nearly equal large numbers are subtracted",
    "look": "How many digits of E[x^2] are left when E[x]^2 is taken off?",
}


@mistake(**ONE_PASS)
def batchnorm2d_forward(*args, **options):
    def variance(x, mean):
        return mean_of(x**2) - mean**2

    return forward(*args, **options, variance=variance)


@mistake(**ONE_PASS)
def batchnorm2d_forward(*args, **options):
    def variance(x, mean):
        return np.maximum(mean_of(x * x) - mean * mean, 0)

    return forward(*args, **options, variance=variance)


@mistake(**ONE_PASS)
def batchnorm2d_forward(*args, **options):
    def variance(x, mean):
        return np.abs(mean_of(x * x) - mean * mean)

    return forward(*args, **options, variance=variance)


# ---- 3.7 ----

EVERYTHING = ("w", "b", "arguments")


def folded(w, b, gamma, beta, running_mean, running_var, eps, *, std=None, bias=None):
    """A fold with exchangeable parts."""
    scale = gamma / (std(running_var, eps) if std else np.sqrt(running_var + eps))
    old = np.zeros_like(beta) if b is None else b
    shift = beta + scale * (old - running_mean)
    if bias:
        shift = bias(old, scale, beta, running_mean)
    return w * scale[:, None, None, None], shift


@mistake(
    "3.7", "no-old-bias", loses=("b",), read=FOLDING,
    says="the convolution's own bias is missing: it is normalised, too",
    look="What does batch norm do to the bias that comes out of the convolution?",
)  # fmt: skip
def fold(*args):
    return folded(*args, bias=lambda b, scale, beta, mean: beta - scale * mean)


@mistake(
    "3.7", "bias-not-scaled", loses=("b",), read=FOLDING,
    says="the convolution's own bias is added as it was: it is scaled, too",
    look="What does batch norm do to the bias that comes out of the convolution?",
)  # fmt: skip
def fold(*args):
    return folded(*args, bias=lambda b, scale, beta, mean: beta - scale * mean + b)


@mistake(
    "3.7", "mean-not-scaled", loses=("b", "arguments"), read=FOLDING,
    says="the mean is taken off as it is: it is scaled, too",
    look="In which order does batch norm subtract and divide?",
)  # fmt: skip
def fold(*args):
    return folded(*args, bias=lambda b, scale, beta, mean: beta - mean + scale * b)


@mistake(
    "3.7", "beta-scaled", loses=("b", "arguments"), read=FOLDING,
    says="beta is scaled: it is added after the scale",
    look="In which order does batch norm multiply by gamma and add beta?",
)  # fmt: skip
def fold(*args):
    return folded(*args, bias=lambda b, scale, beta, mean: scale * (b - mean + beta))


SCALE_AXIS = {
    "task": "3.7",
    "name": "scale-axis",
    "loses": EVERYTHING,
    "read": FOLDING,
    "says": "the scale is not along the filters: right, if at all, where axes are equal",
    "look": "Which axis of w has one entry per channel of the output?",
}


@mistake(**SCALE_AXIS)
def fold(w, *args):
    _, b = solution.fold(w, *args)
    return w * (args[1] / np.sqrt(args[4] + args[5]))[:, None, None], b


@mistake(**SCALE_AXIS)
def fold(w, *args):
    _, b = solution.fold(w, *args)
    return w * (args[1] / np.sqrt(args[4] + args[5])), b


@mistake(
    "3.7", "no-eps", loses=("w", "b"), read=FOLDING,
    says="eps is missing",
    look="By what exactly does batch norm divide in evaluation?",
)  # fmt: skip
def fold(*args):
    return folded(*args, std=lambda var, eps: np.sqrt(var))


@mistake(
    "3.7", "eps-outside", loses=("w", "b"), read=FOLDING,
    says="eps is added to the standard deviation, not to the variance",
    look="Is your eps inside or outside of the root?",
)  # fmt: skip
def fold(*args):
    return folded(*args, std=lambda var, eps: np.sqrt(var) + eps)


@mistake(
    "3.7", "divides-by-var", loses=EVERYTHING, read=FOLDING,
    says="divided by the variance: there is no root",
    look="What is running_var the square of?",
)  # fmt: skip
def fold(*args):
    return folded(*args, std=lambda var, eps: var + eps)


@mistake(
    "3.7", "no-gamma", loses=EVERYTHING, read=FOLDING,
    says="gamma is missing in the scale",
    look="What does batch norm multiply with after it has divided?",
)  # fmt: skip
def fold(w, b, gamma, *args):
    return solution.fold(w, b, np.ones_like(gamma), *args)


NO_BIAS_NONE = {
    "task": "3.7",
    "name": "no-bias-None",
    "loses": ("arguments",),
    "read": FOLDING,
    "says": "fails without a bias: b may be None",
    "look": "What does your code do with b=None?",
}


@mistake(**NO_BIAS_NONE)
def fold(w, b, *args):
    return folded(w, b.copy(), *args)


@mistake(**NO_BIAS_NONE)
def fold(w, b, *args):
    return folded(w, b * 1, *args)


@mistake(
    "3.7", "None-for-bias", loses=("arguments",), read=FOLDING,
    says="without a bias none comes back, but batch norm itself adds something",
    look="What comes out of batch norm if the convolution gives 0?",
)  # fmt: skip
def fold(w, b, *args):
    folded_w, folded_b = folded(w, b, *args)
    return folded_w, None if b is None else folded_b
