# %% [markdown]
# # 12. Several processes: one batch in parts
#
# Large networks are trained on many machines at once, and each of them sees a part of every
# mini-batch. Done right, this computes what one machine computes. Done wrong, it raises no error:
# the network trains, only to something else.
#
# **You will learn** which sums the parts of a batch have to share, to derive each of them by hand,
# to recognise a forgotten one, and why a dropped block sends nothing.
#
# **You need** the backward of batch norm from [tutorial 4](04_batchnorm.py), and the gates of
# [tutorial 6](06_stochastic_depth.py).
#
# **Time**: 45 minutes.
#
# *Data-parallel* training works like this. $R$ processes, called *ranks*, have the same network.
# Each takes a part of the mini-batch forward and backward. Then all put together what they found,
# and each takes the same step, so that they have the same network again. The whole question is
# what must be put together, and how. It has one measure: **$R$ ranks compute what one computes.**

# %%
import inspect

import numpy as np

from minisd import SGD, Conv2d, draw_gates, linear_decay, ops, resnet, set_gates
from minisd.data import Normaliser, load
from minisd.data_parallel import traffic
from minisd.distributed import ALONE, Group, RankLost, ShardedGroup, run_ranks
from minisd.figures import INK, LOSS, TEST, VALIDATION, new_figure, tidy
from minisd.gradcheck import check_op
from minisd.ops.batchnorm import pooled_moments
from minisd.train import train_step
from minisd.tutorial import claim, exercise, is_quick, read_options, show
from minisd.tutorial.answers import WrongAnswer

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
rng = np.random.default_rng(12)
digits = load("digits")
images = Normaliser.fit(digits.train.images)(digits.train.images)
labels = digits.train.labels

# %% [markdown]
# Here the ranks are threads of one process. That makes nothing faster, but the mathematics is the
# same, and you need no other machine. `run_ranks(R, work)` calls `work(group)` on each of them.
# `group.part(N)` says which of $N$ images are this rank's, and `group.gather(mine)` returns what
# all ranks gave, in their order: the same list to everybody.


# %%
def introduce(group):
    mine = group.part(10)
    theirs = group.gather((mine.stop - mine.start,))
    return f"rank {group.rank} of {group.size} has images {mine.start} to {mine.stop - 1}", theirs


told = run_ranks(3, introduce)
for words, _ in told:
    print(words)
claim("3 does not divide 10, so parts are uneven", told[0][1] == [(3,), (3,), (4,)])
claim("every rank knows the same", all(theirs == told[0][1] for _, theirs in told))

# %% [markdown]
# ## The variance of the whole
#
# Batch norm is the first to notice that its batch lies in parts: it wants the mean and the variance
# of *all* images. Take five numbers, 1 and 3 on one rank, 5, 7 and 9 on another. Do it on paper
# first:
#
# | | count | mean | variance |
# | --- | --- | --- | --- |
# | 1, 3 | 2 | 2 | 1 |
# | 5, 7, 9 | 3 | 7 | 8/3 |
# | all five | 5 | 5 | 8 |
#
# The mean of the whole is the mean of the parts' means, weighted by their counts:
# $(2 \cdot 2 + 3 \cdot 7) / 5 = 5$. With the variances that gives $(2 \cdot 1 + 3 \cdot
# \frac83) / 5 = 2$. But the variance is 8. Where are the other 6? Measure a part's deviations from
# the mean $\mu$ of the whole, and put its own mean $\mu_r$ in between:
#
# $$\sum_{i \in r} (x_i - \mu)^2
#   = \sum_{i \in r} \bigl((x_i - \mu_r) + (\mu_r - \mu)\bigr)^2
#   = M_r v_r + M_r (\mu_r - \mu)^2 .$$
#
# The mixed term is $2 (\mu_r - \mu) \sum_{i \in r} (x_i - \mu_r)$, and deviations from a part's own
# mean add up to zero. Sum over all parts and divide by $M = \sum_r M_r$ (Chan, Golub and LeVeque
# 1979):
#
# $$v = \underbrace{\frac1M \sum_r M_r v_r}_{\text{within parts}}
#     + \underbrace{\frac1M \sum_r M_r (\mu_r - \mu)^2}_{\text{between parts}} .$$
#
# The mean of the parts' variances has only the first half. The second is what the parts differ by:
# here $(2 \cdot 3^2 + 3 \cdot 2^2) / 5 = 6$. So a rank sends three things for each batch norm: its
# count, its means and its variances.

# %%
first, second = np.array([1.0, 3.0]), np.array([5.0, 7.0, 9.0])
parts = [(len(part), part.mean(), part.var()) for part in (first, second)]
M, mean, var = pooled_moments(parts)
within = sum(count * v for count, _, v in parts) / M
between = sum(count * (m - mean) ** 2 for count, m, _ in parts) / M
whole = np.concatenate([first, second])
claim("mean 5 and variance 8", (whole.mean(), whole.var()) == (5, 8))
claim("within parts 2, between parts 6", np.allclose([within, between], [2, 6]))
claim("the library's formula gives 5 and 8, too", np.allclose([mean, var], [5, 8]))

# %% [markdown]
# How much is lost in earnest? It depends on how alike the parts are. Here are 32 digits as the
# first convolution of a network sees them, with 8x8 pixels, and as a third one does, with 2x2. The
# fewer numbers a part has, and the more the pixels of an image have in common, the more its own
# mean is off.

# %%
draw = np.random.default_rng(0)
layers = [Conv2d(1, 8, 3, padding=1, rng=draw, dtype=np.float64)]
layers += [Conv2d(8, 8, 3, stride=2, padding=1, rng=draw, dtype=np.float64) for _ in range(2)]
early = layers[0].forward(images[:32].astype(np.float64))
late = early
for layer in layers[1:]:
    late = layer.forward(np.maximum(late, 0))


def moments_of_parts(z, ranks):
    """Count, mean and variance of each rank's images, by channel."""
    return [(part.size // 8, *ops.channel_moments(part)) for part in np.split(z, ranks)]


print("ranks   images each   share of the variance lost, at 8x8 and at 2x2 pixels")
lost, pooled_right = {}, []
for ranks in (2, 4, 8, 16, 32):
    lost[ranks] = []
    for z in (early, late):
        _, all_var = ops.channel_moments(z)
        parts = moments_of_parts(z, ranks)
        pooled_right.append(np.allclose(pooled_moments(parts)[2], all_var, rtol=1e-12))
        lost[ranks].append(1 - np.mean(np.mean([v for _, _, v in parts], axis=0) / all_var))
    print(f"{ranks:5} {32 // ranks:13} {lost[ranks][0]:15.1%} {lost[ranks][1]:8.1%}")
claim("the mean of the variances is always too small", min(map(min, lost.values())) > 0)
claim(f"at 2x2 pixels with one image a rank by {lost[32][1]:.0%}", lost[32][1] > 0.15)
claim("Chan's formula loses nothing, for any number of ranks", all(pooled_right))

# %% [markdown]
# There seems to be a simpler way. Sums add up: every rank sends $\sum x$ and $\sum x^2$, and
# $v = E[x^2] - E[x]^2$. On paper it is the same number. But you have seen in tutorial 4 what it
# does in float32 to a channel whose mean is large. Cutting the batch does not help it:

# %%
print("worst relative error of 32 channels on 4 ranks")
print("mean / std   from sums of x and x^2   Chan's formula")
for ratio in (1, 100, 10000):
    x = (ratio + rng.standard_normal((16, 32, 8, 8))).astype(np.float32)
    exact = x.astype(np.float64).var(axis=(0, 2, 3))
    parts = [(part.size // 32, *ops.channel_moments(part)) for part in np.split(x, 4)]
    sums = [(part.mean(axis=(0, 2, 3)), (part**2).mean(axis=(0, 2, 3))) for part in np.split(x, 4)]
    one_pass = sum(square for _, square in sums) / 4 - (sum(m for m, _ in sums) / 4) ** 2
    worst = [np.max(abs(v - exact) / exact) for v in (one_pass, pooled_moments(parts)[2])]
    print(f"{ratio:10} {worst[0]:24.0e} {worst[1]:16.0e}")
claim("in the last row the sums have lost the variance", worst[0] > 0.5)
claim("Chan's formula has not", worst[1] < 1e-3)

# %% [markdown]
# Deviations are small from the start, and what the parts differ by, $\mu_r - \mu$, is a difference
# of two means that are each known well.
#
# Many libraries leave this sum out by default, and let each rank normalise its own images by their
# own moments. Such a network trains, but it computes something else: what comes out for an image
# then depends on the number of ranks.
#
# ## The backward: two sums
#
# Tutorial 4 ended with
#
# $$dx = \frac{\gamma}{\sigma} \Bigl( dy - \frac{d\beta}{M} - \hat x\, \frac{d\gamma}{M} \Bigr),
#   \qquad d\beta = \sum_i dy_i, \qquad d\gamma = \sum_i dy_i\, \hat x_i .$$
#
# Go through it as a rank that has a part of the $dy_i$ and $\hat x_i$. It has $\gamma$, and since
# the forward also $\sigma$ and $M$ of the whole. Its $dy$ and $\hat x$ are its own images'. What it
# lacks is in the other two terms. They came from the paths through mean and variance: an image on
# this rank moved the mean by which *all* images were normalised, on all ranks, so it must hear from
# all of them. It hears two sums, and they are $d\beta$ and $d\gamma$. They are the gradients of
# two parameters as well: when the backward is done these are complete, and must not be added up
# once more. In the library both directions ask for their sums in a line each:

# %%
for function in (ops.batchnorm2d_forward, ops.batchnorm2d_backward):
    for line in inspect.getsource(function).splitlines():
        if "group.gather((" in line:
            print(f"{function.__name__}: {line.strip()}")

# %% [markdown]
# Is it the gradient? As always we ask finite differences. Seven images on three ranks go forward
# and backward; what the ranks return is joined and compared with slopes of the whole. Next to it a
# member of a group that forgets one kind of sum: it sends its part, as the others wait for it, and
# then takes its own for the whole.


# %%
class Forgets(Group):
    """A rank that takes its own part for the sum: ``what`` is forward, backward or gradients."""

    def __init__(self, group, what):
        super().__init__()
        self.rank, self.size, self.group, self.what = group.rank, group.size, group, what

    def gather(self, mine):
        of_all = self.group.gather(mine)
        arrays = isinstance(mine[-1], np.ndarray)  # not so the loss and its checks
        forward = len(mine) == 3 and arrays  # count, mean, variance
        backward = len(mine) == 2 and arrays  # dgamma, dbeta
        forgotten = forward if self.what == "forward" else backward and self.what == "backward"
        return [mine] if forgotten else of_all

    def add(self, array):
        total = self.group.add(array)
        return array if self.what == "gradients" else total


def in_parts(ranks, forgets=""):
    """Forward and backward of batch norm on several ranks, as functions of the whole batch."""

    def forward(x, gamma, beta):
        def work(group):
            moving = np.zeros(x.shape[1]), np.ones(x.shape[1])
            return ops.batchnorm2d_forward(
                x[group.part(len(x))],
                gamma,
                beta,
                *moving,
                training=True,
                group=Forgets(group, forgets),
            )

        parts, caches = zip(*run_ranks(ranks, work), strict=True)
        return np.concatenate(parts), caches

    def backward(dy, caches):
        def work(group):
            return ops.batchnorm2d_backward(dy[group.part(len(dy))], caches[group.rank])

        dx, dgamma, dbeta = zip(*run_ranks(ranks, work), strict=True)
        return np.concatenate(dx), dgamma[0], dbeta[0]

    return forward, backward


inputs = {
    "x": 5 + 2 * rng.standard_normal((7, 2, 3, 2)),
    "gamma": rng.uniform(0.5, 2, 2),
    "beta": rng.standard_normal(2),
}
report = check_op("batch norm in three parts", *in_parts(3), inputs, rng=rng)
claim(
    f"seven images on three ranks: right by finite differences ({report.worst.error:.0e})",
    report.passed,
)
for what in ("forward", "backward"):
    report = check_op(what, *in_parts(3, forgets=what), inputs, rng=rng)
    claim(f"the sum of the {what} is forgotten: noticed", not report.passed)

# %% [markdown]
# ## Gradients add up
#
# All other gradients are easier. The loss of a mini-batch is the mean over its images,
# $L = \frac1N \sum_i \ell_i$. The gradient of a weight of a convolution or a linear layer is a sum
# over images, each with its own $dy$, and batch norm has just seen to it that each $dy$ is right.
# So
#
# $$dw = \sum_r \Bigl( \frac1N \sum_{i \in r} d\ell_i \Bigr) :$$
#
# **if every rank divides its loss by the images of the whole batch, gradients add up**, whatever
# the parts' sizes. It is tempting to let each rank take the mean over its own $N_r$ images, as it
# would alone, and to average over the ranks. But that is
# $\frac1R \sum_r \frac{1}{N_r} \sum_{i \in r} d\ell_i$. An image weighs $1 / (R N_r)$ in it, and
# not $1/N$: of ten images on three ranks each of the first six weighs 1/9, and each of the last
# four 1/12. For parts of equal size both are the same, so nobody notices until the last mini-batch
# of an epoch, which is a shorter one.


# %%
def linear_gradient(w, x, labels, of):
    """The gradient of a linear classifier for these images of a batch of ``of``."""
    logits, cache = ops.linear_forward(x, w)
    _, dlogits = ops.softmax_cross_entropy(logits, labels, of=of)
    return ops.linear_backward(dlogits, cache)[1]


w = 0.1 * rng.standard_normal((10, 64))
flat = images.reshape(len(images), -1).astype(np.float64)
off = {}
print("images   gradients added up   averages averaged   (relative error, 3 ranks)")
for N in (9, 10):
    exact = linear_gradient(w, flat[:N], labels[:N], N)
    pieces = run_ranks(3, lambda group, N=N: (flat[:N][group.part(N)], labels[:N][group.part(N)]))
    added = sum(linear_gradient(w, x, y, N) for x, y in pieces)
    averaged = sum(linear_gradient(w, x, y, len(x)) for x, y in pieces) / 3
    off[N] = [np.linalg.norm(found - exact) / np.linalg.norm(exact) for found in (added, averaged)]
    print(f"{N:6} {off[N][0]:20.0e} {off[N][1]:19.0e}")
claim("added up they are right for even and for uneven parts", max(off[9][0], off[10][0]) < 1e-14)
claim("the average of averages is right for even parts", off[9][1] < 1e-14)
claim("and wrong for uneven ones", off[10][1] > 0.01)
weights = [1 / (3 * len(x)) for x, _ in pieces for _ in x]
claim("there images weigh 1/9 or 1/12", np.allclose(weights, [1 / 9] * 6 + [1 / 12] * 4))

# %% [markdown]
# ## The whole step
#
# These are all: forward and backward sums in each batch norm, and once a step the gradients of all
# other parameters, as one array. (Ranks also add up the loss, to say what it is.) Nothing else has
# to be sent. The order of the images and the gates are random, but every rank draws them from
# generators in the same state, and so they agree on them without a word.
#
# `train_step` does it, if it is given the group and `of`, the images of the whole batch. The
# measure was that $R$ ranks compute what one computes. So train a 20-layer network with gates on
# 1, 2 and 3 ranks in float64, and compare every weight and every running statistic.

# %%
L, N = 9, 32
STEPS = 8 if QUICK else 40


def training(group, steps=STEPS, dtype=np.float64):
    """Train as a rank of a group; return all numbers of the network after each step, and losses."""
    model = resnet(
        20, in_channels=1, width=4, survival=linear_decay(L), rng=np.random.default_rng(1),
        dtype=dtype,
    )  # fmt: skip
    optimizer = SGD(model, 0.05)
    order, gates = np.random.default_rng(2), np.random.default_rng(3)  # the same on every rank
    states, losses = [], []
    for _ in range(steps):
        batch = order.choice(len(images), N, replace=False)
        draw_gates(model, gates)
        mine = batch[group.part(N)]
        losses.append(
            train_step(
                model, optimizer, images[mine].astype(dtype), labels[mine], group=group, of=N
            )
        )
        numbers = [parameter.data for _, parameter in model.parameters()]
        numbers += [statistics for _, statistics in model.buffers()]
        states.append(np.concatenate([array.ravel() for array in numbers]))
    return np.array(states), np.array(losses)


def apart(run, other):
    """The largest difference of any number, after each step."""
    return abs(run[0] - other[0]).max(axis=1)


alone = training(ALONE)
several = {ranks: run_ranks(ranks, training) for ranks in (2, 3)}
for ranks, runs in several.items():
    largest = max(apart(run, alone).max() for run in runs)
    claim(f"{ranks} ranks: {STEPS} steps end within {largest:.0e} of one rank's", largest < 1e-12)
    claim("and all ranks have the same bits", all(apart(run, runs[0]).max() == 0 for run in runs))
claim(
    f"the loss falls, from {alone[1][0]:.1f} to {alone[1][-5:].mean():.1f}",
    alone[1][-5:].mean() < 0.7 * alone[1][0],
    in_full=True,
)

# %% [markdown]
# $32 = 10 + 11 + 11$, so uneven parts are among them. Now forget one of the three sums.

# %%
parts = run_ranks(3, lambda group: len(images[:N][group.part(N)]))
claim("three ranks have 10, 11 and 11 images", parts == [10, 11, 11])
forgetful = {
    what: run_ranks(2, lambda group, what=what: training(Forgets(group, what)))
    for what in ("forward", "backward", "gradients")
}
single = training(ALONE, dtype=np.float32)
double = run_ranks(2, lambda group: training(group, dtype=np.float32))

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 4)
left, right = figure.subplots(1, 2, sharey=True)
steps = np.arange(1, STEPS + 1)
LINES = {"forward": (LOSS, "-"), "backward": (VALIDATION, "--"), "gradients": (TEST, "-.")}
for what, (colour, style) in LINES.items():
    one, other = forgetful[what]
    left.semilogy(steps, apart(one, alone), style, color=colour, label=f"forgets {what}")
    right.semilogy(steps, apart(one, other), style, color=colour, label=f"forgets {what}")
left.semilogy(steps, apart(double[0], single), ":", color=INK, label="right, float32")
left.semilogy(steps, apart(several[2][0], alone), "-", color=INK, label="right, float64")
left.set_title("from what one rank computes", fontsize=9)
right.set_title("from each other (right: no difference)", fontsize=9)
left.set_ylabel("largest difference of a number")
for axes in (left, right):
    axes.set_xlabel("step")
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.14))
    tidy(axes)
show(
    figure,
    "12_forgotten",
    "Two ranks that forget a sum: how far all numbers of the network are apart",
    alt="Largest difference by step, logarithmic. Left, from one rank: three curves that forget a "
    "sum rise from between 0.01 and 0.1 to more than 1; float32 without a mistake begins below "
    "1e-6 and ends at 1e-5, float64 stays below 1e-14. Right, the two ranks from each other: the "
    "same three curves rise from between 0.01 and 0.2 to between 0.1 and 1.",
)

# %%
for what, (one, other) in forgetful.items():
    claim(f"{what}: not what one computes", apart(one, alone).min() > 1e-3)
    claim(f"{what}: the ranks drift apart", apart(one, other)[-1] > 1e-2)
    claim("and both report the same loss", np.array_equal(one[1], other[1]))
    end, began = one[1][-5:].mean(), one[1][0]
    claim(f"which falls, from {began:.1f} to {end:.1f}", end < 0.9 * began, in_full=True)
closest = min(apart(one, alone).min() for one, _ in forgetful.values())
farthest = max(apart(run, alone).max() for runs in several.values() for run in runs)
claim("right and wrong are more than ten orders of magnitude apart", closest > 1e10 * farthest)

# %% [markdown]
# No error is raised, and the loss falls, if less than it could. Nor does the loss say that the
# ranks no longer have the same network: it is a sum over all of them, and so the same for all. So
# look at what should be equal: **compare the numbers of the ranks**, or better, compare with one
# rank, in float64. There, right and wrong are more than ten orders of magnitude apart.
#
# ## The last bits
#
# In the left panel even the right program differs from one rank: it begins at about $10^{-16}$ in
# float64 and $10^{-7}$ in float32. Floating point numbers are rounded after each addition, so the
# order of additions matters:

# %%
big, one = np.float32(1e8), np.float32(1)
print(f"(1e8 - 1e8) + 1 = {(big - big) + one}     1e8 + (-1e8 + 1) = {big + (-big + one)}")
claim("two orders, two sums", (big - big) + one == 1 and big + (-big + one) == 0)
found = apart(several[2][0], alone)
claim(f"float64: {found[0]:.0e} apart after the first step", found[0] < 1e-14)
found = apart(double[0], single)
claim(f"float32: {found[0]:.0e}", 0 < found[0] < 3e-6)
claim(f"and {found[-1]:.0e} after {STEPS}", found[-1] > 3 * found[0], in_full=True)

# %% [markdown]
# Two ranks add up each half and then the halves; one rank adds from one end to the other. Neither
# is more right. But every step goes on from the last one's rounding, and the dotted curve rises. A
# long training on two ranks ends with other weights than on one, as it would from another seed.
#
# If you need the same bits, fix the order. `ShardedGroup` cuts every batch into a fixed number of
# *shards*, a power of two, whatever the number of ranks, which carry some shards each. Sums are
# taken over pairs of shards, then pairs of pairs, $((a + b) + (c + d))$: one rank adds up all
# four, two ranks a pair each, and every addition has the same two operands. The price is that each
# operation sees a small part, even on one rank.

# %%
few = 2 if QUICK else 5


def ends(group_of):
    """The different final states, as bytes, of 1, 2 and 4 ranks in float32."""

    def work(group):
        return training(group_of(group), steps=few, dtype=np.float32)[0][-1].tobytes()

    return {state for ranks in (1, 2, 4) for state in run_ranks(ranks, work)}


plain, sharded = ends(lambda group: group), ends(lambda group: ShardedGroup(group, 4))
claim(f"plainly, 1, 2 and 4 ranks end in {len(plain)} different states", len(plain) > 1)
claim("with four shards in one", len(sharded) == 1)

# %% [markdown]
# ## A closed block sends nothing
#
# Stochastic depth closes blocks, and a closed block has no batch norm that runs and no gradient
# that is not `None`. What it does not compute it does not send, either. For that the ranks need no
# message at all, since all have drawn the same gates before the step begins. (Elsewhere a rank
# learns only in the backward that a gradient will not come. Either it waits for ever, or each step
# has to search first for the parameters that it does not reach.)
#
# So the bill of a step is a function of its gates. In the paper's network of 110 layers, with
# numbers of 4 bytes, an open block from $B$ to $C$ channels has two batch norms and two
# convolutions:
#
# | | messages | bytes |
# | --- | --- | --- |
# | a batch norm, forward: count, means, variances | 1 | $8 + 2 \cdot 4 C$ |
# | a batch norm, backward: $d\gamma$, $d\beta$ | 1 | $2 \cdot 4 C$ |
# | gradients of $3 \times 3$ convolutions | in the one of the step | $4 \cdot 9 (BC + C^2)$ |
#
# The stem before the blocks is a convolution from 3 to 16 channels with its batch norm, and behind
# them comes the classifier, $64 \cdot 10$ weights and 10 biases. The loss comes with
# the number of images and a checksum of the gates, 24 bytes.


# %%
def by_hand(gates):
    """Messages, and bytes with gradients, of a step of the 110-layer network."""
    C = np.repeat([16, 32, 64], 18)
    B = np.append(16, C[:-1])
    is_open = np.array(gates)
    messages = 1 + 2 + 4 * is_open.sum() + 1  # loss, stem, blocks, gradients
    sums = 24 + (8 + 16 * 16) + is_open @ (2 * (8 + 16 * C))
    gradients = 4 * (27 * 16 + 650) + is_open @ (36 * (B * C + C**2))
    return messages, sums + gradients


deep = linear_decay(54)
model = resnet(110, survival=deep, rng=np.random.default_rng(0))
drawn = [draw_gates(model, rng) for _ in range(30 if QUICK else 250)]
step_traffic = [traffic(model, gates) for gates in drawn]
bills = np.array([(t.messages + 1, t.bytes + t.gradient_bytes) for t in step_traffic])
everything = by_hand([True] * 54)
claim(
    f"all open: {everything[0] - 2} small messages and {everything[1] / 1e6:.1f} MB",
    everything[0] - 2 == 218 and abs(everything[1] / 1e6 - 6.9) < 0.05,
)
claim(
    f"{len(drawn)} draws: the library's formula is ours, to the byte",
    all(tuple(bill) == by_hand(gates) for bill, gates in zip(bills, drawn, strict=True)),
)

# %% [markdown]
# A formula can be wrong in both places. So let two ranks of the small network take steps with drawn
# gates, and let the group count:


# %%
def counted(group):
    """Messages and bytes given in a step, as counted and by the formula, for some draws."""
    model = resnet(
        20, in_channels=1, width=4, survival=linear_decay(L), rng=np.random.default_rng(1)
    )
    optimizer, chance, rows = SGD(model, 0.05), np.random.default_rng(4), []
    for _ in range(4):
        gates = draw_gates(model, chance)
        group.messages = group.bytes = 0
        mine = group.part(N)
        train_step(model, optimizer, images[:N][mine], labels[:N][mine], group=group, of=N)
        t = traffic(model, gates)
        rows.append((sum(gates), group.messages, group.bytes, t.messages + 1,
                     t.bytes + t.gradient_bytes))  # fmt: skip
    return rows


rows = run_ranks(2, counted)[0]
for num_open, messages, num_bytes, *_ in rows:
    print(f"{num_open} of {L} blocks open: {messages} messages, {num_bytes} bytes")
claim("counted is what the formula says", all(row[1:3] == row[3:] for row in rows))

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 3.8)
left, right = figure.subplots(1, 2)
num_open = np.array([sum(gates) for gates in drawn])
left.plot(num_open, bills[:, 0], "o", color=TEST, ms=4, alpha=0.4, label="drawn gates")
left.plot(54, everything[0], "o", color=INK, label="all open")
left.plot([30, 54], [4 * 30 + 4, 4 * 54 + 4], ":", color=INK, lw=1, label="4 a block, and 4")
left.set_ylabel("messages of a step")
right.plot(num_open, bills[:, 1] / 1e6, "o", color=TEST, ms=4, alpha=0.4, label="drawn gates")
right.plot(54, everything[1] / 1e6, "o", color=INK, label="all open")
right.plot([30, 54], np.array([30 / 54, 1]) * everything[1] / 1e6, ":", color=INK, lw=1,
           label="in proportion to open blocks")  # fmt: skip
right.set_ylabel("MB of a step")
for axes in (left, right):
    axes.set_xlabel("open blocks of 54")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    tidy(axes)
show(
    figure,
    "12_traffic",
    "What a rank of the 110-layer network sends in a step, linear decay to 0.5",
    alt="Left: messages by open blocks, dots from about 30 to 50 open blocks on a straight line "
    "that ends at 220 with all open. Right: megabytes by open blocks, a rising cloud of dots, "
    "nearly all below the line in proportion, which ends at 6.9.",
)

# %%
fewer = 1 - (bills[:, 0] - 2).mean() / 218
less = 1 - bills[:, 1].mean() / everything[1]
open_share = np.array(deep) @ np.repeat([1, 4, 16], 18) / (18 * 21)
claim(f"a quarter of the small messages is not sent: {fewer:.0%}", abs(fewer - 0.25) < 0.04)
claim(f"and more than a third of the bytes: {less:.0%}", abs(less - 0.37) < 0.04)
below = np.mean(bills[:, 1] < everything[1] * num_open / 54)
claim(f"{below:.0%} of the draws send less than in proportion to open blocks", below > 0.8)
claim(f"p_l weighted by size says {1 - open_share:.0%}", abs(1 - open_share - less) < 0.04)

# %% [markdown]
# Messages lie on a line: four for each open block. Bytes do not. A block of 64 channels has sixteen
# times the weights of one of 16, and linear decay closes the late ones most often, so that nearly
# all draws lie *below* the line. (The memory of [tutorial 11](11_a_thousand_layers.py) lay above
# it: there the early blocks are the large ones.)
#
# All of this rests on ranks that draw the same gates. What if one does not? If another block is
# open there that has as many channels, all messages fit, and each sum adds up numbers that have
# nothing to do with each other. No shape is wrong. So the message with the loss carries a checksum
# of the gates:


# %%
def disagreeing(group):
    model = resnet(14, in_channels=1, width=4, rng=np.random.default_rng(1))
    set_gates(model, [group.rank == 0, group.rank == 1, True, True, True, True])
    mine = group.part(N)
    train_step(model, SGD(model, 0.05), images[:N][mine], labels[:N][mine], group=group, of=N)


try:
    run_ranks(2, disagreeing)
    noticed = ""
except RuntimeError as error:
    noticed = str(error)
print(noticed)
claim("ranks with other gates are noticed", "different networks" in noticed)

# %% [markdown]
# ## Exercises
#
# Solutions are in `solutions/12_several_processes.py`. In a shell, `--exercise 1` runs the first
# one alone.
#
# **1.** Many libraries *average* the gradients over the ranks, and each rank takes the mean loss of
# its own images. So for uneven parts every rank has to multiply its loss by a factor. Write
# `factor(mine, whole, ranks)`: this rank has `mine` images of the `whole` batch.


# %%
def factor(mine, whole, ranks):
    raise NotImplementedError


def check(factor):
    yours, rng = factor.returning(factor=float), np.random.default_rng(121)
    for whole, ranks in ((12, 3), (10, 3), (7, 2), (72, 5)):
        of_images = rng.standard_normal((whole, 4))  # each image's gradient
        parts = run_ranks(ranks, lambda group, g=of_images: g[group.part(len(g))])
        scaled = [yours(len(part), whole, ranks) * part.mean(axis=0) for part in parts]
        assert np.allclose(np.mean(scaled, axis=0), of_images.mean(axis=0)), (
            f"{whole} images on {ranks} ranks: not the gradient of the whole batch"
        )


exercise(1, factor, check)

# %% [markdown]
# **2.** What would the moments of a batch be if some of its images were not there? You need not
# look at the others again: it is Chan's formula backwards. Write `without(whole, part)`. Both are
# triples of count, mean and variance, as `pooled_moments` takes and returns them; return that of
# the rest. It has to work in float32, for a mean that is large.


# %%
def without(whole, part):
    raise NotImplementedError


def check(without):
    rng = np.random.default_rng(122)
    for dtype, far, tolerance in ((np.float64, 3, 1e-10), (np.float32, 1000, 1e-2)):
        for split in (1, 3, 6):
            x = (far + rng.standard_normal((8, 5, 16, 16))).astype(dtype)
            x[:split] += 2  # the part differs from the rest
            whole, part, rest = (
                (each.size // 5, *ops.channel_moments(each)) for each in (x, x[:split], x[split:])
            )
            told = f"{dtype.__name__}, mean {far}, without {split} of 8 images: "
            asked = without.returning(count=float, mean=rest[1], var=rest[2])
            count, mean, var = asked(whole, part)
            assert count == rest[0], f"{told}{rest[0]} numbers are left, not {count:.0f}"
            assert np.allclose(mean, rest[1], rtol=0, atol=tolerance), told + "not the mean"
            worst = np.max(abs(var - rest[2]) / rest[2])
            assert worst < tolerance, f"{told}the variance is off by {worst:.0e} of itself"


exercise(2, without, check)

# %% [markdown]
# **3.** How do $R$ ranks add up an array, if each can only hand something to its neighbour? Were
# each to pass on whole arrays, it would hand on $R - 1$ of them. Two arrays are always enough:
# cut the array into $R$ pieces. In a first round of $R - 1$ steps each piece travels along the
# ring and collects what every rank has of it; in a second one the finished pieces travel on to all.
# Write `ring_sum(mine, rank, ranks, send)`, which every rank runs. `send(array)` hands an array to
# the next rank (from the last one to rank 0), and returns what the rank before handed on. All ranks
# must call it equally often, and end with the same bits.


# %%
def ring_sum(mine, rank, ranks, send):
    raise NotImplementedError


def on_a_ring(ring_sum, arrays):
    """Run it on a rank for each array; return every rank's result and the bytes it handed on."""

    def work(group):
        handed = []

        def meet(given):
            received = [theirs for (theirs,) in group.gather((given,))]
            ended = [rank for rank, theirs in enumerate(received) if theirs is None]
            if 0 < len(ended) < group.size:
                raise WrongAnswer(f"rank {ended[0]} has ended, while another one still sends")
            return received[group.rank - 1]

        def send(array):
            handed.append(np.array(array))  # a copy: what the sender does to it later is its own
            return meet(handed[-1])

        mine = arrays[group.rank].copy()
        try:
            total = ring_sum.returning(total=mine)(mine, group.rank, group.size, send)
        except WrongAnswer as error:
            if isinstance(error.__cause__, RankLost):  # what went wrong is another rank's to tell
                raise error.__cause__ from None
            raise
        meet(None)
        return total, sum(array.nbytes for array in handed)

    return run_ranks(len(arrays), work)


def check(ring_sum):
    rng = np.random.default_rng(123)
    for ranks, length in ((2, 8), (3, 300), (5, 302)):
        arrays = rng.standard_normal((ranks, length))
        totals, handed = zip(*on_a_ring(ring_sum, arrays), strict=True)
        told = f"{ranks} ranks, {length} numbers: "
        for rank, total in enumerate(totals):
            right = np.allclose(total, arrays.sum(axis=0), rtol=0, atol=1e-12)
            assert right, f"{told}rank {rank} has not the sum"
        same = all(np.array_equal(total, totals[0]) for total in totals)
        assert same, told + "the ranks differ in their last bits"
        enough = 2 * (ranks - 1) * -(-length // ranks) * 8
        assert max(handed) <= enough, f"{told}{max(handed)} bytes handed on; {enough} will do"


exercise(3, ring_sum, check)

# %% [markdown]
# ## What to read next
#
# This was the last tutorial. [Several processes](site/processes.md) says how to train with real
# ones. In the library, `minisd/data_parallel.py` has the sums of a step and `traffic`;
# `minisd/distributed/group.py` says what a group is asked for, and `minisd/distributed/mpi.py` asks
# MPI for it; `tests/processes/test_exact.py` compares ranks with one in more ways than we did. On
# the variance: T. Chan, G. Golub and R. LeVeque, *Updating formulae and a pairwise algorithm for
# computing sample variances*, 1979. On adding up in a ring: P. Patarasuk and X. Yuan, *Bandwidth
# optimal all-reduce algorithms for clusters of workstations*, 2009. On training with many ranks: P.
# Goyal and others, *Accurate, large minibatch SGD*, 2017
# ([arXiv:1706.02677](https://arxiv.org/abs/1706.02677)).
