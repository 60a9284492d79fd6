# %% [markdown]
# # 11. A thousand layers: memory, and the first steps
#
# Sooner or later a network does not fit into memory, or its loss is thrown up in the first steps.
# That happens to the largest models of today as it does to ours, and they are saved by the same two
# remedies: computing again instead of keeping, and a gentle start. Here you see why these work, and
# what they cost.
#
# **You will learn** to count by hand what training keeps in memory, to trade it for time at a
# price that you can name, and why a very deep network wants a gentle start.
#
# **You need** [tutorial 6](06_stochastic_depth.py) for the blocks and their gates, and from
# [tutorial 2](02_linear_softmax.py) the largest stable rate.
#
# **Time**: 60 minutes.
#
# The deepest network of the paper has 1202 layers: 600 residual blocks. On CIFAR-10 with constant
# depth its test error was 6.67 %, more than the 6.41 % of 110 layers. With stochastic depth it was
# 4.91 %, the best of all. You know all of its code already, as depth makes a network no harder to
# write. It becomes harder to *run*: it may not fit into memory, and it may not survive its first
# steps. Both can be measured, and both have a simple remedy.

# %%
import time
import tracemalloc
from contextlib import contextmanager
from copy import deepcopy

import numpy as np

from minisd import (
    SGD,
    Sequential,
    draw_gates,
    expected_depth,
    fuse,
    linear_decay,
    machine,
    ops,
    resnet,
)
from minisd.data import Normaliser, load
from minisd.fast.layout import as_images
from minisd.figures import INK, LOSS, TEST, VALIDATION, new_figure, tidy
from minisd.gradcheck import check_layer
from minisd.layers import BatchNorm2d, Conv2d, Layer, ReLU
from minisd.machine import memory
from minisd.residual import IdentityShortcut, ResidualBlock, basic_branch, bottleneck_branch
from minisd.train import train_step
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
rng = np.random.default_rng(1)

# %% [markdown]
# ## What a backward must keep
#
# A forward alone needs the array it reads and the one it writes. In training it leaves something
# behind at every step, its cache, and all caches wait there until the backward comes back for them,
# the first one longest. Go through the backwards of tutorials 3 to 5 and ask each what it cannot do
# without:
#
# | forward | its backward uses | so it keeps |
# | --- | --- | --- |
# | convolution | $w$ for $dx$, and $x$ for $dw$ | $x$ |
# | batch norm | $\hat x$: that is $x$, and two numbers a channel | $x$ |
# | ReLU | where $x > 0$ | one bit a number: $\frac{1}{32}$ of a float32 array |
# | addition | nothing | nothing |
#
# To measure it we ask `tracemalloc`, which sees every array that NumPy makes. (It makes Python
# slow, so it runs only while we measure.) The library keeps freed memory in a pool,
# `minisd.machine.memory`, to use it again; what lies idle there is in nobody's cache, so we
# subtract it.


# %%
@contextmanager
def tracing():
    memory.release_idle()  # tracemalloc has not seen it come, and must not see it used
    with machine.threads(1):  # a second thread may hold an array for a moment longer
        tracemalloc.start()
        try:
            yield
        finally:
            tracemalloc.stop()


def held():
    """Bytes that came since tracing began, without what the library's pool has lying idle."""
    return tracemalloc.get_traced_memory()[0] - memory.bytes_idle()


def images(batch=64, channels=16, side=8, dtype=np.float32):
    """Random images (N, C, H, W), in the library's order in memory."""
    return as_images(rng.standard_normal((side, channels, side, batch)).astype(dtype))


def kept(layer, **shape):
    """Bytes that a forward leaves behind; its input among them, if nobody else holds that."""
    with tracing():
        layer.forward(images(**shape))  # the first call makes what stays: threads, buffers
        layer.forget()
        before = held()
        layer.forward(images(**shape))
        found = held() - before
        layer.forget()
    return found


one = images().nbytes  # everything below is in units of this
pieces = {
    "convolution": (Conv2d(16, 16, 3, padding=1, rng=rng), 1),
    "batch norm": (BatchNorm2d(16), 1),
    "ReLU": (ReLU(), 1 / 32),
}
for name, (layer, expected) in pieces.items():
    found = kept(layer) / one
    claim(f"{name} keeps {found:.3f} arrays, expected {expected:.3f}", abs(found - expected) < 0.02)

# %% [markdown]
# Now a block. Its output is the next block's input, so we count that there. An array that stands
# in two caches is one array: what the convolution wrote is what batch norm keeps.
#
# $$x \;\to\; z_1 = \mathrm{conv}(x) \;\to\; y_1 = \mathrm{ReLU}(\mathrm{BN}(z_1)) \;\to\;
#   z_2 = \mathrm{conv}(y_1) \;\to\; \mathrm{ReLU}(\mathrm{BN}(z_2) + x)$$
#
# Layer by layer that is $x$ and $y_1$ for the convolutions, $z_1$ and $z_2$ for the batch norms,
# and two arrays of bits: $4 \frac{1}{16}$. But $y_1$ is a multiplication, an addition and a
# comparison away from $z_1$. The library's `fuse` makes a `ConvChain` of a branch. It does not keep
# $y_1$ and the inner bits, but makes them again while the second convolution's backward reads its
# input ([tutorial 10](10_fast.py)). That leaves $x$, $z_1$, $z_2$ and the bits of the last ReLU:
# $3 \frac{1}{32}$.

# %%
PER_BLOCK = 3 + 1 / 32
branch = basic_branch(16, 16, rng=rng)
for name, block, expected in (
    ("layer by layer", ResidualBlock(branch, IdentityShortcut()), 4 + 1 / 16),
    ("with a ConvChain", fuse(ResidualBlock(branch, IdentityShortcut())), PER_BLOCK),
):
    found = kept(block) / one
    claim(
        f"a block {name}: {found:.2f} arrays, by hand {expected:.2f}", abs(found - expected) < 0.05
    )
closed = ResidualBlock(branch, IdentityShortcut())
closed.is_open = False
found = kept(closed) / one
claim(f"a closed block: {found:.3f}, nothing but the bits of its ReLU", abs(found - 1 / 32) < 0.02)
found = kept(ResidualBlock(branch, IdentityShortcut()).eval()) / one
claim(f"in evaluation: {found:.3f}", abs(found) < 0.02)

# %% [markdown]
# ## The bill
#
# An array has $N C H W$ numbers of 4 bytes. From one group of blocks to the next the channels
# double and the pixels are quartered, so the arrays are halved. Per block, then: its input, two
# arrays of its output's size, and the bits. The only blocks whose input is not of their output's
# size are the two that halve the image. And before all blocks the stem keeps what its convolution
# wrote, one array more.


# %%
def by_block(L, width, side, batch, itemsize=4):
    """Bytes of each block's input, and of all that it keeps if it is open."""
    outputs = np.repeat(batch * width * side**2 * itemsize / 2.0 ** np.arange(3), L // 3)
    inputs = np.concatenate([outputs[:1], outputs[:-1]])
    return inputs, inputs + outputs * (2 + 1 / (8 * itemsize))


def network(depth, width=16, **options):
    return resnet(depth, in_channels=1, width=width, rng=np.random.default_rng(1), **options)


DEPTHS = (8, 14, 20) if QUICK else (8, 20, 32, 44, 56, 74, 92, 110)
measured, by_hand = [], []
for depth in DEPTHS:
    model = network(depth)
    measured.append([kept(model, channels=1), kept(model.eval(), channels=1)])
    inputs, caches = by_block(model.num_blocks, 16, 8, 64)
    by_hand.append(inputs[0] + caches.sum())
training, evaluation = np.array(measured).T
off = abs(training / by_hand - 1)
claim(f"measured and counted agree: off by {off.min():.1%} to {off.max():.1%}", off.max() < 0.05)
claim("evaluation keeps nothing, at any depth", evaluation.max() < 0.01 * training.min())

base = kept(network(20), channels=1)
for what, more in {
    "batch": kept(network(20), channels=1, batch=128),
    "width": kept(network(20, width=32), channels=1),
    "bytes per number": kept(network(20, dtype=np.float64), channels=1, dtype=np.float64),
}.items():
    claim(f"twice the {what}: {more / base:.2f} times the memory", 1.9 < more / base < 2.05)

# %% [markdown]
# So memory grows with depth along a line (the figure below), whose slope we know without running
# anything. Weights, gradients and momentum are not in it: those do not grow with the batch.
#
# **Closed blocks.** With gates drawn, the sum goes over open blocks, plus bits. Three quarters are
# open on average, for $p_L = \frac12$. So it should save a quarter?

# %%
DEPTH = 32 if QUICK else 110
L = (DEPTH - 2) // 2
model = network(DEPTH, survival=linear_decay(L))
inputs, caches = by_block(L, 16, 8, 64)
outputs = np.append(inputs[1:], inputs[-1])
draws = []
for _ in range(3 if QUICK else 30):
    gates = np.array(draw_gates(model, rng))
    counted = inputs[0] + np.where(gates, caches, outputs / 32).sum()
    draws.append((gates.sum(), kept(model, channels=1), counted))
num_open, stochastic, counted = np.array(draws).T
all_open = inputs[0] + caches.sum()
off = abs(stochastic / counted - 1)
claim(f"each of {len(draws)} draws is off by at most {off.max():.1%}", off.max() < 0.05)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 3.8)
left, right = figure.subplots(1, 2)
blocks = [(depth - 2) // 2 for depth in DEPTHS]
left.plot(blocks, np.array(by_hand) / 2**20, "-", color=INK, lw=1, label="counted by hand")
left.plot(blocks, training / 2**20, "o", color=TEST, label="training, measured")
left.plot(blocks, evaluation / 2**20, "s", color=VALIDATION, ms=4, label="evaluation, measured")
left.set_xlabel("blocks")
left.set_ylabel("kept by a forward (MiB)")
left.legend(frameon=False)
right.plot(num_open, stochastic / 2**20, "o", color=TEST, ms=4, alpha=0.6, label="drawn gates")
right.plot(
    [num_open.min(), L],
    [all_open * num_open.min() / L / 2**20, all_open / 2**20],
    "k:",
    lw=1,
    label="in proportion to open blocks",
)
right.plot(L, all_open / 2**20, "o", color=INK, label="all open")
right.set_xlabel(f"open blocks of {L}")
right.set_ylabel("kept by a forward (MiB)")
right.set_xticks(range(int(num_open.min()), L + 1, 3))
right.legend(frameon=False)
for axes in (left, right):
    tidy(axes)
show(
    figure,
    "11_kept",
    "What a forward keeps for its backward",
    alt="Left: memory kept by blocks; what is measured in training lies on the line counted by "
    "hand, what evaluation keeps stays at zero. Right: memory kept by open blocks, a rising "
    "cloud of dots above the line in proportion.",
)

# %% [markdown]
# Look at the right half: the draws lie above the dotted line. The last blocks, which are closed
# most often, keep the smallest arrays, so closing them saves little. What counts is $p_l$ weighted
# by size:

# %%
p = np.array(linear_decay(600))
inputs, caches = by_block(600, 16, 32, 128)
share = (p * caches).sum() / caches.sum()
print(
    f"600 blocks: {expected_depth(p) / 600:.3f} are open on average, {share:.3f} of the bytes kept"
)
claim("it saves a sixth to a fifth of the memory, not a quarter", 0.80 < share < 0.84)
drawn = stochastic / all_open
claim(
    f"measured on average {drawn.mean():.2f}, at worst {drawn.max():.2f}",
    abs(drawn.mean() - share) < (0.15 if QUICK else 0.06),
)

# %% [markdown]
# And the average alone is not enough: a step needs what its own draw needs, so the memory must be
# there for a bad one. (The more blocks, the nearer to the average a bad draw is, in proportion.)
#
# Now the bill for 1202 layers on CIFAR-10, 32x32 pixels, batch 128. The page on
# [speed](site/speed.md) reports 7.2 GiB as the peak of the whole process, measured with $p_L =
# \frac12$. Here is ours, with three arrays for the 19.4 million parameters: weights, gradients,
# momentum.

# %%
GIB = 2**30
parameters = 3 * 4 * 19_421_274 / GIB
bill = share * caches.sum() / GIB + parameters
print(f"constant depth {caches.sum() / GIB + parameters:.1f} GiB, p_L = 0.5 {bill:.1f} GiB")
claim(f"{bill:.1f} GiB by hand are within a tenth of the measured 7.2", abs(bill / 7.2 - 1) < 0.1)

# %% [markdown]
# ## Keep a little, do the rest again
#
# Why does the first block's cache wait for so long? Because its backward comes last. In between it
# could be thrown away, if there were a way to get it back, and there is: a forward. So (Chen, Xu,
# Zhang and Guestrin 2016) cut the chain into *segments* of $k$ blocks. The forward keeps the input
# of each segment and forgets all caches. The backward takes the segments from the last to the
# first: it runs a segment forward again from its input, now with caches, and then backward.
#
# With $L$ equal blocks, in units of one array, $c$ of them kept by a block: the forward ends with
# $L/k$ inputs, and then the caches of one segment come on top,
#
# $$M(k) \;\approx\; \frac{L}{k} + c\,k , \qquad
#   M'(k) = 0 \;\;\text{at}\;\; k^* = \sqrt{L / c} , \qquad M(k^*) = 2 \sqrt{c L} ,$$
#
# instead of $cL$. Memory grows like the *root* of the depth. The price is one more forward. A
# backward is about two forwards' work, $dx$ and $dw$, so a step costs about $\frac43$ of what it
# did, for any $k$ at all: a longer segment is no cheaper.


# %%
class Recomputed(Layer):
    """Layers one after another that keep the input of every k-th and compute the rest again."""

    def __init__(self, layers, k):
        self.layers = layers
        self.k = k

    def forward(self, x):
        saved = []
        for at in range(0, len(self.layers), self.k):
            segment = self.layers[at : at + self.k]
            saved.append((segment, self.keep(segment, x)))
            for layer in segment:
                x = layer.forward(x)
                layer.forget()
        self.save(saved)
        return x

    def backward(self, dy):
        saved = self.take()
        while saved:
            segment, what = saved.pop()
            self.again(segment, what)
            for layer in reversed(segment):
                dy = layer.backward(dy)
        return dy

    def keep(self, segment, x):
        return x

    def again(self, segment, x):
        for layer in segment:
            x = layer.forward(x)


def chain(L, channels=8, dtype=np.float32):
    """Blocks of equal size; the same seed every time, so the same weights."""
    rng = np.random.default_rng(1)
    branches = [basic_branch(channels, channels, rng=rng, dtype=dtype) for _ in range(L)]
    return [fuse(ResidualBlock(branch, IdentityShortcut())) for branch in branches]


def gradients(model, x, dy):
    """All that a forward and a backward give: y, dx, and the gradient of every parameter."""
    model.zero_grad()
    y = model.forward(x)
    dx = model.backward(dy)
    return [y, dx, *(parameter.grad for _, parameter in model.parameters())]


def same(a, b):
    """Whether two lists of arrays (or None) are equal to the last bit."""
    return all((u is None and v is None) or np.array_equal(u, v) for u, v in zip(a, b, strict=True))


def forwards(model, blocks):
    """How often each block runs forward in a step."""
    runs = [0] * len(blocks)
    for i, block in enumerate(blocks):

        def counted(x, i=i, run=block.forward):
            runs[i] += 1
            return run(x)

        block.forward = counted
    model.backward(model.forward(x))
    for block in blocks:
        del block.forward  # the class has its own
    return runs


x, dy = images(4, 8), images(4, 8)
plain = Sequential(*chain(8))
recomputed = Recomputed(chain(8), 3)
claim(
    "outputs and all gradients are those of the plain chain, to the bit",
    same(gradients(plain, x, dy), gradients(recomputed, x, dy)),
)
layers = chain(8)
claim("plain: each block runs forward once", forwards(Sequential(*layers), layers) == [1] * 8)
claim("recomputed: twice", forwards(Recomputed(layers, 3), layers) == [2] * 8)

# %% [markdown]
# Not close: equal. The same instructions saw the same numbers. So are we done? A gradient check
# would say so. Compare what it does not look at.

# %%
twice = [
    np.median(b / a)
    for (name, a), (_, b) in zip(plain.buffers(), recomputed.buffers(), strict=True)
    if name.endswith("mean")
]
claim(
    f"running means have moved {np.mean(twice):.2f} times as far",
    np.allclose(twice, 1.9, atol=1e-3),
)

# %% [markdown]
# ## What may not happen twice
#
# The second forward moved the running statistics a second time. From 0, once is $0.1\,\mu$, twice
# is $0.9 \cdot 0.1\,\mu + 0.1\,\mu = 0.19\,\mu$. The gradients know nothing of it; the network in
# evaluation does. Nothing crashes, and nobody who looks only at training will ever see it.
#
# A forward that is run again must *compute* the same and *do* nothing. So look for what a forward
# does besides: it moves statistics; in other networks it draws random numbers (dropout), or counts.
# Our gates are drawn outside of it, which is half of a solution. They must also still be what they
# were. Here they are drawn again between forward and backward, as in a block that draws for itself.


# %%
def give(layers, gates):
    for block, gate in zip(layers, gates, strict=True):
        block.is_open = gate


class DrawsInside(Recomputed):
    """The error: gates are drawn in the forward, and so in the second one again."""

    def again(self, segment, x):
        give(segment, rng.random(len(segment)) < 0.5)
        super().again(segment, x)


GATES = [True, False, True, True, False, True, True, False]
plain, wrong = Sequential(*chain(8)), DrawsInside(chain(8), 3)
give(plain.layers, GATES)
give(wrong.layers, GATES)
right_dx, wrong_dx = (gradients(model, x, dy)[1] for model in (plain, wrong))
error = np.linalg.norm(wrong_dx - right_dx) / np.linalg.norm(right_dx)
claim(f"dx is off by {error:.0%} of its size: a gradient of another network", error > 0.2)

# %% [markdown]
# So a segment keeps its gates with its input, and what the second forward moves is put back.


# %%
def blocks_in(layers):
    return [block for layer in layers for block in layer.walk() if isinstance(block, ResidualBlock)]


class Careful(Recomputed):
    """Recomputed, and nothing happens twice."""

    def keep(self, segment, x):
        return x, [block.is_open for block in blocks_in(segment)]

    def again(self, segment, saved):
        x, gates = saved
        blocks = blocks_in(segment)
        drawn_since = [block.is_open for block in blocks]
        statistics = [(array, array.copy()) for layer in segment for _, array in layer.buffers()]
        give(blocks, gates)
        super().again(segment, x)
        give(blocks, drawn_since)
        for array, moved_once in statistics:
            array[...] = moved_once


def everything(model):
    """Outputs, gradients and running statistics of a step with GATES."""
    give(blocks_in([model]), GATES)
    return gradients(model, x, dy) + [array.copy() for _, array in model.buffers()]


reference = everything(Sequential(*chain(8)))
for k in (1, 3, 8):
    claim(
        f"k = {k}: outputs, gradients and statistics are the same, to the bit",
        same(reference, everything(Careful(chain(8), k))),
    )
claim(
    "the first version does not pass this",
    not same(reference, everything(Recomputed(chain(8), 3))),
)
small = Careful(chain(3, channels=2, dtype=np.float64), 2)
report = check_layer(small, images(3, 2, 4, np.float64), rng=rng, elements=4)
claim(f"finite differences agree, as they must: {report.worst.error:.0e}", report.passed)

# %% [markdown]
# ## The shape of a step
#
# Now watch it. After every block's forward and every block's backward we note what is held. One
# step is made before, so that the parameters' gradients are there already and do not count.


# %%
def memory_of_a_step(model, blocks, **shape):
    """Bytes held after each block's forward and backward, above what was held before the step."""

    def step():
        model.backward(np.ones_like(model.forward(images(**shape))))

    def watched(run):
        def and_note(array):
            result = run(array)
            noted.append(held() - before)
            return result

        return and_note

    noted = []
    with tracing():
        step()
        for block in blocks:
            block.forward, block.backward = watched(block.forward), watched(block.backward)
        before = held()
        step()
        for block in blocks:
            del block.forward, block.backward  # the class has its own
    return np.array(noted)


L = 18 if QUICK else 48
KS = (1, 3, 9) if QUICK else (1, 2, 3, 4, 6, 8, 12, 24, 48)
unit = images(channels=8).nbytes
layers = chain(L)
course = {k: memory_of_a_step(Careful(layers, k), layers, channels=8) / unit for k in KS}
course[None] = memory_of_a_step(Sequential(*layers), layers, channels=8) / unit
peaks = np.array([course[k].max() for k in KS])
theory = np.array([-(-L // k) + PER_BLOCK * k for k in KS])
k_best = (L / PER_BLOCK) ** 0.5

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 3.8)
left, right = figure.subplots(1, 2)
middle = KS[int(peaks.argmin())]
for k, colour in ((None, INK), (KS[-2], VALIDATION), (middle, TEST)):
    label = "all caches kept" if k is None else f"k = {k}"
    left.plot(np.arange(1, len(course[k]) + 1), course[k], color=colour, lw=1.3, label=label)
left.axvline(L, color=INK, lw=0.8, ls=":")
left.set_xlabel("blocks done, forward and backward")
left.set_ylabel(f"held, in arrays of {unit // 1024} KiB")
left.legend(frameon=False)
smooth = np.geomspace(1, L, 100)
right.loglog(smooth, L / smooth + PER_BLOCK * smooth, color=INK, lw=1, label="$L/k + ck$")
right.loglog(smooth, L / smooth, ":", color=VALIDATION, lw=1, label="inputs kept, $L/k$")
right.loglog(smooth, PER_BLOCK * smooth, ":", color=LOSS, lw=1, label="one segment, $ck$")
right.loglog(KS, peaks, "o", color=TEST, label="highest of a step, measured")
right.set_ylim(1, 8 * PER_BLOCK * L)
right.set_xticks(KS[::2], KS[::2])
right.set_xticks([], minor=True)
right.yaxis.set_major_formatter("{x:g}")
right.set_xlabel("k, blocks per segment")
right.set_ylabel("arrays held")
right.legend(frameon=False, fontsize=9, ncols=2, loc="upper center")
for axes in (left, right):
    tidy(axes)
show(
    figure,
    "11_recomputed",
    f"Recomputation: what a step of {L} blocks holds, and the best length of segments",
    alt="Left: what is held during a step; with all caches it is one tall triangle, with "
    "segments a low slope with teeth. Right: the highest point by length of segment, "
    "logarithmic; the measured dots lie on a curve with its minimum where the two dotted "
    "parts cross.",
)

# %%
print("k       ", *(f"{k:6}" for k in KS))
print("measured", *(f"{peak:6.1f}" for peak in peaks))
print("theory  ", *(f"{value:6.1f}" for value in theory))
off = abs(peaks / theory - 1).max()
claim(f"theory is right to {off:.0%}", off < 0.15)
claim(f"the best k is {middle}, in theory {k_best:.1f}", 0.5 < middle / k_best < 1.6)

# %% [markdown]
# The black triangle is what we began with: up in the forward, down in the backward. The others go
# up by one array per segment, and then pay for one segment after the other, a small triangle each.
# On the right, short segments pay with their inputs and long ones with their caches, and the two
# dotted lines cross at the best $k$. It is a broad valley: twice or half of $k^*$ costs only a
# quarter more, as $\frac12 (2 + \frac12) = \frac54$ says, so nobody need tune it.
#
# ## The library's version
#
# `resnet(..., recompute_every=k)` does this with the blocks of a network; stem and head are as
# they were. `minisd/recompute.py` is your `Careful`, almost line for line. First we see that it
# changes no bit of a training with gates: weights, statistics, momentum.


# %%
def trained(recompute_every):
    """Every array that three steps have moved."""
    model = network(20, width=4, survival=linear_decay(9), recompute_every=recompute_every)
    optimizer, gate_rng = SGD(model, 0.05), np.random.default_rng(2)
    data_rng = np.random.default_rng(3)
    for _ in range(3):
        draw_gates(model, gate_rng)
        x = data_rng.standard_normal((8, 1, 8, 8), dtype=np.float32)
        train_step(model, optimizer, x, data_rng.integers(0, 10, 8))
    arrays = [parameter.data for _, parameter in model.parameters()]
    arrays += [array for _, array in model.buffers()]
    return arrays + [v for _, v in optimizer.buffers()]


reference = trained(None)
claim("not one bit differs", all(same(reference, trained(k)) for k in (1, 2, 4, 9)))

# %% [markdown]
# In a network the blocks are not of one size, so for its memory the formula becomes a short
# program. When a segment has been run again there are the inputs of all segments up to it and the
# caches of its blocks. (Its own input is in both, so we counted it twice. But an output and a
# gradient are on their way, so in all there is one more, not one less.) And the stem's array is
# there.


# %%
def peak(inputs, caches, k):
    """The most that is held at once with segments of k blocks."""
    return inputs[0] + max(
        inputs[: at + 1 : k].sum() + caches[at : at + k].sum() + inputs[at]
        for at in range(0, len(inputs), k)
    )


inputs, caches = by_block((DEPTH - 2) // 2, 16, 8, 64)
every = (1, 5) if QUICK else (1, 2, 3, 6, 18)
ratios = []
for k in every:
    model = network(DEPTH, recompute_every=k)
    found = memory_of_a_step(model, model.blocks, channels=1).max()
    ratios.append(found / peak(inputs, caches, k))
    print(
        f"k = {k:2}: measured {found / 2**20:5.2f} MiB, by hand {found / ratios[-1] / 2**20:5.2f}"
    )
claim(
    f"{DEPTH} layers: measured over counted is {min(ratios):.2f} to {max(ratios):.2f}",
    min(ratios) > 0.9 and max(ratios) < 1.1,
)

# %% [markdown]
# Now 1202 layers at CIFAR's size. There the segments of 25 blocks that the benchmarks measured
# (1.04 GiB, all of the process) are longer than they need to be. With $p_L = \frac12$ a block has
# its caches with probability $p_l$:

# %%
inputs, caches = by_block(600, 16, 32, 128)
on_average = p * caches + (1 - p) * np.append(inputs[1:], inputs[-1]) / 32
bill = {k: peak(inputs, on_average, k) / GIB + parameters for k in (1, 4, 8, 16, 25, 50, 600)}
for k, gib in bill.items():
    print(f"k = {k:3}: {gib:.2f} GiB")
claim("at 25 the count explains most of the measured 1.02", 0.75 < bill[25] / 1.02 < 1.05)
claim("8 would be better, less than 1 GiB", bill[8] == min(bill.values()) and bill[8] < 1)

# %% [markdown]
# (What the count lacks is Python and NumPy themselves, and what a block needs while it computes.)
# So much for memory: by the count, a network of a thousand layers trains in less than a gigabyte.
#
# ## The first steps
#
# The other difficulty is older than this paper. He et al. (2015) found 0.1 "slightly too large to
# start converging" with 110 layers. They trained with 0.01 until the training error fell below 80
# %, and went on with 0.1. (With 0.1 at once it took some epochs to begin, they say, and came out
# similar.) Huang et al. used 0.1 for 110 layers, and for 1202 they gave the first 10 epochs 0.01.
# Such a beginning is called *warm-up*. Why should depth matter here, and what does it cure?
#
# Ask the network. Take one plain step along the gradient, $w - r\, dw$, and look at the loss of the
# same batch, for any rate $r$. To second order
#
# $$J(w - r\, dw) \;\approx\; J(w) - r\, |dw|^2 + \tfrac{1}{2} r^2\, \lambda\, |dw|^2,$$
#
# where $J$ is the loss and $\lambda$ its curvature along the gradient. The step helps if
# $r < 2/\lambda$, the stable rate of [tutorial 2](02_linear_softmax.py), and we can read this
# limit off without any second derivative: it is where the loss after the step is what it was
# before.


# %%
split = load("digits").train
normalise = Normaliser.fit(split.images)
RATES = np.geomspace(0.003, 3, 7 if QUICK else 25)


def batch(rng, size=32):
    chosen = rng.choice(len(split), size, replace=False)
    return normalise(split.images[chosen]), split.labels[chosen]


def loss_ratio(model, x, labels):
    """Loss after one plain step over loss before, for each of RATES."""
    model = deepcopy(model)
    model.zero_grad()
    before, dlogits = ops.softmax_cross_entropy(model.forward(x), labels)
    model.backward(dlogits)
    start = [(parameter, parameter.data) for _, parameter in model.parameters()]
    ratios = []
    for rate in RATES:
        for parameter, w in start:
            parameter.data = w - np.float32(rate) * parameter.grad
        ratios.append(ops.softmax_cross_entropy(model.forward(x), labels)[0] / before)
    return np.array(ratios)


def limit_of(ratio):
    """The smallest of RATES that raises the loss (the last of them, if none does)."""
    raised = ratio >= 1
    return RATES[raised.argmax()] if raised.any() else RATES[-1]


depths = (8, 56) if QUICK else (20, 110, 1202)
ratios = {
    depth: loss_ratio(network(depth, width=4), *batch(np.random.default_rng(2))) for depth in depths
}
limits = {depth: limit_of(ratio) for depth, ratio in ratios.items()}
print("limit by depth:", {depth: f"{rate:.2f}" for depth, rate in limits.items()})
claim(
    f"limit of {depths[0]} layers: over 3 times that of {depths[1]}; the deepest's is the lowest",
    limits[depths[0]] > 3 * limits[depths[1]] and limits[depths[-1]] == min(limits.values()),
    in_full=True,
)

# %% [markdown]
# One reason: a step moves all branches at once, each in the direction that lowers the loss, and
# their changes add up. So the same rate moves the output of a deeper network further.
#
# With momentum the limit of a plain step is no exact criterion. A velocity of gradients that agree
# is ten of them, so a rate of 0.1 may go as far as a plain step of 1; with Nesterov's rule even
# $2/\lambda$ itself is too much. But it says how steep the loss is where the network stands. Now
# three ways to begin with 110 layers and constant depth: 0.1 at once; 0.01 and then 0.1, as He et
# al. did; and a ramp that rises to 0.1 in equal steps (Goyal et al. 2017).

# %%
DEPTH, WARM, STEPS = (20, 6, 12) if QUICK else (110, 60, 120)
SCHEDULES = {
    "0.1": lambda step: 0.1,
    "0.01, then 0.1": lambda step: 0.01 if step < WARM else 0.1,
    "ramp to 0.1": lambda step: 0.1 * min(1, (step + 1) / WARM),
}


def typical_limit(model):
    """The median of three batches'."""
    rng = np.random.default_rng(9)
    return float(np.median([limit_of(loss_ratio(model, *batch(rng))) for _ in range(3)]))


limit = {"start": typical_limit(network(DEPTH, width=4))}
losses = {}
for name, rate in SCHEDULES.items():
    model, data_rng = network(DEPTH, width=4), np.random.default_rng(21)
    optimizer = SGD(model, rate(0))
    losses[name] = []
    for step in range(STEPS):
        optimizer.lr = rate(step)
        losses[name].append(train_step(model, optimizer, *batch(data_rng)))
        if step == WARM - 1:
            limit[name] = typical_limit(model)
losses = {name: np.array(found) for name, found in losses.items()}

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 3.8)
left, right = figure.subplots(1, 2)
for (depth, ratio), colour in zip(ratios.items(), (LOSS, VALIDATION, TEST), strict=False):
    left.semilogx(RATES, ratio, ".-", color=colour, lw=1.2, ms=4, label=f"{depth} layers")
left.axhline(1, color=INK, lw=0.8, ls=":")
left.set_ylim(0, 2)
left.set_xlabel("rate of one plain step from the start")
left.set_ylabel("loss after / loss before")
left.legend(frameon=False, loc="lower left")
window = 1 if QUICK else 7
for (name, found), colour in zip(losses.items(), (TEST, VALIDATION, LOSS), strict=True):
    right.semilogy(np.arange(1, STEPS + 1), found, color=colour, lw=0.8, alpha=0.35)
    mean = np.convolve(found, np.ones(window) / window, "valid")
    at = np.arange(len(mean)) + 1 + window // 2
    right.semilogy(at, mean, color=colour, lw=1.6, label=name)
right.axvline(WARM, color=INK, lw=0.8, ls=":")
right.yaxis.set_major_formatter("{x:g}")
right.set_xlabel("step")
right.set_ylabel(f"loss, {DEPTH} layers (bold: mean of {window})")
right.legend(frameon=False, loc="lower left")
for axes in (left, right):
    tidy(axes)
show(
    figure,
    "11_first_steps",
    "Which rate the first steps bear, and three ways to begin",
    alt="Left: loss after one step over loss before, by rate; the deeper the network, the "
    "smaller the rate at which the line crosses 1. Right: loss by step for three "
    "beginnings; 0.1 at once is thrown up, so is the jump to 0.1, and the ramp ends lowest.",
)

# %%
direct, jump, ramp = losses.values()
for name, found in losses.items():
    print(
        f"{name:15} first {found[0]:.1f}, highest before the line {found[:WARM].max():.1f}, after "
        f"it {found[WARM:].max():.1f}, mean of the last sixth {found[-STEPS // 6 :].mean():.2f}"
    )
claim("0.1 at once throws the loss up", direct[:WARM].max() > 1.5 * direct[0], in_full=True)
claim(
    "0.01 does not, and learns",
    jump[:WARM].max() < 1.2 * jump[0] and jump[WARM - WARM // 6 : WARM].mean() < 0.5 * jump[0],
    in_full=True,
)
claim("but the jump to 0.1 throws it up then", jump[WARM:].max() > 1.5 * jump[0], in_full=True)
end = slice(-STEPS // 6, None)
claim("in the end the ramp is far ahead", ramp[end].mean() < 0.7 * jump[end].mean(), in_full=True)

# %% [markdown]
# This is not what one expects to see. The gentle steps have brought the loss down by themselves,
# and yet they have not prepared the network for the rate that follows. What has the ramp changed
# far more? Look at the limit of a plain step again, at the start and after the warm-up.

# %%
print("limit:", {name: f"{rate:.2f}" for name, rate in limit.items()})
claim(
    "0.1 at once: flat, with a high loss",
    limit["0.1"] > 0.4 and direct[WARM - WARM // 6 : WARM].mean() > 1,
    in_full=True,
)
start, after_jump, after_ramp = (limit[key] for key in ("start", *list(SCHEDULES)[1:]))
claim(
    f"0.01 has moved it from {start:.2f} to {after_jump:.2f}, the ramp to {after_ramp:.2f}",
    after_jump < 4 * start and after_ramp > 2 * after_jump,
    in_full=True,
)

# %% [markdown]
# The loss is flatter where the ramp has led. (It is flat, too, where 0.1 at once has thrown the
# network, but the loss is high there.) That fits what Gilmer et al. (2021) found in many
# networks: a rate a little too large for the moment shakes a network until it stands where the
# loss is flat enough, for elsewhere it cannot stay. A ramp shakes it again and again, a little
# each time. Ten times the rate at once is no shaking but a throw. By this account warm-up helps,
# not because the first steps are small, but because the rate never gets far above what the
# curvature allows.
#
# What this does *not* say: that the paper's warm-up is of no use. Theirs lasts 10 epochs of 352
# steps, at four times our width, on other images, and their network trained with it.
# Ours is an experiment of 120 steps with one seed. Change the seed, `WARM`, the width, or draw
# gates, and see what stays.
#
# ## 1202 layers
#
# Everything together: 600 blocks, stochastic depth, recomputation. The network is narrow and the
# images are small, so that a laptop does a step in about a second. First what one step costs, plain
# and recomputed, with the best $k$ of the count. Here we ask `tracemalloc` for the true peak, which
# includes what a block needs inside.

# %%
DEPTH, STEPS = (56, 4) if QUICK else (1202, 12)
L = (DEPTH - 2) // 2
probs = linear_decay(L)
inputs, caches = by_block(L, 4, 8, 32)
on_average = np.array(probs) * caches
K_BEST = min(range(1, L), key=lambda k: peak(inputs, on_average, k))


def begin(rate, recompute_every):
    """A network and a function that trains it for one step: open blocks, loss, seconds of CPU."""
    model = network(DEPTH, width=4, survival=probs, recompute_every=recompute_every)
    optimizer = SGD(model, rate)
    data_rng, gate_rng = np.random.default_rng(31), np.random.default_rng(32)

    def step():
        num_open = sum(draw_gates(model, gate_rng))
        start = time.process_time()
        loss = train_step(model, optimizer, *batch(data_rng))
        return num_open, loss, time.process_time() - start

    return model, step


growth, first_losses = {}, {}
for every in (None, K_BEST):
    model, step = begin(0.001, every)
    with tracing():
        first_losses[every] = [step()[1]]
        model.zero_grad()  # frees the gradients: `before` is without them in both runs
        before = held()
        tracemalloc.reset_peak()
        first_losses[every].append(step()[1])
        growth[every] = (tracemalloc.get_traced_memory()[1] - before) / 2**20
seconds = {}
for every in (None, K_BEST):
    _, step = begin(0.001, every)
    seconds[every] = min(step()[2] for _ in range(3))
print(f"{model.num_parameters:,} parameters, segments of {K_BEST} blocks")
claim("the losses are the same to the last bit", first_losses[None] == first_losses[K_BEST])
claim(
    f"a step needs {growth[None]:.1f} MiB, recomputed {growth[K_BEST]:.1f} MiB",
    growth[K_BEST] < (0.7 if QUICK else 0.5) * growth[None],
)
slower = seconds[K_BEST] / seconds[None]
claim(f"and {slower:.2f} times the time", 1.05 < slower < 2, in_full=True)

# %% [markdown]
# (If it is more than $\frac43$: the arrays are tiny, so much of a step is Python, of which a
# forward needs nearly as much as a backward.)
#
# And now steps, recomputed. 0.01 is the rate with which the paper's 1202 layers began. In the
# figure the limit of this depth was the lowest, so we try a tenth of that, too: the same weights,
# images and gates.


# %%
def spread(model):
    """Standard deviation of the logits of a batch, with gates that are always the same."""
    rng = np.random.default_rng(33)
    draw_gates(model, rng)
    return float(model.forward(batch(rng)[0]).std())


runs = {}
before = spread(begin(0, K_BEST)[0])
for rate in (0.01, 0.001):
    model, step = begin(rate, K_BEST)
    runs[rate] = [step() for _ in range(STEPS)]
print("step  open blocks  loss with 0.01  with 0.001")
for number, (fast, slow) in enumerate(zip(*runs.values(), strict=True), start=1):
    print(f"{number:4}  {fast[0]:11}  {fast[1]:14.2f}  {slow[1]:10.2f}")
fast, slow = (np.array([loss for _, loss, _ in found]) for found in runs.values())
mean_open = np.mean([num_open for num_open, _, _ in runs[0.01]])
print(f"guessing has the loss {np.log(10):.2f}")
claim(
    f"{mean_open:.0f} blocks open on average, expected {expected_depth(probs):.0f}",
    abs(mean_open - expected_depth(probs)) < 15,
)
claim("0.01 throws the loss up", fast.max() > 1.2 * fast[0], in_full=True)
claim("0.001 brings it down", slow[-4:].mean() < 0.75 * slow[0], in_full=True)
after = spread(model)
claim(f"spread of its logits: {before:.1f}, then {after:.1f}", after < 0.7 * before, in_full=True)

# %% [markdown]
# It runs, on a laptop, and with the smaller rate it begins to train. It has not learned to read.
# The loss began far above that of guessing, as 600 branches add up to large logits, and what those
# few steps have done is above all to make them smaller. For more, give it an hour, and a ramp.
# With patience, `minisd train --preset cifar10-1202` is the paper's network.
#
# ## Exercises
#
# Solutions are in `solutions/11_a_thousand_layers.py`. In a shell, `--exercise 1` runs the first
# one alone.
#
# **1.** How many bytes does an open *bottleneck* block keep, with the identity for its shortcut?
# Its branch (`bottleneck_branch` in `minisd/residual.py`) is three convolutions, here in a
# `ConvChain`; the first two of them have $C/4$ channels. Write `bottleneck_bytes(N, C, H, W)`, for
# float32. Which of the two kinds of block keeps less per layer?


# %%
def bottleneck_bytes(N, C, H, W):
    raise NotImplementedError


def check(bottleneck_bytes):
    for batch_size, channels in ((256, 64), (128, 128)):
        branch = bottleneck_branch(channels, channels, rng=np.random.default_rng(111))
        block = fuse(ResidualBlock(branch, IdentityShortcut()))
        yours = bottleneck_bytes.returning(bytes=float)(batch_size, channels, 8, 8)
        found = kept(block, batch=batch_size, channels=channels)
        # what is measured has a few small arrays more
        assert 0.992 * found < yours < found, f"measured {found}, you say {yours:.0f}"


exercise(1, bottleneck_bytes, check)

# %% [markdown]
# **2.** In the figure the peaks of the red curve fall from segment to segment: the last segment is
# run again while all inputs are still there, the first one when all others are gone. So segments of
# equal length waste memory. Write `lengths(L, c)`, which returns the lengths of the segments, first
# to last, with the smallest peak
#
# $$\max_s \, (s + c\, n_s), \qquad s = 1, 2, \dots, \qquad \sum_s n_s = L .$$
#
# How does it grow with $L$? Compare with $2 \sqrt{cL}$.


# %%
def lengths(L, c):
    raise NotImplementedError


def check(lengths):
    smallest = {(5, 1.0): 4, (48, 3.0): 19, (600, PER_BLOCK): 62.3125, (1000, 1.0): 46}
    for (L, c), possible in smallest.items():
        found = list(lengths.returning(lengths=list)(L, c))
        assert sum(found) == L, f"{sum(found)} blocks instead of {L}"
        assert min(found) >= 1, "a segment has at least one block"
        highest = max(s + c * n for s, n in enumerate(found, start=1))
        assert highest < possible + 1e-6, f"L = {L}: {highest:.1f}, but {possible:.1f} is possible"


exercise(2, lengths, check)

# %% [markdown]
# **3.** Memory like $\sqrt L$ is not the end. A segment is itself a chain, and can be recomputed
# in the same way. Write `two_levels(layers, outer, inner)`, which returns a layer that keeps the
# inputs of segments of `outer` blocks, and while it runs one of them again, only the inputs of
# segments of `inner` blocks within it. How often does each block run forward? Show that with the
# best choice memory grows like $L^{1/3}$.


# %%
def two_levels(layers, outer, inner):
    raise NotImplementedError


def check(two_levels):
    yours = two_levels.returning(layer=Layer)
    expected = everything(Sequential(*chain(8)))
    found = everything(yours(chain(8), 4, 2))
    assert same(expected, found), (
        "outputs, gradients and statistics are not those of the plain chain"
    )
    layers = chain(8)
    runs = forwards(yours(layers, 4, 2), layers)
    assert max(runs) <= 3, f"no block needs more than 3 forwards; yours run {runs}"
    L = 18
    layers = chain(L)
    one = L / 3 + PER_BLOCK * 3
    two = memory_of_a_step(yours(layers, 6, 2), layers, channels=8).max() / unit
    assert two < 0.85 * one, f"{L} blocks: {two:.1f} arrays; one level needs {one:.1f}"
    all_at_once = memory_of_a_step(yours(layers, L, L), layers, channels=8).max() / unit
    assert all_at_once > 0.8 * PER_BLOCK * L, (
        f"one segment of {L} blocks keeps {all_at_once:.1f} arrays: are outer and inner used?"
    )


exercise(3, two_levels, check)

# %% [markdown]
# ## What to read next
#
# [Tutorial 12](12_several_processes.py) shares a batch out among several processes. In the library:
# `minisd/recompute.py`, `minisd/machine/memory.py`, and `tests/layers/test_recompute.py`, which
# asks for equal bits in more situations than we did. What longer runs show is in
# `tutorials/results`, and `minisd experiment` makes them. T. Chen, B. Xu, C. Zhang and C. Guestrin,
# *Training deep nets with sublinear memory cost*, 2016
# ([arXiv:1604.06174](https://arxiv.org/abs/1604.06174)); the optimum over all such schedules is
# older: A. Griewank and A. Walther, *Algorithm 799: revolve*, 2000. On the first steps: P. Goyal
# and others, *Accurate, large minibatch SGD*, 2017
# ([arXiv:1706.02677](https://arxiv.org/abs/1706.02677)); J. Gilmer and others, *A loss curvature
# perspective on training instability in deep learning*, 2021
# ([arXiv:2110.04369](https://arxiv.org/abs/2110.04369)).
