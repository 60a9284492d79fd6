# %% [markdown]
# # 10. Fast: the convolution that copies nothing
#
# Programs are seldom slow because of what they compute, and often because of what they copy. Here a
# convolution becomes much faster without a line of C, and every step is measured. The same
# questions help with any program that handles large arrays.
#
# **You will learn** to say how fast a convolution could be on your machine, to find what keeps it
# from that, and to remove it with nothing but NumPy: views, order, sizes, caches and threads.
#
# **You need** `im2col` from [tutorial 3](03_convolution.py).
#
# **Time**: 60 minutes.
#
# So far the operations were those of the book, `minisd/ops/`. We turn to the engine,
# `minisd/fast/`: the same names, as the machine likes it. The multiplications of a convolution are
# done by BLAS, the machine code that everybody uses. We only hand it its operands, and there the
# time is lost, in copies. Some we write ourselves, some NumPy makes for us, some BLAS makes in
# secret, and the operating system makes some, of zeros. So at each step we ask: **who copies, and
# what for?** Times are those of *your* machine while you read. Look after each step whether it
# gained anything there. Some may not.

# %%
import timeit
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
from matplotlib.patches import Rectangle
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from threadpoolctl import threadpool_limits

from minisd import fast, machine, ops
from minisd.fast.layout import as_images, by_rows
from minisd.figures import INK, LOSS, TEST, VALIDATION, new_figure, tidy
from minisd.gradcheck import check_op
from minisd.ops.conv import im2col
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
BATCH, ROUNDS = (32, 3) if is_quick() else (128, 9)
rng = np.random.default_rng(10)
random = partial(rng.standard_normal, dtype=np.float32)
threadpool_limits(1, user_api="blas")  # one core does it all, until we come to threads


def fastest(tasks, rounds=ROUNDS):
    """The shortest time of each task, in ms. They take turns, so who disturbs, disturbs all."""
    times = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            times[name].append(1e3 * timeit.timeit(task, number=1))
    return {name: min(found) for name, found in times.items()}


# %% [markdown]
# ## Two yardsticks
#
# Nothing multiplies faster than the multiplier, and nothing reads memory faster than a plain copy.
# So we measure these two, on one core: the rate $R$ of a product of square matrices, which is
# $2n^3$ operations, multiplications and additions, and the rate $B$ of a copy, of bytes read and
# written.


# %%
def product_rate(rows, depth, columns, count=1):
    """Operations per ms of (rows, depth) @ (depth, columns), ``count`` of them in one call."""
    a, b = random((rows, depth)), random((count, depth, columns))
    out = np.empty((count, rows, columns), np.float32)
    return 2 * rows * depth * columns * count / fastest({"": partial(np.matmul, a, b, out=out)})[""]


R = max(product_rate(n, n, n) for n in (256, 512, 1024))
source, target = np.ones((2, 1 << 24), np.float32)
B = 2 * source.nbytes / fastest({"": partial(np.copyto, target, source)})[""]
print(f"R = {R / 1e6:.0f} GFLOP/s, B = {B / 1e6:.0f} GB/s, R / B = {R / B:.1f}")

# %% [markdown]
# Now the task: two convolutions of the paper's networks, one of the first stage and one of the
# last. Both are 3x3 with one pixel of padding and as many filters as channels. An output number
# takes $C K^2$ multiplications and additions, so there are $2 N F H W C K^2$ operations. And $x$
# is read and $y$ written. So a convolution that does all this takes no less time than
#
# $$\max\left(\frac{\text{operations}}{R},\ \frac{\text{bytes}}{B}\right).$$
#
# This is the *roofline model*. The quotient operations / bytes, the *intensity*, says which of the
# two counts: above $R / B$ the multiplier is the limit, below it memory is.


# %%
def convolution(C, size):
    case = SimpleNamespace(name=f"{C} channels of {size}x{size}")
    case.x, case.w = random((BATCH, C, size, size)), random((C, C, 3, 3))
    case.rows = np.ascontiguousarray(by_rows(case.x))  # in another order, explained below
    case.y = by_rows(fast.conv2d_forward(case.x, case.w, padding=1)[0])  # to compare with
    case.flop, case.moved = 2 * case.x.size * C * 9, 2 * case.x.nbytes
    case.floor = max(case.flop / R, case.moved / B)
    print(f"{case.name}: {case.flop / 1e9:.2f} GFLOP, {case.moved / 1e6:.1f} MB,", end=" ")
    print(f"{case.flop / R:.2f} ms to compute, {case.moved / B:.2f} ms to move")
    return case


cases = early, late = convolution(16, 32), convolution(64, 8)
claim("intensities: 36 and 144", [case.flop / case.moved for case in cases] == [36, 144])

# %% [markdown]
# ## im2col: who copies?
#
# Our baseline is the book's `ops.conv2d_forward`, which is [tutorial 3](03_convolution.py)'s. Its
# `im2col` writes every pixel nine times, and the product reads all that again. What is allocated
# can be counted: `tracemalloc` sees each array that NumPy makes.


# %%
def allocated(task):
    """The most memory, in bytes, that a task held at once, its result included."""
    tracemalloc.start()
    _result = task()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


columns = im2col(early.x, early.w.shape, 1, 1)
plain = partial(ops.conv2d_forward, early.x, early.w, padding=1)
copies = allocated(plain) / early.x.nbytes
claim("the columns are nine times the images", columns.nbytes == 9 * early.x.nbytes)
claim(f"at its peak im2col holds {copies:.1f} times the images", copies > 9)
intensity = early.flop / (early.moved + 2 * columns.nbytes)
claim("if columns go to memory and back, intensity falls from 36 to 3.6", intensity == 3.6)

# %% [markdown]
# Where does the time go? We take it apart. First the copying of windows, always into the same
# memory, in two orders. They differ in how many neighbouring numbers are copied in one go. If the
# windows of an NCHW array become the rows of a matrix, it is a window's width. If they become its
# columns, and the batch comes last in memory, it is a row of all images.

# %%
kept = np.empty_like(columns)
padded = np.pad(early.x, ((0, 0), (0, 0), (1, 1), (1, 1)))
short = sliding_window_view(padded, (3, 3), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
padded = padded.transpose(1, 2, 3, 0).copy()  # C, H, W, N
long = sliding_window_view(padded, (3, 3), axis=(1, 2)).transpose(0, 4, 5, 1, 2, 3)
tasks = {
    "windows, in runs of 3": partial(np.copyto, kept.reshape(short.shape), short),
    "windows, in runs of W N": partial(np.copyto, kept.reshape(long.shape), long),
    "the columns copied": partial(np.copyto, kept, columns),
    "copied into fresh memory": columns.copy,
    "the product": partial(np.matmul, early.w.reshape(16, -1), columns),
}
times = fastest(tasks)
for name, t in times.items():
    print(f"{name:24} {t:6.2f} ms")
print(f"the floor of it all      {early.floor:6.2f} ms")
ratio = times["windows, in runs of 3"] / times["windows, in runs of W N"]
claim(f"the same bytes in runs of 3 take {ratio:.1f} times as long", ratio > 1.5, in_full=True)

# %% [markdown]
# Three things to see. **Order matters more than amount**: a copy in long runs is a plain copy, one
# in short runs is busy with addresses. That is why the book's `im2col` has the batch last. **Fresh
# memory may be dear**: for a large array the operating system gives addresses, but no memory; each
# page is found, and filled with zeros, when it is first touched. And **the product itself** may be
# far from the floor, though its operands are ready. We come back to both.
#
# ## Memory as a matrix
#
# An array is a stretch of memory, a shape, and *strides*: how many bytes lead to the next index of
# each dimension. Transposing exchanges strides and moves nothing. A BLAS product takes any matrix
# whose numbers in a row are neighbours and whose rows begin at a constant distance, at least a
# row's length. So it need not be a whole array: **a rectangle out of a larger matrix will do**.
#
# In which order is the operand of a convolution a rectangle? Keep the images *by rows*, (H, C, W,
# N): first in memory is the first row of all images, in it the first channel, in it the first pixel
# of each image. Put zeros around, and count rows $h$ and pixels $v$ from them on (the picture
# counts from the image on). Read that memory as a matrix $M$ of $(H + 2) C$ rows $(h, c)$ and
# $(W + 2) N$ columns $(v, n)$. To a row $h$ of output, kernel column $j$ contributes from
#
# $$X_j[h]: \quad \text{rows } (h + i,\, c),\; i = 0, 1, 2, \qquad
#   \text{columns } (v + j,\, n),\; v = 0, \dots, W-1.$$
#
# These are $3C$ consecutive rows of $M$, from $hC$ on, and $WN$ consecutive columns, from $jN$ on.
# They are a rectangle. Here is $M$ for a tiny case, with the three rectangles of one output row.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
N, C, H, W = 3, 2, 3, 4
M = np.zeros((H + 2, C, W + 2, N))
M[1:-1, :, 1:-1] = 1 + np.arange(C)[:, None, None] + 0.6 * (np.arange(W) % 2)[:, None]
figure = new_figure(8, 4.2)
axes = figure.subplots()
axes.imshow(M.reshape((H + 2) * C, -1), cmap="Greys", vmax=8, aspect="auto")
for j, colour in enumerate((VALIDATION, TEST, LOSS)):
    corner = (j * N - 0.5, 1 * C - 0.5 + 0.12 * (j - 1))  # shifted, so that all edges can be seen
    box = Rectangle(corner, W * N, 3 * C, fill=False, lw=2.5, color=colour, label=f"$X_{j}[1]$")
    axes.add_patch(box)
axes.set_xticks(np.arange(W + 2) * N + 1, [f"v = {v}" for v in range(-1, W + 1)])
axes.set_yticks(np.arange((H + 2) * C), [f"h = {r // C - 1}, c = {r % C}" for r in range(10)])
axes.set_xlabel("for each v the numbers of three images; white: padding")
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
show(
    figure,
    "10_memory",
    "Images by rows as one matrix, with the three rectangles of one row of output",
    alt="A matrix in greys, rows of the image and channel downwards, positions of three images "
    "across. Three coloured rectangles of the same height lie over it, each moved to the "
    "right by three columns.",
)

# %% [markdown]
# (In NCHW a rectangle is $W$ numbers wide, in NHWC, channels last, it is $KC$. Here it is $WN$.)
# With $W_j$ for the weights in kernel column $j$, as a matrix of $F$ rows and $3C$ columns in the
# order $(i, c)$, the convolution is three products for each row of output:
#
# $$y[h] = \sum_{j=0}^{2} W_j\, X_j[h], \qquad W_j[f, (i, c)] = w[f, c, i, j].$$


# %%
def by_column(w):
    F, C, K, _ = w.shape
    return np.ascontiguousarray(w.transpose(3, 0, 2, 1).reshape(K, F, K * C))


def framed(rows, P):
    H, C, W, N = rows.shape
    frame = np.zeros((H + 2 * P, C, W + 2 * P, N), rows.dtype)
    frame[P : P + H, :, P : P + W] = rows
    return frame


def zero_copy(rows, w):
    """Images by rows (H, C, W, N) and filters (F, C, K, K), K odd, to (H, F, W, N)."""
    H, C, W, N = rows.shape
    F, _, K, _ = w.shape
    W_j, M = by_column(w), framed(rows, K // 2).reshape(-1, (W + K - 1) * N)
    y = np.zeros((H, F, W * N), rows.dtype)
    for h in range(H):
        for j in range(K):
            y[h] += W_j[j] @ M[h * C : (h + K) * C, j * N : (j + W) * N]
    return y.reshape(H, F, W, N)


same = all(np.allclose(zero_copy(case.rows, case.w), case.y, atol=1e-3) for case in cases)
claim("it gives the library's numbers", same)
copies = allocated(lambda: zero_copy(early.rows, early.w)) / early.x.nbytes
claim(f"at its peak it holds {copies:.1f} times the images: padded, and output", copies < 3)
times = fastest({"im2col": plain, "no copies": partial(zero_copy, early.rows, early.w)})
print("im2col {im2col:.2f} ms, no copies {no copies:.2f} ms".format(**times))

# %% [markdown]
# The padding is the one copy left. Even the loop over $h$ can go: the next row's rectangle begins
# $C$ rows of $M$ further on, a constant distance, and overlaps this one. So `as_strided`, a view of
# any shape and strides that we state, has all rectangles as *one* array $(K, H, KC, WN)$, and
# `matmul` goes through its first dimensions by itself. Nobody checks what we state, so we do.


# %%
def windows(frame, K):
    """View rows in their frame as X[j, h]: (K, H, K*C, W*N)."""
    height, C, width, N = frame.shape
    row, channel, pixel, number = frame.strides
    shape = K, height - K + 1, K * C, (width - K + 1) * N
    return as_strided(frame, shape, (pixel, row, channel, number), writeable=False)


frame = framed(early.rows, 1)
X, M = windows(frame, 3), frame.reshape(-1, 34 * BATCH)
print(f"frame {frame.shape}, strides {frame.strides}; X {X.shape}, strides {X.strides}")
claim("X, nine times the images, is a view", np.shares_memory(X, M) and X.size == 9 * early.x.size)
rectangle = M[16 * 5 : 16 * (5 + 3), 2 * BATCH : (2 + 32) * BATCH]
claim("X[2, 5] is that rectangle of M", np.array_equal(X[2, 5], rectangle))

# %% [markdown]
# ## The sizes that BLAS likes
#
# Why does a product miss $R$, when all operands are ready? Because BLAS copies, too. A product
# first *packs* blocks of both matrices, in the order in which its innermost loop will read them.
# For large square matrices that pays: each packed number is used a thousand times. In $W_j X_j$ a
# number of $X_j$ is used $F$ times, and with $F = 16$ the packing shows. Some libraries have
# kernels for small matrices, which pack nothing. OpenBLAS has some for AVX-512, and takes them if
# rows times depth times columns are at most $100^3$.
#
# So a long product may be faster in pieces, cut along the columns. We measure our products, with
# pieces from 32 columns to a whole row: nine of depth $C$, one for each weight of a kernel; three
# of depth $3C$, ours; or one of depth $9C$, if columns were copied.

# %%
rates = {}
for C, depth, whole in ((16, 16, 32), (16, 48, 32), (16, 144, 32), (64, 192, 8)):
    lengths = [n for n in 2 ** np.arange(5, 16) if n <= whole * BATCH]
    found = [product_rate(C, depth, n, whole * BATCH // n) / 1e6 for n in lengths]
    rates[C, depth] = C * depth * np.array(lengths), found

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7.5, 4)
axes = figure.subplots()
for (C, depth), (size, found) in rates.items():
    axes.semilogx(size, found, ".-", label=f"{C}x{depth} by {depth}xL")
axes.axhline(R / 1e6, color=INK, lw=1, ls="--", label="R, of large squares")
axes.axvline(1e6, color=INK, lw=1, ls=":", label="$100^3$")
axes.set(xlabel="rows x depth x columns of one product", ylabel="GFLOP/s", ylim=(0, None))
axes.legend(frameon=False, fontsize=8)
tidy(axes)
show(
    figure,
    "10_products",
    "How fast products are, by their size: C x depth by depth x L",
    alt="GFLOP/s against the size of the product, for four shapes, with the dashed line of "
    "large squares and a dotted one at a hundred cubed. Small products are slow.",
)

# %% [markdown]
# With such kernels you see a cliff, and perhaps rates above $R$, as large squares pack, too. So
# $R$ is not quite the limit. Without, the lines rise and stay, and pieces gain little.
#
# ## Slabs
#
# Now all of it together. A *slab* is some rows of output, so few that it stays in a cache, at best
# the core's own. They go in one call, cut into pieces, a view again, and `out=` writes products
# where they belong.


# %%
def cut(matrix, length):
    """View (..., D, columns) as (..., columns / length, D, length)."""
    *outer, D, columns = matrix.shape
    return matrix.reshape(*outer, D, columns // length, length).swapaxes(-3, -2)


def slab(rows, W_j, y, length, part):
    """Write the output rows ``part`` of y (H, F, W*N)."""
    H, K = len(rows), len(W_j)
    there = slice(max(part.start - K // 2, 0), min(part.stop + K // 2, H))  # what it sees
    X = windows(framed(rows[there], K // 2), K)
    X = cut(X[:, part.start - there.start : part.stop - there.start], length)
    out = cut(y[part], length)
    np.matmul(W_j[0], X[0], out=out)
    term = np.empty(out.shape, out.dtype)
    for j in range(1, K):
        out += np.matmul(W_j[j], X[j], out=term)


def in_slabs(rows, w, length=None, thickness=None, each=map):
    """`zero_copy` in slabs; ``each`` calls a function for every slab."""
    H, _, W, N = rows.shape
    thickness = thickness or max(1, 2**20 // rows[0].nbytes)  # a megabyte; about 4 with the rest
    y = np.empty((H, len(w), W * N), rows.dtype)
    parts = [slice(h, min(h + thickness, H)) for h in range(0, H, thickness)]
    list(each(partial(slab, rows, by_column(w), y, length or W * N), parts))
    return y.reshape(H, -1, W, N)


for case in cases:  # which length of pieces is best is measured, not assumed
    lengths = [n for n in (64, 128, 256, 512, 1024, 2048, 4096) if n <= case.rows[0, 0].size]
    times = fastest({n: partial(in_slabs, case.rows, case.w, n) for n in lengths})
    case.length = min(times, key=times.get)
    print(f"{case.name}, ms by length, the last uncut:", {n: round(t, 2) for n, t in times.items()})
    same = np.allclose(in_slabs(case.rows, case.w, case.length), case.y, atol=1e-3)
    claim("it gives the library's numbers", same)

# %% [markdown]
# ## The backward, in the same view
#
# In [tutorial 3](03_convolution.py) $dx$ was the convolution of $dy$ with each kernel turned by 180
# degrees, filters and channels swapped. So we have it. For $dw$, $y[h] = \sum_j W_j X_j[h]$ gives
#
# $$dW_j = \sum_h dy[h]\, X_j[h]^T ,$$
#
# products with the same rectangles, and no copies either. The code computes $dW_j^T$, so
# `row_terms` has $F$ last.


# %%
def row_terms(rows, dy, K):
    """What each row of output adds to the filters' gradient: (H, K, K*C, F)."""
    dy = dy.reshape(*dy.shape[:2], -1)
    return (windows(framed(rows, K // 2), K) @ dy.swapaxes(1, 2)).swapaxes(0, 1)


def forward(x, w):
    rows = np.ascontiguousarray(by_rows(x))
    return as_images(in_slabs(rows, w, thickness=2)), (rows, w)


def backward(dy, cache):
    rows, w = cache
    F, C, K, _ = w.shape
    dy = np.ascontiguousarray(by_rows(dy))
    dx = in_slabs(dy, w[:, :, ::-1, ::-1].swapaxes(0, 1))
    dW = row_terms(rows, dy, K).sum(axis=0).reshape(K, K, C, F)  # j, i, c, f
    return as_images(dx), dW.transpose(3, 2, 1, 0)


shapes = {"x": (2, 3, 5, 4), "w": (6, 3, 3, 3)}
inputs = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
report = check_op("zero copy", forward, backward, inputs, rng=rng)
claim(f"right by finite differences ({report.worst.error:.0e})", report.passed)
report = check_op("", lambda x, w: forward(x, w.swapaxes(2, 3)), backward, inputs, rng=rng)
claim("i and j exchanged, which no shape tells: seen", not report.passed)

# %% [markdown]
# ## Threads
#
# A BLAS library can use several cores by itself: it cuts each product among its threads, and they
# meet again at the end. Our products are small, and we know better where to cut: at the top. Each
# *Python* thread takes a slab and does all of it, in that cache. Python's lock is no
# obstacle, as NumPy lets go of it while it computes. BLAS should then have one thread: $T$ threads
# of Python that each call a BLAS of $T$ would be $T^2$ for $T$ cores. (Where BLAS does not cut
# small products, that does no harm. And `threadpoolctl` does not know every BLAS, not Apple's.)

# %%
cores = machine.available_cores()
pool = ThreadPoolExecutor(cores)
for told, length in (("pieces", early.length), ("whole rows", None)):
    for blas in (1, cores):
        with threadpool_limits(blas, user_api="blas"):
            task = partial(in_slabs, early.rows, early.w, length)
            one, many = fastest({"one": task, "all": partial(task, each=pool.map)}).values()
        print(f"{told}, BLAS on {blas}: {one:.2f} ms; with {cores} Python threads {many:.2f} ms")

# %% [markdown]
# **The same bits.** In floating point $(a + b) + c \ne a + (b + c)$. If each thread added up its
# own share of $dw$, the same seed would give other weights with two threads than with four. But
# what *one row* adds does not depend on who computed it. So the library keeps the rows' terms and
# adds them in the order of rows, whatever number of threads `minisd.set_threads` has set.

# %%
terms = row_terms(early.rows, early.y, 3)
by_shares = [sum(s.sum(axis=0) for s in np.array_split(terms, count)) for count in (1, 2, 3, 4)]
differ = [float(np.mean(dW != by_shares[0]).round(2)) for dW in by_shares[1:]]
claim(f"from 2, 3, 4 shares, a part {differ} of dw has other bits than with one", max(differ) > 0)

found = set()
for count in (1, 2, 3, 5):
    with machine.threads(count):
        y, cache = fast.conv2d_forward(as_images(early.rows), early.w, padding=1)
        dx, dw, _ = fast.conv2d_backward(y, cache)
    found.add(y.tobytes() + dx.tobytes() + dw.tobytes())
claim("the library's y, dx, dw have the same bits with 1, 2, 3, 5 threads", len(found) == 1)

# %% [markdown]
# ## Everything in one picture
#
# Last, the engine itself. `fast.conv2d_forward` is our last step with more care, and a *pool* of
# memory: arrays that nobody holds are used again. (Here the C library does as much, as sizes come
# again; a training step holds hundreds.) Red bars are the book and copy windows. Blue ones do not.
# Green ones use threads, ours at most one for each slab: where slabs are fewer than cores, some
# cores idle.

# %%
again = partial(fast.conv2d_forward, as_images(early.rows), early.w, padding=1)
with machine.threads(1):  # which empties the pool at its end, as it did above
    first, second = (allocated(again) / early.x.nbytes for _ in range(2))
claim(f"allocated first {first:.1f}, then {second:.1f} times the images", second < 0.1 < 1 < first)

with threadpool_limits(cores, user_api="blas"):
    R_all = max(product_rate(n, n, n) for n in (256, 512, 1024))
steps = {
    "im2col": lambda case: ops.conv2d_forward(case.x, case.w, padding=1),
    "batch last": lambda case: ops.conv2d_forward(as_images(case.rows), case.w, padding=1),
    "no copies, row by row": lambda case: zero_copy(case.rows, case.w),
    "no copies, all at once": lambda case: sum(
        W @ X for W, X in zip(by_column(case.w), windows(framed(case.rows, 1), 3), strict=True)
    ),
    "in slabs": lambda case: in_slabs(case.rows, case.w),
    "in pieces": lambda case: in_slabs(case.rows, case.w, case.length, len(case.rows)),
    "in slabs and pieces": lambda case: in_slabs(case.rows, case.w, case.length),
    "all that, on threads": lambda case: in_slabs(case.rows, case.w, case.length, each=pool.map),
    "the library": lambda case: fast.conv2d_forward(as_images(case.rows), case.w, padding=1),
}
for case in cases:
    case.times = fastest({name: partial(step, case) for name, step in steps.items()})
    print(f"{case.name}: the floor is {case.floor:.2f} ms, to multiply on all cores", end=" ")
    print(f"{case.flop / R_all:.2f} ms")
    for name, t in case.times.items():
        rate = case.flop / t
        print(f"  {name:22} {t:6.2f} ms {rate / 1e6:4.0f} GFLOP/s, {rate / R:4.0%} of R")
    _, cache = fast.conv2d_forward(as_images(case.rows), case.w, padding=1)
    t = fastest({"": partial(fast.conv2d_backward, as_images(case.y), cache)})[""]
    print(f"  its backward {t:.2f} ms, twice that on all cores {2 * case.flop / R_all:.2f} ms")
gain = early.times["im2col"] / max(list(early.times.values())[6:])
claim(
    f"16 channels: each of the last three at least {gain:.1f} times as fast",
    gain > 1.5,
    in_full=True,
)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(9, 4.2)
colours = 2 * [TEST] + 5 * [VALIDATION] + 2 * [LOSS]
for axes, case in zip(figure.subplots(1, 2, sharey=True), cases, strict=True):
    bars = axes.barh(list(case.times), list(case.times.values()), color=colours)
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8, bbox={"fc": "w", "lw": 0, "pad": 0.5})
    axes.axvline(case.flop / R, color=INK, lw=1.2, ls="--", label="floor of one core")
    axes.axvline(case.flop / R_all, color=INK, lw=1.2, ls=":", label="multiplying on all cores")
    axes.set(title=case.name, xlabel="ms")
    tidy(axes)
axes.invert_yaxis()
handles, names = axes.get_legend_handles_labels()
figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
show(
    figure,
    "10_steps",
    f"Convolution forward, {BATCH} images: each step of this tutorial, and the library",
    alt="Bars of milliseconds for nine ways to compute a convolution, in two panels by number "
    "of channels, from im2col at the top to the library at the bottom, with lines for the "
    "floors of one core and of all cores.",
)

# %% [markdown]
# Near the floor the rest counts. Batch norm and ReLU do few operations per byte: memory is the
# limit, and not to write is best. `ConvChain`, which `fuse` makes of residual branches, never
# writes a ReLU's output: the next convolution makes it while filling its frame
# (`minisd/fast/conv_norm.py`).
#
# ## Exercises
#
# Solutions are in `solutions/10_fast.py`. In a shell, `--exercise 1` runs the first one alone. The
# checks of 2 and 3 count what is allocated.
#
# **1.** Write `patches(x, K, S)`, which returns shape and strides of a view of all K x K windows of
# images (N, C, H, W), at every S-th pixel: $(N, C, H', W', K, K)$. The images may be a view, too.


# %%
def patches(x, K, S):
    raise NotImplementedError


def check(patches):
    x = np.zeros((2, 6, 9, 8), np.float32)
    for images in (x, as_images(by_rows(x).copy()), x[:, ::2], x[..., ::-1].astype(np.float64)):
        for K, S in ((3, 1), (3, 2), (2, 3)):
            view = sliding_window_view(images, (K, K), axis=(2, 3))[:, :, ::S, ::S]
            shape, strides = patches.returning(shape=list, strides=list)(images, K, S)
            assert tuple(shape) == view.shape, f"shape is {view.shape}, not {shape}"
            assert tuple(strides) == view.strides, f"strides are {view.strides}, not {strides}"


exercise(1, patches, check)

# %% [markdown]
# **2.** The paper's shortcut averages windows of K x K pixels that do not overlap. Write its
# backward, by rows: $dy$ (H', C, W', N) to $dx$ (K H', C, K W', N). Besides $dx$ allocate no more
# than the size of $dy$.


# %%
def average_backward(dy, K):
    raise NotImplementedError


def check(average_backward):
    rng = np.random.default_rng(102)
    for K in (2, 3):
        dy, shape = rng.standard_normal((8, 16, 6, 64), np.float32), (64, 16, 8 * K, 6 * K)
        _, cache = ops.avg_pool2d_forward(np.zeros(shape, dy.dtype), K)
        expected = by_rows(ops.avg_pool2d_backward(as_images(dy), cache))
        dx = average_backward.returning(dx=expected)(dy, K)
        assert np.allclose(dx, expected), f"K = {K}: not the gradient"
        extra = allocated(lambda dy=dy, K=K: average_backward.function(dy, K)) - expected.nbytes
        assert extra < 1.5 * dy.nbytes, (
            f"K = {K}: besides dx, {extra / dy.nbytes:.1f} times the size of dy is allocated"
        )


exercise(2, average_backward, check)

# %% [markdown]
# **3.** With stride S the columns of $X_j[h]$ are S pixels apart, and it is no rectangle any more.
# Still no window need be copied. Write `strided(frame, w, S)`, from framed rows and filters w to
# $(H', W', F, N)$. Which dimension goes where? (The library copies every S-th column first. Why may
# that be faster?)


# %%
def strided(frame, w, S):
    raise NotImplementedError


def check(strided):
    rng = np.random.default_rng(103)
    for F, S in ((4, 1), (4, 2), (6, 3)):
        x, w = (rng.standard_normal(shape, np.float32) for shape in ((64, 8, 13, 12), (F, 8, 3, 3)))
        frame = framed(by_rows(x), 1)
        expected = fast.conv2d_forward(x, w, stride=S, padding=1)[0].transpose(2, 3, 1, 0)
        y = strided.returning(y=expected)(frame, w, S)
        assert np.allclose(y, expected, atol=1e-3), f"S = {S}: not the convolution"
        needed = allocated(lambda w=w, frame=frame, S=S: strided.function(frame, w, S)) / y.nbytes
        assert needed < 3.5, f"S = {S}: {needed:.1f} times y is allocated; are windows copied?"


exercise(3, strided, check)

# %% [markdown]
# ## What to read next
#
# [Tutorial 11](11_a_thousand_layers.py) spends on depth what was gained here. In the library,
# `minisd/fast/conv.py` is this tutorial for any stride; products are cut in
# `minisd/machine/products.py`, threads are in `minisd/machine/slabs.py`, the pool in
# `minisd/machine/memory.py`. On the roofline: S. Williams, A. Waterman and D. Patterson, *Roofline:
# an insightful visual performance model for multicore architectures*, 2009. On packing: K. Goto and
# R. van de Geijn, *Anatomy of high-performance matrix multiplication*, 2008.
