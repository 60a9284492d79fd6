# %% [markdown]
# # 3. Convolution: one matrix, written three ways
#
# Networks that look at images consist of convolutions, and spend nearly all their time there. Their
# gradients have six indices and look frightening, but there is one idea behind all of them. With it
# you can write one, change one, and know that it is right.
#
# **You will learn** to write a convolution and its gradients as loops, as matrix products and as
# convolutions again, to test them without any step size, and to look at what filters have learned.
#
# **You need** [tutorial 1](01_finite_differences.py) and [tutorial 2](02_linear_softmax.py).
#
# **Time**: 75 minutes.
#
# The linear classifier gave every pixel a weight of its own. It has to learn what a stroke is at
# each place anew. A *convolution* learns it once: a small filter looks at one window of the image
# after another, with the same few weights everywhere. It is still a linear layer, whose matrix has
# mostly zeros and few different numbers. Keep that in mind: whatever we do to gradients below, be
# it by loops or by another convolution, it is a product with the transpose of that matrix.

# %%
import functools
import inspect
import time

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minisd import SGD, Conv2d, GlobalAvgPool, Linear, ReLU, Sequential, StepSchedule, fast, ops
from minisd.data import load
from minisd.figures import new_figure
from minisd.gradcheck import check_op
from minisd.ops import conv as page
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
rng = np.random.default_rng(3)

digits = load("digits")
train, test = (
    (split.images / np.float32(16), split.labels) for split in (digits.train, digits.test)
)  # paper is 0 now, and full ink 1

# %% [markdown]
# ## A weighted sum over a window
#
# Lay a kernel of 3x3 weights on a window of 3x3 pixels, multiply what lies on top of each other,
# add up: that is one output pixel. Move on by one pixel, and do it again. What comes out depends on
# the weights. Equal ones give an average. Weights that are positive above and negative below give
# nothing where the image is uniform, and much where dark lies above light.
#
# At the border a window hangs over the edge. *Padding* puts a frame of zeros around the image; with
# one pixel of it, a 3x3 kernel gives as many pixels as it got.
#
# The figure has four kernels above, and below what each makes of a digit: red is positive, blue
# negative and white zero.


# %%
def filtered(image, kernel):
    """What a kernel of 3x3 makes of an image, with one pixel of padding."""
    padded = np.pad(image, 1)
    y = np.zeros(image.shape)
    for h, v in np.ndindex(y.shape):
        y[h, v] = (kernel * padded[h : h + 3, v : v + 3]).sum()
    return y


kernels = {
    "blur": np.full((3, 3), 1 / 9),
    "dark above light": np.array([[1, 1, 1], [0, 0, 0], [-1, -1, -1]]),
    "dark left of light": np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]]),
    "centre minus surroundings": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 4,
}
digit = test[0][21, 0]


# %% tags=["hide-input"] jupyter={"source_hidden": true}
def draw(axes, image, title="", colours="RdBu_r", largest=None):
    """Draw an image; where it is signed, red is positive, blue negative and white zero."""
    largest = abs(image).max() if largest is None else largest
    lowest = 0 if colours == "gray_r" else -largest
    axes.imshow(image, cmap=colours, vmin=lowest, vmax=largest)
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


figure = new_figure(7.5, 3.2)
(first, *above), (blank, *below) = figure.subplots(2, 1 + len(kernels))
above[0].set_ylabel("kernel", fontsize=8)
below[0].set_ylabel("digit, filtered", fontsize=8)
draw(first, digit, f"a {test[1][21]}", "gray_r")
blank.axis("off")
for upper, lower, (name, kernel) in zip(above, below, kernels.items(), strict=True):
    draw(upper, kernel, name)
    draw(lower, filtered(digit, kernel))
show(
    figure,
    "03_by_hand",
    "Kernels, and what each makes of a digit (red: positive, blue: negative, white: zero)",
    alt="A row of four kernels, and under each what it makes of a 5: a blurred 5 all in red; "
    "red and blue patches along its upper and lower edges; the same along its left and "
    "right edges; the strokes of the 5 in red with blue around them.",
)

# %%
uniform = np.ones((6, 7))
edges = filtered(uniform, kernels["dark above light"])
claim("of a uniform image an edge filter makes nothing", not edges[1:-1].any())
claim("but at the border it sees the frame", edges[0].all() and edges[-1].all())

# %% [markdown]
# Strictly, this is a *cross-correlation*. A convolution in the sense of mathematics turns the
# kernel by 180 degrees first. For weights that are learned it makes no difference, and so
# everybody in deep learning says convolution and turns nothing. Remember that turn, though. It
# will come back.
#
# ## The definition
#
# A layer has $N$ images of $C$ channels and $F$ filters. A filter has a kernel of $K \times K$
# weights for every channel, and adds up what they give and a bias. The windows begin at every
# $S$-th pixel only, where $S$ is the *stride*. With $\bar x$ for $x$ in its frame of $P$ zeros, and
# $(h, v)$ for row and column of an output pixel ($w$ is taken),
#
# $$y_{nfhv} = b_f + \sum_{c=0}^{C-1} \sum_{i=0}^{K-1} \sum_{j=0}^{K-1}
#   w_{fcij}\; \bar x_{n,\,c,\,hS + i,\,vS + j} .$$
#
# An image has $H$ rows and $W$ columns. How many rows, $H'$, has $y$? (Columns, $W'$, go likewise.)
# The last window begins at row $(H' - 1) S$, and has to end inside: $(H' - 1) S + K \le H + 2P$. So
#
# $$H' = \left\lfloor \frac{H + 2P - K}{S} \right\rfloor + 1 ,$$
#
# and where the division leaves a remainder, the last rows of $\bar x$ are seen by nobody. Remember
# them, too.
#
# Seven indices, so seven loops: four over the outputs, three over what each of them adds up.
# (`np.ndindex` is loops within loops. In code a kernel has KH rows and KW columns, so that tests
# can tell them apart.)


# %%
def pad(x, P):
    return np.pad(x, ((0, 0), (0, 0), (P, P), (P, P)))


def output_shape(x, w, S, P):
    (N, _, H, W), (F, _, KH, KW) = x.shape, w.shape
    return N, F, (H + 2 * P - KH) // S + 1, (W + 2 * P - KW) // S + 1


def conv_loops(x, w, b, stride=1, padding=0):
    S, P = stride, padding
    padded = pad(x, P)
    y = np.zeros(output_shape(x, w, S, P))
    for n, f, h, v in np.ndindex(y.shape):
        y[n, f, h, v] = b[f]
        for c, i, j in np.ndindex(w.shape[1:]):
            y[n, f, h, v] += w[f, c, i, j] * padded[n, c, h * S + i, v * S + j]
    return y


shapes = {"x": (4, 5, 9, 7), "w": (6, 5, 3, 2), "b": (6,)}
inputs = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
x, w, b = inputs.values()
y = conv_loops(x, w, b, stride=2, padding=1)
print(f"x {x.shape}, w {w.shape} -> y {y.shape}")
drawn = [filtered(digit, kernel) for kernel in kernels.values()]
four = np.stack(list(kernels.values()))[:, None]
again = conv_loops(digit[None, None], four, np.zeros(4), padding=1)[0]
claim("for one channel and our four kernels it is what we drew", np.allclose(again, drawn))

# %% [markdown]
# The loops say what it costs: $N F H' W' \cdot C K^2$ multiplications. And the definition says what
# is saved. Take a layer from the networks of the paper that [tutorial 6](06_stochastic_depth.py)
# is about: from 16 channels of 32x32 to 16 more of the same size, with kernels of 3x3.

# %%
C, F, K, pixels = 16, 16, 3, 32 * 32
for name, products, weights in (
    ("convolution", F * pixels * C * K**2, F * C * K**2),
    ("linear layer", F * pixels * C * pixels, F * pixels * C * pixels),
):
    print(f"{name:12} {products:12,} multiplications for an image, {weights:12,} weights")

# %% [markdown]
# ## Windows side by side: im2col
#
# Python's loops are slow, and the sum over $(c, i, j)$ is an inner product. So write everything
# that one output pixel sees as a column of $C K^2$ numbers, and put the columns of all output
# pixels side by side: a matrix $X$ with a column for each $(n, h, v)$. With the filters as rows of
# $W$, the whole layer is
#
# $$Y = W X + b, \qquad W \in \mathbb{R}^{F \times C K^2}, \quad
#   X \in \mathbb{R}^{C K^2 \times N H' W'} .$$
#
# The windows need no loop either. `sliding_window_view` describes all of them as an array of six
# dimensions over the same memory, in which neighbouring windows share their pixels. Only when it is
# made a matrix are they copied. That is the price of this method: a pixel that nine windows see is
# there nine times.


# %%
def windows(padded, KH, KW, S):
    """View all windows, nothing copied: (N, C, OH, OW, KH, KW)."""
    return sliding_window_view(padded, (KH, KW), axis=(2, 3))[:, :, ::S, ::S]


def im2col(x, KH, KW, S, P):
    seen = windows(pad(x, P), KH, KW, S).transpose(1, 4, 5, 0, 2, 3)  # (c, i, j), (n, h, v)
    return seen.reshape(x.shape[1] * KH * KW, -1)


def conv_forward(x, w, b, stride=1, padding=0):
    S, P = stride, padding
    N, F, OH, OW = output_shape(x, w, S, P)
    Y = w.reshape(F, -1) @ im2col(x, *w.shape[2:], S, P) + b[:, None]
    return Y.reshape(F, N, OH, OW).transpose(1, 0, 2, 3), (x, w, S, P)


claim("the windows are a view", np.shares_memory(windows(x, 3, 2, 1), x))
claim("one product, the same numbers", np.allclose(conv_forward(x, w, b, 2, 1)[0], y))


def fastest(function, times=5):
    """The shortest of a few times in ms: whatever disturbs makes it longer."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        found.append(1e3 * (time.perf_counter() - start))
    return min(found)


images = rng.standard_normal((4 if QUICK else 16, 8, 8, 8))
filters, zeros = rng.standard_normal((8, 8, 3, 3)), np.zeros(8)
slow = fastest(lambda: conv_loops(images, filters, zeros, 1, 1), times=1)
quick = fastest(lambda: conv_forward(images, filters, zeros, 1, 1))
print(f"loops {slow:.0f} ms, im2col {quick:.2f} ms")
claim(f"im2col is {slow / quick:.0f} times as fast as the loops", slow > 20 * quick)

# %% [markdown]
# ## The loops run backwards
#
# A gradient is a sum over all uses. The line in the inmost loop,
#
#     y[n, f, h, v] += w[f, c, i, j] * padded[n, c, h * S + i, v * S + j]
#
# is *every* use of every weight and every pixel. It is a product, so each of the two gets the
# upstream gradient times the other:
#
# $$dw_{fcij} = \sum_{n,h,v} dy_{nfhv}\; \bar x_{n,\,c,\,hS+i,\,vS+j} , \qquad
#   db_f = \sum_{n,h,v} dy_{nfhv} ,$$
#
# $$d\bar x_{n,\,c,\,r,\,s} \;=\; \sum_f \;\sum_{(h,i):\; hS+i = r} \;\sum_{(v,j):\; vS+j = s}
#   w_{fcij}\; dy_{nfhv} .$$
#
# The third looks awkward, for given a pixel $(r, s)$ we have to find the windows that saw it. But
# nobody forces us to go pixel by pixel. We run the same loops as before, and at each use *add* to
# the pixel that was used. What the forward gathers, the backward scatters. At the end the frame is
# cut off, since its zeros were no input.


# %%
def backward_loops(dy, cache):
    x, w, S, P = cache
    H, W = x.shape[2:]
    padded = pad(x, P)
    dpadded, dw, db = np.zeros_like(padded), np.zeros_like(w), np.zeros(len(w))
    for n, f, h, v in np.ndindex(dy.shape):
        db[f] += dy[n, f, h, v]
        for c, i, j in np.ndindex(w.shape[1:]):
            r, s = h * S + i, v * S + j
            dw[f, c, i, j] += dy[n, f, h, v] * padded[n, c, r, s]
            dpadded[n, c, r, s] += dy[n, f, h, v] * w[f, c, i, j]
    return dpadded[:, :, P : P + H, P : P + W], dw, db


def stride_two(x, w, b):
    return conv_forward(x, w, b, stride=2, padding=1)


report = check_op("loops", stride_two, backward_loops, inputs, rng=rng)
claim(f"stride 2, odd sizes: worst relative error {report.worst.error:.0e}", report.passed)

# %% [markdown]
# Two multiplications where the forward had one: counted so, a backward costs twice its forward.
#
# ## The same as matrix products: col2im
#
# $Y = W X$ is the linear layer of tutorial 2 (with its arrays on their sides), and so are its
# gradients:
#
# $$dW = dY\, X^T , \qquad dX = W^T dY .$$
#
# $dX$ is a gradient for every entry of $X$, and a pixel was copied into $X$ as often as windows
# saw it. Gradients of copies are added: `col2im` brings every entry back to where `im2col` took it
# from. Within one position $(i, j)$ of the kernel no two windows share a pixel, so these can be
# added as one array, and the loop is over the few positions only.


# %%
def col2im(cols, x_shape, KH, KW, S, P):
    N, C, H, W = x_shape
    OH, OW = (H + 2 * P - KH) // S + 1, (W + 2 * P - KW) // S + 1
    cols = cols.reshape(C, KH, KW, N, OH, OW).transpose(1, 2, 3, 0, 4, 5)
    padded = np.zeros((N, C, H + 2 * P, W + 2 * P), cols.dtype)
    for i, j in np.ndindex(KH, KW):
        padded[:, :, i : i + S * OH : S, j : j + S * OW : S] += cols[i, j]
    return padded[:, :, P : P + H, P : P + W]


def conv_backward(dy, cache):
    x, w, S, P = cache
    F, _, KH, KW = w.shape
    dY = dy.transpose(1, 0, 2, 3).reshape(F, -1)
    dw = (dY @ im2col(x, KH, KW, S, P).T).reshape(w.shape)
    dx = col2im(w.reshape(F, -1).T @ dY, x.shape, KH, KW, S, P)
    return dx, dw, dY.sum(axis=1)


def agree(ours, theirs):
    return all(np.allclose(*pair) for pair in zip(ours, theirs, strict=True))


dy = rng.standard_normal(y.shape)
_, cache = stride_two(**inputs)
dx, dw, db = backward_loops(dy, cache)
claim("products give what the loops give", agree(conv_backward(dy, cache), (dx, dw, db)))
report = check_op("im2col", stride_two, conv_backward, inputs, rng=rng)
claim(f"and finite differences: worst relative error {report.worst.error:.0e}", report.passed)

# %% [markdown]
# ## The gradient of the image is a convolution
#
# Go back to the awkward sum and solve its condition. With stride 1, $h = r - i$:
#
# $$d\bar x_{ncrs} = \sum_{f,i,j} w_{fcij}\; dy_{n,\,f,\,r-i,\,s-j} ,$$
#
# where $dy$ counts as zero outside of its image. The forward had $+i$, here is $-i$. Count the
# kernel from its other end, $i = K-1-i'$, and it is a forward again:
#
# $$d\bar x_{ncrs} = \sum_{f,i',j'} \tilde w_{cfi'j'}\;
#   dy_{n,\,f,\,r-(K-1)+i',\,s-(K-1)+j'} , \qquad
#   \tilde w_{cfi'j'} = w_{f,\,c,\,K-1-i',\,K-1-j'} .$$
#
# Read it word for word: it is the convolution of $dy$, in a frame of $K - 1$ zeros, with the
# kernels turned by 180 degrees, and with filters and channels swapped. With stride $S$ only those
# $h$ count for which $hS = r - i$. Spread $dy$ out, with $S - 1$ zeros between its pixels, and the
# others count as zero. So: **dilate, pad, turn, swap, convolve**.
#
# What remains is size. The result has $(H' - 1) S + K$ rows, the part of $\bar x$ that windows see.
# The rest, where the division left a remainder, has gradient zero.


# %%
def dilate(dy, S):
    N, F, OH, OW = dy.shape
    spread = np.zeros((N, F, (OH - 1) * S + 1, (OW - 1) * S + 1), dy.dtype)
    spread[:, :, ::S, ::S] = dy
    return spread


def input_gradient(dy, cache, turn=True, frame=True):
    """dx as a convolution; ``turn`` and ``frame`` are there to be forgotten."""
    x, w, S, P = cache
    (N, C, H, W), (KH, KW) = x.shape, w.shape[2:]
    if turn:
        w = w[:, :, ::-1, ::-1]
    framed = np.pad(dilate(dy, S), ((0, 0), (0, 0), (KH - 1, KH - 1), (KW - 1, KW - 1)))
    seen, _ = conv_forward(framed, w.swapaxes(0, 1), np.zeros(C, w.dtype))
    dpadded = np.zeros((N, C, H + 2 * P, W + 2 * P), dy.dtype)
    dpadded[:, :, : seen.shape[2], : seen.shape[3]] = seen
    first = P if frame else 0
    return dpadded[:, :, first : first + H, first : first + W]


claim("the convolution gives what the loops give", np.allclose(input_gradient(dy, cache), dx))

for stride, padding in ((1, 2), (3, 0)):
    y_here, cache_here = conv_forward(x, w, b, stride, padding)
    dy_here = rng.standard_normal(y_here.shape)
    found, expected = input_gradient(dy_here, cache_here), conv_backward(dy_here, cache_here)[0]
    claim(f"so it does with stride {stride}, padding {padding}", np.allclose(found, expected))
claim("there no window sees the last two columns", not found[..., -2:].any())

# %% [markdown]
# Why the turn? Look at one pixel at a time. A single pixel of $x$ is seen by the *first* weight of
# the window that begins on it and by the *last* weight of one that began earlier, further up. So
# its trace in $y$ is the kernel turned round. The other way, a single pixel of $dy$ goes back to
# the window that it came from, weight by weight: it stamps the kernel into $dx$ as it is. To stamp
# with an operation that turns, hand it the kernel turned.

# %%
letter = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]], float)[None, None]
none = np.zeros(1)
one_pixel = np.zeros((1, 1, 9, 5))
one_pixel[0, 0, 4, 2] = 1
trace, _ = conv_forward(one_pixel, letter, none)
three = np.eye(3)[None, None]
_, letter_cache = conv_forward(np.zeros((1, 1, 13, 11)), letter, none, stride=4)
stamped = input_gradient(three, letter_cache)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7.5, 4)
panels = {
    "w, a letter": letter,
    "x, one pixel": one_pixel,
    "y: w turned round": trace,
    "dy, three pixels, stride 4": three,
    "dilated, in its frame": np.pad(dilate(three, 4)[0], ((0, 0), (4, 4), (2, 2)))[None],
    "dx: w as it is": stamped,
}
for axes, (name, image) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
    draw(axes, image[0, 0], name, "gray_r")
show(
    figure,
    "03_stamps",
    "Above: a pixel of x leaves the kernel turned. Below: a gradient stamps it as it is",
    alt="Six small images. The kernel is the letter F; a single pixel of x leaves an F turned "
    "by 180 degrees in y. Three pixels of dy on a diagonal leave three upright Fs in dx.",
)

# %%
claim("a pixel leaves the kernel turned", np.array_equal(trace, letter[:, :, ::-1, ::-1]))
claim("a gradient stamps it as it is", np.array_equal(stamped[..., 4:9, 4:7], letter))

# %% [markdown]
# Two errors are easily made here, and neither changes a shape: not to turn, and to cut $dx$ out of
# its frame at the wrong corner. We plant both. Then we take a kernel with all weights alike, the
# first that comes to mind for a test. There the turn changes nothing, so nobody sees that it is
# missing. It is the gradient of ones all over again.


# %%
def forgot_to_turn(dy, cache):
    return input_gradient(dy, cache, turn=False), *conv_backward(dy, cache)[1:]


def forgot_the_frame(dy, cache):
    return input_gradient(dy, cache, frame=False), *conv_backward(dy, cache)[1:]


for wrong in (forgot_to_turn, forgot_the_frame):
    report = check_op(wrong.__name__, stride_two, wrong, inputs, rng=rng)
    print(report.explain())
    claim(f"{wrong.__name__}: seen", not report.passed)
alike = {**inputs, "w": np.ones(w.shape)}
report = check_op("weights alike", stride_two, forgot_to_turn, alike, rng=rng)
claim("with all weights alike, forgot_to_turn passes", report.passed)

# %% [markdown]
# ## The matrix behind it
#
# Leave out the bias. Then $y$ is linear in $x$: the convolution of a sum is the sum of the
# convolutions. Every linear map of arrays is a matrix once they are flattened, $y = A x$, and the
# columns of $A$ are what it makes of images in which a single pixel is 1. Here it is for an image
# of 6x6 and a kernel of 3x3, with a colour for each of the nine weights.


# %%
def matrix_of(w, x_shape, S, P):
    pixels = np.eye(np.prod(x_shape)).reshape(-1, *x_shape)
    y, _ = conv_forward(pixels, w, np.zeros(len(w)), S, P)
    return y.reshape(len(pixels), -1).T


numbered = np.arange(1.0, 10).reshape(1, 1, 3, 3)
left, right = (matrix_of(numbered, (1, 6, 6), S, P=1) for S in (1, 2))

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7.5, 3.9)
kernel_axes, *matrix_axes = figure.subplots(1, 3, width_ratios=(0.5, 3, 3))
kernel_axes.imshow(numbered[0, 0], cmap="tab10", vmin=1, vmax=10)
kernel_axes.set(title="w", xticks=[], yticks=[])
for S, axes, A in zip((1, 2), matrix_axes, (left, right), strict=True):
    axes.imshow(np.ma.masked_equal(A, 0), cmap="tab10", vmin=1, vmax=10)
    axes.set(title=f"A, stride {S}", xlabel="pixel of x", ylabel="pixel of y")
    axes.set(xticks=range(0, 36, 6), yticks=range(0, len(A), 6 // S))
show(
    figure,
    "03_matrix",
    "y = A x for an image of 6x6; colour: which of the nine weights; white: zero",
    alt="Two matrices with coloured entries on diagonal bands and white elsewhere. With stride "
    "1 it is 36 by 36, and every row has the same nine colours moved on; with stride 2 it "
    "has a quarter of the rows.",
)

# %%
print(f"stride 1: {left.size} entries, {np.count_nonzero(left)} not zero, 9 different weights")
row, column = left[14], left[:, 14]  # of a pixel that is not at the border
claim("a column has the weights in reverse", np.array_equal(column[column > 0], row[row > 0][::-1]))

A = matrix_of(w, x.shape[1:], S=2, P=1)
flat_x, flat_y, flat_dx, flat_dy = (
    array.reshape(len(array), -1) for array in (x, y - b[:, None, None], dx, dy)
)
claim("y = A x + b", np.allclose(flat_x @ A.T, flat_y))
claim("dx = A^T dy", np.allclose(flat_dy @ A, flat_dx))

# %% [markdown]
# A row of $A$ is one window. A column is one pixel, and tells which windows see it and how. Down a
# column the weights come in the reverse of the order they have along a row: there is the turn
# again. The scatter, $W^T$ with `col2im`, the convolution with a turned kernel, all of them are
#
# $$dx = A^T dy .$$
#
# ## The adjoint test
#
# If a backward is a transpose, it can be tested without any calculus. For every $x$ and every $dy$
#
# $$\langle A x,\, dy \rangle \;=\; \langle x,\, A^T dy \rangle , \qquad
#   \langle a, b \rangle = \sum_k a_k b_k ,$$
#
# since both are the sum of all $x_k\, A_{mk}\, dy_m$. So draw $x$ and $dy$ at random, independently
# of each other: one forward, one backward, two inner products. (The transpose of a linear map is
# also called its *adjoint*.)
#
# Where has the step size gone? Of a linear map, a central difference is exact for every step:
# $(A(x + hd) - A(x - hd)) / 2h = A d$. Nothing forces $h$ to be small, and at $x = 0$ with $h = 1$
# the finite difference *is* the adjoint test, of $d$ in the place of $x$. All that is left is
# rounding. It stays small, as nothing is divided by a small number. So the test also works in
# float32, in which networks are trained and finite differences fail (tutorial 1).


# %%
def adjoint_error(forward, backward, x, dy):
    """How far <forward(x), dy> is from <x, backward(dy)>, relative to the largest it could be."""
    y = forward(x)
    return abs(np.vdot(y, dy) - np.vdot(x, backward(dy))) / np.linalg.norm(y) / np.linalg.norm(dy)


def input_gradient_error(dtype, **forgotten):
    arrays = (rng.standard_normal(array.shape).astype(dtype) for array in (x, w, b, dy))
    x_here, w_here, b_here, dy_here = arrays
    return adjoint_error(
        lambda x: conv_forward(x, w_here, 0 * b_here, stride=2, padding=1)[0],
        lambda dy: input_gradient(dy, (x_here, w_here, 2, 1), **forgotten),
        x_here,
        dy_here,
    )


for dtype, precision in ((np.float64, 1e-14), (np.float32, 1e-6)):
    right = max(input_gradient_error(dtype) for _ in range(10))
    claim(f"{dtype.__name__}: right to rounding ({right:.0e})", right < precision)
    for forgotten in ("turn", "frame"):
        wrong = np.median([input_gradient_error(dtype, **{forgotten: False}) for _ in range(10)])
        claim(f"{forgotten} forgotten: seen ({wrong:.0e})", wrong > 1e-3)

# %% [markdown]
# The convolution is linear in $w$ as well, for a fixed $x$. So one forward and one backward give
# three numbers that are equal:
#
# $$\langle y - b,\, dy \rangle = \langle x,\, dx \rangle = \langle w,\, dw \rangle .$$
#
# And `col2im` alone can be tested against `im2col`, of which it is the transpose. (A layer that
# computes $A^T$ in its *forward* makes images larger instead of smaller; it is known as a
# transposed convolution, and its backward is a convolution.)

# %%
three = np.vdot(y - b[:, None, None], dy), np.vdot(x, dx), np.vdot(w, dw)
print("{:.12f}\n{:.12f}\n{:.12f}".format(*three))
claim("three numbers, one value", np.ptp(three) < 1e-12 * np.linalg.norm(y) * np.linalg.norm(dy))
cols = rng.standard_normal((5 * 3 * 2, 4 * 5 * 4))
error = adjoint_error(
    lambda x: im2col(x, 3, 2, 2, 1), lambda cols: col2im(cols, x.shape, 3, 2, 2, 1), x, cols
)
claim(f"col2im is the adjoint of im2col ({error:.0e})", error < 1e-14)

# %% [markdown]
# One thing neither test can tell. Both ask whether backward and forward belong *together*. A
# forward that forgets the padding passes with its own right backward. For the forward one needs a
# second opinion, and this is what slow loops are for.
#
# ## The library's two versions
#
# The library has every operation twice. `minisd/ops/` is *the book*: its convolution is yours, and
# we open its page at the end. `minisd/fast/`, the engine, has functions of the same names, and
# networks use those. Its convolution copies no window: it lays out memory so that the columns are
# there already, and its $dx$ is the turned convolution of above. [Tutorial 10](10_fast.py) takes it
# apart.

# %%
versions = {
    "this tutorial": (conv_forward, conv_backward),
    "the book": (ops.conv2d_forward, ops.conv2d_backward),
    "the engine": (fast.conv2d_forward, fast.conv2d_backward),
}
for S, P in ((1, 0), (1, 1), (2, 1), (3, 2)):
    dy_here = rng.standard_normal(output_shape(x, w, S, P))
    results = []
    for forward, backward in versions.values():
        y_here, cache_here = forward(x, w, b, stride=S, padding=P)
        results.append((y_here, *backward(dy_here, cache_here)))
    same = agree(results[0], results[1]) and agree(results[0], results[2])
    claim(f"stride {S}, padding {P}: one y, dx, dw and db", same)

large = rng.standard_normal((8 if QUICK else 64, 16, 32, 32)).astype(np.float32)
kernel, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, 16, 3, 3), 16))
print(f"{len(large)} images of 16x32x32, forward and backward:")
for name, (forward, backward) in versions.items():
    one_way = functools.partial(forward, large, kernel, bias, stride=1, padding=1)
    y_here, cache_here = one_way()
    back = functools.partial(backward, y_here, cache_here)
    print(f"  {name:14} {fastest(one_way, 3):6.1f} ms {fastest(back, 3):6.1f} ms")

# %% [markdown]
# ## What the filters see
#
# Now we let a network find its filters. Three convolutions of 3x3, each with a ReLU; then the mean
# of each of 16 maps, and ten scores from those 16 numbers. With the mean over the image nearly all
# knowledge of *where* is gone, so the filters themselves have to tell digits apart. We train three
# such networks, from different random weights, to see what is luck. Towards the end the learning
# rate falls to a tenth, which [tutorial 7](07_training.py) explains.


# %%
def small_network(rng):
    def conv(C, F):
        return Conv2d(C, F, 3, padding=1, bias=True, rng=rng)

    layers = [conv(1, 8), ReLU(), conv(8, 16), ReLU(), conv(16, 16), ReLU()]
    return Sequential(*layers, GlobalAvgPool(), Linear(16, 10, rng=rng))


def fit(model, moved, rng):
    """Train the layers ``moved`` of a model; return its test error."""
    (images, labels), optimizer = train, SGD(moved, lr=0.05, weight_decay=1e-3)
    epochs = 2 if QUICK else 40
    schedule = StepSchedule(0.05, epochs, drops=(0.7,))
    for epoch in range(1, epochs + 1):
        optimizer.lr = schedule(epoch)
        order = rng.permutation(len(images))
        for batch in np.split(order[: len(order) // 32 * 32], len(order) // 32):
            model.zero_grad()
            _, dlogits = ops.softmax_cross_entropy(model.forward(images[batch]), labels[batch])
            model.backward(dlogits)
            optimizer.step()
    model.eval()
    return np.mean(model.forward(test[0]).argmax(axis=1) != test[1])


seeds = range(1 if QUICK else 3)
trained = [small_network(np.random.default_rng(seed)) for seed in seeds]
errors = [fit(net, net, np.random.default_rng(100 + seed)) for seed, net in enumerate(trained)]
print("test errors: " + ", ".join(f"{error:.1%}" for error in errors))
claim("filters of 3x3 are enough to read digits", max(errors) < 0.08, in_full=True)


def maps_of(model, images):
    """What each of the three ReLUs lets through: (N, channels, 8, 8)."""
    maps, x = [], images
    for layer in model.layers[:6]:
        x = layer.forward(x)
        if isinstance(layer, ReLU):
            maps.append(x)
    return maps


model = trained[0]
first_filters, first_maps = model.layers[0].w.data[:, 0], maps_of(model, digit[None, None])[0][0]

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7.5, 2)
for i, (upper, lower) in enumerate(figure.subplots(2, 8).T):
    draw(upper, first_filters[i])
    draw(lower, first_maps[i], colours="gray_r", largest=first_maps.max())
    upper.set_title(f"filter {i + 1}", fontsize=8)
show(
    figure,
    "03_filters",
    "First layer, trained (red: positive, blue: negative weight), and what it says of a 5",
    alt="Eight trained kernels of 3x3 in red and blue, many of them like edges at some angle, "
    "and under each the image of a 5 that its ReLU lets through.",
)

# %% [markdown]
# Above are the eight filters of the first layer, red for positive and blue for negative weights,
# and below what each of them says, after the ReLU, of the digit that we filtered by hand. Most have
# a red side and a blue one: they are edges, each in its own direction. (A filter that is blue all
# over, without a positive bias, answers to nothing, as ink only closes its ReLU. And a ReLU that is
# never open passes no gradient, so the filter cannot come back.)
#
# The filters of the second layer have eight kernels each, and nobody can see what those mean. But
# we can ask what they *answer to*: take all windows of all test images, and show those to which a
# filter responds most. A window is as much of the image as one output pixel depends on: 3x3 in the
# first layer, 5x5 in the second, 7x7 in the third. (Exercise 1 counts that.)


# %%
def favourites(maps, layer, channel, count):
    """The images that excite a filter most, strongest first, and in each the window that does."""
    K = 2 * layer + 3
    framed = np.pad(test[0][:, 0], ((0, 0), (K // 2, K // 2), (K // 2, K // 2)))
    seen = sliding_window_view(framed, (K, K), axis=(1, 2))
    response = maps[layer][:, channel]
    strongest = np.argsort(-response.max(axis=(1, 2)))[:count]
    places = [np.unravel_index(response[n].argmax(), response[n].shape) for n in strongest]
    return strongest, [seen[n, h, v] for n, (h, v) in zip(strongest, places, strict=True)]


def awake(maps, layer):
    return [f for f in range(maps[layer].shape[1]) if maps[layer][:, f].any()]


maps = maps_of(model, test[0])

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(8, 4.8)
for layer, part in enumerate(figure.subfigures(1, 3, wspace=0.06)):
    part.suptitle(f"layer {layer + 1}: {2 * layer + 3}x{2 * layer + 3} pixels", fontsize=9)
    grid = part.subplots(8, 5)
    for row, channel in zip(grid, awake(maps, layer), strict=False):
        for axes, patch in zip(row, favourites(maps, layer, channel, 5)[1], strict=True):
            draw(axes, patch, colours="gray_r", largest=1)
    for axes in grid.flat:
        axes.axis("off" if not axes.images else "on")
show(
    figure,
    "03_favourites",
    "A row: one filter, and the five windows of test images that excite it most (black: ink)",
    alt="Three blocks of small image patches, by layer. In each row the five patches look "
    "alike: strokes at one angle in the first layer, ends and bends in the second, larger "
    "parts of digits in the third.",
)

# %% [markdown]
# A row is a filter, with the five windows that it likes best, each from another image. (Of each
# layer we show the first eight filters whose ReLU is open for any window.) The first layer likes
# edges and corners, the second ends and bends of strokes, the third large pieces of digits, and
# from a piece you can often guess the digit.
#
# But be careful with such pictures. Among windows $p$ of equal length $\langle w, p \rangle$ is
# largest for the one that is most like $w$. So the favourites of *every* filter look alike, those
# of a filter drawn at random, too. And of course larger windows hold larger pieces. What has
# training done? We need networks to compare with, and ask two things.
#
# Do a filter's favourites come from one digit? Of its ten favourites we count those that show the
# most frequent digit. We do the same for the networks before training, and for ten images drawn
# blindly.
#
# Are the learned filters needed? We take those networks once more, leave the first two layers as
# they were drawn, and train the rest alone.


# %%
def one_digit(model, layer):
    """The share of the most frequent digit among ten favourites, mean over the filters."""
    maps = maps_of(model, test[0])
    chosen = [favourites(maps, layer, channel, 10)[0] for channel in awake(maps, layer)]
    return np.mean([np.bincount(test[1][images]).max() / 10 for images in chosen])


untrained = [small_network(np.random.default_rng(seed)).eval() for seed in seeds]
share = {}
for name, networks in (("trained", trained), ("untrained", untrained)):
    share[name] = [np.mean([one_digit(net, layer) for net in networks]) for layer in range(3)]
    print(f"{name:9} favourites from one digit: {share[name][0]:.0%}, ", end="")
    print("{:.0%}, {:.0%} in layers 1, 2, 3".format(*share[name][1:]))
blind = np.random.default_rng(0)
drawn = [np.bincount(blind.choice(test[1], 10, replace=False)).max() / 10 for _ in range(1000)]
claim(f"ten images drawn blindly: {np.mean(drawn):.0%}", abs(np.mean(drawn) - 0.28) < 0.02)
claim(
    "trained, the third layer cares more for single digits than the first",
    share["trained"][2] > share["trained"][0] + 0.05,
    in_full=True,
)
claim(
    "some of that was there before training",
    share["untrained"][2] > share["untrained"][0],
)
claim(
    "but not all: the third layer learned to",
    share["trained"][2] > share["untrained"][2] + 0.05,
    in_full=True,
)

partly = [small_network(np.random.default_rng(seed)) for seed in seeds]
partly_errors = [
    fit(net, Sequential(*net.layers[4:]), np.random.default_rng(100 + seed))
    for seed, net in enumerate(partly)
]
print("two layers as drawn: " + ", ".join(f"{error:.1%}" for error in partly_errors))
claim(
    f"that makes {np.mean(partly_errors) / np.mean(errors):.1f} times as many errors",
    np.mean(partly_errors) > 2 * np.mean(errors),
    in_full=True,
)

# %% [markdown]
# ## Exercises
#
# Solutions are in `solutions/03_convolution.py`. In a shell, `--exercise 1` runs the first one
# alone.
#
# **1.** How many pixels of $x$, along one side, does one output pixel of a stack of convolutions
# depend on? Write `receptive_field(layers)`, where `layers` lists $(K, S)$ from the first to the
# last, each with $K \ge S$. The check finds it by a backward: $dy$ is a single 1, and it counts the
# rows of $dx$ that are not zero.


# %%
def receptive_field(layers):
    raise NotImplementedError


def check(receptive_field):
    for layers in (
        [(3, 1)],
        [(3, 1)] * 3,
        [(5, 2), (3, 1)],
        [(3, 2), (3, 2), (2, 1)],
        [(2, 2), (1, 1)],
        [(4, 1), (3, 3), (3, 2), (2, 2)],
    ):
        shape, caches = (1, 1, 64, 64), []
        for K, S in layers:
            y, cache = conv_forward(np.zeros(shape), np.ones((1, 1, K, K)), np.zeros(1), S)
            shape, caches = y.shape, [*caches, cache]
        d = np.zeros(shape)
        d[0, 0, 0, 0] = 1
        for cache in reversed(caches):
            d = conv_backward(d, cache)[0]
        right = d[0, 0].any(axis=1).sum()
        yours = receptive_field.returning(pixels=float)(layers)
        assert yours == right, f"{layers}: dx has {right} rows that are not zero, you say {yours}"


exercise(1, receptive_field, check)

# %% [markdown]
# **2.** A *depthwise* convolution has one kernel for each channel and adds up nothing across
# channels: $y_{nchv} = \sum_{ij} w_{cij}\, \bar x_{n,\,c,\,hS+i,\,vS+j}$. It needs $C$ times fewer
# multiplications than an ordinary one with as many filters as channels. Write its backward, which
# returns $dx$ and $dw$, with no loop but the one over the positions $(i, j)$.


# %%
def depthwise_forward(x, w, S=1, P=0):
    seen = windows(pad(x, P), *w.shape[1:], S)
    return np.einsum("cij,nchvij->nchv", w, seen), (x, w, S, P)


def depthwise_backward(dy, cache):
    raise NotImplementedError


def check(depthwise_backward):
    rng = np.random.default_rng(5)
    arrays = {"x": rng.standard_normal((4, 5, 9, 7)), "w": rng.standard_normal((5, 3, 2))}
    for S, P in ((1, 0), (2, 1), (3, 2)):
        report = check_op(
            f"depthwise, stride {S}, padding {P}",
            lambda x, w, S=S, P=P: depthwise_forward(x, w, S, P),
            depthwise_backward.returning(dx=arrays["x"], dw=arrays["w"]),
            arrays,
            rng=rng,
        )
        assert report.passed, report.explain()
    steps = []
    for k in (1, 3):
        x, w = np.ones((2 * k, 2 * k, 6 * k, 6 * k)), np.ones((2 * k, 3, 2))
        y, cache = depthwise_forward(x, w)
        steps.append(depthwise_backward.work(y, cache))
    assert steps[1] < 1.5 * steps[0], (
        "right, but with three times as many images, channels, rows and columns it takes "
        f"{steps[1] / steps[0]:.0f} times as many steps of Python: do without that loop"
    )


exercise(2, depthwise_backward, check)

# %% [markdown]
# **3.** A *dilated* convolution looks at every $D$-th pixel of a wider window: in the definition
# it has $\bar x_{n,\,c,\,hS + iD,\,vS + jD}$. It sees further with as many weights. Write its
# backward, which returns $dx$ and $dw$. There is a way that needs no loop and no new derivation:
# which ordinary convolution computes the same? The check is the adjoint test, in float32. It puts
# random arrays $x_2$ and $w_2$ in the place of those that the backward was given. Why?


# %%
def dilated_forward(x, w, S=1, P=0, D=1):
    KH, KW = ((side - 1) * D + 1 for side in w.shape[2:])
    seen = windows(pad(x, P), KH, KW, S)[..., ::D, ::D]
    return np.einsum("fcij,nchvij->nfhv", w, seen), (x, w, S, P, D)


def dilated_backward(dy, cache):
    raise NotImplementedError


def check(dilated_backward):
    rng = np.random.default_rng(6)
    for S, P, D in ((1, 0, 1), (1, 2, 2), (2, 3, 2), (3, 2, 3)):
        x, x2, w, w2 = (
            rng.standard_normal(shape).astype(np.float32)
            for shape in ((2, 5, 13, 11), (2, 5, 13, 11), (4, 5, 3, 2), (4, 5, 3, 2))
        )
        y, cache = dilated_forward(x, w, S, P, D)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        dx, dw = dilated_backward.returning(dx=x, dw=w)(dy, cache)
        where = f"stride {S}, padding {P}, dilation {D}"
        for name, other, yours, y2 in (
            ("x", x2, dx, dilated_forward(x2, w, S, P, D)[0]),
            ("w", w2, dw, dilated_forward(x, w2, S, P, D)[0]),
        ):
            right, got = np.vdot(y2, dy), np.vdot(other, yours)
            off = abs(right - got) / np.linalg.norm(y2) / np.linalg.norm(dy)
            assert off < 1e-5, f"{where}: <y, dy> is {right:.4f}, <{name}, d{name}> is {got:.4f}"


exercise(3, dilated_backward, check)

# %% [markdown]
# ## Your page in the library
#
# Here is `minisd/ops/conv.py`, without docstrings. You have written it already, with the same
# letters: kernel row $i$ and column $j$, output pixel $(h, v)$.
#
# - `conv2d_forward` is $Y = W X + b$, and brings $(f, h, v, n)$ back to $(n, f, h, v)$.
# - `conv2d_backward` is $db$, $dW = dY\, X^T$ and $dX = W^T dY$, in three lines.
# - `im2col` has a row for each $(c, i, j)$, as yours. Its columns have the order $(h, v, n)$: with
#   the images last in memory they are copied in longer runs. `as_strided` views the windows, of
#   which each begins $S$ rows or $S$ pixels after the one before.
# - `col2im` is your loop over the positions $(i, j)$ of the kernel.
#
# What is new: shapes are checked, there may be no bias, and `xp` is NumPy or, on a GPU, CuPy.


# %%
def source(function):
    """What stands in the library, without types and docstring."""
    names = ", ".join(inspect.signature(function).parameters)
    body = inspect.getsource(function).rpartition('"""')[2]
    return f"def {function.__name__}({names}):{body}"


for function in (page.conv2d_forward, page.conv2d_backward, page.im2col, page.col2im):
    print(source(function))

N, F, OH, OW = output_shape(x, w, 2, 1)
theirs = page.im2col(x, w.shape, 2, 1).reshape(-1, OH, OW, N).transpose(0, 3, 1, 2)
same = np.array_equal(theirs.reshape(-1, N * OH * OW), im2col(x, 3, 2, 2, 1))
claim("its columns are ours, but for their order", same)

# %% [markdown]
# ## What to read next
#
# [Tutorial 4](04_batchnorm.py) is on the layer that follows every convolution of the paper, and on
# what its backward does to gradients. In the library, `minisd/fast/conv.py` comes next; the tests
# of both versions are in `tests/editions/test_conv.py`. On the arithmetic of strides, padding and
# transposed convolutions: V. Dumoulin and F. Visin, *A guide to convolution arithmetic for deep
# learning*, 2016 (arXiv:1603.07285). On looking at filters through what excites them: M. Zeiler and
# R. Fergus, *Visualizing and understanding convolutional networks*, 2014 (arXiv:1311.2901).
