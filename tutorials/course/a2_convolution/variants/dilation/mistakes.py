"""Wrong answers to assignment 2 that only dilation makes, or that look different with it."""

import numpy as np

WINDOWS, LOOPS = "3: Convolution", "3: The loops run backwards"


def frame_of(x, padding):
    """Return x in its frame of zeros."""
    return np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))


def forward(x, w, b, stride, padding, dilation, *, gap=None, size=None):
    """A forward by windows, which are ``gap`` pixels apart inside."""
    KH, KW = w.shape[2:]
    D = dilation if gap is None else gap
    S, frame = stride, frame_of(x, padding)
    OH, OW = size or solution.conv_output_size(x.shape, w.shape, stride, padding, D)
    y = np.zeros((len(x), len(w), OH, OW), x.dtype)
    for i in range(OH):
        for j in range(OW):
            window = frame[:, :, i * S : i * S + KH * D : D, j * S : j * S + KW * D : D]
            y[:, :, i, j] = np.einsum("nckl,fckl->nf", window[:, :, :KH, :KW], w)
    if b is not None:
        y += b[:, None, None]
    return y, (x, w, b, stride, padding, dilation)


def with_plain_cache(conv2d_backward):
    """Return a backward, and a forward whose cache has its arguments."""

    def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
        y, _ = solution.conv2d_forward(x, w, b, stride=stride, padding=padding, dilation=dilation)
        return y, (x, w, b, stride, padding, dilation)

    return {"conv2d_forward": conv2d_forward, "conv2d_backward": conv2d_backward}


def back(dy, cache, *, gap=None, put=None):
    """A backward by windows with exchangeable parts: the gap, and how a part gets into dx."""
    x, w, b, S, padding, D = cache
    D = D if gap is None else gap
    KH, KW = w.shape[2:]
    frame = frame_of(x, padding)
    dframe, dw = np.zeros_like(frame), np.zeros_like(w)
    put = put or (lambda old, part: old + part)
    for i in range(dy.shape[2]):
        for j in range(dy.shape[3]):
            place = np.s_[:, :, i * S : i * S + KH * D : D, j * S : j * S + KW * D : D]
            dw += np.einsum("nf,nckl->fckl", dy[:, :, i, j], frame[place])
            dframe[place] = put(dframe[place], np.einsum("nf,fckl->nckl", dy[:, :, i, j], w))
    H, W = x.shape[2:]
    dx = dframe[:, :, padding : padding + H, padding : padding + W]
    return dx, dw, None if b is None else dy.sum(axis=(0, 2, 3))


# ---- 2.1 ----


@mistake(
    "2.1", "dilation-ignored", loses=("size", "refusal"), read=WINDOWS,
    says="right for dilation 1 only: the gaps in the kernel take room, too",
    look="Over how many pixels does a kernel of 3 weights reach if they are 2 pixels apart?",
)  # fmt: skip
def conv_output_size(x_shape, w_shape, stride, padding, dilation):
    return solution.conv_output_size(x_shape, w_shape, stride, padding, 1)


@mistake(
    "2.1", "gap-after-the-last", loses=("size",), read=WINDOWS,
    says="the kernel is taken for K * D pixels long: there is no gap after its last weight",
    look="How many gaps lie between 3 weights?",
)  # fmt: skip
def conv_output_size(x_shape, w_shape, stride, padding, dilation):
    solution.conv_output_size(x_shape, w_shape, stride, padding, dilation)
    return tuple(
        (n + 2 * padding - k * dilation) // stride + 1
        for n, k in zip(x_shape[2:], w_shape[2:], strict=True)
    )


# ---- 2.2 ----

ALL = ("stride 1", "stride", "kernel shape", "remainder", "arguments")
IGNORED = {
    "task": "2.2",
    "name": "dilation-ignored",
    "read": WINDOWS,
    "says": "right for dilation 1 only: your windows have no gaps",
    "look": "Which pixel does the second weight of a row look at?",
}


@mistake(**IGNORED, loses=ALL)
def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
    return forward(x, w, b, stride, padding, dilation, gap=1)


@mistake(**IGNORED, loses=ALL)
def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
    size = solution.conv_output_size(x.shape, w.shape, stride, padding, dilation)
    return forward(x, w, b, stride, padding, dilation, gap=1, size=size)


@mistake(
    "2.2", "gap-of-dilation", loses=ALL, read=WINDOWS,
    says="your weights are D + 1 pixels apart: D is the distance, and there are D - 1 pixels "
    "between them",
    look="How far apart are neighbouring pixels if the dilation is 1?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
    return forward(x, w, b, stride, padding, dilation, gap=dilation + 1)


@mistake(
    "2.2", "dilation-as-stride", loses=ALL, read=WINDOWS,
    says="the dilation moves the windows apart: it belongs inside of them",
    look="Which index is multiplied by the dilation: that of the window, or that of the weight?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
    y, _ = forward(x, w, b, stride * dilation, padding, dilation, gap=1)
    return y, (x, w, b, stride, padding, dilation)


@mistake(
    "2.2", "kernel-swapped", loses=("kernel shape",), read=WINDOWS,
    says="right for square kernels only: rows and columns of the kernel are exchanged",
    look="Which of KH and KW goes with the rows?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
    turned = w.reshape(*w.shape[:2], w.shape[3], w.shape[2])
    y, _ = forward(x, turned, b, stride, padding, dilation)
    return y, (x, w, b, stride, padding, dilation)


# ---- 2.3 ----


BACK_IGNORED = {
    "task": "2.3",
    "name": "dilation-ignored",
    "read": LOOPS,
    "says": "right for dilation 1 only: the windows of your backward have no gaps",
    "look": "Which pixels did the windows of the forward look at?",
}


@mistake(**BACK_IGNORED, loses=("dx", "dw"))
def _():
    return with_plain_cache(lambda dy, cache: back(dy, cache, gap=1))


@mistake(**BACK_IGNORED, loses=("dx",))
def _():
    def conv2d_backward(dy, cache):
        _, dw, db = back(dy, cache)
        return back(dy, cache, gap=1)[0], dw, db

    return with_plain_cache(conv2d_backward)


@mistake(**BACK_IGNORED, loses=("dw",))
def _():
    def conv2d_backward(dy, cache):
        dx, _, db = back(dy, cache)
        return dx, back(dy, cache, gap=1)[1], db

    return with_plain_cache(conv2d_backward)


@mistake(
    "2.3", "dw-with-gaps", loses=("dw",), read=LOOPS,
    says="dw has the gaps of the kernel: w has none",
    look="Which shape does w have, and which dw?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    dx, _, db = solution.conv2d_backward(dy, cache)
    return dx, solution.ordinary.conv2d_backward(dy, cache[0])[1], db


OVERWRITTEN = {
    "task": "2.3",
    "name": "no-accumulate",
    "loses": ("dx",),
    "read": LOOPS,
    "says": "overlapping windows overwrite each other in dx: the last one wins",
    "look": "What does a pixel get that two windows have seen?",
}


@mistake(**OVERWRITTEN)
def _():
    return with_plain_cache(lambda dy, cache: back(dy, cache, put=lambda old, part: part))


@mistake(**OVERWRITTEN)
def _():
    def conv2d_backward(dy, cache):
        x, w, b, stride, padding, D = cache
        _, dw, db = back(dy, cache)
        OH, OW = dy.shape[2:]
        dframe = frame_of(np.zeros_like(x), padding)
        for k, j in np.ndindex(w.shape[2:]):
            rows = slice(k * D, k * D + stride * (OH - 1) + 1, stride)
            columns = slice(j * D, j * D + stride * (OW - 1) + 1, stride)
            dframe[:, :, rows, columns] = np.einsum("nfhw,fc->nchw", dy, w[:, :, k, j])
        H, W = x.shape[2:]
        return dframe[:, :, padding : padding + H, padding : padding + W], dw, db

    return with_plain_cache(conv2d_backward)
