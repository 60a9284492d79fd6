# %% [markdown]
# # 7. Training: a whole run, and what may be said of it
#
# It is easy to report a number that is too good, and to mean no harm by it. One leak, one seed that
# was picked, one look too many at the test images is enough. Whoever knows how it happens can keep
# it from happening, and can tell when somebody else did not.
#
# **You will learn** to run a training from the first image to the reported number, to read its
# curves, to stop and resume it without a trace, and to say no more than the run has shown.
#
# **You need** [tutorial 6](06_stochastic_depth.py), and from the earlier ones the blocks it is
# made of.
#
# **Time**: 60 minutes.
#
# A training run is an experiment, and the number at its end is a measurement. Everybody who builds
# a network looks at that number hundreds of times, and always in the hope that it is small. So the
# number needs protection: from images that leak into the choice of the network, from chance that
# nobody noted, from hope. This tutorial is a run with that protection, on real images: 1,797
# handwritten digits, scanned from forms that people filled in.

# %%
import math
import shutil
import signal
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np

from minisd import StepSchedule, draw_gates, linear_decay, ops
from minisd.data import Normaliser, load
from minisd.data.batches import Augmentation
from minisd.figures import INK, LOSS, TEST, VALIDATION, new_figure, tidy
from minisd.runs import checkpoint, session, snapshot
from minisd.runs.config import resolve
from minisd.runs.fit import fit
from minisd.runs.interrupt import Interrupted, StopSignals
from minisd.runs.progress import Progress
from minisd.runs.run import Run
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
SEEDS = (1, 2) if QUICK else (1, 2, 3)
SETTINGS = {"depth": 14, "width": 8, "epochs": 24, "lr": 0.05, "batch_size": 64}
if QUICK:
    SETTINGS |= {"depth": 8, "width": 4, "epochs": 4, "limit": 200}

# %% [markdown]
# ## Three heaps of images
#
# A network that has seen an image can remember it, so its error there says little about others.
# That is why *test* images are kept out of training. But there is a second way for images to get
# into a network: we choose. The epoch to stop at, the learning rate, the width. To choose by the
# test error is to train on the test images with ourselves as the optimiser, slowly, and it works:
# the test error falls, and that of all other images does not. So there is a third heap, the
# *validation* images, and every choice is made on them. How large the lie is otherwise, we measure
# below.
#
# The digits come with 1,438 images to train on and 359 to test. A random tenth of the first is our
# validation heap.

# %%
digits = load("digits").limited(SETTINGS.get("limit", 10**6))
config = resolve({**SETTINGS, "seed": 1})  # on top of the preset: p_L = 0.9, shifts of 1, ...


def streams(seed):
    """Four generators from one seed: for weights, validation split, data, gates."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]


_, split_rng, _, _ = streams(config.seed)
is_validation = np.zeros(len(digits.train), bool)
is_validation[split_rng.permutation(len(digits.train))[: len(digits.train) // 10]] = True
train, validation, test = digits.train[~is_validation], digits.train[is_validation], digits.test
print(f"{len(train)} train, {len(validation)} validate, {len(test)} test")

run = Run(config)  # everything that settings and seed decide: data, network, optimiser, generators
same = np.array_equal(run.validation.images, validation.images)
claim("the library has cut off the same images", same)

# %% [markdown]
# Inputs are centred: we subtract the mean image $\mu$ and divide by one standard deviation $s$ of
# all pixels around it. These are numbers *fitted to data*, just like weights, so they come from the
# training heap alone, and validation and test images are normalised with the same $\mu$ and $s$.
# Does it matter here? Let us see what a careless fit on all images would change.

# %%
mean = train.images.mean(axis=0, dtype=np.float64)
std = np.sqrt(np.square(train.images - mean).mean())
same = np.allclose(run.normaliser.mean, mean, atol=1e-5) and np.isclose(run.normaliser.std, std)
claim("the library's normaliser is this one", same)
careless = Normaliser.fit(np.concatenate([train.images, validation.images, test.images]))
leak = np.abs(careless.mean - mean).max() / std
claim(f"a careless one moves no pixel's mean by more than {leak:.3f} s", leak < 0.2, in_full=True)

# %% [markdown]
# Hardly: a mean over many images knows next to nothing of a single one. The rule stands all the
# same, because it needs no judgement: whatever is computed from data is computed from the training
# heap. Other leaks look as harmless and are not (*What to read next* has the classic one).
#
# ## Augmentation: images that might have been
#
# A shifted cat is a cat. If a change keeps the label, the changed image is a new training image at
# no cost, and the standard for small images is to shift by a few pixels and to mirror half of them.
# Here is a shift of one image, with zeros moving in (after normalisation, zero is the mean image).
# The library draws three uniform numbers for each image, two for the shift and one for the mirror.
# It draws them whether they are used or not, so that another setting changes no later draw.


# %%
def shifted(image, down, right):
    _, H, W = image.shape
    y = np.zeros_like(image)
    y[:, max(down, 0) : H + min(down, 0), max(right, 0) : W + min(right, 0)] = image[
        :, max(-down, 0) : H + min(-down, 0), max(-right, 0) : W + min(-right, 0)
    ]
    return y


augmentation = Augmentation(max_shift=1, flip=True)
images = run.normaliser(train.images[:200])
shifts, flips = augmentation.draw(len(images), np.random.default_rng(1))
expected = np.stack(
    [
        shifted(image[:, :, ::-1] if flip else image, *shift)
        for image, shift, flip in zip(images, shifts, flips, strict=True)
    ]
)
applied = augmentation.apply(images, shifts, flips)
claim("the library, which takes a batch at once, agrees", np.array_equal(applied, expected))
wrong_way = augmentation.apply(images, -shifts, flips)
claim("a wrong sign would be seen", not np.array_equal(wrong_way, expected))
one, other = np.random.default_rng(1), np.random.default_rng(1)
Augmentation(0, flip=False).draw(64, one)
Augmentation(4, flip=True).draw(64, other)
claim("after other settings, the next draw is the same", one.random() == other.random())

# %% [markdown]
# Which changes keep the label is knowledge about the data, and it is yours to have. Look:

# %%
scans = []
for digit in range(10):  # of each the most typical, the one nearest to the mean of its class
    members = train.images[train.labels == digit].astype(float)
    scans.append(members[np.square(members - members.mean(axis=0)).sum(axis=(1, 2, 3)).argmin()])
scans = np.stack(scans)
seen = run.normaliser(scans)
moves, no_flips = Augmentation(1, flip=False).draw(10, np.random.default_rng(3))
moved = Augmentation(1, flip=False).apply(seen, moves, no_flips)
rows = {"scanned": scans, "mirrored": scans[..., ::-1], "normalised": seen, "and shifted": moved}

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(8, 3.5)
for axes_row, (name, pictures) in zip(figure.subplots(4, 10), rows.items(), strict=True):
    for axes, picture in zip(axes_row, pictures, strict=True):
        axes.imshow(picture[0], cmap="gray_r", vmin=rows[name].min(), vmax=rows[name].max())
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#bbbbbb")
    axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center")
show(
    figure,
    "07_augmentation",
    "A digit of each class, mirrored, normalised, and shifted by a pixel",
    alt="Four rows of ten digits. The mirrored 2 and 3 are no digits any more, the normalised "
    "ones are on a grey ground, and the shifted ones touch or leave a border.",
)

# %%
inked = (train.images.max(axis=(1, 3)) > 0).mean(axis=0)  # of each row, how often it has ink
full = min(inked[0], inked[-1])
claim(f"digits fill their box: first and last row have ink in {full:.1%} of images", full > 0.9)

# %% [markdown]
# The mirrored row is not a row of digits: nobody writes a 2 or a 7 like that, and the network would
# spend itself on it. So digits are shifted, by one pixel, and never flipped. (Even the shift has a
# price: the digits fill their eight rows, and strokes leave the image. We come back to that.)
#
# ## Streams of chance
#
# A run draws four kinds of random numbers: the weights at the start, the validation split, the data
# (order and augmentation), the gates. From one seed we have spawned a generator for *each*. Why not
# take one for all? Because we want to compare runs that differ in one thing. Say that we change the
# survival probabilities. If gates and data come from the same stream, then other gates may mean
# another order of the images, and the comparison compares two things.


# %%
def order_of_second_epoch(survival, data_rng, gate_rng, steps=20):
    """What the data stream gives for epoch 2, after the draws of epoch 1."""
    data_rng.permutation(len(train))
    for _ in range(steps):
        Augmentation(1, flip=False).draw(64, data_rng)
        for p in survival:
            if p < 1:  # why draw for a block that is always open?
                gate_rng.random()
    return data_rng.permutation(len(train)).tolist()


def own(survival):
    _, _, data_rng, gate_rng = streams(1)
    return order_of_second_epoch(survival, data_rng, gate_rng)


def shared(survival):
    _, _, one_rng, _ = streams(1)
    return order_of_second_epoch(survival, one_rng, one_rng)


half, most, constant = linear_decay(6, 0.5), linear_decay(6, 0.9), [1.0] * 6
claim("own streams: p_L changes nothing in the data", own(half) == own(most) == own(constant))
claim("a shared one: p_L = 0.5 and 0.9 agree", shared(half) == shared(most))
claim("and constant depth gets its images in another order", shared(half) != shared(constant))


def weights(run):
    return {name: p.data for name, p in run.model.parameters()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


always_open = Run(resolve({**SETTINGS, "seed": 1, "survival": "constant"}))
claim(
    "and the library's runs start from the same weights",
    same_bits(weights(run), weights(always_open)),
)

# %% [markdown]
# Note how the mistake hides: it passes the check with 0.5 and 0.9, because those two draw equally
# often. It breaks with constant depth, which is the comparison that the paper is about.
#
# ## How large a step?
#
# [Tutorial 2](02_linear_softmax.py) found how large a learning rate $\eta$ may be before descent
# blows up. With the noise of mini-batches there is more to it, and one dimension is enough to see.
# Take the bowl $L = \tfrac{h}{2} w^2$ and the gradient $g = h w + \sigma \xi$, where the noise
# $\xi$, drawn afresh for each step, has mean 0 and variance 1. A step is
#
# $$w_{t+1} = w_t - \eta (h w_t + \sigma \xi_t) = (1 - \eta h)\, w_t - \eta \sigma \xi_t .$$
#
# The mean is multiplied by $1 - \eta h$ a step: a larger rate gets there faster, up to
# $\eta h = 1$. Beyond, steps overshoot, and for $\eta h > 2$ by more than they correct. The
# variance obeys
# $V_{t+1} = (1 - \eta h)^2 V_t + \eta^2 \sigma^2$, and settles where
#
# $$V = \frac{\eta^2 \sigma^2}{1 - (1 - \eta h)^2} = \frac{\eta \sigma^2}{h\, (2 - \eta h)} .$$
#
# So the mean loss has a floor, $\tfrac{h}{2} V$, about proportional to $\eta$ while $\eta h$ is
# small, and no number of steps gets below it. Travel fast, then, with a large rate; and when you
# rattle about on the floor, lower it. That is the whole of the *step schedule*: constant, then
# divided by 10 after half and three quarters of the epochs.


# %%
def walk(rates, rng, walkers=2000, start=6.0):
    """Mean loss at each step, h = sigma = 1, over many walkers; and where they end."""
    w, losses = np.full(walkers, start), []
    for eta in rates:
        losses.append((w**2 / 2).mean())
        w = w - eta * (w + rng.standard_normal(walkers))
    return np.array(losses), w


rng = np.random.default_rng(7)
for eta in (0.1, 0.5, 1.0, 1.5):
    _, w = walk([eta] * 200, rng, walkers=20_000)
    V, careless_V = eta / (2 - eta), eta / 2  # the second is right for small eta only
    claim(f"eta {eta}: variance {w.var():.3f}, theory {V:.3f}", abs(w.var() / V - 1) < 0.06)
claim("the check would refuse eta / 2", abs(w.var() / careless_V - 1) > 0.5)
runaway, _ = walk([2.1] * 100, rng)
claim(f"eta 2.1: the loss grows from {runaway[0]:.0f} to {runaway[-1]:.0e}", runaway[-1] > 1e6)

schedule = StepSchedule(config.lr, config.epochs, config.drops)
first_drop, second_drop = schedule.drop_epochs


def rate(epoch):
    return config.lr / 10 ** sum(epoch > drop for drop in (first_drop, second_drop))


epochs = np.arange(1, config.epochs + 1)
same = np.allclose([rate(epoch) for epoch in epochs], [schedule(epoch) for epoch in epochs])
claim("our schedule is the library's", same)

# %% [markdown]
# ## The loop
#
# Now there is everything. For each epoch: set the rate, draw an order. For each mini-batch: draw
# the gates, forget the old gradients, forward, loss, backward, step. After each epoch look at the
# errors, with all blocks there and batch norm on its running statistics.

# %%
Epoch = namedtuple("Epoch", "loss train validation test")  # the last three: which are wrong


def mistakes(run, split):
    run.model.eval()
    logits = run.model.forward(run.normaliser(split.images))
    run.model.train()
    return logits.argmax(axis=1) != split.labels


def train_by_hand(run):
    """Train a fresh run; return its curve, one Epoch each."""
    model, optimizer, data_rng, curve = run.model, run.optimizer, run.data_rng, []
    for epoch in range(1, run.config.epochs + 1):
        optimizer.lr = run.schedule(epoch)
        order, loss_sum = data_rng.permutation(len(run.train)), 0.0
        for start in range(0, len(order), run.config.batch_size):
            batch = run.train[order[start : start + run.config.batch_size]]
            changes = run.augmentation.draw(len(batch), data_rng)
            images = run.augmentation.apply(run.normaliser(batch.images), *changes)
            draw_gates(model, run.gate_rng)
            model.zero_grad()
            loss, dlogits = ops.softmax_cross_entropy(model.forward(images), batch.labels)
            model.backward(dlogits)
            optimizer.step()
            loss_sum += float(loss) * len(batch)
        found = [mistakes(run, split) for split in (run.train, run.validation, run.test)]
        curve.append(Epoch(loss_sum / len(order), *found))
    return curve


curve = train_by_hand(run)
for epoch, row in list(enumerate(curve, 1))[3::4]:
    print(
        f"epoch {epoch:2}  rate {rate(epoch):.4f}  loss {row.loss:.3f}  error: train "
        f"{row.train.mean():.1%}, validation {row.validation.mean():.1%}"
    )

# %% [markdown]
# That is `minisd.runs.fit.fit`. The library adds a folder, a log, checkpoints and signals, and
# changes no bit of the result. `session.train` is what `minisd train` calls:

# %%
home = tempfile.TemporaryDirectory()
folder = Path(home.name) / "first"
librarys = session.train(config, folder)
print(sorted(path.name for path in folder.iterdir() if path.suffix))
claim("its weights are ours, bit for bit", same_bits(weights(librarys), weights(run)))
claim("which are no longer those of the start", not same_bits(weights(run), weights(always_open)))
losses = [row["train_loss"] for row in librarys.position.history]
claim("and so is its curve", losses == [row.loss for row in curve])

# %% [markdown]
# To train on CIFAR-10 instead, fetch it with `minisd data get cifar10` and change one setting:
# `minisd train --data cifar10`, or `resolve({"data": "cifar10"})` here. The preset that comes with
# it shifts by 4 pixels and flips, since a mirrored ship is a ship.
#
# ## What the drop does
#
# The same run once more, without drops. All streams are the same, so up to the first drop it is the
# same run, and what differs afterwards is the rate's doing. Beside it, the bowl.

# %%
undropped = train_by_hand(Run(resolve({**SETTINGS, "seed": 1, "drops": ()})))


def errors(curve, heap):
    return np.array([100 * getattr(row, heap).mean() for row in curve])


# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(9, 3.8)
theory, real = figure.subplots(1, 2)
plans = {
    "0.5 throughout": ([0.5] * 200, TEST),
    "0.01 throughout": ([0.01] * 200, LOSS),
    "0.5, then 0.05": ([0.5] * 100 + [0.05] * 100, VALIDATION),
}
for name, (rates, colour) in plans.items():
    theory.semilogy(walk(rates, rng)[0], color=colour, lw=1.5, label=name)
theory.set(xlabel="step", ylabel="mean loss", title="a bowl with noise")
theory.legend(frameon=False, title="rate")
tidy(theory, changes=[100])
for name, some, colour in (("no drop", undropped, TEST), ("with drops", curve, VALIDATION)):
    real.semilogy(epochs, errors(some, "train"), ".-", color=colour, lw=1.5, label=name)
real.set(xlabel="epoch", ylabel="error on the training images (%)", title="the network")
real.legend(frameon=False)
real.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
tidy(real, changes=[first_drop, second_drop])
show(
    figure,
    "07_drop",
    "What a lower rate does (dotted: where it is divided by 10)",
    alt="Left, a bowl with noise: 0.5 throughout falls fast and stays high, 0.01 throughout "
    "falls slowly, and 0.5 then 0.05 falls fast and then far below. Right, the network's "
    "training error: the two runs are one up to the first drop, then the one with drops is "
    "lower and steadier.",
)

# %%
losses = [[row.loss for row in some[:first_drop]] for some in (undropped, curve)]
claim("up to the first drop the two runs are one", losses[0] == losses[1])
last = slice(-max(1, config.epochs // 4), None)
with_drop, without = errors(curve, "train")[last].mean(), errors(undropped, "train")[last].mean()
claim(
    f"in the last quarter: {with_drop:.1f} % with drops, {without:.1f} % without",
    with_drop < without / 1.5,
    in_full=True,
)

# %% [markdown]
# ## Reading a learning curve
#
# Three ways to go wrong, each on purpose, beside the good run: a rate twenty times too large; a
# network that is too small; a fifth of the images, without augmentation or closed blocks.

# %%
wrong_ways = {
    "a rate too large": {"lr": 20 * config.lr},
    "too small a network": {"depth": 8, "width": 2},
    "too few images": {"max_shift": 0, "survival": "constant"},
}
runs = {"the good run": curve}
for name, changes in wrong_ways.items():
    bad = Run(resolve({**SETTINGS, "seed": 1, **changes}))
    if name == "too few images":
        bad.train = bad.train[: len(train) // 5]
    with np.errstate(over="ignore", invalid="ignore"):
        runs[name] = train_by_hand(bad)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
notes = {
    "the good run": (0.3, 0.85, "noise, up one epoch and down the next;\nthen the drop"),
    "a rate too large": (0.1, 0.4, "no way down before the drops,\nand they come too late"),
    "too small a network": (0.1, 0.4, "underfitting: both high,\nand no gap between them"),
    "too few images": (0.05, 0.2, "overfitting:\nhardly an error\nleft to learn\nfrom, and a gap"),
}
figure = new_figure(9, 6.4)
for axes, (name, some) in zip(figure.subplots(2, 2, sharex=True).flat, runs.items(), strict=True):
    for heap, colour in (("validation", VALIDATION), ("train", LOSS)):
        axes.plot(epochs, errors(some, heap), ".-", color=colour, lw=1.5, label=heap)
    axes.set_yscale("symlog", linthresh=1, linscale=0.3)  # logarithmic, and yet shows 0 %
    axes.set(ylim=(0, 100), title=name, yticks=[0, 1, 2, 5, 10, 20, 50, 100])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    x, y, text = notes[name]
    axes.text(x, y, text, transform=axes.transAxes, color=INK, fontsize=9, va="center")
    tidy(axes, changes=[first_drop, second_drop])
figure.axes[0].legend(frameon=False, loc="lower left")
figure.supxlabel("epoch")
figure.supylabel("error (%)")
show(
    figure,
    "07_curves",
    "Four learning curves (dotted: the rate is divided by 10)",
    alt="Four panels of training and validation error by epoch: a good run whose noise ends at "
    "the first drop; a rate too large, which stays high; a network too small, with both "
    "errors high and together; too few images, with the training error at 0 and a wide gap.",
)

# %%
ups = [np.sign(np.diff(errors(curve, heap)[:first_drop])) for heap in ("train", "validation")]
together = (ups[0] == ups[1]).mean()
print(f"the good run before the drop: both errors go the same way in {together:.0%} of epochs")
end = {}
for name, some in runs.items():
    end[name] = [errors(some, heap)[last].mean() for heap in ("train", "validation")]
    print(f"{name:20} train {end[name][0]:5.1f} %   validation {end[name][1]:5.1f} %")
good, fast, small, few = end.values()
claim("the noise is the network's: both errors share it", together > 0.55, in_full=True)
claim("too large a rate ends far above the good run", fast[1] > 2 * good[1], in_full=True)
claim(
    "too small a network errs on the images it has seen, and about as often on others",
    small[0] > 4 and abs(small[1] - small[0]) < 5,
    in_full=True,
)
claim("too few images leave a wide gap", few[0] < 5 and few[1] > few[0] + 5, in_full=True)
gaps = good[1] - good[0], few[1] - few[0]
told = f"the good run has a narrower one: {gaps[0]:.1f} points against {gaps[1]:.1f}"
claim(told, 0 < gaps[0] < gaps[1], in_full=True)

# %% [markdown]
# How to read them:
#
# - **Noise.** Before the drop the good run's errors jump from epoch to epoch, in training and in
#   validation alike: the weights rattle about above the floor. One bad epoch is no reason to stop
#   a run, and one good epoch no reason to believe in it.
# - **Both high, no gap: underfitting.** The network cannot even do the images that it has seen. It
#   needs capacity, or steps. A rate that is far too small looks the same, but is still falling.
# - **Training near zero, a wide gap: overfitting.** There is nothing left to learn from, and the
#   rest of the curve is flat. The good run has such a gap too, a narrower one. More images help, or
#   augmentation, or regularisation; more epochs do not.
# - **Wandering high up: the rate is too large.** It shows in the first few epochs, so look at them
#   before you leave for the night.
#
# ## Stopping without a trace
#
# Runs get interrupted, by Ctrl-C or by a power cut. A resumed run should end as if nothing had
# happened, *bit for bit*; anything less means that results depend on the weather. What has to be
# in a checkpoint for that? Everything that the next step or the final report depends on:
#
# - the weights, and the momentum of each;
# - batch norm's running statistics, which no gradient moves;
# - the state of both generators, data and gates;
# - the position: epoch, steps done in it, and the best validation error so far, with its weights.
#
# One of these is subtle. Within an epoch the order of the images was drawn at its beginning. So the
# library saves the data generator's state *at the start of the epoch* and the number of steps. On
# resuming it draws the epoch again and skips what is done. Now two accidents in the middle of an
# epoch. After a crash there is only what was saved at the end of the epoch before. After a Ctrl-C
# the library finishes its step and saves.


# %%
class Accident(Progress):
    """`session.train` tells us of every step; at one of them something happens."""

    def __init__(self, at, what):
        self.left, self.what = at, what

    def step(self, **_):
        self.left -= 1
        if self.left == 0:
            self.what()


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def power_cut():
    raise RuntimeError("the lights go out")


def saved(folder):
    """All arrays of a checkpoint: weights, momentum, running statistics, best weights."""
    return checkpoint.load(folder / "checkpoint.npz")[0]


tiny = resolve({"depth": 14, "width": 4, "p_last": 0.5, "limit": 200, "epochs": 3, "seed": 1})
undisturbed = Path(home.name) / "undisturbed"
session.train(tiny, undisturbed)
for what in (power_cut, ctrl_c):
    folder = Path(home.name) / what.__name__
    try:
        session.train(tiny, folder, progress=Accident(5, what))
    except (Interrupted, RuntimeError):
        position = checkpoint.load(folder / "checkpoint.npz")[1]["position"]
        print(f"{what.__name__}: saved in epoch {position['epoch']}, {position['step']} steps done")
    claim("it is not at its end", not same_bits(saved(folder), saved(undisturbed)))
    shutil.copy(folder / "checkpoint.npz", home.name)  # for what comes below
    session.resume(folder)
    claim("resumed, it ends with the same bits", same_bits(saved(folder), saved(undisturbed)))

# %% [markdown]
# Is each item of the list needed? The weights are. We lose five others, one at a time, and see
# whether anybody notices.


# %%
def resumed_without(part):
    run = Run(tiny)
    snapshot.restore(run, Path(home.name) / "checkpoint.npz")  # after the Ctrl-C, within an epoch
    if part == "momentum":
        run.optimizer.velocity = {}
    elif part == "running statistics":
        for name, array in run.model.buffers():
            array[...] = name.endswith("var")  # as at the start: mean 0, variance 1
    elif part == "data generator":
        run.data_rng = np.random.default_rng(0)
        run.mark_epoch_start()
    elif part == "gate generator":
        run.gate_rng = np.random.default_rng(0)
    elif part == "steps done":
        run.position.step = 0
    fit(run, lambda: None, Progress(), StopSignals())
    return weights(run), dict(run.model.buffers())


whole, unharmed = resumed_without("nothing"), {}
parts = ["momentum", "running statistics", "data generator", "gate generator", "steps done"]
for part in ["nothing", *parts]:
    same = [same_bits(a, b) for a, b in zip(resumed_without(part), whole, strict=True)]
    print(f"lost: {part:20} same weights: {same[0]!s:7} same statistics: {same[1]}")
    unharmed[part] = same
claim("with nothing lost they are the same", all(unharmed["nothing"]))
claim("whatever is lost is noticed", not any(all(unharmed[part]) for part in parts))
claim("lost statistics leave the weights alone", unharmed["running statistics"] == [True, False])

# %% [markdown]
# Lost statistics are the treacherous case. Training never reads them, so the weights and the
# training loss come out right to the last bit. But every test of the network is off until the
# running averages have forgotten.
#
# ## The size of the lie
#
# Now back to the test images. An error rate on $n$ images is a count of mistakes, divided by $n$.
# If each image comes out wrong with probability $p$, as in a coin's toss, the rate has the standard
# error
#
# $$\mathrm{se} = \sqrt{\frac{p (1 - p)}{n}} .$$
#
# Take $E$ models of *equal* quality $p$ and report the lowest test error. One model's count $X$ is
# at least $k$ with probability $P(X \ge k)$, so the lowest of $E$ independent ones with
# $P(X \ge k)^E$, and since $\mathbb{E}[X] = \sum_{k \ge 1} P(X \ge k)$ for any count,
#
# $$\mathbb{E}\Big[\min_e \frac{X_e}{n}\Big] = \frac{1}{n} \sum_{k=1}^{n} P(X \ge k)^E .$$


# %%
def expected_lowest(p, n, looks):
    k = np.arange(n + 1)
    pmf = np.array([math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in k])
    at_least = np.clip(pmf[::-1].cumsum()[::-1], 0, 1)
    return (at_least[1:] ** looks).sum() / n


n, p = len(test), 0.02
se = math.sqrt(p * (1 - p) / n)
print(f"n = {n}, p = {p:.0%}: one image is {1 / n:.2%}, the standard error {se:.2%}")
for looks in (1, 24):
    tossed = rng.binomial(n, p, (20_000, looks)).min(axis=1).mean() / n
    lowest = expected_lowest(p, n, looks)
    told = f"lowest of {looks}: theory {lowest:.2%}, tossed {tossed:.2%}"
    claim(told, abs(lowest - tossed) < 3e-4)
claim("24 looks make 2 % into less than 1 %", expected_lowest(p, n, 24) < 0.01)

# %% [markdown]
# Twenty-four models that all err on 2 % of images, and by choosing we report less than half of it.
# The epochs of one run are not independent, though: they share most of their weights, and the same
# hard images fool them all. How large is the lie there? Split the test images at random into two
# halves, choose the epoch on the first, and look at that epoch on the second, which had no say. The
# gap is the price of choosing (on half the images; on all of them it is somewhat smaller). Average
# over many splits.

# %%
wrong = np.array([row.test for row in curve[first_drop:]])  # epochs of about equal quality
chosen, fresh = [], []
for _ in range(2000):
    one, two = np.array_split(rng.permutation(n), 2)
    best = wrong[:, one].mean(axis=1).argmin()
    chosen.append(wrong[best, one].mean())
    fresh.append(wrong[best, two].mean())
chosen, fresh = np.mean(chosen), np.mean(fresh)
told = f"where it was chosen: {chosen:.2%}; on images that had no say: {fresh:.2%}"
claim(told, chosen < fresh, in_full=True)


def lowest_of(looks, repeats=300):
    """The lowest test error of so many of these epochs, drawn at random."""
    drawn = [rng.permutation(len(wrong))[:looks] for _ in range(repeats)]
    return np.mean([wrong[some].mean(axis=1).min() for some in drawn])


# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 3.6)
axes = figure.subplots()
axes.axhline(100 * wrong.mean(), color=INK, lw=1, ls=":", label="mean of our epochs")
looks = np.arange(1, len(wrong) + 1)
lines = [
    (looks, [lowest_of(k) for k in looks], VALIDATION, "lowest of so many of them"),
    (
        2 ** np.arange(8),
        [expected_lowest(wrong.mean(), n, 2**k) for k in range(8)],
        TEST,
        "lowest of so many independent models, each as good",
    ),
]
for x, y, colour, label in lines:
    axes.semilogx(x, 100 * np.array(y), ".-", base=2, color=colour, lw=1.5, label=label)
axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
axes.set(xlabel="looks at the test images", ylabel="test error reported (%)")
axes.set_ylim(bottom=0)
axes.legend(frameon=False)
tidy(axes)
show(
    figure,
    "07_lie",
    "The more often one looks, the lower is the lowest test error",
    alt="Test error reported against the number of looks, from 1 to 128. Both lines fall, that "
    "of independent models further than that of the epochs of one run, below the dotted "
    "line of their mean.",
)

# %% [markdown]
# The validation error of the chosen epoch is too low for the same reason. So the number to report
# is neither of the two minima but **the test error at the epoch of lowest validation error**, in
# which the test images had no say. (We have looked at these 359 all through this tutorial, to see
# what looking does. Had we taken a decision by it, they would be used up.)
#
# ## What may be said
#
# A last experiment, done as it should be. The question: does shifting help on the digits? Decided
# before we look: three seeds, the same for both settings; test error at the best validation epoch.

# %%
finished = {(1, 1): librarys}  # the run above is one of them
for shift in (1, 0):
    for seed in SEEDS:
        if (shift, seed) not in finished:
            settings = resolve({**SETTINGS, "seed": seed, "max_shift": shift})
            finished[shift, seed] = session.train(settings, Path(home.name) / f"{shift}-{seed}")
reported = {}
for shift in (1, 0):
    positions = [finished[shift, seed].position for seed in SEEDS]
    lowest = [100 * min(row["test_error"] for row in at.history) for at in positions]
    found = reported[shift] = np.array([100 * at.best["test_error"] for at in positions])
    print(
        f"max_shift {shift}: {', '.join(f'{x:.2f}' for x in found)} %; mean {found.mean():.2f}, "
        f"deviation {found.std(ddof=1):.2f}     (the lie: {np.mean(lowest):.2f})"
    )
    claim("the lowest test error is never above the honest one", np.mean(lowest) <= found.mean())

# %% [markdown]
# Two kinds of chance are in such a mean, and they behave differently.
#
# **The seed.** Other weights, another split, another order give another network. Three seeds with
# deviation $s$ know their mean to $s / \sqrt 3$. But $s$ itself is known only roughly from three
# numbers, so a 95 % interval is not twice that to either side but $4.30$ times (Student's $t$ with
# two degrees of freedom). Three seeds can tell two settings apart when the mean of the *paired*
# differences exceeds $4.30 / \sqrt 3 \approx 2.5$ of their deviations, and hardly otherwise. A part
# of this chance is the choice of the epoch: one of 143 validation images is 0.7 points, many epochs
# tie, and the earliest of them is taken.
#
# **The images.** All seeds were tested on the *same* 359 images, so more seeds do not make the
# standard error above any smaller. More images would: with CIFAR-10's 10,000 and an error of 6 %
# it is 0.24 points, and the paper's 6.41 % against 5.25 % is hardly the luck of the images. Also,
# every fifth image in our file is a test image, so the people who wrote them also wrote the
# training images. Of strangers' handwriting our number says nothing.

# %%
difference = reported[1] - reported[0]  # seed by seed
middle, deviation = difference.mean(), difference.std(ddof=1)
quantile = {2: 12.71, 3: 4.30}[len(SEEDS)]
width = quantile * deviation / math.sqrt(len(SEEDS))
print(f"shifting adds {middle:.2f} points of test error (seed by seed {difference.round(2)})")
print(f"95 % interval from the seeds: {middle - width:.1f} to {middle + width:.1f}")
print(f"standard error of each rate from the images: {100 * se:.2f} (where {p:.0%} are wrong)")
draws = rng.standard_normal((20_000, len(SEEDS)))  # experiments in which the truth is 0
t = abs(draws.mean(axis=1)) / draws.std(axis=1, ddof=1) * math.sqrt(len(SEEDS))
missed, missed_by_two = (t > quantile).mean(), (t > 2).mean()
claim(f"this interval misses the truth in {missed:.1%} of experiments", abs(missed - 0.05) < 0.01)
claim(f"twice the standard error would in {missed_by_two:.0%}", missed_by_two > 0.15)
claim("the interval does not lie below 0", middle + width > 0, in_full=True)

# %% [markdown]
# The textbooks say that augmentation helps. These runs do not show it. Nor do they show that it
# harms, unless the interval lies above 0. Whatever the means look like, "three seeds show no
# difference" is then all there is to write. But we can still ask what the shift *did*. The networks
# are there. Let them classify test images that were shifted, or mirrored.

# %%
moves, no_flips = Augmentation(1, flip=False).draw(n, np.random.default_rng(5))
asked = {
    "as they are": lambda images: images,
    "shifted": lambda images: Augmentation(1, flip=False).apply(images, moves, no_flips),
    "mirrored": lambda images: images[..., ::-1].copy(),
}
print("test error at the last epoch, mean of the seeds")
table = {}
for shift in (1, 0):
    for name, change in asked.items():
        found = []
        for seed in SEEDS:
            model, normalise = finished[shift, seed].model.eval(), finished[shift, seed].normaliser
            logits = model.forward(change(normalise(test.images)))
            found.append(100 * (logits.argmax(axis=1) != test.labels).mean())
        table[shift, name] = np.mean(found)
    print(
        f"max_shift {shift}: " + ", ".join(f"{name} {table[shift, name]:.1f} %" for name in asked)
    )
claim(
    "on shifted images, training with shifts divides the error by more than 4",
    table[0, "shifted"] > 4 * table[1, "shifted"],
    in_full=True,
)
rise = table[1, "shifted"] - table[1, "as they are"]
claim(f"after it, shifts add only {rise:.1f} points", rise < 3, in_full=True)
mirrored = min(table[0, "mirrored"], table[1, "mirrored"])
claim("a mirrored digit is no digit to either", mirrored > 30, in_full=True)
home.cleanup()

# %% [markdown]
# So augmentation did just what it was asked to: it made the network nearly indifferent to shifts.
# But nothing in the test asks for that. Every digit was fitted to its box when it was scanned, in
# training and test images alike. The shift is then a harder task for the same number of steps, and
# earns nothing here. In photographs the object stands anywhere, and the test images *are* shifted.
#
# An honest sentence about all this: *ResNet-14 of width 8, 24 epochs on 1,295 digits; test error on
# 359 by the same writers, at the epoch of lowest validation error; three seeds*; then the three
# numbers, their mean and deviation. Whoever reads it knows what to think of a tenth of a point.
#
# ## Exercises
#
# Solutions are in `solutions/07_training.py`. In a shell, `--exercise 1` runs the first one alone.
#
# **1.** Many networks are trained with *warm-up and cosine*: the rate rises linearly, $\eta e / W$
# in epochs $e = 1$ to $W$. Then it falls along half a cosine, from $\eta$ in epoch $W$ to 0 in
# epoch $E + 1$. That is one after the last of $E$, so no epoch is wasted. Write it.


# %%
def warmup_cosine(epoch, lr, epochs, warmup):
    raise NotImplementedError


def check(warmup_cosine):
    yours = warmup_cosine.returning(rate=float)
    for lr, epochs, warmup in ((0.1, 20, 5), (0.5, 7, 1), (0.1, 10, 0)):
        rates = np.array([yours(e, lr, epochs, warmup) for e in range(1, epochs + 1)])
        ramp = lr * np.arange(1, warmup + 1) / max(1, warmup)
        assert np.allclose(rates[:warmup], ramp), f"the ramp is {ramp}, got {rates[:warmup]}"
        fall = rates[warmup:]
        assert (np.diff(fall) < 0).all(), f"the rate falls after the warm-up, got {fall}"
        assert fall[-1] > 0, f"the last epoch has a rate above 0, got {fall[-1]}"
        pairs = fall + fall[::-1]  # half a cosine is symmetric about its middle
        assert np.allclose(pairs, lr), f"as far below {lr} as above 0 on the other side, got {fall}"
        step = math.pi / (epochs + 1 - warmup)
        first = (1 - math.cos(step)) / 2
        assert np.isclose(1 - fall[0] / lr, first), "the first step down is that of a cosine"
        wave = np.array([lr, *fall, 0]) - lr / 2  # cos(a - b) + cos(a + b) = 2 cos a cos b
        sums = wave[:-2] + wave[2:]
        assert np.allclose(sums, 2 * math.cos(step) * wave[1:-1]), f"no cosine in between: {fall}"


exercise(1, warmup_cosine, check)

# %% [markdown]
# **2.** A checkpoint that holds a generator's state is one more thing to get right. Shuffling can
# do without: let the order depend on nothing but `seed` and `epoch`. Write
# `batches_of(seed, epoch, count, batch_size, skip=0)`, which returns a list of index arrays, the
# mini-batches of that epoch without the first `skip`. Different pairs (seed, epoch) give different
# orders.


# %%
def batches_of(seed, epoch, count, batch_size, skip=0):
    raise NotImplementedError


def check(batches_of):
    yours = batches_of.returning(batches=list)
    whole = yours(1, 2, 103, 10)
    assert [len(batch) for batch in whole] == [10] * 10 + [3], "ten batches of 10 and one of 3"
    assert all(np.asarray(batch).dtype.kind in "iu" for batch in whole), "batches of indices"
    order = np.concatenate(whole).tolist()
    assert sorted(order) == list(range(103)), "every image once"
    yours(5, 6, 50, 10)  # something else happens in between
    rest = np.concatenate(yours(1, 2, 103, 10, skip=4)).tolist()
    assert rest == order[40:], "after skip=4 the rest of the same epoch"
    keys = [(seed, epoch) for seed in (1, 2, 12) for epoch in (1, 2, 11, 21, 101, 1001)]
    orders = {tuple(np.concatenate(yours(*key, 103, 10)).tolist()) for key in keys}
    assert len(orders) == len(keys), f"{len(keys)} pairs gave {len(orders)} different orders"
    for each in orders:
        neighbours = np.mean(np.diff(each) == 1)
        assert neighbours < 0.2, f"of the images {neighbours:.0%} follow the one before: no shuffle"


exercise(2, batches_of, check)

# %% [markdown]
# **3.** Two networks, the same test images: `wrong_a` and `wrong_b` say which images each gets
# wrong. Images that both get right, or both wrong, say nothing about which is better. Let $b$
# images be wrong in A alone and $c$ in B alone. Write `compare(wrong_a, wrong_b)`, which returns
# the difference of the error rates (A minus B), its standard error, and the two-sided p-value of
# the exact sign test: were A and B equally good, each of the $b + c$ images would be a fair coin's
# toss; how likely is a split at least as uneven? (This is McNemar's test.) For the standard error
# think of the difference as the mean of $d_i \in \{-1, 0, 1\}$ over the images, with the variance
# $\overline{d^2} - \bar d^2$. Then compare `finished[1, 1]` and `finished[0, 1]` with it.


# %%
def compare(wrong_a, wrong_b):
    raise NotImplementedError


def check(compare):
    yours = compare.returning(difference=float, error=float, p_value=float)
    a, b = np.zeros((2, 400), bool)
    a[:12] = b[10:15] = True  # 10 in A alone, 3 in B alone, 2 in both
    difference, error, p_value = yours(a, b)
    assert np.isclose(difference, 7 / 400), f"A errs on 7 of 400 images more, got {difference}"
    unpaired = math.sqrt(12 / 400 * 388 / 400 / 400 + 5 / 400 * 395 / 400 / 400)
    assert not np.isclose(error, unpaired, rtol=1e-3), "that would hold for different test images"
    right = math.sqrt(13 / 400 - (7 / 400) ** 2) / 20
    assert np.isclose(error, right), f"the standard error is {right:.5f}, got {error:.5f}"
    by_hand = 2 * (1 + 13 + 78 + 286) / 2**13  # 0, 1, 2 or 3 of 13 tosses, on either side
    assert np.isclose(p_value, by_hand), f"the p-value is {by_hand:.4f}, got {p_value:.4f}"
    swapped = yours(b, a)
    assert np.allclose(swapped, (-difference, error, p_value)), "B against A is the mirror image"
    assert np.allclose(yours(a, a), (0, 0, 1)), "no difference at all: p-value 1"
    assert np.isclose(yours(a, np.zeros_like(a))[2], 2 / 2**12), "12 to 0"
    even = yours(np.arange(9) < 2, np.arange(9) > 6)[2]
    assert np.isclose(even, 1), f"2 to 2: no p-value is above 1, got {even}"


exercise(3, compare, check)

# %% [markdown]
# ## What to read next
#
# [Tutorial 8](08_gradient_flow.py) looks inside a run while it trains. A step is in
# `minisd/train.py`, the loop in `minisd/runs/fit.py`, all that belongs to a run in
# `minisd/runs/training.py`, its state in `minisd/runs/snapshot.py`, folders and resuming in
# `minisd/runs/session.py`. `tests/runs/test_interruption.py` kills runs at every moment at which
# they could die. On comparing classifiers: T. Dietterich, *Approximate statistical tests for
# comparing supervised classification learning algorithms*, 1998. The classic leak is in T. Hastie,
# R. Tibshirani and J. Friedman, *The Elements of Statistical Learning*, section 7.10.2. Whether
# years of looking at one test set have spoilt it: B. Recht et al., *Do ImageNet classifiers
# generalize to ImageNet?*, 2019.
