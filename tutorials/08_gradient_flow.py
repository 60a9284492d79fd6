# %% [markdown]
# # 8. Gradient flow: what arrives where?
#
# Papers show a figure to explain why their method works, and readers believe it. This tutorial
# takes such a figure, finds it again, and then shows that it does not say what it seems to. What we
# build on the way serves to examine any claim about gradients.
#
# **You will learn** to record what flows back through a network, to predict how fast it fades or
# grows with depth, and to take a famous figure apart with a controlled experiment.
#
# **You need** [tutorial 5](05_residual_block.py), [tutorial 6](06_stochastic_depth.py) and
# [tutorial 7](07_training.py).
#
# **Time**: 60 minutes.
#
# The paper's Fig. 7 shows that the first layer's gradient is larger with stochastic depth than
# without, and takes that as a sign that gradients vanish less. Is it one? To answer we need an
# instrument, a theory of vanishing, and an experiment in which nothing else differs. We will find
# the paper's effect on our digits, and then find out what it is made of.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from minisd import (
    SGD,
    BatchNorm2d,
    Conv2d,
    GlobalAvgPool,
    Linear,
    ReLU,
    Sequential,
    draw_gates,
    flow,
    linear_decay,
    ops,
    resnet,
    set_gates,
)
from minisd.data import Normaliser, load
from minisd.data.batches import training_batches
from minisd.experiments import lesion, paper_curves
from minisd.experiments.drawing import PAPER, colour, convolutions, spread, whole_numbers
from minisd.experiments.path_lengths import unmoved
from minisd.experiments.trained import label
from minisd.figures import new_figure, tidy
from minisd.residual import make_shortcut
from minisd.runs.config import resolve
from minisd.runs.run import Run
from minisd.surgery import without
from minisd.train import train_step
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
digits = load("digits").train
images, labels = Normaliser.fit(digits.images)(digits.images[:128]), digits.labels[:128]

# %% [markdown]
# ## Where one can look
#
# After a backward there are four kinds of numbers to look at, and each answers another question.
#
# - The gradient of a weight tensor, as mean $|dw|$: how hard is this layer told to move?
# - The gradient that arrives at a block's output, as $\lVert dH_l \rVert$: does the message get
#   this far down at all?
# - What the optimiser makes of it, as $\lVert \Delta w \rVert / \lVert w \rVert$. A common rule of
#   thumb wants about $10^{-3}$. With far less a layer does not learn, with far more it forgets.
# - Dead channels, which are 0 for every pixel of every image: nothing comes back through their
#   ReLU.
#
# The first needs no instrument. A backward leaves the gradients in the parameters, where anybody
# can read them before the optimiser comes. The second is gone when the backward is over: $dH_l$ was
# handed down to the next block and forgotten. Still, no layer needs a hook for it. In Python an
# attribute of an *object* covers the method of its class, so we can lay a function over the
# `backward` of this one block and take it away again. Every other network runs the code it always
# ran. Here is a recorder by hand, and then the library's, which works the same way.


# %%
def mean_gradients(model):
    """Return mean |gradient| of each block's branch, None where there is no gradient."""
    means = []
    for block in model.blocks:
        grads = [parameter.grad for _, parameter in block.branch.parameters()]
        if grads[0] is None:
            means.append(None)
        else:
            means.append(sum(abs(dw).sum() for dw in grads) / sum(dw.size for dw in grads))
    return means


def backward_pass(model):
    """Run images forward and the gradient of their loss back."""
    model.zero_grad()
    _, dlogits = ops.softmax_cross_entropy(model.forward(images), labels)
    model.backward(dlogits)


def arriving_norms(model, layers):
    """Return ||dy|| of each of the layers, in one backward pass."""
    norms = {}

    def watch(number, backward):
        def watched(dy):
            norms[number] = float(np.linalg.norm(dy))
            return backward(dy)

        return watched

    for number, layer in enumerate(layers):
        layer.backward = watch(number, layer.backward)
    backward_pass(model)
    for layer in layers:
        del layer.backward
    return np.array([norms[number] for number in range(len(layers))])


def record(model, optimizer, steps):
    """Let ``steps(recorder)`` train, and return what the library's recorder wrote down."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "flow.jsonl"
        with flow.Recorder(model, optimizer, path) as recorder:
            steps(recorder)
        return flow.load(path)


def one_step(model):
    """Record one training step on the images."""
    optimizer = SGD(model, lr=0.05)
    return record(
        model,
        optimizer,
        lambda recorder: train_step(model, optimizer, images, labels, recorder=recorder),
    )


model = resnet(14, in_channels=1, width=8, rng=np.random.default_rng(1))
set_gates(model, [True, True, False, True, True, False])
norms = arriving_norms(model, model.blocks)
means = np.array(mean_gradients(model), float)  # None becomes NaN
w = model.stem.layers[0].w.data
before = w.copy()
seen = one_step(model)
ratio = np.linalg.norm(w - before) / np.linalg.norm(before)
print("mean |gradient| by block", means.round(5))
claim(
    "the recorder has the same six, and NaN where a block was closed",
    np.allclose(seen["block_grad_mean"][0], means, rtol=1e-5, equal_nan=True),
)
claim(
    "the same norms arrive at the open blocks",
    np.allclose(seen["output_grad_norm"][0, ~np.isnan(means)], norms[~np.isnan(means)], rtol=1e-4),
)
claim(
    f"the first convolution moved by {ratio:.4f} of its norm, by both",
    np.isclose(seen["update_ratio"][0, 0], ratio, rtol=1e-4),
)
claim("the blocks are as they were", all("backward" not in vars(b) for b in model.blocks))

# %% [markdown]
# ## None is not zero
#
# A closed block was not asked: its gradient is None, and the recorder notes nothing of it. That is
# another fact than 0. Here is a true 0. In a plain network (no shortcuts) we shift one channel's
# batch norm by $-20$, too far for any normalised value. The channel was asked, and nothing came
# through.

# %%
broken = resnet(14, in_channels=1, width=8, shortcut="none", rng=np.random.default_rng(1))
norm = broken.blocks[0].branch.layers[-1]
norm.beta.data[0] = -20
dead = one_step(broken)["dead_channels"][0, 0]
claim(f"the recorder sees a dead channel in eight: {dead:.3f}", np.isclose(dead, 1 / 8))
claim("its gradients are 0, not None", norm.gamma.grad[0] == norm.beta.grad[0] == 0)

# %% [markdown]
# The difference matters as soon as we average. Over many steps a block is open in a share of about
# $p_l$. Count None as 0, and its mean gradient comes out multiplied by that share; and since
# $p_l$ falls with depth, the error looks like a finding. We plant it.

# %%
model = resnet(14, in_channels=1, width=8, survival=linear_decay(6), rng=np.random.default_rng(1))
optimizer, gate_rng = SGD(model, lr=0.05), np.random.default_rng(2)


def forty_steps(recorder):
    for _ in range(40):
        draw_gates(model, gate_rng)
        train_step(model, optimizer, images, labels, recorder=recorder)


seen = record(model, optimizer, forty_steps)
over_open_steps = np.nanmean(seen["block_grad_mean"], axis=0)
none_as_zero = np.nan_to_num(seen["block_grad_mean"]).mean(axis=0)
share = seen["open"].mean(axis=0)
print("mean over open steps", over_open_steps.round(4))
print("None counted as 0   ", none_as_zero.round(4))
claim(
    f"the error is the share of open steps, {share[-1]:.2f} for the last block",
    np.allclose(none_as_zero / over_open_steps, share) and share[-1] < 0.8,
)

# %% [markdown]
# ## How fast does a gradient vanish?
#
# Take $L$ convolutions of $C$ channels, each followed by a ReLU; no batch norm, no shortcut. Draw
# the weights with variance $s^2 \cdot 2 / (9C)$, which is He's for $s = 1$. What does one layer do
# to the size of what flows through it?
#
# Forward, $z = W h$. Let $m_q$ be the mean square of $h$ at pixel $q$. The weights are
# independent with mean 0, so variances add up, and at $q$ the mean square of $z$ is
# $s^2 \frac{2}{9C} \cdot C \sum_{q'} m_{q'}$, summed over the $3 \times 3$ window around $q$, and
# by symmetry the ReLU keeps half of it:
#
# $$m_q \;\to\; s^2 \cdot \tfrac{1}{9} \sum_{q' \in \text{window}(q)} m_{q'} .$$
#
# Backward the same happens with $W^T$: each pixel collects from nine windows, and the ReLU stops
# half of what arrives. So $\lVert dh \rVert$ has the same factor.
#
# Inside a large image the mean over the window changes nothing, and the factor of the norm is $s$.
# At a border, part of the window holds zeros. Along an axis of $H$ pixels, summing over the window
# is a matrix $T$ with ones on three diagonals, and what is left after some layers is its largest
# eigenvalue, $1 + 2 \cos \frac{\pi}{H + 1}$. With two axes, and a square root from mean square to
# norm:
#
# $$\lVert dh_{l-1} \rVert \;\approx\; s \lambda\, \lVert dh_l \rVert, \qquad
#   \lambda = \tfrac{1}{3} \Bigl( 1 + 2 \cos \frac{\pi}{H + 1} \Bigr).$$


# %%
def plain(L, s=1.0, batch_norm=False, seed=0, C=16):
    """Return L convolutions with ReLUs, and a head that classifies."""
    rng, layers = np.random.default_rng(seed), []
    for number in range(L):
        conv = Conv2d(C if number else 1, C, 3, padding=1, rng=rng)
        conv.w.data *= s
        layers += [conv, *([BatchNorm2d(C)] if batch_norm else []), ReLU()]
    return Sequential(*layers, GlobalAvgPool(), Linear(C, 10, rng=rng))


def all_of(kind, model):
    return [layer for layer in model.walk() if isinstance(layer, kind)]


def typical(L, **options):
    """Return ||dh|| at each ReLU and mean |dw| of each convolution, geometric means of networks."""
    logs = []
    for seed in range(2 if QUICK else 6):
        net = plain(L, seed=seed, **options)
        norms = arriving_norms(net, all_of(ReLU, net))
        logs.append([np.log(norms), [np.log(abs(c.w.grad).mean()) for c in all_of(Conv2d, net)]])
    return np.exp(np.mean(logs, axis=0))


def factor_per_layer(norms):
    """Fit what each layer multiplies the gradient's norm by, on its way down."""
    return np.exp(-np.polyfit(np.arange(len(norms)), np.log(norms), 1)[0])


T = sum(np.eye(8, k=k) for k in (-1, 0, 1))
lam = np.linalg.eigvalsh(T).max() / 3
claim(f"lambda of an 8x8 image: {lam:.4f}", np.isclose(lam, (1 + 2 * np.cos(np.pi / 9)) / 3))

L = 20
places = np.arange(1, L + 1)
seen = {}
for s in (1.0, 0.7, 0.5):
    seen[s] = typical(L, s=s)
    found = factor_per_layer(seen[s][0])
    claim(
        f"s = {s}: {found:.3f} per layer, theory {s * lam:.3f}",
        abs(found / (s * lam) - 1) < 0.06,
    )

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 3.8)
left, right = figure.subplots(1, 2)
for (s, (dh, dw)), shade in zip(seen.items(), ("#3a6ea5", "#d9922b", "#c1432e"), strict=True):
    left.semilogy(places, dh / dh[-1], ".-", color=shade, label=f"s = {s}")
    left.semilogy(places, (s * lam) ** (L - places), ":", color="k", lw=1)
    right.semilogy(places, dw, ".-", color=shade, label=f"s = {s}")
left.plot([], [], "k:", lw=1, label=r"theory, $(s\lambda)^{L - l}$")
left.set_ylabel("norm of dh; the last layer's is 1")
left.legend(frameon=False)
right.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.8))
right.set_ylabel("mean |dw|")
for axes in (left, right):
    axes.set_xlabel("layer")
    whole_numbers(axes.xaxis)
    tidy(axes)
show(
    figure,
    "08_vanishing",
    "Plain networks of 20 layers at the start: weights s times He's",
    alt="Left: norm of dh by layer, logarithmic; three straight lines that fall towards the "
    "input, the steeper the smaller the weights, with the dotted theory on them. Right: "
    "mean |dw| by layer, three nearly level lines.",
)

# %%
dh, dw = seen[0.5]
claim(
    f"s = 0.5: the largest ||dh|| is {dh.max() / dh.min():.0e} times the smallest, "
    f"the largest mean |dw| {dw.max() / dw.min():.0f} times",
    dh.max() / dh.min() > 1e5 and dw.max() / dw.min() < 10,
)

# %% [markdown]
# The left panel is what everybody means by vanishing gradients, and the theory has its factor per
# layer to a few per cent. Even with He's weights a little is lost in each layer, at the borders of
# a small image.
#
# The right panel may surprise you. The gradients of the *weights* do not fade from layer to layer;
# they are small in all of them alike. Behind it is an exact identity. Write
# $\langle a, b \rangle = \sum_i a_i b_i$. Since $z_l$ is linear in $w_l$ and in $h_{l-1}$, and
# $h_l = z_l$ wherever the ReLU lets $dh_l$ through,
#
# $$\langle w_l, dw_l \rangle = \langle z_l, dz_l \rangle = \langle h_l, dh_l \rangle
#   = \langle z_{l+1}, dz_{l+1} \rangle = \langle w_{l+1}, dw_{l+1} \rangle = \dots$$
#
# One number for all layers. What $dh$ loses on its way down, $h$ had not yet lost on its way up,
# and $dw_l$ is a product of both: it shrinks with the depth of the whole network, like
# $(s\lambda)^{L-1}$. So of a plot of vanishing gradients ask *which* gradients, and against *which*
# depth.
#
# The identity is also a free check of a backward. We plant an error: the eleventh convolution hands
# down 1 % too much.


# %%
def products(net):
    backward_pass(net)
    return np.array([(conv.w.data * conv.w.grad).sum() for conv in all_of(Conv2d, net)])


net = plain(L, s=0.7)
right_ones = products(net)
claim("<w, dw> is one number", np.allclose(right_ones, right_ones[-1], rtol=1e-4, atol=0))
eleventh = all_of(Conv2d, net)[10]
backward = eleventh.backward
eleventh.backward = lambda dy: 1.01 * backward(dy)
changed = products(net) / right_ones
claim(
    "with the error it is still right from the eleventh layer up, and wrong below",
    np.allclose(changed[10:], 1, atol=1e-4) and np.allclose(changed[:10], 1.01, atol=1e-4),
)

# %% [markdown]
# ## Batch norm turns it round, shortcuts tame it
#
# Batch norm divides the scale $s$ out, and nothing can fade. But it brings a factor of its own.
# Let $y$ be a normalised channel, about $N(0, 1)$, and $h = \max(y, 0)$. The mean square of $h$ is
# $\frac12$ and its mean $1/\sqrt{2\pi}$, so its variance is $\frac12 - \frac{1}{2\pi}$. The next
# convolution, with He's weights, doubles that. (The mean of $h$ only shifts $z$, for all images
# alike, and batch norm takes that away.) So batch norm divides by the root of $1 - \frac1\pi$, and
# its backward divides the gradient by the same, while $W^T$ and ReLU keep the norm as before:
#
# $$\lVert dh_{l-1} \rVert \;\approx\; \Bigl( 1 - \tfrac{1}{\pi} \Bigr)^{-1/2} \lVert dh_l \rVert
#   \;\approx\; 1.21\, \lVert dh_l \rVert .$$
#
# In a plain network with batch norm the gradient does not vanish at the start. It *explodes*. (The
# derivation idealises: Gaussian channels that know nothing of each other, and no borders.)
#
# A shortcut changes the kind of growth. Each branch adds about one unit of variance to $H_l$, which
# after $l$ blocks has about $l$ of them. Next to that, a branch adds to the squared norm passed
# back a share of about $c/l$, with some constant $c$, and $\prod_{l \le L} (1 + c/l)$ grows like
# $L^c$: a power of the depth, not exponentially.

# %%
explosion = factor_per_layer(typical(L, batch_norm=True)[0])
claim(
    f"with batch norm {explosion:.2f} per layer, theory {(1 - 1 / np.pi) ** -0.5:.2f}",
    1.12 < explosion < 1.26,
)

DEPTH = 56 if QUICK else 110
blocks = (DEPTH - 2) // 2
options = {"in_channels": 1, "width": 8, "rng": np.random.default_rng(1)}
PLAIN, CONSTANT, LINEAR = ("plain", 1.0), ("constant", 1.0), ("linear", 0.5)  # rule, p_L
deep = {
    PLAIN: resnet(DEPTH, shortcut="none", **options),
    CONSTANT: resnet(DEPTH, **options),
    LINEAR: resnet(DEPTH, survival=linear_decay(blocks), **options),
}
dh, dw = {}, {}
for kind, model in deep.items():
    draw_gates(model, np.random.default_rng(4))
    seen = one_step(model)
    dh[kind] = seen["output_grad_norm"][0]
    dw[kind] = seen["grad_mean"][0, convolutions(seen["parameter"].tolist())]

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 3.8)
left, right = figure.subplots(1, 2)
for kind in deep:
    style = {"marker": ".", "ms": 4, "lw": 1, "color": colour(*kind), "label": label(*kind)}
    left.semilogy(np.arange(1, blocks + 1), dh[kind], **style)
    right.semilogy(np.arange(1, len(dw[kind]) + 1), dw[kind], **style)
left.set_xlabel("block")
left.set_ylabel("norm of the gradient at its output")
left.legend(frameon=False)
right.legend(frameon=False)
right.set_xlabel("convolution")
right.set_ylabel("mean |dw|")
for axes in (left, right):
    tidy(axes)
show(
    figure,
    "08_by_depth",
    f"{DEPTH} layers in their first step, by depth (gaps: closed blocks have no gradient)",
    alt="Left: the gradient's norm at the output of each block, logarithmic. In the plain "
    "network it grows steeply towards the input, in the residual ones little. Right: mean "
    "|dw| by convolution, with the same order; the stochastic network has gaps.",
)

# %%
growth = {kind: dw[kind][0] / dw[kind][-1] for kind in (PLAIN, CONSTANT)}
claim(
    f"{DEPTH} layers, first convolution / last: plain {growth[PLAIN]:.0e}, "
    f"residual {growth[CONSTANT]:.0f}",
    growth[PLAIN] > (1e3 if QUICK else 1e5) and growth[CONSTANT] < 1e3,
)
claim(
    "in all three the first convolution has the largest gradient",
    all(sizes[0] == np.nanmax(sizes) for sizes in dw.values()),
)
less = dh[LINEAR][0] / dh[CONSTANT][0]
claim(f"with gates drawn {less:.1f} of the gradient arrives at the first block", less < 0.85)

# %% [markdown]
# The small steps are where the image is halved, the gaps are closed blocks. Mind what this says of
# the residual networks: at the start nothing vanishes on the way to the first layer, with or
# without stochastic depth, and closed blocks make the gradient there smaller, not larger.
#
# ## The paper's figure
#
# Fig. 7 is about training, not the start. Its curves are the mean $|dw|$ of the first convolution
# at 110 layers on CIFAR-10, over 500 epochs, with the learning rate divided by 10 after epochs 250
# and 375. These are the paper's own curves, read off its drawing.

# %%
paper = paper_curves.first_gradient()
epoch = paper["constant"][0]
phases = {"first": epoch <= 250, "second": (epoch > 251) & (epoch <= 375), "third": epoch > 375}
factors = {
    phase: np.nanmean(paper["stochastic"][1][now]) / np.nanmean(paper["constant"][1][now])
    for phase, now in phases.items()
}
claim(
    "stochastic / constant in the paper, by phase: "
    + ", ".join(f"{factor:.1f}" for factor in factors.values()),
    factors["first"] < 1.3 and factors["second"] > 5 and factors["third"] > 8,
)

# %% [markdown]
# So there is next to no factor as long as the rate is high, and a large one afterwards. Now ours:
# 20 layers of width 8, 24 epochs of the digits, three seeds. A `Run` makes network, optimiser and
# data from settings and a seed, with a random generator for each purpose. So both kinds of network
# start from the same weights and see the same images in the same order. We leave out augmentation,
# for a reason: in the paper the training loss at constant depth comes down to almost nothing, and
# without augmentation ours does so in seconds. A plain network is trained as well, for later.

# %%
SIZE = {"depth": 20, "width": 8, "epochs": 24, "max_shift": 0}
if QUICK:
    SIZE |= {"depth": 8, "width": 4, "epochs": 4}
SEEDS = (1,) if QUICK else (1, 2, 3)
SETTINGS = {
    CONSTANT: {"survival": "constant"},
    LINEAR: {"survival": "linear", "p_last": 0.5},
    PLAIN: {"survival": "constant", "shortcut": "none"},
}


def trained(kind, seed):
    """Return a trained run, and what was recorded, a row for each epoch."""
    run = Run(resolve({**SIZE, **SETTINGS[kind], "seed": seed}))

    def steps(recorder):
        for epoch in range(1, run.config.epochs + 1):
            run.optimizer.lr = run.schedule(epoch)
            for x, y in training_batches(
                run.train, run.config.batch_size, normaliser=run.normaliser,
                augmentation=run.augmentation, rng=run.data_rng,
            ):  # fmt: skip
                draw_gates(run.model, run.gate_rng)
                train_step(run.model, run.optimizer, x, y, recorder=recorder)

    seen = record(run.model, run.optimizer, steps)
    by_epoch = (run.config.epochs, run.steps_per_epoch)
    curves = {
        "stem": seen["grad_mean"][:, 0].reshape(by_epoch).mean(axis=1),
        "loss": seen["loss"].reshape(by_epoch).mean(axis=1),
        "update": seen["update_ratio"][:, 0].reshape(by_epoch).mean(axis=1),
    }
    return run, curves


runs = {kind: [trained(kind, seed) for seed in SEEDS] for kind in (CONSTANT, LINEAR)}
runs[PLAIN] = [trained(PLAIN, SEEDS[0])]
curves = {
    kind: {name: np.array([found[name] for _, found in several]) for name in several[0][1]}
    for kind, several in runs.items()
}

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(11, 7)
(theirs, ours), (losses, against) = figure.subplots(2, 2)
for style, (name, (x, y)) in zip(("-", ":"), paper.items(), strict=True):
    theirs.semilogy(x, y, style, color=PAPER if name == "constant" else "#2b2b2b", lw=1, label=name)
theirs.set_title("the paper: first convolution", loc="left", fontsize=9)
epochs = np.arange(1, SIZE["epochs"] + 1)
for kind in (CONSTANT, LINEAR):
    style = {"color": colour(*kind), "label": label(*kind)}
    spread(ours, epochs, curves[kind]["stem"], **style)
    spread(losses, epochs, curves[kind]["loss"], **style)
    against.loglog(curves[kind]["loss"].ravel(), curves[kind]["stem"].ravel(), ".", **style)
ours.set_title("digits, 20 layers: first convolution", loc="left", fontsize=9)
losses.set_title("digits: training loss", loc="left", fontsize=9)
against.set_title("digits: the one against the other, a dot an epoch", loc="left", fontsize=9)
against.set_xlabel("training loss")
against.legend(frameon=False)
for axes in (theirs, ours, against):
    axes.set_ylabel("mean |dw|")
losses.set_ylabel("training loss")
for axes in (ours, losses):
    axes.set_yscale("log")
for axes in (theirs, ours, losses):
    axes.set_xlabel("epoch")
    whole_numbers(axes.xaxis)
    axes.legend(frameon=False)
tidy(theirs, changes=(250, 375))
tidy(ours, changes=(SIZE["epochs"] / 2, SIZE["epochs"] * 3 / 4))
tidy(losses, changes=(SIZE["epochs"] / 2, SIZE["epochs"] * 3 / 4))
tidy(against)
show(
    figure,
    "08_fig7",
    "The first layer's gradient, the paper's and ours, and the loss (dotted: the rate drops)",
    alt="Four panels. The paper's first gradient is larger with stochastic depth after each "
    "drop of the rate. On the digits ours is, too, late in training; so is the training "
    "loss, by even more. Against each other, gradient and loss lie along one band for both "
    "networks.",
)

# %%
late = slice(SIZE["epochs"] * 3 // 4, None)
quotients = {}
for name in ("stem", "loss"):
    quotients[name] = [
        linear[late].mean() / constant[late].mean()
        for linear, constant in zip(curves[LINEAR][name], curves[CONSTANT][name], strict=True)
    ]
print("stochastic / constant in the last quarter, seed by seed")
for name, factors in quotients.items():
    print(f"    {name:5}", np.round(factors, 1))
claim(
    f"our factor in the gradient: {np.mean(quotients['stem']):.1f}",
    np.mean(quotients["stem"]) > 3,
    in_full=True,
)
claim(
    f"and in the training loss: {np.mean(quotients['loss']):.0f}",
    np.mean(quotients["loss"]) > 1.5 * np.mean(quotients["stem"]),
    in_full=True,
)
updates = {kind: np.median(curves[kind]["update"]) for kind in (CONSTANT, LINEAR)}
claim(
    f"update / weight of that convolution, median epoch: {updates[CONSTANT]:.0e} and "
    f"{updates[LINEAR]:.0e}; the rule of thumb says 1e-3",
    all(2e-5 < update < 2e-2 for update in updates.values()),
    in_full=True,
)

# %% [markdown]
# There it is, the paper's effect: from nothing while the loss is high to a large factor. And beside
# it the loss, which differs by even more. Why should the one follow the other? The upstream
# gradient of an image at the logits is $p - e_y$, where $p$ is the softmax and $e_y$ the one-hot
# label, so the sizes of its elements add up to
#
# $$\sum_k |p_k - [k = y]| \;=\; 2\,(1 - p_y) \;=\; 2\,(1 - e^{-\ell}) \;\approx\; 2 \ell$$
#
# for an image of small loss $\ell = -\log p_y$. Everything below is linear in that. **Where the
# loss is nothing, there is nothing to flow back**, through however good a path. A network with
# closed blocks is weaker in each step than it will be at test time, and cannot bring its training
# loss down as far.
#
# Divide by the loss, then? Or compare epochs of the same loss, in the lower right panel?

# %%
by_loss = np.mean(quotients["stem"]) / np.mean(quotients["loss"])
claim(
    f"last quarter, gradient / loss, stochastic over constant: {by_loss:.2f}",
    by_loss < 0.7,
    in_full=True,
)
at_same_loss = {
    kind: curves[kind]["stem"][(curves[kind]["loss"] > 0.02) & (curves[kind]["loss"] < 0.1)]
    for kind in (CONSTANT, LINEAR)
}
if not QUICK:
    same_loss = at_same_loss[LINEAR].mean() / at_same_loss[CONSTANT].mean()
    claim(f"epochs with a loss of 0.02 to 0.1: {same_loss:.2f}", same_loss < 1)

# %% [markdown]
# Either way the gradient is now the *smaller* one with stochastic depth.
#
# ## The same weights, the same images
#
# Such comparisons are not clean either. A loss may sit in a few images or be spread over all; their
# gradients then add up differently. And mean $|dw|$ has a scale of its own: a convolution before
# batch norm computes the same with weights twice as large, and then has half the gradient. Two
# networks that were trained differently differ in all of this at once.
#
# But stochastic depth comes with its own control. Take *one* network trained with it. With the same
# weights and images, do a backward with all blocks open, and one with gates drawn as in training.
# If early layers get more because the network is shorter, it shows here. We do it twice: with the
# loss's own upstream gradient, and with a random one, the same for both.
#
# What should we expect? Let $J_l$ be what a branch does to a gradient. Leaving out the ReLUs after
# the additions,
#
# $$dH_0 = (1 + b_1 J_1)(1 + b_2 J_2) \cdots (1 + b_L J_L)\, dH_L .$$
#
# Multiply out: a sum over $2^L$ paths, of which each closed block removes half. The shortest path,
# along all shortcuts, is there **in both networks**. Closing blocks opens no way that was shut; it
# takes terms away. (It also changes $H_l$, and so the $J_l$ that stay, and terms may cancel: this
# is an expectation, not a proof.)


# %%
def first_gradient(run, *, drawn, same_upstream):
    """Return training loss and mean |dw| of the first convolution, over draws of the gates."""
    rng = np.random.default_rng(5)
    model, draws = run.model, 3 if QUICK else 30
    x, y = run.normaliser(run.train.images[:512]), run.train.labels[:512]
    found = []
    with unmoved(model):
        for _ in range(draws):
            upstream = rng.standard_normal((len(y), 10)).astype(np.float32)
            gates = draw_gates(model, rng)
            set_gates(model, gates if drawn else [True] * len(gates))
            model.zero_grad()
            loss, dlogits = ops.softmax_cross_entropy(model.forward(x), y)
            model.backward(upstream if same_upstream else dlogits)
            found.append((float(loss), abs(model.stem.layers[0].w.grad).mean()))
    return np.mean(found, axis=0)


def factors_of(first, second, **options):
    """Return the factors (loss, gradient) of the second over the first, mean of the seeds."""
    pairs = [
        first_gradient(b, drawn=True, **options) / first_gradient(a, drawn=False, **options)
        for (a, _), (b, _) in zip(runs[first], runs[second], strict=True)
    ]
    return np.mean(pairs, axis=0)


own_loss, own = factors_of(LINEAR, LINEAR, same_upstream=False)
_, passed_on = factors_of(LINEAR, LINEAR, same_upstream=True)
_, between = factors_of(CONSTANT, LINEAR, same_upstream=True)
claim(
    f"one network, gates drawn / all open: the loss is {own_loss:.0f} times as large, and the "
    f"first gradient {own:.1f} times",
    own_loss > 5 and own > 2,
    in_full=True,
)
claim(
    f"but of the same upstream gradient the first layer gets {passed_on:.2f} times as much",
    passed_on < 0.95,
    in_full=True,
)
claim(
    f"and in comparison with the network of constant depth {between:.1f} times",
    0.7 < between < 3 and between < np.mean(quotients["stem"]) / 2,
    in_full=True,
)

run = runs[CONSTANT][0][0]
_, once = first_gradient(run, drawn=False, same_upstream=True)
run.model.stem.layers[0].w.data *= 2
_, twice = first_gradient(run, drawn=False, same_upstream=True)
run.model.stem.layers[0].w.data /= 2
claim(f"weights twice as large, gradient {twice / once:.2f}", abs(twice / once - 0.5) < 0.05)

# %% [markdown]
# **What we may conclude.** In these networks a larger first gradient late in training is a larger
# loss, arriving through a path that is no better: with the weights held still, drawing gates passes
# *less* of the same upstream gradient to the first layer. What is left between the two trained
# networks is much smaller than the factor in the figure, and scales of weights could make as much.
#
# **What we may not.** The paper's network has 110 layers and ours 20, on far easier images. We have
# not shown that its factor has the same cause, only that a figure like this cannot tell. Nor have
# we shown that stochastic depth does not help: the paper's test errors stand, and the size of a
# gradient does not explain them. And on a subset of CIFAR-10 this library did not find the factor
# at all: the table of [findings](site/findings.md) has 1.1 at 20 layers and 0.25 at 56. Those runs
# are short, their losses at constant depth far from nothing, and the 56 layers were hardly trained.
# That fits what we found here, and is no proof of it.
#
# ## Lesions: who needs block l?
#
# The sum over paths makes a prediction of another kind, and A. Veit, M. Wilber and S. Belongie
# tested it in 2016. Take one block out of a *trained* network. In a residual network half of the
# paths never went through it, and those are whole. In a plain network there is one path, and it is
# cut.
#
# `surgery.without` takes out a block and leaves its shortcut; `lesion.error` tests what remains. In
# a plain network nothing at all would pass then, which is fatal but too cheap a proof. So we put
# the shortcut that it never had in the place of the missing block. That is a fair comparison with
# constant depth: neither network has ever met such a gap in training. The stochastic one has.


# %%
def bridged(model, number):
    """The blocks of a plain network, with a shortcut in the place of one of them."""
    blocks = list(model.blocks)
    conv = blocks[number].branch.layers[0]
    F, C = conv.w.data.shape[:2]
    blocks[number] = make_shortcut("A", C, F, conv.stride, rng=np.random.default_rng(0))
    return blocks


remove = {
    CONSTANT: lambda model, number: without(model, [number]),
    LINEAR: lambda model, number: without(model, [number]),
    PLAIN: bridged,
}
whole, removed = {}, {}
for kind, several in runs.items():
    L = several[0][0].model.num_blocks
    whole[kind] = 100 * np.mean([lesion.error(r, r.test, r.model.blocks) for r, _ in several])
    removed[kind] = 100 * np.array(
        [[lesion.error(r, r.test, remove[kind](r.model, k)) for k in range(L)] for r, _ in several]
    )

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(8, 4.2)
axes = figure.subplots()
for kind, errors in removed.items():
    spread(axes, range(1, L + 1), errors, color=colour(*kind), label=label(*kind))
    axes.axhline(whole[kind], color=colour(*kind), lw=0.8, ls="--")
axes.set_xlabel("removed block")
axes.set_ylabel("test error (%); dashed: whole network")
axes.set_ylim(0, 100)
whole_numbers(axes.xaxis)
figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
tidy(axes)
show(
    figure,
    "08_lesion",
    "Which block is missed? Test error with one block removed",
    alt="Test error by removed block. The plain network is mostly wrong, whichever is removed. "
    "With constant and with stochastic depth the error is far lower; it is highest for the "
    "first block, and at constant depth also high for block 7.",
)

# %%
print("survival_prob of the blocks", np.round(linear_decay(L), 2))
for kind, errors in removed.items():
    print(f"test error (%) without one block, {kind[0]:8}", errors.mean(axis=0).round())
typical_error = {kind: np.median(errors) for kind, errors in removed.items()}
claim(
    "median error with one block removed: "
    + ", ".join(f"{kind[0]} {found:.0f} %" for kind, found in typical_error.items()),
    typical_error[PLAIN] > 55 and max(typical_error[CONSTANT], typical_error[LINEAR]) < 30,
    in_full=True,
)
later = {kind: errors[:, L // 3 :].mean() for kind, errors in removed.items()}
claim(
    f"a block of the second or third group removed: {later[CONSTANT]:.0f} % at constant depth, "
    f"{later[LINEAR]:.0f} % with stochastic depth",
    later[LINEAR] < 0.75 * later[CONSTANT],
    in_full=True,
)
first = {kind: errors[:, 0].mean() for kind, errors in removed.items()}
halving = {kind: errors[:, [L // 3, 2 * L // 3]].mean() for kind, errors in removed.items()}
claim(
    f"one of the two that halve the image: {halving[CONSTANT]:.0f} %, and {halving[LINEAR]:.0f} %",
    halving[CONSTANT] > max(1.4 * later[CONSTANT], 1.4 * halving[LINEAR]),
    in_full=True,
)
claim(
    f"the first block removed: {first[CONSTANT]:.0f} %, and {first[LINEAR]:.0f} %",
    all(first[kind] > 1.4 * later[kind] for kind in (CONSTANT, LINEAR)),
    in_full=True,
)

# %% [markdown]
# The plain network (only one here) is mostly lost when a block goes, in spite of the bridge. The
# residual ones go on, at a price that depends on the block. At constant depth it is high for the
# first block and where the image is halved, blocks 4 and 7. With stochastic depth the later blocks
# can be spared, also those two. Not the first one: a network can do without what was often missing,
# and by the linear rule the first block was hardly ever closed. Or is it simply the most important?
# A network trained with `survival="uniform"` would tell.
#
# ## Exercises
#
# Solutions are in `solutions/08_gradient_flow.py`. In a shell, `--exercise 1` runs the first one
# alone.
#
# **1.** A record may average over several steps. `values` (R, L) holds a mean of each record and
# block over the steps in which that block was open, NaN where it never was; `open_steps` (R, L)
# says how many those were. Write `mean_over_open(values, open_steps)`, the mean (L,) over *all*
# open steps, NaN for a block that was never open.


# %%
def mean_over_open(values, open_steps):
    raise NotImplementedError


def check(mean_over_open):
    rng = np.random.default_rng(6)
    steps = np.where(rng.random((60, 5)) < [1, 0.8, 0.5, 0.2, 0], rng.random((60, 5)), np.nan)
    steps[30:35, 3] = np.nan  # closed in all of a record
    lengths = [30, 5, 5, 20]
    values, counts = np.full((4, 5), np.nan), np.zeros((4, 5), int)
    for row, part in enumerate(np.split(steps, np.cumsum(lengths)[:-1])):
        counts[row] = (~np.isnan(part)).sum(axis=0)
        for block in np.flatnonzero(counts[row]):
            values[row, block] = np.nanmean(part[:, block])
    expected = [*np.nanmean(steps[:, :4], axis=0), np.nan]
    found = mean_over_open.returning(means=(5,))(values, counts)
    assert np.allclose(found, expected, equal_nan=True), f"expected {expected}, got {found}"


exercise(1, mean_over_open, check)

# %% [markdown]
# **2.** With gates $b$, a network has a path for every choice of branch or shortcut in each *open*
# block. Write `expected_paths(survival)`, which returns (L + 1,): how many paths through exactly
# $k$ branches there are, on average over the gates. At constant depth they are the binomials
# $\binom{L}{k}$. (Hint: look at how `depth_distribution` in `minisd/stochastic_depth.py` goes from
# block to block. What does one more block do to the number of paths?)


# %%
def expected_paths(survival):
    raise NotImplementedError


def check(expected_paths):
    paths = expected_paths.returning(paths=(5,))([1.0] * 4)
    assert np.allclose(paths, [1, 4, 6, 4, 1]), f"constant depth: binomials, got {paths}"
    survival = [0.9, 0.6, 0.3]
    expected = np.zeros(4)
    for gates in np.ndindex(2, 2, 2):  # closed or open
        probability = np.prod([p if b else 1 - p for p, b in zip(survival, gates, strict=True)])
        for choice in np.ndindex(*(1 + b for b in gates)):  # along the branch only if it is open
            expected[sum(choice)] += probability
    found = expected_paths.returning(paths=(4,))(survival)
    assert np.allclose(found, expected), f"for {survival} expected {expected}, got {found}"
    found = expected_paths.returning(paths=(2,))([0.3])
    assert np.allclose(found, [1, 0.3]), f"for one block expected [1, 0.3], got {found}"


exercise(2, expected_paths, check)

# %% [markdown]
# **3.** A large mean $|dw|$ may be mostly noise. Let $g_1, \dots, g_B$ be gradients (of P numbers)
# of $B$ batches, at the same weights: independent, with mean $\mu$ and covariance $\Sigma$. Write
# `signal_to_noise(gradients)`, for an array (B, P), which estimates
# $\lVert \mu \rVert^2 / \operatorname{tr} \Sigma$. Beware: the mean of $B$ noisy gradients is
# noisy, too, and $\lVert \bar g \rVert^2$ is too large by $\operatorname{tr} \Sigma / B$. The
# check plants signals far below that, too. Then ask both trained networks, with gates drawn: is the
# larger gradient the clearer one?


# %%
def signal_to_noise(gradients):
    raise NotImplementedError


def check(signal_to_noise):
    rng = np.random.default_rng(7)
    yours, P = signal_to_noise.returning(ratio=float), 2000
    deviations = rng.uniform(0.5, 2, P)
    for planted, B in ((0.0, 4), (0.05, 4), (2.0, 4), (0.3, 9)):
        mu = rng.standard_normal(P)
        mu *= np.sqrt(planted * (deviations**2).sum() / (mu**2).sum())
        batches = mu + deviations * rng.standard_normal((100, B, P))
        found = np.mean([yours(gradients) for gradients in batches])
        assert abs(found - planted) < 0.005 + 0.02 * planted, f"planted {planted}, got {found:.3f}"


exercise(3, signal_to_noise, check)

# %% [markdown]
# ## What to read next
#
# The recorder is `minisd/flow/`: `watch.py` is our `arriving_norms`, grown up. `minisd/surgery.py`
# is short, and `minisd/experiments/` does all of this at the size you can afford: `minisd
# experiment gradients`, `gradients-by-depth`, `lesion`. [Tutorial 9](09_gpu.py) runs the same lines
# on a GPU. The papers: A. Veit, M. Wilber, S. Belongie, *Residual networks behave like ensembles of
# relatively shallow networks*, [2016](https://arxiv.org/abs/1605.06431); G. Yang, J. Pennington,
# V. Rao, J. Sohl-Dickstein, S. Schoenholz, *A mean field theory of batch normalization*,
# [2019](https://arxiv.org/abs/1902.08129).
