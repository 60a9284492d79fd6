"""Wrong answers to assignment 2 that students really give."""

import numpy as np

WINDOWS, LOOPS = "3: Convolution", "3: The loops run backwards"


def frame_of(x, padding):
    """Return x in its frame of zeros."""
    return np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))


def loops(x, w, b, stride, padding, *, begin=None, frame=None, window=None, size=None):
    """A forward with exchangeable parts: where a window begins, the frame, and what is summed."""
    F, _, KH, KW = w.shape
    framed = (frame or frame_of)(x, padding)
    H, W = x.shape[2:]
    OH, OW = size or ((H + 2 * padding - KH) // stride + 1, (W + 2 * padding - KW) // stride + 1)
    begin = begin or (lambda i: i * stride)
    window = window or (lambda part, w: np.einsum("nckl,fckl->nf", part, w))
    y = np.zeros((len(x), F, OH, OW), x.dtype)
    for i in range(OH):
        for j in range(OW):
            part = framed[:, :, begin(i) : begin(i) + KH, begin(j) : begin(j) + KW]
            y[:, :, i, j] = window(part, w)
    if b is not None:
        y += b[:, None, None]
    return y, (x, w, b, stride, padding)


def back(dy, cache, *, begin=None, dx_of=None, dw_of=None, add=True, cut=None):
    """A backward with exchangeable parts."""
    x, w, b, stride, padding = cache
    KH, KW = w.shape[2:]
    frame = frame_of(x, padding)
    dframe, dw = np.zeros_like(frame), np.zeros_like(w)
    begin = begin or (lambda i: i * stride)
    dx_of = dx_of or (lambda dy, w: np.einsum("nf,fckl->nckl", dy, w))
    dw_of = dw_of or (lambda dy, part: np.einsum("nf,nckl->fckl", dy, part))
    for i in range(dy.shape[2]):
        for j in range(dy.shape[3]):
            place = np.s_[:, :, begin(i) : begin(i) + KH, begin(j) : begin(j) + KW]
            dw += dw_of(dy[:, :, i, j], frame[place])
            if add:
                dframe[place] += dx_of(dy[:, :, i, j], w)
            else:
                dframe[place] = dx_of(dy[:, :, i, j], w)
    H, W = x.shape[2:]
    cut = cut or (lambda d: d[:, :, padding : padding + H, padding : padding + W])
    return cut(dframe), dw, None if b is None else dy.sum(axis=(0, 2, 3))


# ---- 2.1 ----


@mistake(
    "2.1", "rounds-up", loses=("size",), read=WINDOWS,
    says="one window too many: the last one would hang over the edge",
    look="How many pixels are left after the last window?",
)  # fmt: skip
def conv_output_size(x_shape, w_shape, stride, padding):
    solution.conv_output_size(x_shape, w_shape, stride, padding)
    return tuple(
        -(-(n + 2 * padding - k) // stride) + 1
        for n, k in zip(x_shape[2:], w_shape[2:], strict=True)
    )


@mistake(
    "2.1", "padding-once", loses=("size",), read=WINDOWS,
    says="the padding is counted once, but it is on both sides",
    look="On how many sides is the frame?",
)  # fmt: skip
def conv_output_size(x_shape, w_shape, stride, padding):
    solution.conv_output_size(x_shape, w_shape, stride, padding)
    return tuple(
        (n + padding - k) // stride + 1 for n, k in zip(x_shape[2:], w_shape[2:], strict=True)
    )


@mistake(
    "2.1", "no-refusal", loses=("refusal",), read=WINDOWS,
    says="a kernel that does not fit gives a size of zero or less: raise a ValueError",
    look="What comes out if the kernel is larger than the padded image?",
)  # fmt: skip
def conv_output_size(x_shape, w_shape, stride, padding):
    return tuple(
        (n + 2 * padding - k) // stride + 1 for n, k in zip(x_shape[2:], w_shape[2:], strict=True)
    )


# ---- 2.2 ----

ALL = ("stride 1", "stride", "kernel shape", "remainder", "arguments")


@mistake(
    "2.2", "flipped", loses=ALL, read=WINDOWS,
    says="your kernel is turned by 180 degrees: that is a mathematician's convolution",
    look="Which weight meets the first pixel of a window?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    y, _ = solution.conv2d_forward(x, w[:, :, ::-1, ::-1], b, stride=stride, padding=padding)
    return y, (x, w, b, stride, padding)


@mistake(
    "2.2", "stride-ignored", loses=("stride", "remainder"), read=WINDOWS,
    says="right for stride 1 only: neighbouring windows begin S pixels apart",
    look="Where does window number 1 begin?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    return loops(x, w, b, stride, padding, begin=lambda i: i)


@mistake(
    "2.2", "pad-one-side", loses=("stride 1", "stride", "kernel shape", "arguments"), read=WINDOWS,
    says="the frame is on one side only: everything is shifted by the padding",
    look="Where is pixel (0, 0) of x in the padded image?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    def frame(x, padding):
        return np.pad(x, ((0, 0), (0, 0), (0, 2 * padding), (0, 2 * padding)))

    return loops(x, w, b, stride, padding, frame=frame)


@mistake(
    "2.2", "pad-edge", loses=("stride 1", "stride", "kernel shape", "arguments"), read=WINDOWS,
    says="right inside, wrong at the border: the frame is zeros, not the border's pixels",
    look="What is x outside of the image?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    def frame(x, padding):
        around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        return np.pad(x, around, mode="edge")

    return loops(x, w, b, stride, padding, frame=frame)


@mistake(
    "2.2", "kernel-swapped", loses=("kernel shape",), read=WINDOWS,
    says="right for square kernels only: rows and columns of the kernel are exchanged",
    look="Which of KH and KW goes with the rows?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    KH, KW = w.shape[2:]
    H, W = x.shape[2:]
    size = ((H + 2 * padding - KW) // stride + 1, (W + 2 * padding - KH) // stride + 1)
    turned = w.reshape(*w.shape[:2], KW, KH)
    y, _ = loops(x, turned, b, stride, padding, size=size)
    return y, (x, w, b, stride, padding)


@mistake(
    "2.2", "image-swapped", loses=ALL, read=WINDOWS,
    says="right for square images only: rows and columns of the image are exchanged",
    look="Which of H and W do your rows run over?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    y, _ = solution.conv2d_forward(x, w, b, stride=stride, padding=padding)
    return y.reshape(*y.shape[:2], y.shape[3], y.shape[2]), (x, w, b, stride, padding)


@mistake(
    "2.2", "bias-per-channel", loses=ALL, read=WINDOWS,
    says="the bias is added once per channel: it is C times too large",
    look="Is the bias inside or outside of the sum over c?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    more = None if b is None else (x.shape[1] * b).astype(b.dtype)
    y, _ = solution.conv2d_forward(x, w, more, stride=stride, padding=padding)
    return y, (x, w, b, stride, padding)


@mistake(
    "2.2", "bias-axis", loses=ALL, read=WINDOWS,
    says="the bias goes along the width: right, if at all, only with as many filters as columns",
    look="Along which axis of y does b have to vary?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    y, _ = solution.conv2d_forward(x, w, None, stride=stride, padding=padding)
    return (y if b is None else y + b), (x, w, b, stride, padding)


@mistake(
    "2.2", "first-channel", loses=ALL, read=WINDOWS,
    says="only one input channel arrives: sum over c",
    look="Which channels of the window does each output need?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    y, _ = solution.conv2d_forward(x[:, :1], w[:, :1], b, stride=stride, padding=padding)
    return y, (x, w, b, stride, padding)


@mistake(
    "2.2", "no-bias-None", loses=("arguments",), read=WINDOWS,
    says="fails without a bias: b may be None",
    look="What does your code do with b=None?",
)  # fmt: skip
def conv2d_forward(x, w, b=None, *, stride=1, padding=0):
    y, cache = solution.conv2d_forward(x, w, None, stride=stride, padding=padding)
    return y + b.reshape(1, -1, 1, 1), (x, w, b, stride, padding)


# ---- 2.3 ----


@mistake(
    "2.3", "not-turned", loses=("dx",), read=LOOPS,
    says="dx: the kernel is not turned; right for symmetric kernels only",
    look="Pixel (i, j) was seen by weight (k, l) of which window?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    return back(dy, cache, dx_of=lambda dy, w: np.einsum("nf,fckl->nckl", dy, w[:, :, ::-1, ::-1]))


@mistake(
    "2.3", "wrong-corner", loses=("dx",), read=LOOPS,
    says="dx is shifted by the padding: cut it out of the middle of its frame",
    look="Where does the image begin in the padded gradient?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    H, W = cache[0].shape[2:]
    return back(dy, cache, cut=lambda d: d[:, :, :H, :W])


@mistake(
    "2.3", "frame-kept", loses=("dx",), read=LOOPS,
    says="dx has the size of the padded image: cut off the frame",
    look="Which shape does x have, and which dx?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    return back(dy, cache, cut=lambda d: d)


@mistake(
    "2.3", "no-accumulate", loses=("dx",), read=LOOPS,
    says="overlapping windows overwrite each other in dx: the last one wins",
    look="What does a pixel get that two windows have seen?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    return back(dy, cache, add=False)


@mistake(
    "2.3", "no-accumulate", loses=("dx",), read=LOOPS,
    says="overlapping windows overwrite each other in dx: the last one wins",
    look="What does a pixel get that two windows have seen?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    x, w, b, stride, padding = cache
    _, dw, db = solution.conv2d_backward(dy, cache)
    OH, OW = dy.shape[2:]
    dframe = frame_of(np.zeros_like(x), padding)
    for k in range(w.shape[2]):
        for j in range(w.shape[3]):
            rows = slice(k, k + stride * (OH - 1) + 1, stride)
            columns = slice(j, j + stride * (OW - 1) + 1, stride)
            dframe[:, :, rows, columns] = np.einsum("nfhw,fc->nchw", dy, w[:, :, k, j])
    H, W = x.shape[2:]
    return dframe[:, :, padding : padding + H, padding : padding + W], dw, db


@mistake(
    "2.3", "stride-ignored", loses=("dx", "dw"), read=LOOPS,
    says="right for stride 1 only: window i begins at pixel i * S",
    look="Where does window number 1 begin?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    return back(dy, cache, begin=lambda i: i)


@mistake(
    "2.3", "remainder-cut", loses=("dx",), read=LOOPS,
    says="rows and columns that no window has seen are missing: their gradient is zero",
    look="Has dx the shape of x if the windows leave a rest?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    x, w, b, stride, padding = cache
    seen = [
        min(stride * (o - 1) + k - padding, n)
        for o, k, n in zip(dy.shape[2:], w.shape[2:], x.shape[2:], strict=True)
    ]
    dx, dw, db = solution.conv2d_backward(dy, cache)
    return dx[:, :, : seen[0], : seen[1]], dw, db


@mistake(
    "2.3", "dw-unpadded", loses=("dw",), read=LOOPS,
    says="dw is wrong as soon as there is padding: it goes with the padded image",
    look="Which image did the windows of the forward look at?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    x, w, b, stride, padding = cache
    dx, _, db = solution.conv2d_backward(dy, cache)
    shifted = frame_of(np.zeros_like(x), padding)
    shifted[:, :, : x.shape[2], : x.shape[3]] = x
    _, dw, _ = solution.conv2d_backward(dy, (shifted, w, b, stride, 0))
    return dx, dw, db


@mistake(
    "2.3", "dw-mean", loses=("dw",), read=LOOPS,
    says="dw is 1/N of the gradient: it is a sum over the images, not a mean",
    look="Who divides by the number of images, the layer or the loss?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    dx, dw, db = solution.conv2d_backward(dy, cache)
    return dx, (dw / len(dy)).astype(dw.dtype), db


@mistake(
    "2.3", "channels-swapped", loses=("dw",), read=LOOPS,
    says="dw is (C, F, KH, KW); w is (F, C, KH, KW)",
    look="Which shape does w have?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    dx, dw, db = solution.conv2d_backward(dy, cache)
    return dx, dw.transpose(1, 0, 2, 3), db


@mistake(
    "2.3", "db-one-image", loses=("db",), read=LOOPS,
    says="db is that of one image: it is a sum over images and pixels",
    look="How many numbers of y has each bias been added to?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    dx, dw, db = solution.conv2d_backward(dy, cache)
    return dx, dw, None if db is None else dy[0].sum(axis=(1, 2))


@mistake(
    "2.3", "db-mean", loses=("db",), read=LOOPS,
    says="db is a mean over images and pixels: it is a sum",
    look="How many numbers of y has each bias been added to?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    dx, dw, db = solution.conv2d_backward(dy, cache)
    return dx, dw, None if db is None else dy.mean(axis=(0, 2, 3))


@mistake(
    "2.3", "dx-one-filter", loses=("dx",), read=LOOPS,
    says="only the last filter arrives in dx: sum over f",
    look="Which filters have seen a pixel of x?",
)  # fmt: skip
def conv2d_backward(dy, cache):
    return back(dy, cache, dx_of=lambda dy, w: np.einsum("n,ckl->nckl", dy[:, -1], w[-1]))


# ---- 2.5 ----


@mistake(
    "2.5", "max-pool", loses=("average",), read=WINDOWS,
    says="that is the largest pixel of a tile, not the mean",
    look="What does average pooling do with a tile?",
)  # fmt: skip
def avg_pool2d_forward(x, kernel):
    y, cache = solution.avg_pool2d_forward(x, kernel)
    N, C, H, W = x.shape
    return x.reshape(N, C, H // kernel, kernel, W // kernel, kernel).max(axis=(3, 5)), cache


@mistake(
    "2.5", "full-share", loses=("its gradient",), read=WINDOWS,
    says="K * K times too much: each pixel of a tile has a share of 1 / K^2",
    look="By how much does the mean change if one pixel does?",
)  # fmt: skip
def avg_pool2d_backward(dy, cache):
    return dy.repeat(cache, axis=2).repeat(cache, axis=3)


@mistake(
    "2.5", "corner-share", loses=("its gradient",), read=WINDOWS,
    says="only the first pixel of each tile gets a gradient: all of them have a share",
    look="Which pixels of a tile change the mean?",
)  # fmt: skip
def avg_pool2d_backward(dy, cache):
    dx = np.zeros_like(solution.avg_pool2d_backward(dy, cache))
    dx[:, :, ::cache, ::cache] = dy
    return dx


@mistake(
    "2.5", "drops-rest", loses=("refuses a rest",), read=WINDOWS,
    says="pixels that fill no tile are left out silently: raise a ValueError",
    look="What happens to the last row of 5 if tiles have 2?",
)  # fmt: skip
def avg_pool2d_forward(x, kernel):
    H, W = x.shape[2] // kernel * kernel, x.shape[3] // kernel * kernel
    return solution.avg_pool2d_forward(x[:, :, :H, :W], kernel)
