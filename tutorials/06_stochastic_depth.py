# %% [markdown]
# # 6. Stochastic depth: short in training, deep in testing
#
# Very deep networks take long to train. Stochastic depth makes training cheaper, by about a
# quarter, and with it the paper's deepest networks tested better, too. It takes a handful of lines,
# and today's libraries have it under the name *drop path*.
#
# **You will learn** to train a network whose blocks are there only some of the time, what exactly
# is saved when one is not, and why the whole network may be used at test time.
#
# **You need** the residual block of [tutorial 5](05_residual_block.py) and a coin.
#
# **Time**: 60 minutes.
#
# This is the paper that the library is about: G. Huang, Y. Sun, Z. Liu, D. Sedra and K.
# Weinberger, *Deep Networks with Stochastic Depth*, 2016. Its idea fits in a sentence. Deep
# networks test well and train badly: gradients have a long way to go, and every step costs all the
# layers. So **train a short network and test a deep one**: in each mini-batch, leave out some
# residual blocks at random, a different set each time; at test time, use them all.
#
# A residual block can be left out without taking the network apart, since the shortcut beside it
# carries the activations on. With a *gate* $b_l \in \{0, 1\}$ for block $l$ of $L$,
#
# $$H_l = \mathrm{ReLU}\big(b_l\, f_l(H_{l-1}) + \mathrm{id}(H_{l-1})\big), \qquad
#   b_l \sim \mathrm{Bernoulli}(p_l). \tag{2}$$
#
# With $b_l = 1$ the block is *open*, and this is tutorial 5's block. With $b_l = 0$ it is *closed*:
# only its shortcut is left, and the ReLU after it. The probability $p_l$ that it is open is its
# *survival probability*. (The numbers of equations are the paper's.)

# %%
import inspect
import itertools
import textwrap
import time
from collections import Counter

import numpy as np

from minisd import (
    SGD,
    BatchNorm2d,
    Conv2d,
    ReLU,
    Sequential,
    depth_distribution,
    draw_gates,
    expected_depth,
    linear_decay,
    resnet,
    set_gates,
    uniform,
)
from minisd.data import Normaliser, load
from minisd.data.batches import evaluation_batches
from minisd.experiments.paper_curves import depth_table
from minisd.figures import new_figure, tidy
from minisd.gradcheck import check_layer
from minisd.layers import Layer
from minisd.residual import IdentityShortcut, PadShortcut, ResidualBlock, basic_branch
from minisd.surgery import blocks_replaced, sub_network
from minisd.train import evaluate, train_step
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
rng = np.random.default_rng(6)

# %% [markdown]
# ## The block with a gate
#
# Write $s = b f(x) + \mathrm{id}(x)$ and $y = \mathrm{ReLU}(s)$. The backward receives $dy$.
# Through the ReLU it becomes $ds = dy \cdot [s > 0]$, and through the sum
#
# $$dx = \underbrace{J_{\mathrm{id}}^\top ds}_{\text{shortcut}} + b \,
#   \underbrace{J_f^\top ds}_{\text{branch}}, \qquad
#   d\theta_f = b \left(\frac{\partial f}{\partial \theta_f}\right)^{\!\top} ds.$$
#
# Every term of the branch carries the factor $b$, forward and backward, and $b$ is known before
# anything is computed. So where $b = 0$ we do not compute the term and multiply it by zero; we do
# not compute it. That is an `if`, in both directions, and it is the whole implementation. One
# detail matters: the backward must use the gate that *its forward* used, so the block remembers
# it.


# %%
class GatedBlock(Layer):
    def __init__(self, branch, shortcut, survival_prob=1.0):
        self.branch = branch
        self.shortcut = shortcut
        self.relu = ReLU()
        self.survival_prob = survival_prob
        self.is_open = True

    def forward(self, x):
        s = self.shortcut.forward(x)
        if not self.training:
            s = s + self.survival_prob * self.branch.forward(x)  # explained below
        elif self.is_open:
            s = s + self.branch.forward(x)
        self.save(self.is_open)
        return self.relu.forward(s)

    def backward(self, dy):
        was_open = self.take()
        ds = self.relu.backward(dy)
        dx = self.shortcut.backward(ds)
        if was_open:
            dx = dx + self.branch.backward(ds)
        return dx


branch = basic_branch(3, 3, rng=rng, dtype=np.float64)
mine = GatedBlock(branch, IdentityShortcut(), 0.7)
librarys = ResidualBlock(branch, IdentityShortcut(), survival_prob=0.7)
x = rng.standard_normal((4, 3, 6, 5))
dy = rng.standard_normal(x.shape)

for gate in (True, False):
    found = []
    for block in (mine, librarys):
        block.is_open = gate
        block.zero_grad()
        y = block.forward(x)
        dx = block.backward(dy)
        found.append([y, dx, *(parameter.grad for _, parameter in branch.parameters())])
    name = "open" if gate else "closed"
    same = all((a is None and b is None) or np.allclose(a, b) for a, b in zip(*found, strict=True))
    claim(f"{name}: output and gradients are those of the library's block", same)
    report = check_layer(mine, x, rng=rng)
    claim(f"{name}: right by finite differences ({report.worst.error:.0e})", report.passed)

# %% [markdown]
# The second check ran with the gate held still. Nothing in a forward draws a random number: the
# gates are drawn outside, once per mini-batch, and then the network is an ordinary function that
# can be evaluated twice. (A dropout layer that draws in its forward cannot be checked this way.)
#
# And when the block was closed, what is the gradient of its weights? Zero, if you ask calculus. The
# library says `None`, *not reached*, and the difference will matter below. The check above knows
# it, too. It takes `None` as a claim, that the output does not depend on that weight at all, and
# tries.
#
# Now plant an error. The likeliest one is to put the gate into the forward and forget it in the
# backward.


# %%
class ForgetsItsGate(GatedBlock):
    def forward(self, x):
        s = self.shortcut.forward(x) + self.is_open * self.branch.forward(x)
        return self.relu.forward(s)

    def backward(self, dy):
        ds = self.relu.backward(dy)
        return self.shortcut.backward(ds) + self.branch.backward(ds)


wrong = ForgetsItsGate(branch, IdentityShortcut())
claim("while the block is open, nobody notices", check_layer(wrong, x, rng=rng).passed)
wrong.is_open = False
claim("when it is closed, the check does", not check_layer(wrong, x, rng=rng).passed)

# %% [markdown]
# ## How likely to be open? The survival rules
#
# Two rules are in the paper: the same probability for all, $p_l = p_L$, or the *linear decay*
#
# $$p_l = 1 - \frac{l}{L}(1 - p_L), \tag{4}$$
#
# from almost 1 at the first block to $p_L$ at the last. Early blocks compute what all later ones
# use, so they should be there more reliably. The number of open blocks is $\tilde L = \sum_l b_l$,
# and
#
# $$E[\tilde L] = \sum_{l=1}^{L} p_l = L - \frac{1 - p_L}{L} \cdot \frac{L(L+1)}{2}
#   = \frac{3L - 1}{4} \quad\text{for } p_L = \tfrac12 ,$$
#
# nearly three quarters of the blocks: the paper's networks of 110 layers have $L = 54$ and train 40
# of them at a time. The whole distribution of $\tilde L$ can be had, too. Add block after block:
# with $l$ blocks the count is $k$ if it was $k$ and block $l$ is closed, or $k - 1$ and it is open,
#
# $$P_l(k) = (1 - p_l)\, P_{l-1}(k) + p_l\, P_{l-1}(k-1).$$


# %%
def distribution_of(probs):
    P = np.ones(1)
    for p in probs:
        P = np.append((1 - p) * P, 0) + np.append(0, p * P)
    return P


L = 9
probs = linear_decay(L, p_last=0.5)
print("p_l:", " ".join(f"{p:.3f}" for p in probs))
P = distribution_of(probs)
enumerated = np.zeros(L + 1)  # the same from all 2^9 patterns of gates, one by one
for gates in itertools.product((0, 1), repeat=L):
    enumerated[sum(gates)] += np.prod(
        [p if b else 1 - p for p, b in zip(probs, gates, strict=True)]
    )
claim("the recursion agrees with all 512 patterns", np.allclose(P, enumerated, atol=1e-14))
claim("and with the library", np.allclose(P, depth_distribution(probs), atol=1e-14))
claim(
    f"on average (3L - 1)/4 = {(3 * L - 1) / 4} blocks are open",
    np.isclose(P @ np.arange(L + 1), (3 * L - 1) / 4)
    and np.isclose(expected_depth(probs), (3 * L - 1) / 4),
)
claim(
    f"at 110 layers {expected_depth(linear_decay(54)):.2f} of 54",
    expected_depth(linear_decay(54)) == 40.25,
)

# %% [markdown]
# This is what the first two hundred mini-batches of such a network look like: each row is a
# mini-batch, black where a block is open. Each row is a network of its own that trains for one
# step, and all of them share their weights. On the right, the number of open blocks, as drawn and
# as computed.

# %%
deep = linear_decay(54, p_last=0.5)
model = resnet(110, in_channels=1, width=1, survival=deep, rng=np.random.default_rng(0))
drawn = np.array([draw_gates(model, rng) for _ in range(200)])

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(8, 4)
raster, counts = figure.subplots(1, 2, width_ratios=(3, 2))
raster.imshow(
    drawn, cmap="gray_r", aspect="auto", interpolation="nearest", extent=(0.5, 54.5, 200.5, 0.5)
)
raster.set_title("black: open, white: closed", fontsize=9)
raster.set_xlabel("block")
raster.set_ylabel("mini-batch")
raster.set_xticks([1, 10, 20, 30, 40, 54])
raster.set_yticks([1, 50, 100, 150, 200])
counts.set_title("how many are open", fontsize=9)
counts.hist(drawn.sum(axis=1), np.arange(28.5, 53), density=True, color="#c9c9c9", label="drawn")
counts.plot(range(29, 53), depth_distribution(deep)[29:53], ".-", color="#c1432e", label="computed")
counts.set_xlabel("open blocks of 54")
counts.set_ylabel("probability")
counts.legend(frameon=False, loc="upper left", fontsize=8)
tidy(counts)
show(
    figure,
    "06_gates",
    "Gates of 54 blocks, linear decay to 0.5: 200 mini-batches",
    alt="Left: 200 mini-batches by 54 blocks, black where open; nearly solid on the left, half "
    "white on the right. Right: the histogram of open blocks around 40 of 54, with the "
    "computed distribution on it.",
)

# %%
three_sigma = 3 * np.sqrt(sum(p * (1 - p) for p in deep) / len(drawn))
claim(
    f"drawn: {drawn.sum(axis=1).mean():.1f} open on average, within three standard errors of 40.25",
    abs(drawn.sum(axis=1).mean() - 40.25) < three_sigma,
)

# %% [markdown]
# ## What is skipped: counted
#
# Most implementations compute the branch and multiply by the gate, since that is what an array
# library makes easy. The output is the same. Here is that version, done right in both directions,
# and a convolution that counts how often it is asked.


# %%
class MaskedBlock(GatedBlock):
    def forward(self, x):
        self.save(self.is_open)
        s = self.shortcut.forward(x) + float(self.is_open) * self.branch.forward(x)
        return self.relu.forward(s)

    def backward(self, dy):
        gate = float(self.take())
        ds = self.relu.backward(dy)
        return self.shortcut.backward(ds) + self.branch.backward(gate * ds)


asked = Counter()


class CountedConv(Conv2d):
    def forward(self, x):
        asked["forward"] += 1
        return super().forward(x)

    def backward(self, dy):
        asked["backward"] += 1
        return super().backward(dy)


class Tower(Layer):
    """Blocks on top of each other, nothing else."""

    def __init__(self, kind, num_blocks, channels, rng):
        self.blocks = [
            kind(
                Sequential(
                    CountedConv(channels, channels, 3, padding=1, rng=rng),
                    BatchNorm2d(channels),
                    ReLU(),
                    CountedConv(channels, channels, 3, padding=1, rng=rng),
                    BatchNorm2d(channels),
                ),
                IdentityShortcut(),
            )
            for _ in range(num_blocks)
        ]

    def forward(self, x):
        for block in self.blocks:
            x = block.forward(x)
        return x

    def backward(self, dy):
        for block in reversed(self.blocks):
            dy = block.backward(dy)
        return dy


gates = [True, True, False, True, False, False]
batch = rng.standard_normal((16, 8, 16, 16)).astype(np.float32)
towers = {
    name: Tower(kind, len(gates), 8, np.random.default_rng(1))
    for name, kind in (("skipped", GatedBlock), ("masked", MaskedBlock))
}
outputs, calls = {}, {}
for name, tower in towers.items():
    set_gates(tower, gates)
    asked.clear()
    outputs[name] = tower.forward(batch), tower.backward(np.ones_like(batch))
    calls[name] = dict(asked)
    print(name, calls[name])
claim("same output", np.allclose(outputs["skipped"][0], outputs["masked"][0], atol=1e-4))
claim("same dx", np.allclose(outputs["skipped"][1], outputs["masked"][1], atol=1e-3))
claim(
    "skipped: two convolutions for each of 3 open blocks, in each direction",
    calls["skipped"] == {"forward": 6, "backward": 6},
)
claim("masked: for all 6", calls["masked"] == {"forward": 12, "backward": 12})

# %% [markdown]
# ## Why multiplying by zero is not dropping
#
# Work is only the first difference. Look at what a masked closed block leaves behind:
#
# 1. **Its running statistics move.** Its batch norms saw a batch that had no part in the network.
# 2. **Its gradients are zero, not absent.** To an optimiser, zero is a gradient like any other:
#    momentum goes on pushing and weight decay goes on pulling.
# 3. **Zero times infinity is not a number.** One branch that overflows, though it is closed, and
# the whole network is gone.

# %%
closed = {name: tower.blocks[2].branch for name, tower in towers.items()}
moved = {name: bool(branch.layers[1].running_mean.any()) for name, branch in closed.items()}
gradients = {name: branch.layers[0].w.grad for name, branch in closed.items()}
claim("masked: running statistics of the closed block have moved", moved["masked"])
claim("skipped: they have not", not moved["skipped"])
claim("masked: its gradient is an array of zeros", not gradients["masked"].any())
claim("skipped: its gradient is None", gradients["skipped"] is None)

optimizers = {name: SGD(tower, 0.1, dropped="freeze") for name, tower in towers.items()}
before = {name: branch.layers[0].w.data.copy() for name, branch in closed.items()}
for optimizer in optimizers.values():
    optimizer.step()
stayed = {name: np.array_equal(before[name], b.layers[0].w.data) for name, b in closed.items()}
claim("masked: its weights have moved, by weight decay", not stayed["masked"])
claim("skipped: they are what they were, bit for bit", stayed["skipped"])

for branch in closed.values():
    branch.layers[0].w.data[...] = np.inf
with np.errstate(invalid="ignore", over="ignore"):
    finite = {name: bool(np.isfinite(t.forward(batch)).all()) for name, t in towers.items()}
claim("masked: a closed block that overflows makes everything NaN", not finite["masked"])
claim("skipped: nobody sees it", finite["skipped"])

# %% [markdown]
# On the second point the paper and its own released code disagree. The paper says that a dropped
# block's weights get no updates. The code has a gradient of zero there, so that they coast on. The
# library does either: `SGD(..., dropped="freeze")` or `"coast"`, the default.
#
# ## What is skipped: timed
#
# If a closed block costs nothing, a step's time is a straight line over the number of open blocks.
# Let us time a network of 32 layers, $L = 15$.

# %%
digits = load("digits")
normalise = Normaliser.fit(digits.train.images)
images, labels = normalise(digits.train.images[:64]), digits.train.labels[:64]


def fastest(step, repeat):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


model = resnet(32, in_channels=1, width=16, rng=rng)
optimizer = SGD(model, 1e-3)
num_open = np.array([0, 5, 10, 15] if QUICK else range(0, 16, 1))
milliseconds = []
for count in num_open:
    set_gates(model, [i < count for i in rng.permutation(15)])
    milliseconds.append(
        1e3 * fastest(lambda: train_step(model, optimizer, images, labels), 3 if QUICK else 8)
    )
slope, intercept = np.polyfit(num_open, milliseconds, 1)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(6, 3.6)
axes = figure.subplots()
axes.plot(num_open, milliseconds, "o", color="#3a6ea5", label="training step")
axes.plot(num_open, intercept + slope * num_open, color="#2b2b2b", lw=1, label="straight line")
axes.set_xlabel("open blocks of 15")
axes.set_ylabel("milliseconds")
axes.set_ylim(bottom=0)
axes.legend(frameon=False)
tidy(axes)
show(
    figure,
    "06_time",
    "A training step costs what its open blocks cost (32 layers)",
    alt="Milliseconds of a training step against open blocks, 0 to 15. The dots lie along a "
    "straight line that rises from less than half of its end.",
)

# %%
print(f"{intercept:.1f} ms without any block, and {slope:.2f} ms for each open one")
share = milliseconds[0] / milliseconds[-1]
claim(f"all blocks closed, a step takes {share:.0%} of one with all open: under half", share < 0.5)

# %% [markdown]
# ## Test time: all of it, and how much of each
#
# Training has trained not one network but up to $2^L$, one for each pattern of gates, all with the
# same weights. Which do we use? The best answer might be all of them, averaged with their
# probabilities. That is too many. The paper takes a single network: every block is there, and each
# branch is weighted by how often it was,
#
# $$H_l^{\text{test}} = \mathrm{ReLU}\big(p_l\, f_l(H_{l-1}^{\text{test}}) +
#   \mathrm{id}(H_{l-1}^{\text{test}})\big). \tag{5}$$
#
# Why $p_l$? For one block and a given input, before the ReLU, it is exactly the average:
# $E[b f(x) + \mathrm{id}(x)] = p f(x) + \mathrm{id}(x)$. For a stack of blocks *without*
# nonlinearities it is still exact. Let $f_l(h) = A_l h$. Then
#
# $$E\Big[\prod_l (I + b_l A_l)\Big] = \prod_l \big(I + E[b_l]\, A_l\big) = \prod_l (I + p_l A_l).$$
#
# Multiply the product out: each $b_l$ occurs at most once in each term, and the gates are
# independent, so the mean goes into each factor. With nonlinearities the network is no such
# product, and the argument is lost.

# %%
probs = linear_decay(6, p_last=0.5)
matrices = rng.standard_normal((6, 4, 4)) / 2
x = rng.standard_normal(4)


def through(weights, act):
    h = x
    for weight, A in zip(weights, matrices, strict=True):
        h = act(h + weight * A @ h)
    return h


def average_over_all(act):
    total = np.zeros(4)
    for gates in itertools.product((0, 1), repeat=6):
        chance = np.prod([p if b else 1 - p for p, b in zip(probs, gates, strict=True)])
        total += chance * through(gates, act)
    return total


linear = {"average": average_over_all(lambda h: h), "p-scaled": through(probs, lambda h: h)}
claim(
    "linear: the average of all 64 networks is the p-scaled one",
    np.allclose(linear["average"], linear["p-scaled"], rtol=1e-12),
)
relu = {"average": average_over_all(lambda h: np.maximum(h, 0))}
relu["p-scaled"] = through(probs, lambda h: np.maximum(h, 0))
difference = abs(relu["average"] - relu["p-scaled"]).max() / abs(relu["average"]).max()
claim(f"with ReLUs it is not: {difference:.0%} off here", difference > 0.01)

# %% [markdown]
# So for a real network (5) is an approximation, and whether it is a good one has to be measured. We
# train a network with $L = 6$ on the digits and then do what nobody does: test all 64 of its
# sub-networks, and average their probabilities.


# %%
def trained(depth, survival, steps, seed=1):
    """A small network after some steps on the digits, and its losses."""
    init_rng, data_rng, gate_rng = (np.random.default_rng([seed, s]) for s in range(3))
    model = resnet(depth, in_channels=1, width=8, survival=survival, rng=init_rng)
    optimizer = SGD(model, 0.1)
    losses = []
    for step in range(steps):
        optimizer.lr = 0.1 if step < 0.7 * steps else 0.01
        batch = data_rng.choice(len(digits.train), 64, replace=False)
        draw_gates(model, gate_rng)
        images, labels = digits.train.images[batch], digits.train.labels[batch]
        losses.append(train_step(model, optimizer, normalise(images), labels))
    return model, losses


def test_error(model, blocks):
    batches = evaluation_batches(digits.test, 359, normaliser=normalise, device="cpu")
    with blocks_replaced(model, blocks):
        return evaluate(model, batches)


def probabilities(model, blocks):
    with blocks_replaced(model.eval(), blocks):
        logits = model.forward(normalise(digits.test.images))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


model, _ = trained(14, linear_decay(6, p_last=0.5), 60 if QUICK else 300)
patterns = list(itertools.product((False, True), repeat=6))
chances = np.array(
    [np.prod([p if b else 1 - p for p, b in zip(probs, g, strict=True)]) for g in patterns]
)
errors = np.array([test_error(model, sub_network(model, gates)) for gates in patterns])
average = sum(
    chance * probabilities(model, sub_network(model, gates))
    for chance, gates in zip(chances, patterns, strict=True)
)
typical = chances @ errors
ensemble = np.mean(average.argmax(axis=1) != digits.test.labels)
scaled = test_error(model, model.blocks)
unscaled = errors[patterns.index((True,) * 6)]
first = np.array([gates[0] for gates in patterns])

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7.5, 4.4)
axes = figure.subplots()
counts = np.array([sum(gates) for gates in patterns])
spread = counts + 0.35 * (rng.random(64) - 0.5)
for here, colour, label in (
    (first, "#3a6ea5", "a sub-network with block 1; area: its probability"),
    (~first, "#d9922b", "one without block 1"),
):
    axes.scatter(
        spread[here], 100 * errors[here], s=2000 * chances[here] + 4, color=colour, alpha=0.6, lw=0
    )
    axes.plot([], [], "o", color=colour, alpha=0.6, label=label)
for name, value, colour in (
    ("one network, branches weighted by $p_l$", scaled, "#c1432e"),
    ("all 64 averaged", ensemble, "#2b2b2b"),
):
    axes.axhline(100 * value, color=colour, lw=1.2, ls="--" if name[0] == "a" else "-", label=name)
axes.set_xlabel("open blocks")
axes.set_ylabel("test error (%)")
axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
tidy(axes)
show(
    figure,
    "06_all_networks",
    "All 64 sub-networks of a network of 6 blocks, and the network as it is tested",
    alt="Test error against the number of open blocks, a dot for each of 64 sub-networks. The "
    "dots fall to the right, those without block 1 mostly above. Two lines, the weighted "
    "network and the average of all 64, lie near the lowest dots.",
)

# %%
print(f"a sub-network, on average        {typical:6.2%}")
print(f"all blocks, weight 1             {unscaled:6.2%}")
print(f"all blocks, weighted by p_l      {scaled:6.2%}")
print(f"all 64 sub-networks, averaged    {ensemble:6.2%}")
with_first, without_first = np.median(errors[first]), np.median(errors[~first])
claim(
    f"median error of those with block 1 {with_first:.0%}, of those without {without_first:.0%}",
    with_first < without_first,
)
claim("the p-scaled network is better than a sub-network on average", scaled < typical)
claim(
    "and comes within two points of the average of all 64",
    abs(scaled - ensemble) < 0.02,
    in_full=True,
)
claim("leaving out the weights costs something", unscaled > scaled, in_full=True)

# %% [markdown]
# Look at the picture. Networks with few blocks open are poor, since they were hardly ever trained:
# a dot's area is its probability. So are those without block 1, which is nearly always there in
# training, as linear decay intends. The probable ones are fair, no more. The single p-scaled
# network does as well as the average of all 64, which is what the paper hoped for.
#
# With weight 1 the network is worse than with $p_l$: each ReLU and each batch norm downstream
# expects the scale that it saw in training, when the branch was there a share $p_l$ of the time.
# (Other libraries weight by $1/p_l$ in training and by 1 at test time, which has the same mean;
# here that is `scale="train"`, and exercise 3.)
#
# ## What it does to a small network
#
# Now the part that an advertisement would leave out. This is the paper's own figure 8: the test
# error on CIFAR-10 against depth and $p_L$. The colours compare within a column: by how much is a
# $p_L$ worse than the best one for that depth?

# %%
p_last, depths, table = depth_table()

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 4)
axes = figure.subplots()
behind = table - table.min(axis=0)  # in a column, as depths differ more than rules do
picture = axes.imshow(behind, cmap="viridis_r", aspect="auto", vmin=0)
for row, column in np.ndindex(table.shape):
    error = table[row, column]
    best = behind[row, column] == 0
    style = {"fontweight": "bold", "fontsize": 11} if best else {"fontsize": 8}
    colour = "black" if behind[row, column] < 0.8 else "white"
    axes.text(column, row, f"{error:.2f}", ha="center", va="center", color=colour, **style)
axes.set_xticks(range(len(depths)), depths)
axes.set_yticks(range(len(p_last)), p_last)
axes.set_xlabel("layers")
axes.set_ylabel("$p_L$ (1.0: constant depth)")
figure.colorbar(picture, label="points above the best of the column (bold)")
show(
    figure,
    "06_depth_and_p",
    "CIFAR-10: the paper's test error (%) by depth and survival probability",
    alt="A table in colours, test error by depth and p_L, best values in bold. Best is 0.9 at "
    "20 layers, and smaller the deeper the network, down to 0.5 at 110 layers.",
)

# %%
best = {depth: p_last[table[:, column].argmin()] for column, depth in enumerate(depths)}
print("best p_L by depth:", best)
claim("at 110 layers the best p_L is 0.5", best[110] == 0.5)
claim("at 20 layers it is 0.9", best[20] == 0.9)
half, constant = table[p_last.index(0.5), 0], table[p_last.index(1.0), 0]
claim(f"and 0.5 is worse there than constant depth: {half} against {constant}", half > constant)

# %% [markdown]
# Why? Three reasons, and we can look at each.
#
# **A shorter network.** At $p_L = 0.5$ a quarter of the blocks are missing at any time. Of 54, that
# leaves 40, which is plenty. Of 9, it leaves 6 or 7.
#
# **A less certain one.** The standard deviation of the number of open blocks is
# $\sqrt{\sum p_l (1 - p_l)}$, which grows like $\sqrt L$ while the mean grows like $L$. Relative
# to its depth, a small network changes a lot more from one mini-batch to the next.

# %%
for depth, blocks in ((20, 9), (56, 27), (110, 54)):
    rule = linear_decay(blocks, p_last=0.5)
    mean, deviation = expected_depth(rule), np.sqrt(sum(p * (1 - p) for p in rule))
    print(f"{depth:4} layers: {mean:5.2f} +- {deviation:.2f} blocks open, {deviation / mean:.1%}")
small, large = (
    np.sqrt(sum(p * (1 - p) for p in rule)) / expected_depth(rule)
    for rule in (linear_decay(9), linear_decay(54))
)
claim(
    f"relative to its mean, 20 layers vary {small / large:.1f} times as much", 2 < small / large < 3
)

# %% [markdown]
# **A regulariser that is not needed.** Leaving out blocks makes the training data harder to fit.
# That helps a network that can fit it all. It hurts one that cannot, or that has too few steps. On
# the digits with 20 layers it shows in the training loss, which rises as $p_L$ falls. The test
# error, on 359 images, says little: one image is 0.28 %, and from seed to seed it changes by
# several images. We print it so that you can see that it says little.

# %%
rules = (1.0, 0.5) if QUICK else (1.0, 0.9, 0.7, 0.5, 0.2)
seeds = (1,) if QUICK else (1, 2, 3)
final, spread = {}, {}
for p in rules:
    found = []
    for seed in seeds:
        model, losses = trained(20, linear_decay(9, p), 40 if QUICK else 200, seed)
        found.append((np.mean(losses[-40:]), test_error(model, model.blocks)))
    final[p] = np.mean([loss for loss, _ in found])
    spread[p] = np.ptp([error for _, error in found]) * len(digits.test)
    told = ", ".join(f"{error:.2%}" for _, error in found)
    print(f"p_L = {p}: loss of the last 40 steps {final[p]:.3f}; test error of each seed {told}")
claim("the lower p_L, the higher the training loss", final[1.0] < final[0.5] and all(
    final[p] <= 1.2 * final[q] for p, q in itertools.pairwise(rules)
), in_full=True)  # fmt: skip
most = max(spread.values())
claim(f"seeds differ by up to {most:.0f} images", most > 2.5, in_full=True)
saved = {p: 1 - expected_depth(linear_decay(9, p)) / 9 for p in (0.9, 0.5)}
claim(
    f"blocks saved: {saved[0.9]:.0%} at p_L = 0.9, {saved[0.5]:.0%} at 0.5",
    saved[0.9] < 0.06 and round(saved[0.5], 2) == 0.28,
)

# %% [markdown]
# So if you try stochastic depth on a laptop, with 20 layers and ten epochs, expect it to be
# *behind*. The paper's gains are at 110 layers and 500 epochs. At $p_L = 0.5$ a quarter of the
# blocks or more is saved at any size (28 % at 20 layers). But a small network wants $p_L$ near 0.9,
# which saves a twentieth.
#
# ## Exercises
#
# Solutions are in `solutions/06_stochastic_depth.py`. In a shell, `--exercise 1` runs the first one
# alone.
#
# **1.** Which uniform rule trains as many blocks on average as a linear decay to $p_L$? Write
# `uniform_like(num_blocks, p_last)`, which returns $p$.


# %%
def uniform_like(num_blocks, p_last):
    raise NotImplementedError


def check(uniform_like):
    for blocks, last in ((9, 0.5), (54, 0.5), (54, 0.2), (1, 0.3), (7, 1.0)):
        p = uniform_like.returning(p=float)(blocks, last)
        assert 0 <= p <= 1, f"a probability lies between 0 and 1, got {p}"
        wanted = expected_depth(linear_decay(blocks, last))
        got = expected_depth(uniform(blocks, p))
        assert abs(got - wanted) < 1e-9, f"L = {blocks}: {got} blocks open, not {wanted}"


exercise(1, uniform_like, check)

# %% [markdown]
# **2.** A block closes with velocity $v$ in its momentum and stays closed for $n$ steps. With
# `"coast"` and no weight decay, what do these $n$ steps add to a weight? The rule of `SGD`
# is $v \leftarrow m v + g$, $w \leftarrow w - \eta (g + m v)$ with $g = 0$. Write
# `coasted(v, lr, momentum, n)`, without a loop, and find out what it is for $n \to \infty$.


# %%
def coasted(v, lr, momentum, n):
    raise NotImplementedError


def check(coasted):
    for n, lr, m, g in ((1, 0.1, 0.9, 2.0), (2, 0.3, 0.9, -1.0), (7, 0.1, 0.5, 2.0)):
        conv = Conv2d(1, 1, 1, rng=np.random.default_rng(0), dtype=np.float64)
        optimizer = SGD(conv, lr, momentum=m, weight_decay=0)
        conv.w.grad = np.full((1, 1, 1, 1), g)
        optimizer.step()
        v, before = optimizer.velocity["w"].item(), conv.w.data.item()
        conv.w.grad = None
        for _ in range(n):
            optimizer.step()
        wanted = conv.w.data.item() - before
        got = coasted.returning(moved=float)(v, lr, m, n)
        assert abs(got - wanted) < 1e-12, f"after {n} steps it moved by {wanted}, not {got}"
    few, many = (coasted.work(1.0, 0.1, 0.9, n) for n in (5, 100))
    assert many < 1.5 * few, f"right, but n = 100 takes {many / few:.0f} times the steps of n = 5"


exercise(2, coasted, check)

# %% [markdown]
# **3.** Write the other convention as a block: weight $1/p$ in training when it is open, weight 1
# in evaluation. Derive its backward, and make `InvertedBlock(branch, shortcut, survival_prob)`
# pass a gradient check, agree with the library's `scale="train"`, and skip what is closed. As in
# `GatedBlock`, its attribute `is_open` is the gate, and another one may be drawn before the
# backward comes.


# %%
def InvertedBlock(branch, shortcut, survival_prob):
    raise NotImplementedError  # replace this function by a class


def check(InvertedBlock):
    rng = np.random.default_rng(3)
    for p, channels, shortcut in ((0.4, 2, IdentityShortcut()), (0.75, 4, PadShortcut(2, 4, 2))):
        stride = channels // 2
        branch = basic_branch(2, channels, stride=stride, rng=rng, dtype=np.float64)
        yours = InvertedBlock.returning(block=Layer)(branch, shortcut, p)
        assert not isinstance(yours, ResidualBlock), "that is the library's block: write your own"
        theirs = ResidualBlock(branch, shortcut, survival_prob=p, scale="train")
        x = rng.standard_normal((3, 2, 6, 4))
        dy = rng.standard_normal(theirs.forward(x).shape)
        InvertedBlock.watch(yours, "forward", y=dy)
        InvertedBlock.watch(yours, "backward", dx=x)
        for gate in (True, False):
            found, told = [], f"p = {p}, gate {gate}: "
            for block in (yours, theirs):
                branch.zero_grad()
                before = branch.layers[1].running_mean.copy()
                block.is_open = gate
                y = block.forward(x)
                moved = not np.array_equal(before, branch.layers[1].running_mean)
                block.is_open = not gate  # the next batch's: this backward needs its forward's
                dx = block.backward(dy)
                found.append((y, dx, moved, [each.grad for _, each in branch.parameters()]))
            (y, dx, moved, gradients), (their_y, their_dx, _, theirs_too) = found
            assert np.allclose(y, their_y), told + "not the library's output in training"
            assert moved == gate, told + "the branch's forward ran although it was closed"
            assert np.allclose(dx, their_dx), told + (
                "not the library's dx, with another gate drawn between forward and backward"
            )
            for mine, its in zip(gradients, theirs_too, strict=True):
                assert (mine is None) == (its is None), told + "a closed branch has a gradient"
                assert mine is None or np.allclose(mine, its), told + "not the library's gradients"
        yours.is_open = True
        report = check_layer(yours, x, rng=rng, elements=4)
        assert report.passed, f"p = {p}: {report.explain()}"
        for gate in (True, False):
            yours.is_open = theirs.is_open = gate
            a, b = yours.eval().forward(x), theirs.eval().forward(x)
            assert np.allclose(a, b), f"p = {p}, gate {gate}: not the library's in evaluation"
            branch.train()


exercise(3, InvertedBlock, check)

# %% [markdown]
# ## Your block in the library
#
# Open `minisd/residual.py`. `ResidualBlock` first chooses, open or closed, and has a method for
# each way. Here is your `GatedBlock`, line by line:
#
# | yours | the library's |
# | --- | --- |
# | `s = self.shortcut.forward(x)` | `self.shortcut.forward(x)`, in both forwards |
# | `elif self.is_open:` and its line | `open_forward` with `weight` 1 |
# | `if not self.training:` and its line | `open_forward` with `weight` $p_l$ |
# | neither of the two | `closed_forward` |
# | `self.save(self.is_open)` | `self.save((is_open, weight))` |
# | `return self.relu.forward(s)` | `self.relu.forward(...)` around the sum |
# | `ds = self.relu.backward(dy)` | the same, in both backwards |
# | `dx = self.shortcut.backward(ds)` | the same, in both backwards |
# | `if was_open:` and its line | `open_backward`, with the weight of its forward |
#
# What is new: `run_branch(x)` is `branch.forward(x)`. `ops.add` refuses to add two different
# shapes, while `+` would stretch one of them. And a closed block tells its branch to forget
# whatever earlier forwards have saved.


# %%
def source(function):
    """What stands in the library, without types and docstring."""
    names = ", ".join(inspect.signature(function).parameters)
    body = textwrap.dedent(inspect.getsource(function)).rpartition('"""')[2]
    return f"def {function.__name__}({names}):{body}"


for way in ("open_forward", "open_backward", "closed_forward", "closed_backward"):
    print(source(getattr(ResidualBlock, way)))

x = rng.standard_normal((4, 3, 6, 5))
same = np.allclose(mine.eval().forward(x), librarys.eval().forward(x))
claim("in evaluation, too, your block gives what the library's gives", same)

# %% [markdown]
# ## What to read next
#
# [Tutorial 7](07_training.py) trains such a network in earnest; [tutorial 8](08_gradient_flow.py)
# asks what stochastic depth does to the gradients. In the library, `minisd/stochastic_depth.py` is
# the rest of this tutorial in 150 lines. The paper is at
# [arXiv:1603.09382](https://arxiv.org/abs/1603.09382), and worth reading now that you have built
# it. For the view of residual networks as ensembles: [Veit, Wilber and Belongie
# 2016](https://arxiv.org/abs/1605.06431).
