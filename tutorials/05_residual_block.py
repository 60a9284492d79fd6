# %% [markdown]
# # 5. The residual block: depth that does no harm
#
# Until 2015, networks became worse when they became deeper. One addition changed that, and it is in
# nearly every deep network since, language models included. Here you see the harm, and what the
# addition does about it.
#
# **You will learn** to see that a deep plain network trains worse than a shallow one, to say what a
# shortcut changes in its gradient, and to write the residual block and its shortcuts by hand.
#
# **You need** tutorials [3](03_convolution.py) and [4](04_batchnorm.py).
#
# **Time**: 45 minutes.
#
# You have a convolution, a batch norm and a ReLU, each with a backward that you have checked. So
# stack them. More layers can only help: a deep network can do all that a shallow one can, since its
# extra layers need only pass on what they are given. That is a sound argument about what a network
# *can* be. We begin with what it *becomes* when you train it.

# %%
from itertools import product

import numpy as np

from minisd import SGD, Layer, ReLU, ResidualBlock, ops, resnet
from minisd.data import Normaliser, load
from minisd.figures import TEST, VALIDATION, new_figure, tidy
from minisd.gradcheck import check_layer, check_op
from minisd.residual import PadShortcut, basic_branch, make_shortcut
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
SHALLOW, DEEP = (8, 32) if QUICK else (20, 56)
STEPS, BATCH = (40, 32) if QUICK else (200, 64)
RATES = (0.01,) if QUICK else (0.005, 0.01, 0.1)
MARGIN = 0.1 if QUICK else 0.5  # of the loss

rng = np.random.default_rng(5)
train = load("digits").train
images, labels = Normaliser.fit(train.images)(train.images), train.labels

# %% [markdown]
# ## The fact
#
# `resnet(depth, shortcut="none")` is a plain network of so many layers: one convolution with BN and
# ReLU (the *stem*), then blocks of conv - BN - ReLU - conv - BN - ReLU one after another, then the
# mean over the image and a linear classifier. We train 20 layers and 56 on the digits, on the same
# batches, for the same number of steps, and write down the training loss.


# %%
def network(depth, shortcut, dtype=np.float32):
    init_rng = np.random.default_rng(1)
    return resnet(depth, in_channels=1, width=8, shortcut=shortcut, rng=init_rng, dtype=dtype)


def training_losses(depth, shortcut, lr=0.02):
    model = network(depth, shortcut)
    optimizer = SGD(model, lr)
    data_rng = np.random.default_rng(2)
    losses = []
    for _ in range(STEPS):
        batch = data_rng.choice(len(images), BATCH, replace=False)
        model.zero_grad()
        loss, dlogits = ops.softmax_cross_entropy(model.forward(images[batch]), labels[batch])
        model.backward(dlogits)
        optimizer.step()
        losses.append(float(loss))
    return np.array(losses)


def final(losses):
    """The mean loss over the last tenth of the steps."""
    return losses[-STEPS // 10 :].mean()


plain = {depth: training_losses(depth, "none") for depth in (SHALLOW, DEEP)}
claim(
    f"training loss after {STEPS} steps: {final(plain[SHALLOW]):.2f} with {SHALLOW} plain layers, "
    f"{final(plain[DEEP]):.2f} with {DEEP}",
    final(plain[DEEP]) > final(plain[SHALLOW]) + MARGIN,
)

# %% [markdown]
# The deeper network is worse, and not by a little. It is *not* overfitting: that would be a low
# training loss and a high test loss, and this is the training loss. Nor does it lack the means: the
# shallow network's solution is also one of its own, with 36 layers that pass on what they are
# given. Gradient descent does not find it. This is the first figure of He et al. (2015), with the
# same two depths on CIFAR-10.
#
# Was it our learning rate? A deep network may want a smaller one, or a larger. So we give the deep
# one three more attempts, at a quarter of our rate, at half of it and at five times as much.

# %%
attempts = {lr: final(training_losses(DEEP, "none", lr)) for lr in RATES}
print(f"plain, {DEEP} layers:", ", ".join(f"{v:.2f} at {lr}" for lr, v in attempts.items()))
claim(
    f"the best ({min(attempts.values()):.2f}) is far from the shallow network, too",
    min(attempts.values()) > final(plain[SHALLOW]) + MARGIN,
)

# %% [markdown]
# ## The remedy
#
# If passing on is so hard to learn, let it be there from the start. Give every block a *shortcut*
# around it, and let its layers, the *branch* $f_l$, learn only what is to be added:
#
# $$H_l = \mathrm{ReLU}\bigl(f_l(H_{l-1}) + H_{l-1}\bigr).$$
#
# $H_l$ is the output of block $l$, and $H_0$ that of the stem. Nothing else changes. With
# `shortcut="A"` (what A means comes below) the network has the same layers and as many parameters.

# %%
residual = {depth: training_losses(depth, "A") for depth in (SHALLOW, DEEP)}
counts = {network(DEEP, shortcut).num_parameters for shortcut in ("none", "A")}
claim(f"{min(counts):,} parameters with {DEEP} layers, with or without", len(counts) == 1)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 4.2)
axes = figure.subplots()
window = STEPS // 20
for name, colour, runs in (("plain", TEST, plain), ("residual", VALIDATION, residual)):
    for depth, losses in runs.items():
        means = losses.reshape(-1, window).mean(axis=1)
        steps = window * (np.arange(len(means)) + 0.5)
        style = {"lw": 2.4} if depth == DEEP else {"lw": 1.3, "ls": "--"}
        axes.semilogy(steps, means, color=colour, label=f"{name}, {depth} layers", **style)
axes.set_xlabel("step")
axes.set_ylabel(f"training loss, mean of {window} steps")
axes.legend(frameon=False)
tidy(axes)
show(
    figure,
    "05_depth",
    "Training loss: more layers harm the plain network, not the residual one",
    alt="Training loss by step, logarithmic. The plain network of 56 layers stays highest, that "
    "of 20 layers falls far below it, and the two residual networks lie lowest, close "
    "together.",
)

# %%
claim(
    f"residual: {final(residual[SHALLOW]):.3f} with {SHALLOW} layers, {final(residual[DEEP]):.3f} "
    f"with {DEEP}, where the plain network had {final(plain[DEEP]):.2f}",
    final(residual[DEEP]) < final(plain[DEEP]) / 2,
)
claim(
    "both fit the digits, the deep one no worse by more than 0.1",
    final(residual[DEEP]) < min(0.15, final(residual[SHALLOW]) + 0.1),
    in_full=True,
)
fall = plain[DEEP][: STEPS // 10].mean() - final(plain[DEEP])
claim(f"the loss of the deep plain network fell, too, by {fall:.2f}", fall > 0.1)

# %% [markdown]
# The two residual curves lie together. So the shortcut has not made depth *useful* here; digits of
# 8x8 pixels do not need 56 layers. It has made depth harmless, which is what was to be shown. Look
# at the uppermost curve, too: the deep plain network does learn. It is slow, not stuck.
#
# ## A gradient through a stack
#
# What does an addition change? Write $J_l$ for the Jacobian of $f_l$, and forget the ReLU after the
# addition for a moment. Backward through $L$ layers is a product:
#
# $$\text{plain:}\quad dH_0 = J_1^\top J_2^\top \cdots J_L^\top\, dH_L, \qquad
#   \text{residual:}\quad dH_0 = (I + J_1)^\top (I + J_2)^\top \cdots (I + J_L)^\top\, dH_L .$$
#
# In the plain stack everything passes through everything. If each $J_l$ lengthens a gradient by
# some factor $q$, the product does so by $q^L$, which is soon nothing or enormous; and a direction
# that any one $J_l$ flattens is gone for good. Now multiply out the other product. From each factor
# take either $I$ or $J_l^\top$, and leave them in their order:
#
# $$dH_0 = \sum_{S \subseteq \{1, \dots, L\}}\; \prod_{l \in S} J_l^\top\; dH_L .$$
#
# That is $2^L$ terms, one for each *path* from the output to the input, through some branches and
# around the others (Veit, Wilber and Belongie 2016). $\binom{L}{k}$ of them go through $k$
# branches. One goes through none: it hands $dH_L$ to the input as it is, whatever the weights.
#
# A toy to check that with: $L = 6$ branches $f_l(h) = \tanh(h W_l)$.

# %%
L, width = 6, 8
W = rng.standard_normal((L, width, width)) / np.sqrt(width)


def stack_forward(h):
    slopes = []
    for w in W:
        f = np.tanh(h @ w)
        slopes.append(1 - f**2)
        h = h + f
    return h, slopes


def through_branch(i, dh, slopes):
    """dh, multiplied by the transposed Jacobian of a branch."""
    return (dh * slopes[i]) @ W[i].T


def stack_backward(dh, slopes):
    for i in reversed(range(L)):
        dh = dh + through_branch(i, dh, slopes)
    return dh


def along_path(dh, slopes, path):
    """What arrives along one path: ``path[i]`` says whether it goes through branch i."""
    for i in reversed(range(L)):
        if path[i]:
            dh = through_branch(i, dh, slopes)
    return dh


x, dy = rng.standard_normal((2, 5, width))
report = check_op("stack", stack_forward, stack_backward, {"h": x}, rng=rng)
claim(f"the backward is right: worst relative error {report.worst.error:.0e}", report.passed)

_, slopes = stack_forward(x)
arriving = {path: along_path(dy, slopes, path) for path in product([False, True], repeat=L)}
for k in range(L + 1):
    group = [dh for path, dh in arriving.items() if sum(path) == k]
    branches = "1 branch" if k == 1 else f"{k} branches"
    print(f"through {branches}: {len(group):2} paths, their sum {np.linalg.norm(sum(group)):.2f}")
total, gradient = sum(arriving.values()), stack_backward(dy, slopes)
claim(f"the sum over {len(arriving)} paths is the gradient", np.allclose(total, gradient))
claim(
    "without the path around all, which brings dy, it is not", not np.allclose(total - dy, gradient)
)

# %% [markdown]
# Two cautions. The paths are no independent networks: each $J_l$ is taken at an $H_{l-1}$ that all
# branches before it have made. And with the ReLU after the addition there is a diagonal matrix
# $D_l$ of zeros and ones in each factor, $(I + J_l)^\top D_l$, which every path has to pass. What
# those ReLUs cut off is lost on the path around all branches, too. Exercise 3 mends that.
#
# ## What arrives
#
# So much for the algebra. What do the networks above do? The usual story is that a plain network's
# gradients vanish. We look at initialisation, with one batch, at two things: the *size* of $dH_l$,
# the gradient that arrives at the output of block $l$; and the *use* of the gradient $g$ of all
# weights. To first order, a step $-t g$ lowers the loss by $t \lVert g \rVert^2$: that is what the
# gradient *promises*. We take such steps, and write down the predicted decrease and the one
# achieved.

# %%
batch = rng.choice(len(images), 128 if QUICK else 256, replace=False)
x, y = images[batch].astype(np.float64), labels[batch]
promised = np.logspace(-3, 1, 9 if QUICK else 17)


def look(depth, shortcut):
    """Norms of dH_0 to dH_L, and the decrease of the loss that each predicted one achieved."""
    model = network(depth, shortcut, dtype=np.float64)
    loss, dlogits = ops.softmax_cross_entropy(model.forward(x), y)
    dh = model.pool.backward(model.head.backward(dlogits))
    sizes = [np.linalg.norm(dh)]
    for block in reversed(model.blocks):
        dh = block.backward(dh)
        sizes.append(np.linalg.norm(dh))
    model.stem.backward(dh)

    weights = [parameter for _, parameter in model.parameters()]
    start = [parameter.data.copy() for parameter in weights]
    square = sum((parameter.grad**2).sum() for parameter in weights)
    got = []
    for decrease in promised:
        for parameter, data in zip(weights, start, strict=True):
            parameter.data[...] = data - decrease / square * parameter.grad
        got.append(loss - ops.softmax_cross_entropy(model.forward(x), y)[0])
    return np.array(sizes[::-1]), np.array(got)


seen, growth, reach, kept = {}, {}, {}, []
for name, shortcut in (("plain", "none"), ("residual", "A")):
    for depth in (SHALLOW, DEEP):
        sizes, got = seen[name, depth] = look(depth, shortcut)
        growth[name, depth] = (sizes[0] / sizes[-1]) ** (1 / (depth - 2))
        reach[name, depth] = promised[got > promised / 2].max()
        kept.append(got[0] / promised[0])
        print(
            f"{name}, {depth} layers: the gradient grows {growth[name, depth]:.3f}-fold a layer; "
            f"at least half of the predicted decrease is achieved up to {reach[name, depth]:.2f}"
        )

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 4)
left, right = figure.subplots(1, 2)
for (name, depth), (sizes, got) in seen.items():
    style = {"color": TEST if name == "plain" else VALIDATION, "label": f"{name}, {depth} layers"}
    style |= {"lw": 2.4} if depth == DEEP else {"lw": 1.3, "ls": "--"}
    layer = 1 + 2 * np.arange(len(sizes))  # H_l comes after the stem and l blocks of two
    left.semilogy(layer, sizes, **style)
    right.loglog(promised, np.where(got > 0, got, np.nan), **style)
right.loglog(promised, promised, "k:", lw=1, label="as predicted")
right.legend(handles=right.lines[-1:], frameon=False, loc="lower right")
right.set_ylim(8e-4, 4)
left.set_xlabel("layer")
left.set_ylabel("norm of the gradient $dH_l$")
right.set_xlabel(r"predicted decrease of the loss, $t \|g\|^2$")
right.set_ylabel("decrease achieved")
left.legend(frameon=False)
tidy(left)
tidy(right)
show(
    figure,
    "05_initialisation",
    "Gradients at the start: how large they are, and how far they can be trusted",
    alt="Left: norm of the gradient by layer, logarithmic. Towards the input the plain networks "
    "grow in straight lines, the residual ones far less. Right: decrease achieved against "
    "decrease predicted. All start on the diagonal; the deep plain network leaves it first, "
    "the residual ones last.",
)

# %%
claim("no gradient vanishes on its way back", min(growth.values()) > 1)
claim(
    f"of the smallest decrease, at least {min(kept):.0%} is achieved",
    0.9 < min(kept) <= max(kept) < 1.1,
)
claim(
    "the plain one grows by the same factor at both depths, within 0.03",
    abs(growth["plain", SHALLOW] - growth["plain", DEEP]) < 0.03,
)
claim("with shortcuts it grows less", growth["plain", DEEP] > 1.03 * growth["residual", DEEP])
claim(
    "and is of use for decreases at least five times as large",
    reach["residual", DEEP] > 5 * reach["plain", DEEP],
)
order = [("plain", DEEP), ("plain", SHALLOW), ("residual", SHALLOW), ("residual", DEEP)]
claim(
    "in this order: deep plain, shallow plain, shallow residual, deep residual",
    all(np.diff([reach[key] for key in order]) >= 0),
)

# %% [markdown]
# Read the left panel from right to left, the way the gradient travels. The plain one *explodes*. It
# is a straight line on a logarithmic scale, the same factor for every layer, as the product said;
# and a factor a little above 1 is no small one after 54 layers. That it grows and does not vanish
# is the work of batch norm: for fully connected networks the factor is derived in G. Yang, J.
# Pennington, V. Rao, J. Sohl-Dickstein and S. Schoenholz, [*A mean field theory of batch
# normalization*](https://arxiv.org/abs/1902.08129), 2019. So "vanishing gradients" is the wrong
# name for what ails this network.
#
# With shortcuts it grows as well, but far less. A branch ends in a batch norm, so each adds about
# as much as any other, while what it is added to grows from block to block. So $J_l$ matters less
# and less beside $I$ ([De and Smith 2020](https://arxiv.org/abs/2002.10444)), and the line flattens
# from left to right. (The two jumps are the transition blocks, to which we come.)
#
# The right panel says more. For tiny steps all four networks keep their promise, as they must if
# the gradient is right. Then the plain ones leave the dotted line, the deep one first (where a line
# stops, the loss rose). Its gradient is right where we stand, and worth little a short way off:
# there the landscape is another. [Balduzzi et al. (2017)](https://arxiv.org/abs/1702.08591) call
# such gradients *shattered*. They look at nearby inputs, we at nearby weights. They find that
# without shortcuts the gradients at two nearby inputs have little in common. The residual ones keep
# their promise much longer, the deep one at least as long as the shallow one.
#
# All of this is at initialisation, and it is a measurement, not a proof.

# %% [markdown]
# ## A layer
#
# Our forwards have handed their cache to us, and we handed it to the backward. In a network nobody
# wants to carry caches about, so the library's `Layer` is an object that keeps its own. In the
# forward, `save` keeps whatever the backward will need. In the backward, `take` hands it out, once:
# each backward needs a forward of its own. In evaluation no backward will come, and `save` keeps
# nothing. A layer's parameters, and the layers inside it, are its ordinary attributes. Here is the
# first layer of [tutorial 1](01_finite_differences.py), $y = x^2 / 2$.


# %%
class HalfSquare(Layer):
    def forward(self, x):
        self.save(x)
        return x**2 / 2

    def backward(self, dy):
        x = self.take()
        return dy * x


layer = HalfSquare()
x, dy = np.array([[1.0, 2, 3], [4, -5, 6]])
layer.forward(x)
claim("the backward takes what the forward has saved", np.array_equal(layer.backward(dy), dy * x))
refused = []
for again in ("a second backward", "one after a forward in evaluation"):
    try:
        layer.backward(dy)
    except RuntimeError:
        refused.append(again)
    layer.eval().forward(x)
claim("refused: " + ", ".join(refused), len(refused) == 2)

# %% [markdown]
# ## The block, by hand
#
# Now the block of the paper, $y = \mathrm{ReLU}(f(x) + x)$ with $f$ = conv - BN - ReLU - conv - BN,
# in the library `basic_branch`. Call the sum $s = f(x) + x$. Backward:
#
# 1. through the ReLU after the addition: $ds = dy \cdot [s > 0]$;
# 2. an addition hands its upstream gradient to both terms, so branch and shortcut each get $ds$;
# 3. $x$ was used twice, so its two gradients are added: $dx = J_f^\top ds + ds$.


# %%
class Block(Layer):
    """ReLU(f(x) + x)."""

    def __init__(self, branch):
        self.branch = branch
        self.relu = ReLU()

    def forward(self, x):
        return self.relu.forward(self.branch.forward(x) + x)

    def backward(self, dy):
        ds = self.relu.backward(dy)
        return self.branch.backward(ds) + ds


branch = basic_branch(3, 3, rng=rng, dtype=np.float64)
x, dy = rng.standard_normal((2, 4, 3, 5, 6))
report = check_layer(Block(branch), x, rng=rng)
claim(f"the block's gradients are right: {report.worst.error:.0e}", report.passed)

# %% [markdown]
# Two errors suggest themselves. One forgets the shortcut's gradient. The other lets the shortcut
# have $dy$ instead of $ds$, as if the ReLU stood in the branch. Does the check see them?


# %%
class ForgotShortcut(Block):
    def backward(self, dy):
        return self.branch.backward(self.relu.backward(dy))


class WentAroundReLU(Block):
    def backward(self, dy):
        return self.branch.backward(self.relu.backward(dy)) + dy


for wrong in (ForgotShortcut, WentAroundReLU):
    report = check_layer(wrong(branch), x, rng=rng)
    print(report.explain())
    failed = {slope.tensor for slope in report.slopes if slope.error > report.tolerance}
    claim(f"{wrong.__name__}: seen, and only in dx", failed == {"x"})

# %% [markdown]
# Only $dx$ is wrong. All gradients of the block's own parameters are right, so a test of one
# block's weights would find nothing. The damage is done to the blocks below: with the first error,
# all they get is what comes through the branches above.
#
# The library's block is the same with a gate, the subject of the next tutorial, and with any
# shortcut. Here that is the identity, since the shape stays.

# %%
theirs = ResidualBlock(branch, make_shortcut("A", 3, 3, stride=1, rng=rng))
found = [(block.forward(x), block.backward(dy)) for block in (Block(branch), theirs)]
agree = [np.allclose(a, b) for a, b in zip(*found, strict=True)]
claim("output and dx agree with the library's", all(agree))

# %% [markdown]
# ## Where the shape changes: shortcut A
#
# Twice in the network the image halves and the channels double, so that a convolution costs the
# same before and after: its work is proportional to $C^2 H W$, and
# $(2C)^2 \tfrac{H}{2} \tfrac{W}{2} = C^2 H W$. In such a *transition block* the first convolution
# of the branch has stride 2. The identity no longer fits. What is the cheapest map that does?
#
# Shortcut A takes the mean of every 2x2 tile, and appends channels of zeros:
#
# $$y_{nchv} = \begin{cases} \frac14 \sum_{i, j \in \{0, 1\}} x_{n,c,2h+i,2v+j} & c < C \\
#   0 & C \le c < 2C . \end{cases}$$
#
# Backward: a pixel is in one tile, with weight $\frac14$, so it gets a quarter of that tile's
# gradient. The zeros are constants, no $x$ is in them, and their gradient ends here:
#
# $$dx_{ncrs} = \tfrac14\, dy_{n, c, \lfloor r/2 \rfloor, \lfloor s/2 \rfloor}, \qquad c < C .$$


# %%
def shortcut_a_forward(x):
    N, C, H, W = x.shape
    y = np.zeros((N, 2 * C, H // 2, W // 2), x.dtype)
    y[:, :C] = x.reshape(N, C, H // 2, 2, W // 2, 2).mean(axis=(3, 5))
    return y, C


def shortcut_a_backward(dy, C):
    return dy[:, :C].repeat(2, axis=2).repeat(2, axis=3) / 4


def forgot_the_quarter(dy, C):
    return 4 * shortcut_a_backward(dy, C)


x = rng.standard_normal((5, 3, 8, 6))
report = check_op("shortcut A", shortcut_a_forward, shortcut_a_backward, {"x": x}, rng=rng)
claim(f"shortcut A's gradient is right: {report.worst.error:.0e}", report.passed)
report = check_op("planted", shortcut_a_forward, forgot_the_quarter, {"x": x}, rng=rng)
print(report.explain())
claim("an error is seen", not report.passed)

pad = PadShortcut(3, 6, stride=2)
y, C = shortcut_a_forward(x)
dy = rng.standard_normal(y.shape)
agree = np.allclose(y, pad.forward(x)), np.allclose(shortcut_a_backward(dy, C), pad.backward(dy))
claim("output and gradient agree with the library's PadShortcut", all(agree))

# %% [markdown]
# The zero channels are less odd than they look. After the addition those channels hold the branch
# alone, so here the block makes $C$ new features next to the $C$ old ones, at half the resolution.
#
# There is a variant. Until February 2017 the released code of the stochastic depth paper took not
# the mean but the first pixel of every tile. The library has it as `shortcut="A-subsample"`, and
# you write its backward in exercise 1.
#
# ## Shortcut B: learn it
#
# Shortcut B is a *projection*: a convolution with 1x1 kernels and stride 2, then batch norm. A 1x1
# kernel sees one pixel, so this is a matrix from $C$ to $2C$ channels, applied to every second
# pixel of every second row:
#
# $$z_{nfhv} = \sum_c w_{fc}\, x_{n,c,2h,2v}, \qquad y = \mathrm{BN}(z).$$
#
# There is nothing new to derive. But note that three pixels of four are never read, so no gradient
# arrives there, whereas A gives all four their share. And B costs parameters: $2C^2$ weights, and
# $\gamma$ and $\beta$ for $2C$ channels, $2C^2 + 4C$ together. A costs none.

# %%
projection = make_shortcut("projection", 3, 6, stride=2, rng=rng, dtype=np.float64)
conv = projection.layers[0]
z = np.einsum("fc,nchv->nfhv", conv.w.data[:, :, 0, 0], x[:, :, ::2, ::2])
claim("a 1x1 convolution with stride 2 is that sum", np.allclose(z, conv.forward(x)))
report = check_layer(projection, x, rng=rng)
claim(f"shortcut B's gradients are right: {report.worst.error:.0e}", report.passed)

projection.forward(x)
dx = projection.backward(dy)
arrived = np.argwhere((dx != 0).all(axis=(0, 1)))
claim("its gradient arrives at pixels 0, 2, 4 ...", (arrived % 2 == 0).all() and len(arrived) == 12)

extra = sum(2 * C**2 + 4 * C for C in (16, 32))  # the two transitions of a network of width 16
for depth in (20, 56, 110):
    a, b = (resnet(depth, shortcut=kind, rng=rng).num_parameters for kind in ("A", "projection"))
    claim(f"{depth} layers: {a:,} parameters with A, {b - a:,} more with B", b - a == extra)

# %% [markdown]
# There are two transitions whatever the depth, so this is little in a deep network. He et al. use A
# on small images, as we do in the other tutorials, and B on ImageNet.
#
# ## Exercises
#
# Solutions are in `solutions/05_residual_block.py`. In a shell, `--exercise 1` runs the first one
# alone.
#
# **1.** The shortcut A-subsample takes the first pixel of each tile, and appends the zeros. Write
# its backward. The cache is the shape of $x$; height and width may be odd.


# %%
def subsample_forward(x):
    small = x[:, :, ::2, ::2]
    return np.concatenate([small, np.zeros_like(small)], axis=1), x.shape


def subsample_backward(dy, shape):
    raise NotImplementedError


def check(subsample_backward):
    rng = np.random.default_rng(51)
    for size in ((8, 6), (7, 5)):
        x = rng.standard_normal((4, 3, *size))
        backward = subsample_backward.returning(dx=x)
        report = check_op("subsample", subsample_forward, backward, {"x": x}, rng=rng)
        assert report.passed, f"images of {size[0]}x{size[1]} pixels: {report.explain()}"


exercise(1, subsample_backward, check)

# %% [markdown]
# **2.** How much arrives along paths of each length? A sum over $2^L$ of them is out of reach at
# $L = 54$. But the sums over all paths through $k$ branches, for every $k$ at once, cost about
# $L^2 / 2$ products: think of what one more block does to each of them, as in Pascal's triangle.
# Write `gradients_by_length(jacobians, dh)`, which returns an array of shape $(L+1, D)$. Row $k$ is
# the sum for $k$; `jacobians` is the list $J_1, \dots, J_L$, and `dh`, of shape $(D,)$, is $dH_L$.


# %%
def gradients_by_length(jacobians, dh):
    raise NotImplementedError


def check(gradients_by_length):
    rng = np.random.default_rng(52)
    J, dh = list(rng.standard_normal((5, 4, 4))), rng.standard_normal(4)
    expected = np.zeros((6, 4))
    for path in product([False, True], repeat=5):
        along = dh
        for through, j in zip(reversed(path), reversed(J), strict=True):
            along = j.T @ along if through else along
        expected[sum(path)] += along
    found = gradients_by_length.returning(sums=expected)(J, dh)
    for k in range(6):
        assert np.allclose(found[k], expected[k]), f"the sum for {k} branches should be another"
    J = list(0.1 * rng.standard_normal((54, 4, 4)))
    steps = [gradients_by_length.work(J[:L], dh) for L in (5, 10)]
    assert steps[1] < 10 * steps[0], (
        f"right, but 10 branches take {steps[1] / steps[0]:.0f} times the steps of 5: L = 54 would "
        "not end"
    )
    total = dh
    for j in reversed(J):
        total = total + j.T @ total
    found = gradients_by_length.returning(sums=np.zeros((55, 4)))(J, dh)
    assert np.allclose(sum(found), total), "the sum over all lengths should be the gradient"


exercise(2, gradients_by_length, check)

# %% [markdown]
# **3.** A few months later K. He, X. Zhang, S. Ren and J. Sun (*Identity mappings in deep residual
# networks*, 2016, [arXiv:1603.05027](https://arxiv.org/abs/1603.05027)) moved batch norm and ReLU
# in front of each convolution, and left nothing after the addition: $y = x + f(x)$ with
# $f$ = BN - ReLU - conv - BN - ReLU - conv. Write the backward of this *pre-activation* block from
# the functions of `minisd.ops`. It returns the gradients in the order of the forward's arguments,
# as theirs do (`conv2d_backward` returns a third, its bias's, here `None`). Then say: in a stack of
# such blocks, what does the path around all branches carry?


# %%
def preactivation_forward(x, gamma1, beta1, w1, gamma2, beta2, w2):
    h, caches = x, []
    for gamma, beta, w in ((gamma1, beta1, w1), (gamma2, beta2, w2)):
        mean, var = np.zeros_like(gamma), np.ones_like(gamma)
        h, norm = ops.batchnorm2d_forward(h, gamma, beta, mean, var, training=True)
        h, relu = ops.relu_forward(h)
        h, conv = ops.conv2d_forward(h, w, None, stride=1, padding=1)
        caches.append((norm, relu, conv))
    return x + h, caches


def preactivation_backward(dy, caches):
    raise NotImplementedError


def check(preactivation_backward):
    rng = np.random.default_rng(6)  # with these numbers no step meets a kink
    shapes = {"x": (4, 3, 5, 6), "gamma1": 3, "beta1": 3, "w1": (3, 3, 3, 3)}
    shapes |= {"gamma2": 3, "beta2": 3, "w2": (3, 3, 3, 3)}
    inputs = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    backward = preactivation_backward.returning(**{f"d{n}": each for n, each in inputs.items()})
    report = check_op("pre-activation block", preactivation_forward, backward, inputs, rng=rng)
    assert report.passed, report.explain()


exercise(3, preactivation_backward, check)

# %% [markdown]
# ## What to read next
#
# If a block does little harm when it is there, is it missed when it is not? [Tutorial
# 6](06_stochastic_depth.py) takes blocks out at random, in training. The library's blocks and
# shortcuts are in `minisd/residual.py`, the networks made of them in `minisd/models.py`, and
# `minisd experiment shattered-gradients` is Balduzzi's measurement. K. He, X. Zhang, S. Ren and
# J. Sun, *Deep residual learning for image recognition*, 2015
# ([arXiv:1512.03385](https://arxiv.org/abs/1512.03385)); on paths: A. Veit, M. Wilber and S.
# Belongie, *Residual networks behave like ensembles of relatively shallow networks*, 2016
# ([arXiv:1605.06431](https://arxiv.org/abs/1605.06431)).
