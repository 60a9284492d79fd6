"""Wrong answers to assignment 2 that only groups make, or that look different with them."""

import numpy as np

WINDOWS, LOOPS = "3: Convolution", "3: The loops run backwards"


def dealt(array, groups, axis):
    """Return the entries along an axis as if they were dealt out to the groups like cards."""
    order = np.arange(array.shape[axis]).reshape(-1, groups).T.ravel()
    return array.take(order, axis=axis)


def put_back(array, groups, axis):
    """Undo `dealt`."""
    return dealt(array, array.shape[axis] // groups, axis)


def with_forward(conv2d_backward):
    """Return a backward, and a forward whose cache is its own one and the arguments."""

    def conv2d_forward(x, w, b=None, *, stride=1, padding=0, groups=1):
        options = {"stride": stride, "padding": padding, "groups": groups}
        y, cache = solution.conv2d_forward(x, w, b, **options)
        return y, (cache, x, w, b, options)

    return {"conv2d_forward": conv2d_forward, "conv2d_backward": conv2d_backward}


def again(dy, x, w, b, options):
    """Return the gradients with other inputs."""
    return solution.conv2d_backward(dy, solution.conv2d_forward(x, w, b, **options)[1])


# ---- 2.2 ----

ALL = ("stride 1", "stride", "kernel shape", "remainder", "arguments")


def forward(name, *, says, look, loses=ALL):
    """A mistake of which the decorated function gives y."""

    def add(y_of):
        @mistake("2.2", name, loses=loses, says=says, look=look, read=WINDOWS)
        def conv2d_forward(x, w, b=None, *, stride=1, padding=0, groups=1):
            options = {"stride": stride, "padding": padding}
            return y_of(x, w, b, groups, options), (x, w, b, stride, padding, groups)

        return y_of

    return add


@forward(
    "groups-ignored",
    says="right for one group only: every filter is laid upon all channels, but it has C / G",
    look="How many channels does a filter have, and how many the image?",
)
def _(x, w, b, groups, options):
    return solution.ordinary.conv2d_forward(x, w, b, **options)[0]


@forward(
    "channels-dealt-out",
    says="your groups are every G-th channel: a group is C / G neighbours",
    look="Which channels does the first filter see?",
)
def _(x, w, b, groups, options):
    return solution.conv2d_forward(dealt(x, groups, 1), w, b, **options, groups=groups)[0]


@forward(
    "filters-dealt-out",
    says="filter f is taken to be of group f mod G: the first F / G filters are the first group",
    look="Of which group is the second filter?",
)
def _(x, w, b, groups, options):
    b = None if b is None else dealt(b, groups, 0)
    y, _ = solution.conv2d_forward(x, dealt(w, groups, 0), b, **options, groups=groups)
    return put_back(y, groups, 1)


@forward(
    "first-group-only",
    says="all filters see the channels of the first group",
    look="Which channels does the last filter see?",
)
def _(x, w, b, groups, options):
    return solution.ordinary.conv2d_forward(x[:, : w.shape[1]], w, b, **options)[0]


@forward(
    "bias-axis",
    says="the bias goes along the width: right, if at all, only with as many filters as columns",
    look="Along which axis of y does b have to vary?",
)
def _(x, w, b, groups, options):
    y, _ = solution.conv2d_forward(x, w, None, **options, groups=groups)
    return y if b is None else y + b


# ---- 2.3 ----


@mistake(
    "2.3", "groups-ignored", loses=("dx", "dw"), read=LOOPS,
    says="right for one group only: a filter has seen the channels of its own group",
    look="Which filters have seen the first channel of x?",
)  # fmt: skip
def _():
    def conv2d_backward(dy, cache):
        inner, x, w, b, options = cache
        dx, dw, db = solution.conv2d_backward(dy, inner)
        groups = options["groups"]
        if groups > 1:  # as all filters see the first group
            first = x[:, : w.shape[1]]
            dfirst, dw, _ = again(dy, first, w, b, {**options, "groups": 1})
            dx = np.concatenate([dfirst] * groups, axis=1)
        return dx, dw, db

    return with_forward(conv2d_backward)


@mistake(
    "2.3", "channels-dealt-out", loses=("dx", "dw"), read=LOOPS,
    says="your groups are every G-th channel: a group is C / G neighbours",
    look="Which channels has the first filter seen?",
)  # fmt: skip
def _():
    def conv2d_backward(dy, cache):
        _, x, w, b, options = cache
        dx, dw, db = again(dy, dealt(x, options["groups"], 1), w, b, options)
        return put_back(dx, options["groups"], 1), dw, db

    return with_forward(conv2d_backward)


def dx_only(name, *, says, look):
    """A mistake of which the decorated function makes dx from the right one."""

    def add(change):
        @mistake("2.3", name, loses=("dx",), says=says, look=look, read=LOOPS)
        def conv2d_backward(dy, cache):
            dx, dw, db = solution.conv2d_backward(dy, cache)
            return change(dx, len(cache)), dw, db

        return change

    return add


@dx_only(
    "one-group",
    says="only the channels of the last group get a gradient",
    look="Into which channels of dx does each group write?",
)
def _(dx, groups):
    first = dx.shape[1] - dx.shape[1] // groups
    return np.concatenate([np.zeros_like(dx[:, :first]), dx[:, first:]], axis=1)


@dx_only(
    "groups-added",
    says="the gradients of the groups are added up: dx has the channels of one group",
    look="How many channels has x?",
)
def _(dx, groups):
    return sum(np.split(dx, groups, axis=1))


@mistake(
    "2.3", "channels-swapped", loses=("dw",), read=LOOPS,
    says="dw is (C / G, F, KH, KW); w is (F, C / G, KH, KW)",
    look="Which shape does w have?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    dx, dw, db = solution.conv2d_backward(dy, cache)
    return dx, dw.transpose(1, 0, 2, 3), db
