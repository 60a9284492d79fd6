"""Wrong answers to assignment 1 that only a temperature makes, or that look different with it."""

import numpy as np

SCORES, BELONG, TRAINING = (
    "2: From scores to a loss",
    "2: The gradient that makes them belong together",
    "2: Training",
)

# ---- 1.3 ----


def tempered(name, *, loses, says, look, read, inner, outer=None):
    """A mistake in what is taken of logits and T, or in what loss and gradient are made into."""

    @mistake("1.3", name, loses=loses, says=says, look=look, read=read)
    def softmax_cross_entropy(logits, labels, temperature):
        loss, dlogits = solution.softmax_cross_entropy(inner(logits, temperature), labels, 1)
        return (outer or (lambda loss, d, T: (loss, d / T)))(loss, dlogits, temperature)


ALL = ("loss", "dlogits", "large logits")
IGNORED = {
    "read": SCORES,
    "says": "right for T = 1 only: the temperature is not used",
    "look": "Where does T enter your probabilities?",
}
OUTSIDE = {
    "read": SCORES,
    "says": "what comes out is divided by T, but it is the scores that are to be divided",
    "look": "Inside or outside of the exponential, where is T?",
}
tempered(
    "temperature-ignored", **IGNORED, loses=ALL,
    inner=lambda s, T: s, outer=lambda loss, d, T: (loss, d),
)  # fmt: skip
tempered(
    "temperature-outside", **OUTSIDE, loses=ALL,
    inner=lambda s, T: s, outer=lambda loss, d, T: (loss / T, d / T),
)  # fmt: skip


def at_1(name, words, divided):
    """Another mistake's gradient, beside the right loss."""

    @mistake("1.3", name, loses=("dlogits",), **words)
    def softmax_cross_entropy(logits, labels, temperature):
        loss, _ = solution.softmax_cross_entropy(logits, labels, temperature)
        _, dlogits = solution.softmax_cross_entropy(logits, labels, 1)
        return loss, dlogits / temperature if divided else dlogits


at_1("temperature-ignored", IGNORED, divided=False)
at_1("temperature-outside", OUTSIDE, divided=True)
tempered(
    "times-temperature", loses=ALL, read=SCORES,
    inner=lambda s, T: s * T, outer=lambda loss, d, T: (loss, d * T),
    says="the scores are multiplied by T: a high temperature makes your classes less alike",
    look="Which T makes all classes equally likely, a large or a small one?",
)  # fmt: skip
tempered(
    "gradient-without-T", loses=("dlogits",), read=BELONG,
    inner=lambda s, T: s / T, outer=lambda loss, d, T: (loss, d),
    says="dlogits is T times too large: that is the gradient with respect to s / T",
    look="By how much does s / T change if s grows by 1?",
)  # fmt: skip
tempered(
    "gradient-times-T", loses=("dlogits",), read=BELONG,
    inner=lambda s, T: s / T, outer=lambda loss, d, T: (loss, d * T),
    says="dlogits is T * T times too large: it is multiplied by T where it is divided by it",
    look="By how much does s / T change if s grows by 1?",
)  # fmt: skip

# ---- 1.5 ----

BATCHES = ("full batch", "batches")


@mistake(
    "1.5", "temperature-not-passed", loses=BATCHES, read=TRAINING,
    says="that is the training at T = 1: your loss does not get the temperature",
    look="Which temperature does your loss get?",
)  # fmt: skip
def train(images, labels, steps, batch, lr, rng, temperature):
    return solution.train(images, labels, steps, batch, lr, rng, 1)


def random_start(scale):
    @mistake(
        "1.5", "random-start", loses=(*BATCHES, "random numbers"), read=TRAINING,
        says="your weights begin at random numbers, which shift all others that are drawn: they "
        "begin at zero",
        look="What are w and b before the first step?",
    )  # fmt: skip
    def train(images, labels, steps, batch, lr, rng, temperature):
        K = labels.max() + 1
        w, b = scale * rng.standard_normal((K, images.shape[1])), np.zeros(K)
        for _ in range(steps):
            chosen = rng.choice(len(images), batch, replace=False)
            logits, cache = solution.linear_forward(images[chosen], w, b)
            _, dlogits = solution.softmax_cross_entropy(logits, labels[chosen], temperature)
            _, dw, db = solution.linear_backward(dlogits, cache)
            w, b = w - lr * dw, b - lr * db
        return w, b


for scale in (0.001, 0.01, 0.1, 1):
    random_start(scale)
