"""Wrong answers to assignment 1 that students really give."""

from functools import partial

import numpy as np

SLOPE, GRADIENT = "1: One number: the slope", "1: Many numbers: the gradient"
LINEAR, SCORES = "2: A linear layer", "2: From scores to a loss"
BELONG, TRAINING, VALLEY = (
    "2: The gradient that makes them belong together",
    "2: Training",
    "2: A valley",
)

# ---- 1.1 ----

SLOPES = ("slopes", "any shape", "the step")


def along(f, x, rule, places=None):
    """Apply a rule to the function of one number that f is along each direction."""
    gradient = np.zeros_like(x)
    for place in places or np.ndindex(x.shape):

        def at(step, place=place):
            moved = x.copy()
            moved[place] += step
            return f(moved)

        gradient[place] = rule(at)
    return gradient


def central(h):
    """The right rule."""
    return lambda at: (at(h) - at(-h)) / (2 * h)


def forward_difference(rule):
    @mistake(
        "1.1", "forward-difference", loses=SLOPES, read=SLOPE,
        says="right to a few digits only: that is a one-sided difference",
        look="On which sides of x do you ask f?",
    )  # fmt: skip
    def numeric_gradient(f, x, h=1e-5):
        return along(f, x, lambda at: rule(at, h))


forward_difference(lambda at, h: (at(h) - at(0)) / h)
forward_difference(lambda at, h: (at(0) - at(-h)) / h)


@mistake(
    "1.1", "half-step", loses=SLOPES, read=SLOPE,
    says="twice the slope everywhere: your two points are 2h apart",
    look="How far is it from x - h to x + h?",
)  # fmt: skip
def numeric_gradient(f, x, h=1e-5):
    return along(f, x, lambda at: (at(h) - at(-h)) / h)


@mistake(
    "1.1", "one-side-over-two", loses=SLOPES, read=SLOPE,
    says="half the slope, about: your two points are only h apart, and you divide by 2h",
    look="How far is it between the two points at which you ask f?",
)  # fmt: skip
def numeric_gradient(f, x, h=1e-5):
    return along(f, x, lambda at: (at(h) - at(0)) / (2 * h))


def not_restored(one_sided):
    loses = (*SLOPES, "x untouched")

    @mistake(
        "1.1", "not-restored", loses=loses, read=GRADIENT,
        says="x is not what it was: each later slope is taken at another place",
        look="Where is x[0] when you move x[1]?",
    )  # fmt: skip
    def numeric_gradient(f, x, h=1e-5):
        gradient = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            here = x[place]
            behind = f(x) if one_sided else None
            x[place] = here + h
            ahead = f(x)
            if not one_sided:
                x[place] = here - h
                behind = f(x)
            gradient[place] = (ahead - behind) / (h if one_sided else 2 * h)
        return gradient


not_restored(one_sided=False)
not_restored(one_sided=True)


@mistake(
    "1.1", "not-restored", loses=(*SLOPES, "x untouched"), read=GRADIENT,
    says="x is not what it was: each later slope is taken at another place",
    look="Where is x[0] when you move x[1]?",
)  # fmt: skip
def numeric_gradient(f, x, h=1e-5):
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        here = x[place]
        x[place] = here - h
        behind = f(x)
        x[place] = here + h
        gradient[place] = (f(x) - behind) / (2 * h)
    return gradient


def restored_by_adding(*steps):
    @mistake(
        "1.1", "restored-by-adding", loses=("x untouched",), read=SLOPE,
        says="x is back but for its last digits: adding and taking off again is rounded",
        look="Is (a + h) - h always a?",
    )  # fmt: skip
    def numeric_gradient(f, x, h=1e-5):
        gradient = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            x[place] += h
            ahead = f(x)
            for part in steps:
                x[place] -= part * h
            behind = f(x)
            x[place] += h
            gradient[place] = (ahead - behind) / (2 * h)
        return gradient


restored_by_adding(2)
restored_by_adding(1, 1)


@mistake(
    "1.1", "all-at-once", loses=SLOPES, read=GRADIENT,
    says="all numbers of x are moved together: that is the slope along (1, ..., 1)",
    look="Which numbers of x differ between the two points?",
)  # fmt: skip
def numeric_gradient(f, x, h=1e-5):
    return np.full_like(x, (f(x + h) - f(x - h)) / (2 * h))


def tiny_step(h, rule):
    @mistake(
        "1.1", "tiny-step", loses=SLOPES, read=SLOPE,
        says="the right digits are lost: the step is so small that f(x + h) and f(x - h) are equal "
        "but for rounding",
        look="How many digits of f(x + h) - f(x - h) are left?",
    )  # fmt: skip
    def numeric_gradient(f, x, h=h):
        return along(f, x, rule(tiny))

    tiny = h


for tiny in (1e-11, 1e-12, 1e-13):
    tiny_step(tiny, central)
    tiny_step(tiny, lambda h: lambda at: (at(h) - at(0)) / h)


def own_step(h):
    @mistake(
        "1.1", "own-step", loses=("the step",), read=SLOPE,
        says="your step is not the h that you were given: here f is known to six digits, and only "
        "a large step gets over that",
        look="Where does your code use h?",
    )  # fmt: skip
    def numeric_gradient(f, x, unused=None, **others):
        return along(f, x, central(h))


for own in (1e-5, 1e-6):
    own_step(own)


@mistake(
    "1.1", "whole-rows", loses=("any shape",), read=GRADIENT,
    says="right for one dimension only: x[i] is a whole row, and all of it is moved",
    look="What is x[0] if x has two dimensions?",
)  # fmt: skip
def numeric_gradient(f, x, h=1e-5):
    return along(f, x, central(h), places=list(range(len(x))))


def moves_a_copy(loses, flattened):
    @mistake(
        "1.1", "moves-a-copy", loses=loses, read=GRADIENT,
        says="the slope is 0: what you move is a copy of x, and f never sees it",
        look="Is what you write to the array that f gets?",
    )  # fmt: skip
    def numeric_gradient(f, x, h=1e-5):
        flat, gradient = flattened(x), np.zeros(x.size)
        for i in range(x.size):
            here = flat[i]
            flat[i] = here + h
            ahead = f(x)
            flat[i] = here - h
            gradient[i] = (ahead - f(x)) / (2 * h)
            flat[i] = here
        return gradient.reshape(x.shape)


moves_a_copy(SLOPES, lambda x: x.flatten())
moves_a_copy(("any shape",), lambda x: x.ravel())  # of memory in another order


# ---- 1.2 ----


@mistake(
    "1.2", "x-times-w", loses=("output", "no b"), read=LINEAR,
    says="the shapes fit only where K = D: w is (K, D), one row for each output",
    look="Along which axis of w does the sum over d run?",
)  # fmt: skip
def linear_forward(x, w, b=None):
    y = x @ w
    return (y if b is None else y + b), (x, w, b)


@mistake(
    "1.2", "bias-broadcast-N", loses=("output",), read=LINEAR,
    says="the bias goes along the wrong axis: each output has one, not each row",
    look="Along which axis of y does b have to vary?",
)  # fmt: skip
def linear_forward(x, w, b=None):
    y = x @ w.T
    return (y if b is None else y + b[:, None]), (x, w, b)


@mistake(
    "1.2", "bias-forgotten", loses=("output",), read=LINEAR,
    says="the bias is missing",
    look="Where does b enter y?",
)  # fmt: skip
def linear_forward(x, w, b=None):
    return x @ w.T, (x, w, b)


@mistake(
    "1.2", "no-bias-None", loses=("no b",), read=LINEAR,
    says="fails without a bias: b may be None",
    look="What does your code do with b=None?",
)  # fmt: skip
def linear_forward(x, w, b=None):
    return x @ w.T + b, (x, w, b)


def gradients(name, *, loses, says, look, **replaced):
    """A mistake in one gradient: a function of dy, x, w and the right result."""

    @mistake("1.2", name, loses=loses, says=says, look=look, read=LINEAR)
    def linear_backward(dy, cache):
        x, w, b = cache
        right = dict(zip(("dx", "dw", "db"), solution.linear_backward(dy, cache), strict=True))
        for key, wrong in replaced.items():
            if key != "db" or b is not None:
                right[key] = wrong(dy, x, w, right[key])
        return tuple(right.values())


gradients(
    "dx-transposed", loses=("dx", "dw", "db"), dx=lambda dy, x, w, dx: dy @ w.T,
    says="the shapes of dy and w.T fit only where K = D, and there dx is wrong, too",
    look="Over which index is dx summed, and where does w have it?",
)  # fmt: skip
gradients(
    "dx-mean", loses=("dx",), dx=lambda dy, x, w, dx: dx / len(dy),
    says="dx is 1/N of the gradient: the loss has divided already",
    look="Who divides by the number of rows, the layer or the loss?",
)  # fmt: skip
gradients(
    "dw-mean", loses=("dw",), dw=lambda dy, x, w, dw: dw / len(dy),
    says="dw is 1/N of the gradient: the loss has divided already",
    look="Who divides by the number of rows, the layer or the loss?",
)  # fmt: skip
gradients(
    "dw-transposed", loses=("dw",), dw=lambda dy, x, w, dw: x.T @ dy,
    says="dw is (D, K), but w is (K, D)",
    look="Which shape does w have, and which dw?",
)  # fmt: skip
gradients(
    "db-mean", loses=("db",), db=lambda dy, x, w, db: dy.mean(axis=0),
    says="db is 1/N of the gradient: a sum over the rows, not a mean",
    look="How many numbers of y has each bias been added to?",
)  # fmt: skip
gradients(
    "db-wrong-axis", loses=("db",), db=lambda dy, x, w, db: dy.sum(axis=1),
    says="db is summed over the outputs: it is a sum over the rows, one number for each output",
    look="Which shape does b have?",
)  # fmt: skip
gradients(
    "db-as-a-row", loses=("db",), db=lambda dy, x, w, db: dy.sum(axis=0, keepdims=True),
    says="db is (1, K), but b is (K,)",
    look="Which shape does b have, and which db?",
)  # fmt: skip
gradients(
    "db-not-summed", loses=("db",), db=lambda dy, x, w, db: dy,
    says="db is dy, (N, K), but b is (K,): all rows have used the same bias",
    look="How many numbers of y has each bias been added to?",
)  # fmt: skip


gradients(
    "db-one-number", loses=("db",), db=lambda dy, x, w, db: dy.sum(),
    says="db is one number: it is summed over the outputs, too",
    look="Which shape does b have?",
)  # fmt: skip


def db_without_b(value):
    @mistake(
        "1.2", "db-without-b", loses=("db without b",), read=LINEAR,
        says="there was no bias, so there is no gradient of it: None",
        look="What does your backward return if b was None?",
    )  # fmt: skip
    def linear_backward(dy, cache):
        dx, dw, db = solution.linear_backward(dy, cache)
        return dx, dw, value(dy) if db is None else db


db_without_b(lambda dy: dy.sum(axis=0))
db_without_b(lambda dy: np.zeros_like(dy[0]))
db_without_b(lambda dy: dy.sum())
db_without_b(lambda dy: dy.mean(axis=0))

# ---- 1.3 ----


def log_softmax(logits, axis=1):
    """The right logarithms of the probabilities."""
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def onehot_of(logits, labels):
    """1 for the right class."""
    onehot = np.zeros_like(logits)
    onehot[np.arange(len(labels)), labels] = 1
    return onehot


def cross_entropy(
    name, *, loses, says, look, read, log_p=None, loss=None, dlogits=None, of_logits=None
):
    """A mistake in a part: log_p of logits; loss of p, log_p, onehot; dlogits of p, onehot.

    ``of_logits`` gives dlogits of logits and onehot.
    """

    @mistake("1.3", name, loses=loses, says=says, look=look, read=read)
    def softmax_cross_entropy(logits, labels):
        onehot, N = onehot_of(logits, labels), len(logits)
        with_log = (log_p or log_softmax)(logits)
        p = np.exp(with_log)
        images = np.arange(N)
        mean = loss or (lambda p, log_p, labels: -log_p[images, labels].mean())
        slope = dlogits or (lambda p, onehot, labels: (p - onehot) / N)
        found = of_logits(logits, onehot) if of_logits else slope(p, onehot, labels)
        return mean(p, with_log, labels), found


def naive(logits):
    return np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def by_global_max(logits):
    return naive(logits - logits.max())


def by_logarithm(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def divided(logits, onehot):
    e = np.exp(logits)
    return (e / e.sum(axis=1, keepdims=True) - onehot) / len(logits)


overflow = partial(
    cross_entropy, "overflow", loses=("large logits",), read=SCORES,
    says="inf or NaN for large logits; softmax does not change when a constant is taken off",
    look="How large is exp(1000)?",
)  # fmt: skip
overflow(log_p=naive)
overflow(log_p=by_logarithm)
overflow(log_p=by_logarithm, of_logits=divided)
cross_entropy(
    "global-max", loses=("large logits",), read=SCORES, log_p=by_global_max,
    says="inf or NaN where one row lies far below another: each row has a largest score of its own",
    look="What is left of a row from which another row's largest score is taken off?",
)  # fmt: skip
cross_entropy(
    "log-of-zero", loses=("large logits",), read=SCORES,
    loss=lambda p, log_p, labels: -np.log(p[np.arange(len(p)), labels]).mean(),
    says="the loss is infinite where the right class is very unlikely: its probability is rounded "
    "to 0 before the logarithm is taken",
    look="What is log(exp(-1000)), and what does a computer make of it?",
)  # fmt: skip


def log_epsilon(safe):
    cross_entropy(
        "log-epsilon", loses=("large logits",), read=SCORES,
        loss=lambda p, log_p, labels: -np.log(safe(p[np.arange(len(p)), labels])).mean(),
        says="the loss does not grow any more where the right class is very unlikely: what keeps "
        "your logarithm from 0 hides it",
        look="How large can your loss become at most?",
    )  # fmt: skip


for small in (1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16):
    log_epsilon(lambda p, small=small: np.maximum(p, small))
log_epsilon(lambda p: np.clip(p, 1e-12, 1 - 1e-12))
for small in (1e-9, 1e-10, 1e-12, 1e-15, 1e-16):
    log_epsilon(lambda p, small=small: p + small)


def at_labels(p, onehot, labels):
    p = p.copy()
    p[np.arange(len(labels)), labels] -= 1
    return p / len(labels)


def no_keepdims(of_max, of_sum, dlogits=None):
    def log_p(logits):
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=not of_max))
        return np.log(exponentials / exponentials.sum(axis=1, keepdims=not of_sum))

    cross_entropy(
        "no-keepdims", loses=("loss", "dlogits", "large logits"), read=SCORES, log_p=log_p,
        dlogits=dlogits,
        says="a number of each row goes along the columns: the shapes fit only where N = K",
        look="Which shapes have the largest scores and the sums of your rows?",
    )  # fmt: skip


for of_max, of_sum in ((True, True), (True, False), (False, True)):
    no_keepdims(of_max, of_sum)
    no_keepdims(of_max, of_sum, at_labels)
cross_entropy(
    "sum-loss", loses=("loss",), read=BELONG,
    loss=lambda p, log_p, labels: -log_p[np.arange(len(p)), labels].sum(),
    says="the loss is N times the mean: that is the sum over the images",
    look="How does your loss change if the same images are in the batch twice?",
)  # fmt: skip
cross_entropy(
    "mean-of-all", loses=("loss", "large logits"), read=BELONG,
    loss=lambda p, log_p, labels: -(onehot_of(log_p, labels) * log_p).mean(),
    says="the loss is 1/K of the mean: that is a mean over all N * K numbers, not over N images",
    look="By which number does your mean divide?",
)  # fmt: skip
cross_entropy(
    "labels-as-columns", loses=("loss",), read=BELONG,
    loss=lambda p, log_p, labels: -log_p[:, labels].mean(),
    says="every image is asked about the right classes of all images",
    look="Which shape does p[:, labels] have?",
)  # fmt: skip


def columns(p, onehot, labels):
    p = p.copy()
    p[:, labels] -= 1
    return p / len(p)


cross_entropy(
    "labels-as-columns", loses=("dlogits",), read=BELONG, dlogits=columns,
    says="every image is asked about the right classes of all images",
    look="Which shape does p[:, labels] have?",
)  # fmt: skip
cross_entropy(
    "gradient-not-mean", loses=("dlogits",), read=BELONG,
    dlogits=lambda p, onehot, labels: p - onehot,
    says="dlogits is N times too large: the loss is a mean over the images",
    look="By how much does a mean change if one of its numbers does?",
)  # fmt: skip
cross_entropy(
    "no-onehot", loses=("dlogits",), read=BELONG,
    dlogits=lambda p, onehot, labels: p / len(p),
    says="the right class is never subtracted in dlogits: it would be pushed down like the others",
    look="Which way should the right score move?",
)  # fmt: skip
cross_entropy(
    "onehot-not-mean", loses=("dlogits",), read=BELONG,
    dlogits=lambda p, onehot, labels: p / len(p) - onehot,
    says="only p is divided by N in dlogits, not the 1 of the right class",
    look="What should the numbers of a row of dlogits add up to?",
)  # fmt: skip
cross_entropy(
    "sign", loses=("dlogits",), read=BELONG,
    dlogits=lambda p, onehot, labels: (onehot - p) / len(p),
    says="the sign of dlogits is turned round: a step against it would climb",
    look="Does the loss grow or fall with the right score?",
)  # fmt: skip
cross_entropy(
    "axis-0", loses=("loss", "dlogits", "large logits"), read=SCORES,
    log_p=lambda logits: log_softmax(logits, axis=0),
    says="your columns add up to 1, but rows should: the classes of an image share its probability",
    look="Over which axis is your sum of exponentials?",
)  # fmt: skip

# ---- 1.4 ----

ALL_STEPS = ("w", "v", "lr changes")


def step(name, *, loses, says, look, rule):
    @mistake("1.4", name, loses=loses, says=says, look=look, read=VALLEY)
    def sgd_step(w, v, dw, lr, momentum, weight_decay):
        return rule(w, v, dw, lr, momentum, weight_decay)


def moved(w, v, lr):
    return w - lr * v, v


step(
    "old-velocity", loses=("w",),
    rule=lambda w, v, dw, lr, m, decay: (w - lr * v, m * v + dw + decay * w),
    says="one step late: the weight is moved by the old velocity",
    look="Which of v and w do you change first?",
)  # fmt: skip
step(
    "decay-on-v", loses=("w", "v", "lr changes"),
    rule=lambda w, v, dw, lr, m, decay: moved(w, m * v + dw - lr * decay * v, lr),
    says="the velocity decays instead of the weight: the decay belongs into g",
    look="What does weight decay pull towards zero?",
)  # fmt: skip
step(
    "decay-on-v", loses=("w", "v"),
    rule=lambda w, v, dw, lr, m, decay: moved(w, m * v + dw + decay * v, lr),
    says="the velocity decays instead of the weight: the decay belongs into g",
    look="What does weight decay pull towards zero?",
)  # fmt: skip
step(
    "decay-beside", loses=("w", "v"),
    rule=lambda w, v, dw, lr, m, decay: (w - lr * (m * v + dw) - lr * decay * w, m * v + dw),
    says="the decay moves the weight, but is missing in the velocity",
    look="Does your v know of the weight decay?",
)  # fmt: skip
step(
    "no-decay", loses=("w", "v"), rule=lambda w, v, dw, lr, m, decay: moved(w, m * v + dw, lr),
    says="there is no weight decay: it is right for 0 only",
    look="Where does weight_decay enter?",
)  # fmt: skip
step(
    "decay-turned", loses=("w", "v"),
    rule=lambda w, v, dw, lr, m, decay: moved(w, m * v + dw - decay * w, lr),
    says="the sign of the decay is turned round: weights grow by it",
    look="With dw = 0, does your weight go towards zero?",
)  # fmt: skip


def lr_in_v(rule):
    step(
        "lr-in-v", loses=("v", "lr changes"), rule=rule,
        says="the learning rate is in your velocity: the weight is right only until lr changes",
        look="By which learning rate does an old gradient move the weight?",
    )  # fmt: skip


def inside(w, v, dw, lr, m, decay):
    v = m * v + lr * (dw + decay * w)
    return w - v, v


def inside_and_turned(w, v, dw, lr, m, decay):
    v = m * v - lr * (dw + decay * w)
    return w + v, v


lr_in_v(inside)
lr_in_v(inside_and_turned)
step(
    "dampened", loses=("w", "v"),
    rule=lambda w, v, dw, lr, m, decay: moved(w, m * v + (1 - m) * (dw + decay * w), lr),
    says="the steps are too short by 1 - momentum: a sum of gradients is asked for, not a mean",
    look="By which factor does the newest gradient enter v?",
)  # fmt: skip


def nesterov_rule(w, v, dw, lr, m, decay):
    g = dw + decay * w
    v = m * v + g
    return w - lr * (g + m * v), v


step(
    "nesterov", loses=("w",), rule=nesterov_rule,
    says="that is Nesterov's rule: in plain momentum the weight moves by the new velocity",
    look="Which multiple of v is taken off w?",
)  # fmt: skip
step(
    "no-momentum", loses=("w", "v"),
    rule=lambda w, v, dw, lr, m, decay: moved(w, dw + decay * w, lr),
    says="the old velocity is forgotten: there is no momentum",
    look="Where does the old v enter the new one?",
)  # fmt: skip
step(
    "climbs", loses=("w",),
    rule=lambda w, v, dw, lr, m, decay: (w + lr * (m * v + dw + decay * w), m * v + dw + decay * w),
    says="the weight moves up the slope: the sign is turned round",
    look="Does the loss grow or fall along the gradient?",
)  # fmt: skip

# ---- 1.5 ----

BATCHES = ("full batch", "batches")
STREAM = ("batches", "random numbers")


def training(
    name, *, loses, says, look, draws=None, labels_of=None, classes=None, start=None, move=None
):
    """A mistake in a part: how indices are drawn, K, where w begins, or the step."""

    @mistake("1.5", name, loses=loses, says=says, look=look, read=TRAINING)
    def train(images, labels, steps, batch, lr, rng):
        n, D = images.shape
        K = labels.max() + 1 if classes is None else classes(labels)
        w = np.zeros((K, D)) if start is None else start(rng, (K, D))
        b, memory = np.zeros(K), {}
        for chosen in (draws or right_draws)(rng, n, batch, steps):
            logits, cache = solution.linear_forward(images[chosen], w, b)
            truth = labels[chosen] if labels_of is None else labels_of(labels, chosen)
            _, dlogits = solution.softmax_cross_entropy(logits, truth)
            _, dw, db = solution.linear_backward(dlogits, cache)
            w, b = (move or right_move)(w, b, dw, db, lr, batch, memory)
        return w, b


def right_draws(rng, n, batch, steps):
    return (rng.choice(n, batch, replace=False) for _ in range(steps))


def right_move(w, b, dw, db, lr, batch, memory):
    return w - lr * dw, b - lr * db


def global_rng(draws):
    training(
        "global-rng", loses=STREAM, draws=draws,
        says="nothing is drawn from your rng: the same rng must give the same result, and another "
        "one other batches",
        look="Where do your random numbers come from?",
    )  # fmt: skip


def by_epochs(rng, n, batch, steps):
    order = []
    for _ in range(steps):
        if len(order) < batch:
            order = list(rng.permutation(n))
        yield order[:batch]
        order = order[batch:]


def once(rng, n, batch, steps):
    return [rng.choice(n, batch, replace=False)] * steps


global_rng(lambda rng, n, batch, steps: right_draws(np.random, n, batch, steps))
global_rng(lambda rng, n, batch, steps: right_draws(np.random.default_rng(), n, batch, steps))
global_rng(lambda rng, n, batch, steps: right_draws(np.random.default_rng(0), n, batch, steps))
global_rng(lambda rng, n, batch, steps: [np.arange(batch)] * steps)
global_rng(lambda rng, n, batch, steps: ((np.arange(batch) + batch * t) % n for t in range(steps)))
training(
    "no-reshuffle", loses=STREAM, draws=once,
    says="every step sees the same batch: it is drawn once only",
    look="How often is your choice of images drawn?",
)  # fmt: skip


def other_draw(draws):
    training(
        "other-draw", loses=STREAM, draws=draws,
        says="your batches come from rng, but not by rng.choice(n, batch, replace=False) in each "
        "step: so the same rng gives other batches",
        look="Which numbers does each of your steps draw from rng?",
    )  # fmt: skip


other_draw(lambda rng, n, batch, steps: (rng.permutation(n)[:batch] for _ in range(steps)))
other_draw(by_epochs)
training(
    "with-replacement", loses=(*BATCHES, "random numbers"),
    draws=lambda rng, n, batch, steps: (rng.choice(n, batch) for _ in range(steps)),
    says="an image may be in a batch twice: draw without replacement",
    look="If 7 of 7 images are drawn, is each of them there?",
)  # fmt: skip


def random_start(scale):
    training(
        "random-start", loses=(*BATCHES, "random numbers"),
        start=lambda rng, shape: scale * rng.standard_normal(shape),
        says="your weights begin at random numbers, which shift all others that are drawn: they "
        "begin at zero",
        look="What are w and b before the first step?",
    )  # fmt: skip


for scale in (0.001, 0.01, 0.1, 1):
    random_start(scale)
training(
    "labels-not-drawn", loses=BATCHES,
    labels_of=lambda labels, chosen: labels[: len(chosen)],
    says="the images are drawn, but their labels are not: each image has another one's label",
    look="Which labels go with images[chosen]?",
)  # fmt: skip
training(
    "ten-classes", loses=BATCHES, classes=lambda labels: 10,
    says="w has ten rows whatever the labels are: K is the largest label + 1",
    look="Where does your number of classes come from?",
)  # fmt: skip
training(
    "a-class-too-few", loses=(*BATCHES, "random numbers", "arguments"),
    classes=lambda labels: labels.max(),
    says="the largest label has no row in w: labels begin at 0, so there is one class more",
    look="How many classes are there if the labels are 0, 1 and 2?",
)  # fmt: skip
training(
    "divided-twice", loses=BATCHES,
    move=lambda w, b, dw, db, lr, batch, memory: (w - lr / batch * dw, b - lr / batch * db),
    says="the gradient is divided by the number of images once more: the loss is a mean already",
    look="Who divides by the number of images, the loss or the step?",
)  # fmt: skip
training(
    "not-a-mean", loses=BATCHES,
    move=lambda w, b, dw, db, lr, batch, memory: (w - lr * batch * dw, b - lr * batch * db),
    says="the steps are as many times too long as there are images in a batch: the loss is a mean",
    look="Does your step grow with the batch?",
)  # fmt: skip
training(
    "bias-stays", loses=BATCHES,
    move=lambda w, b, dw, db, lr, batch, memory: (w - lr * dw, b),
    says="the bias never moves",
    look="Where does your step use db?",
)  # fmt: skip
training(
    "climbs", loses=BATCHES,
    move=lambda w, b, dw, db, lr, batch, memory: (w + lr * dw, b + lr * db),
    says="the weights move up the slope: the sign of the step is turned round",
    look="Does the loss grow or fall along the gradient?",
)  # fmt: skip


def with_momentum(w, b, dw, db, lr, batch, memory):
    for name, gradient in (("w", dw), ("b", db)):
        memory[name] = 0.9 * memory.get(name, 0) + gradient
    return w - lr * memory["w"], b - lr * memory["b"]


training(
    "momentum", loses=BATCHES, move=with_momentum,
    says="there is momentum in your steps: a plain step is asked for",
    look="Does anything but w and b go from one step to the next?",
)  # fmt: skip
