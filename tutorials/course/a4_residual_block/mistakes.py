"""Wrong answers to assignment 4 that students really give."""

import numpy as np

BLOCK, REMEDY, SHORTCUT = (
    "5: The block, by hand",
    "5: The remedy",
    "5: Where the shape changes: shortcut A",
)
ops, bn, bn_backward = solution.ops, solution.bn, solution.bn_backward


def forward(x, p, alpha=1.0, *, names="22", inner=solution.relu_forward, last=None):
    """A block with exchangeable parts: which norm comes second, and the two ReLUs."""
    z1, conv1 = ops.conv2d_forward(x, p["w1"], padding=1)
    n1, norm1 = bn(z1, p["gamma1"], p["beta1"])
    h, relu1 = inner(n1)
    z2, conv2 = ops.conv2d_forward(h, p[f"w{names[0]}"], padding=1)
    f, norm2 = bn(z2, p[f"gamma{names[1]}"], p[f"beta{names[1]}"])
    last = last or (lambda f, x: np.maximum(alpha * f + x, 0))
    s = alpha * f + x
    return last(f, x), (s, f, {"alpha": alpha, "of": (conv1, norm1, relu1, conv2, norm2)})


def gradients(ds, of, *, inner=solution.relu_backward):
    """Go back through the branch: what arrives at x, and the gradients of its parameters."""
    conv1, norm1, relu1, conv2, norm2 = of
    grads = {}
    dz2, grads["gamma2"], grads["beta2"] = bn_backward(ds, norm2)
    dh, grads["w2"], _ = ops.conv2d_backward(dz2, conv2)
    dz1, grads["gamma1"], grads["beta1"] = bn_backward(inner(dh, relu1), norm1)
    dx, grads["w1"], _ = ops.conv2d_backward(dz1, conv1)
    return dx, grads


def back(*, mask=None, dx=None, inner=solution.relu_backward):
    """Return forward and backward of the block, with exchangeable parts of the backward.

    ``mask`` gives the gradient of the sum from dy, s and f; ``dx`` the input's from what comes
    through the branch, from ds and from dy.
    """
    mask = mask or (lambda dy, s, f: dy * (s > 0))
    dx = dx or (lambda through, ds, dy: through + ds)

    def block_backward(dy, cache):
        s, f, rest = cache
        ds = mask(dy, s, f)
        through, grads = gradients(ds, rest["of"], inner=inner)
        return dx(through, ds, dy), grads

    return {"block_forward": forward, "block_backward": block_backward}


# ---- 4.1 ----


@mistake(
    "4.1", "mask-of-dy", loses=("its gradient",), read=BLOCK,
    says="the gradient is cut where dy is negative, but it is x whose sign counts",
    look="Whose sign decides whether a number has passed the forward?",
)  # fmt: skip
def relu_backward(dy, cache):
    return np.maximum(dy, 0)


@mistake(
    "4.1", "mask-of-dy", loses=("its gradient",), read=BLOCK,
    says="the gradient is cut where dy is negative, but it is x whose sign counts",
    look="Whose sign decides whether a number has passed the forward?",
)  # fmt: skip
def relu_backward(dy, cache):
    return dy * cache * (dy > 0)


@mistake(
    "4.1", "slope-at-zero", loses=("its gradient",), read=BLOCK,
    says="right but for one point: where x is exactly 0, something passes",
    look="What do your functions do with an x of exactly 0?",
)  # fmt: skip
def _():
    def relu_forward(x):
        return np.maximum(x, 0), x >= 0

    def relu_backward(dy, cache):
        return dy * cache

    return locals()


@mistake(
    "4.1", "slope-at-zero", loses=("its gradient",), read=BLOCK,
    says="right but for one point: where x is exactly 0, something passes",
    look="What do your functions do with an x of exactly 0?",
)  # fmt: skip
def _():
    def relu_forward(x):
        return np.maximum(x, 0), x

    def relu_backward(dy, cache):
        return dy * np.heaviside(cache, cache.dtype.type(0.5))

    return locals()


@mistake(
    "4.1", "times-y", loses=("its gradient",), read=BLOCK,
    says="dy is multiplied by y itself: the slope is 1 where x is positive, however large x is",
    look="How much does y change if a positive x grows by a little?",
)  # fmt: skip
def _():
    def relu_forward(x):
        y = np.maximum(x, 0)
        return y, y

    def relu_backward(dy, cache):
        return dy * cache

    return locals()


@mistake(
    "4.1", "leaky-copy", loses=("arguments",), read=BLOCK,
    says="relu_forward cuts the negative numbers out of x itself: the caller's x is changed",
    look="Is the array that you write into yours?",
)  # fmt: skip
def relu_forward(x):
    positive = x > 0
    x[~positive] = 0
    return x, positive


@mistake(
    "4.1", "leaky-copy", loses=("arguments",), read=BLOCK,
    says="relu_forward cuts the negative numbers out of x itself: the caller's x is changed",
    look="Is the array that you write into yours?",
)  # fmt: skip
def _():
    def relu_forward(x):
        cache = x > 0
        return np.maximum(x, 0, out=x), cache

    return locals()


@mistake(
    "4.1", "cuts-dy", loses=("arguments",), read=BLOCK,
    says="relu_backward cuts numbers out of dy itself: the caller's dy is changed",
    look="Is the array that you write into yours?",
)  # fmt: skip
def relu_backward(dy, cache):
    dy[~cache] = 0
    return dy


# ---- 4.2 ----

SUM = ("output", "shortcut and last ReLU")


@mistake(
    "4.2", "relu-before-add", loses=SUM, read=REMEDY,
    says="the last ReLU sees the branch alone: ReLU(f) + x",
    look="Can your block return a negative number?",
)  # fmt: skip
def block_forward(x, p):
    return forward(x, p, last=lambda f, x: np.maximum(f, 0) + x)


@mistake(
    "4.2", "no-last-relu", loses=SUM, read=REMEDY,
    says="negative numbers leave the block: f + x without a ReLU",
    look="What is the last step of the formula?",
)  # fmt: skip
def block_forward(x, p):
    return forward(x, p, last=lambda f, x: f + x)


@mistake(
    "4.2", "relu-twice", loses=SUM, read=REMEDY,
    says="there is one ReLU too many: the branch ends in one of its own, ReLU(ReLU(f) + x)",
    look="With what does the branch end?",
)  # fmt: skip
def block_forward(x, p):
    return forward(x, p, last=lambda f, x: np.maximum(np.maximum(f, 0) + x, 0))


@mistake(
    "4.2", "no-shortcut", loses=SUM, read=REMEDY,
    says="that is the branch alone, ReLU(f): x does not go around it",
    look="Where is x added?",
)  # fmt: skip
def block_forward(x, p):
    return forward(x, p, last=lambda f, x: np.maximum(f, 0))


@mistake(
    "4.2", "adds-into-x", loses=("arguments",), read=REMEDY,
    says="f is added into x itself: the caller's x is changed",
    look="Which array does += write into?",
)  # fmt: skip
def block_forward(x, p):
    def last(f, x):
        x += f
        return np.maximum(x, 0)

    return forward(x, p, last=last)


@mistake(
    "4.2", "no-inner-relu", loses=("output",), read=BLOCK,
    says="there is no ReLU between the two convolutions",
    look="What comes between the first norm and the second convolution?",
)  # fmt: skip
def block_forward(x, p):
    return forward(x, p, inner=lambda n: (n, None))


@mistake(
    "4.2", "shared-gamma", loses=SUM, read=BLOCK,
    says="the second norm uses the scale of the first one, gamma1",
    look="Which keys of p does the second norm use?",
)  # fmt: skip
def block_forward(x, p):
    return forward(x, p, names="21")


@mistake(
    "4.2", "shared-gamma", loses=SUM, read=BLOCK,
    says="the second norm uses the scale of the first one, gamma1",
    look="Which keys of p does the second norm use?",
)  # fmt: skip
def block_forward(x, p):
    return forward(x, {**p, "gamma2": p["gamma1"]})


@mistake(
    "4.2", "shared-w", loses=("output",), read=BLOCK,
    says="the second convolution has the filters of the first one",
    look="Which keys of p does the second convolution use?",
)  # fmt: skip
def block_forward(x, p):
    return forward(x, p, names="12")


# ---- 4.3 ----

ALL = ("dx", "dw1", "dgamma1", "dbeta1", "dw2", "dgamma2", "dbeta2")


@mistake(
    "4.3", "no-shortcut", loses=("dx",), read=BLOCK,
    says="dx is what comes through the branch: the path around it is missing",
    look="How often does x stand in the formula of the block?",
)  # fmt: skip
def _():
    return back(dx=lambda through, ds, dy: through)


@mistake(
    "4.3", "no-branch", loses=("dx",), read=BLOCK,
    says="dx is what goes around the branch: the path through it is missing",
    look="How often does x stand in the formula of the block?",
)  # fmt: skip
def _():
    return back(dx=lambda through, ds, dy: ds)


@mistake(
    "4.3", "shortcut-unmasked", loses=("dx",), read=BLOCK,
    says="the path around the branch brings dy as it is: it has not passed the last ReLU",
    look="Does the last ReLU stand before or after the addition?",
)  # fmt: skip
def _():
    return back(dx=lambda through, ds, dy: through + dy)


@mistake(
    "4.3", "mask-of-branch", loses=ALL, read=BLOCK,
    says="dy is cut by the sign of f: the last ReLU has seen the sum f + x",
    look="What was the argument of the last ReLU?",
)  # fmt: skip
def _():
    return back(mask=lambda dy, s, f: dy * (f > 0))


@mistake(
    "4.3", "no-mask", loses=ALL, read=BLOCK,
    says="dy passes even where the output was cut: the last ReLU is skipped",
    look="Which step of the forward is undone first?",
)  # fmt: skip
def _():
    return back(mask=lambda dy, s, f: dy)


@mistake(
    "4.3", "no-inner-mask", loses=("dx", "dw1", "dgamma1", "dbeta1"), read=BLOCK,
    says="right as far as the second convolution: then the inner ReLU is skipped",
    look="What comes between the two convolutions, on the way back, too?",
)  # fmt: skip
def _():
    return back(inner=lambda dh, cache: dh)


ALIAS = {
    "says": "the sum is written into the array of the shortcut, which is read afterwards: "
    "one array under two names",
    "look": "After dx = ds, how many arrays are there?",
    "read": BLOCK,
}


@mistake("4.3", "alias", loses=("dgamma2", "dbeta2"), **ALIAS)
def block_backward(dy, cache):
    conv1, norm1, relu1, conv2, norm2, relu2 = cache
    ds = solution.relu_backward(dy, relu2)
    through, grads = gradients(ds, cache[:5])
    dx = ds
    dx += through
    _, grads["gamma2"], grads["beta2"] = bn_backward(ds, norm2)
    return dx, grads


@mistake("4.3", "alias", loses=("dbeta2",), **ALIAS)
def block_backward(dy, cache):
    ds = solution.relu_backward(dy, cache[5])
    through, grads = gradients(ds, cache[:5])
    dx = ds
    dx += through
    grads["beta2"] = ds.sum(axis=(0, 2, 3))
    return dx, grads


SWAPPED = {
    "says": "a gradient lies under the key of another parameter: those of the two convolutions, "
    "or of the two norms, are exchanged",
    "look": "Which cache comes from which convolution and which norm?",
    "read": BLOCK,
}


def exchanged(*pairs):
    """A backward whose gradients lie under other keys."""

    def block_backward(dy, cache):
        dx, grads = solution.block_backward(dy, cache)
        for one, other in pairs:
            grads[one], grads[other] = grads[other], grads[one]
        return dx, grads

    return block_backward


@mistake("4.3", "grads-swapped", loses=("dw1", "dw2"), **SWAPPED)
def _():
    return {"block_backward": exchanged(("w1", "w2"))}


@mistake("4.3", "grads-swapped", loses=("dgamma1", "dbeta1", "dgamma2", "dbeta2"), **SWAPPED)
def _():
    return {"block_backward": exchanged(("gamma1", "gamma2"), ("beta1", "beta2"))}


@mistake("4.3", "grads-swapped", loses=("dgamma1", "dbeta1", "dgamma2", "dbeta2"), **SWAPPED)
def _():
    return {"block_backward": exchanged(("gamma1", "beta1"), ("gamma2", "beta2"))}


@mistake(
    "4.3", "x-spoilt", loses=("dw1",), read=BLOCK,
    says="dw1 is made with an x that has been written into since the first convolution has read it",
    look="What does the first convolution's cache hold, and what happens to it later?",
)  # fmt: skip
def _():
    def block_forward(x, p):
        y, cache = solution.block_forward(x, p)
        x += forward(x, p)[1][1]
        return y, cache

    return locals()


# ---- 4.4 ----

BOTH = ("output", "its gradient")


def shrink(x, S, tile):
    """Return one number for each tile."""
    N, C, H, W = x.shape
    return tile(x.reshape(N, C, H // S, S, W // S, S))


def pad(x, out_channels, stride, *, tile=None, first=0):
    """A shortcut with exchangeable parts: what is taken of a tile; where the channels begin."""
    _, cache = solution.pad_shortcut_forward(x, out_channels, stride)
    small = shrink(x, stride, tile or (lambda tiles: tiles.mean(axis=(3, 5))))
    N, C, H, W = small.shape
    y = np.zeros((N, out_channels, H, W), x.dtype)
    y[:, first : first + C] = small
    return y, cache


def spread(d, S):
    """Give each pixel of a tile its share."""
    return d.repeat(S, axis=2).repeat(S, axis=3) / d.dtype.type(S * S)


SUBSAMPLE = {
    "says": "right where tiles are uniform only: the first pixel stands for its tile",
    "look": "Which pixels of a tile has the output seen?",
    "read": SHORTCUT,
}


@mistake("4.4", "subsample", loses=("output",), **SUBSAMPLE)
def pad_shortcut_forward(x, out_channels, stride):
    return pad(x, out_channels, stride, tile=lambda tiles: tiles[:, :, :, 0, :, 0])


@mistake("4.4", "subsample", loses=BOTH, **SUBSAMPLE)
def _():
    def pad_shortcut_forward(x, out_channels, stride):
        return pad(x, out_channels, stride, tile=lambda tiles: tiles[:, :, :, 0, :, 0])

    def pad_shortcut_backward(dy, cache):
        C, S = cache
        dx = np.zeros_like(spread(dy[:, :C], S))
        dx[:, :, ::S, ::S] = dy[:, :C]
        return dx

    return locals()


@mistake(
    "4.4", "sum-tile", loses=("output",), read=SHORTCUT,
    says="S * S times too large: the sum of a tile, not its mean",
    look="What becomes of an image that is 1 everywhere?",
)  # fmt: skip
def pad_shortcut_forward(x, out_channels, stride):
    return pad(x, out_channels, stride, tile=lambda tiles: tiles.sum(axis=(3, 5)))


QUARTER = {
    "says": "right for S = 2 only: a tile is taken to have 4 pixels",
    "look": "How many pixels has a tile if the stride is 1, or 3?",
    "read": SHORTCUT,
}


@mistake("4.4", "always-four", loses=("output",), **QUARTER)
def pad_shortcut_forward(x, out_channels, stride):
    return pad(x, out_channels, stride, tile=lambda tiles: tiles.sum(axis=(3, 5)) / 4)


@mistake("4.4", "always-four", loses=("its gradient",), **QUARTER)
def pad_shortcut_backward(dy, cache):
    C, S = cache
    return dy[:, :C].repeat(S, axis=2).repeat(S, axis=3) / 4


@mistake(
    "4.4", "max-tile", loses=("output",), read=SHORTCUT,
    says="right where tiles are uniform only: that is the largest pixel of a tile, not the mean",
    look="What does the formula do with a tile?",
)  # fmt: skip
def pad_shortcut_forward(x, out_channels, stride):
    return pad(x, out_channels, stride, tile=lambda tiles: tiles.max(axis=(3, 5)))


FIRST = {
    "says": "the channels of zeros are taken to be the first ones: they come after those of x",
    "look": "Which channels of y are zeros?",
    "read": SHORTCUT,
}


@mistake("4.4", "zeros-first", loses=("output",), **FIRST)
def pad_shortcut_forward(x, out_channels, stride):
    return pad(x, out_channels, stride, first=out_channels - x.shape[1])


@mistake("4.4", "zeros-first", loses=BOTH, **FIRST)
def _():
    def pad_shortcut_forward(x, out_channels, stride):
        return pad(x, out_channels, stride, first=out_channels - x.shape[1])

    def pad_shortcut_backward(dy, cache):
        C, S = cache
        return spread(dy[:, dy.shape[1] - C :], S)

    return locals()


@mistake(
    "4.4", "zeros-around", loses=("output",), read=SHORTCUT,
    says="the channels of zeros are on both sides: they come after those of x",
    look="Which channels of y are zeros?",
)  # fmt: skip
def pad_shortcut_forward(x, out_channels, stride):
    return pad(x, out_channels, stride, first=(out_channels - x.shape[1]) // 2)


@mistake(
    "4.4", "back-no-share", loses=("its gradient",), read=SHORTCUT,
    says="S * S times too large: each pixel of a tile gets the whole gradient, not its share",
    look="By how much does the mean change if one pixel does?",
)  # fmt: skip
def pad_shortcut_backward(dy, cache):
    C, S = cache
    return dy[:, :C].repeat(S, axis=2).repeat(S, axis=3)


@mistake(
    "4.4", "share-of-a-side", loses=("its gradient",), read=SHORTCUT,
    says="S times too large: the gradient is divided by the side of a tile, not by its pixels",
    look="Into how many pixels does a tile's gradient go?",
)  # fmt: skip
def pad_shortcut_backward(dy, cache):
    C, S = cache
    return (dy[:, :C] / S).repeat(S, axis=2).repeat(S, axis=3)


@mistake(
    "4.4", "half-the-channels", loses=("its gradient",), read=SHORTCUT,
    says="half of the channels of dy are taken to be those of x: right only where they double",
    look="From where does your backward know how many channels x has?",
)  # fmt: skip
def pad_shortcut_backward(dy, cache):
    return spread(dy[:, : dy.shape[1] // 2], cache[1])


FOLDED = {
    "says": "the gradient of the new channels is added to dx: but they were constants",
    "look": "Which channels of y depend on x?",
    "read": SHORTCUT,
}


@mistake("4.4", "back-all-channels", loses=("its gradient",), **FOLDED)
def pad_shortcut_backward(dy, cache):
    C, S = cache
    folded = dy[:, :C].copy()
    for c in range(C, dy.shape[1]):
        folded[:, c % C] += dy[:, c]
    return spread(folded, S)


@mistake("4.4", "back-all-channels", loses=("its gradient",), **FOLDED)
def pad_shortcut_backward(dy, cache):
    C, S = cache
    folded = dy[:, :C].copy()
    more = dy[:, C : 2 * C]
    folded[:, : more.shape[1]] += more
    return spread(folded, S)


@mistake(
    "4.4", "channels-kept", loses=("its gradient",), read=SHORTCUT,
    says="dx has as many channels as y: those of the zeros are too many",
    look="Which shape has x?",
)  # fmt: skip
def pad_shortcut_backward(dy, cache):
    return spread(dy, cache[1])


@mistake(
    "4.4", "drops-rest", loses=("refuses",), read=SHORTCUT,
    says="pixels that fill no tile are left out silently: a ValueError is asked for",
    look="What happens to the last row of 5 if tiles have 2?",
)  # fmt: skip
def pad_shortcut_forward(x, out_channels, stride):
    H, W = (n // stride * stride for n in x.shape[2:])
    return solution.pad_shortcut_forward(x[:, :, :H, :W], out_channels, stride)


@mistake(
    "4.4", "drops-channels", loses=("refuses",), read=SHORTCUT,
    says="channels that find no room are left out silently: a ValueError is asked for",
    look="What happens to the third channel if 2 are asked for?",
)  # fmt: skip
def pad_shortcut_forward(x, out_channels, stride):
    return solution.pad_shortcut_forward(x[:, :out_channels], out_channels, stride)


# ---- 4.5 ----


def scaled(*, last=None, backward=None, dalpha=None):
    """A scaled block with exchangeable parts."""

    def scaled_block_forward(x, p, alpha):
        return forward(x, p, alpha, last=last and (lambda f, x: last(f, x, alpha)))

    def scaled_block_backward(dy, cache):
        s, f, rest = cache
        alpha = rest["alpha"]
        ds = dy * (s > 0)
        through, grads = gradients(alpha * ds, rest["of"])
        dx = through + ds
        if backward:
            dx, grads = backward(ds, alpha, rest["of"])
        return dx, grads, (dalpha or (lambda dy, ds, f, alpha: (ds * f).sum()))(dy, ds, f, alpha)

    return {
        "scaled_block_forward": scaled_block_forward,
        "scaled_block_backward": scaled_block_backward,
    }


@mistake(
    "4.5", "dalpha-after", loses=("dalpha",), read=BLOCK,
    says="dalpha is made of dy: where the last ReLU has cut the output, alpha had no say",
    look="Which gradient arrives at the product alpha * f?",
)  # fmt: skip
def _():
    return scaled(dalpha=lambda dy, ds, f, alpha: (dy * f).sum())


@mistake(
    "4.5", "dalpha-of-scaled", loses=("dalpha",), read=BLOCK,
    says="dalpha is alpha times too large: it is made of alpha * f, not of f",
    look="What is the derivative of alpha * f with respect to alpha?",
)  # fmt: skip
def _():
    return scaled(dalpha=lambda dy, ds, f, alpha: (ds * alpha * f).sum())


@mistake(
    "4.5", "dalpha-mean", loses=("dalpha",), read=BLOCK,
    says="dalpha is a mean over all numbers of the output: it is a sum",
    look="How many numbers of y has alpha gone into?",
)  # fmt: skip
def _():
    return scaled(dalpha=lambda dy, ds, f, alpha: (ds * f).mean())


@mistake(
    "4.5", "dalpha-not-summed", loses=("dalpha",), read=BLOCK,
    says="dalpha has the shape of y: alpha is one number, and so is its gradient",
    look="How many numbers of y has alpha gone into?",
)  # fmt: skip
def _():
    return scaled(dalpha=lambda dy, ds, f, alpha: ds * f)


@mistake(
    "4.5", "alpha-forgotten-back", loses=("dx and grads",), read=BLOCK,
    says="the gradient enters the branch without alpha: the forward scales, the backward does not",
    look="How does f change y if alpha is 0.5?",
)  # fmt: skip
def _():
    def backward(ds, alpha, of):
        through, grads = gradients(ds, of)
        return through + ds, grads

    return scaled(backward=backward)


@mistake(
    "4.5", "alpha-in-dx-only", loses=("dx and grads",), read=BLOCK,
    says="dx has alpha, but the gradients of the parameters do not",
    look="Where on the way back does alpha come in?",
)  # fmt: skip
def _():
    def backward(ds, alpha, of):
        through, grads = gradients(ds, of)
        return alpha * through + ds, grads

    return scaled(backward=backward)


@mistake(
    "4.5", "alpha-on-both", loses=("dx and grads",), read=BLOCK,
    says="alpha scales what goes around the branch, too",
    look="What does alpha stand in front of?",
)  # fmt: skip
def _():
    def backward(ds, alpha, of):
        through, grads = gradients(alpha * ds, of)
        return through + alpha * ds, grads

    return scaled(backward=backward)


@mistake(
    "4.5", "alpha-on-both", loses=("output",), read=BLOCK,
    says="alpha scales what goes around the branch, too",
    look="What does alpha stand in front of?",
)  # fmt: skip
def _():
    return scaled(last=lambda f, x, alpha: np.maximum(alpha * (f + x), 0))


@mistake(
    "4.5", "alpha-on-shortcut", loses=("output",), read=BLOCK,
    says="alpha scales x, not the branch",
    look="What does alpha stand in front of?",
)  # fmt: skip
def _():
    return scaled(last=lambda f, x, alpha: np.maximum(f + alpha * x, 0))


@mistake(
    "4.5", "alpha-after", loses=("output",), read=BLOCK,
    says="alpha scales what comes out of the last ReLU",
    look="What does alpha stand in front of?",
)  # fmt: skip
def _():
    return scaled(last=lambda f, x, alpha: alpha * np.maximum(f + x, 0))


@mistake(
    "4.5", "alpha-forgotten", loses=("output",), read=BLOCK,
    says="the output is the same for any alpha, that of the plain block",
    look="Where does alpha come into your forward?",
)  # fmt: skip
def _():
    return scaled(last=lambda f, x, alpha: np.maximum(f + x, 0))


NORMED = {
    "says": "alpha has no say: it goes in before the second norm, which takes it out again",
    "look": "What does batch norm do with numbers that are all twice as large?",
    "read": "4: What follows for the convolution before it",
}


@mistake("4.5", "alpha-before-norm", loses=("output", "dx and grads", "dalpha"), **NORMED)
def _():
    def scaled_block_forward(x, p, alpha):
        y, cache = solution.block_forward(x, {**p, "w2": alpha * p["w2"]})
        return y, (p["w2"], alpha, cache)

    def scaled_block_backward(dy, cache):
        w2, alpha, inner = cache
        dx, grads = solution.block_backward(dy, inner)
        return dx, {**grads, "w2": alpha * grads["w2"]}, (grads["w2"] * w2).sum()

    return locals()
