# %% [markdown]
# # 4. Batch normalisation: three paths and a projection
#
# Most deep networks for images owe it to batch norm that they train at all. It is also where a
# program is wrong most often: in its gradient, or because somebody forgot to switch it to
# evaluation. Neither gives an error message, only a worse number.
#
# **You will learn** to derive the gradient of batch norm without skipping a step, to read it as a
# projection, and to see what batch norm does for a deep network and how its statistics go wrong.
#
# **You need** [tutorial 1](01_finite_differences.py) and [tutorial 3](03_convolution.py).
#
# **Time**: 75 minutes.
#
# Every convolution in this library's networks is followed by a batch norm. It takes two things
# from a channel, its mean and its scale, and puts two learned ones in their place. The forward is
# four lines. The backward is the first in this course in which one image moves the output of
# another, and it is easy to get half right. One idea carries the whole tutorial: **what the
# forward throws away, the backward must throw away too.**

# %%
import inspect

import numpy as np

from minisd import SGD, BatchNorm2d, Conv2d, GlobalAvgPool, Linear, ReLU, Sequential, fast, ops
from minisd.data import Normaliser, load
from minisd.figures import new_figure, tidy
from minisd.gradcheck import check_op, compare
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
QUICK = is_quick()
WITH, WITHOUT = "#3a6ea5", "#c1432e"
rng = np.random.default_rng(4)
digits = load("digits")
normalise = Normaliser.fit(digits.train.images)
images, labels = normalise(digits.train.images), digits.train.labels
test_images, test_labels = normalise(digits.test.images), digits.test.labels


def finish(axes, x, y="", loc="best"):
    axes.set(xlabel=x, ylabel=y)
    axes.legend(frameon=False, fontsize=8, loc=loc)
    tidy(axes)


# %% [markdown]
# ## What drifts in a deep stack
#
# One number of a convolution's output is $z = \sum w x$ over $n = C K^2$ products. With
# independent weights of variance $s^2$ around zero, $z$ has the variance $n s^2\, E[x^2]$. The
# ReLU after it keeps half of that, $E[\max(z, 0)^2] = \operatorname{var}(z) / 2$, so
# $s^2 = 2/n$ lets a layer pass on what it got. That is how `Conv2d` draws its weights
# ([He et al. 2015](https://arxiv.org/abs/1502.01852)). Draw them larger by a factor $f$, and each
# layer multiplies the scale by $f$: 20 layers do so by $f^{20}$.
#
# The scale is not all that drifts. After a ReLU every number is at least 0, so the outputs of any
# two images have a positive part in common, and the next layer passes that part on with the rest.
# To see it we take the cosine between what two images make of a layer.


# %%
def stack(depth, normed, rng, factor=1.0, width=16):
    """Convolution, perhaps batch norm, and ReLU, ``depth`` times; then a linear classifier."""
    layers, channels = [], 1
    for _ in range(depth):
        conv = Conv2d(channels, width, 3, padding=1, bias=not normed, rng=rng)
        conv.w.data *= np.float32(factor)
        layers += [conv, BatchNorm2d(width), ReLU()] if normed else [conv, ReLU()]
        channels = width
    return Sequential(*layers, GlobalAvgPool(), Linear(width, 10, rng=rng))


def likeness(z):
    """The mean cosine between the z of two different images."""
    z = z.reshape(len(z), -1)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    n = len(z)
    return ((z @ z.T).sum() - n) / (n * (n - 1))


def by_layer(model, x):
    """Scale and likeness of what each convolution puts out."""
    found = []
    for layer in model.layers:
        x = layer.forward(x)
        if isinstance(layer, Conv2d):
            found.append((x.std(), likeness(x)))
    return np.array(found).T


scale, alike = {}, {}
for normed in (False, True):
    for factor in (0.7, 1.0, 1.4):
        model = stack(20, normed, np.random.default_rng(0), factor)
        scale[normed, factor], alike[normed] = by_layer(model, images[:128])

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(9, 3.6)
left, right = figure.subplots(1, 2)
for normed, name, colour in ((False, "without", WITHOUT), (True, "with batch norm", WITH)):
    for factor, style in ((0.7, ":"), (1.0, "-"), (1.4, "--")):
        left.semilogy(scale[normed, factor], style, color=colour, label=f"{name}, f = {factor}")
    right.plot(alike[normed], color=colour, label=name)  # the same for every f
right.set_ylim(0, 1)
for axes in (left, right):
    axes.set_xticks(range(0, 20, 5))
finish(left, "convolutions before", "standard deviation of z")
finish(right, "convolutions before", "mean cosine between two images")
show(
    figure,
    "04_drift",
    "What 20 layers make of random weights, f times He's",
    alt="Left: the standard deviation by layer, logarithmic. Without batch norm it falls by "
    "orders of magnitude at 0.7, falls a little at 1 and rises at 1.4; with it all lines "
    "are level. Right: the cosine between two images rises towards 1 without batch norm, "
    "and to about a half with it.",
)

# %%
change = {f: scale[False, f][-1] / scale[False, f][0] for f in (0.7, 1.0, 1.4)}
print("last layer / first, without:", {f: f"{ratio:.1e}" for f, ratio in change.items()})
claim("f = 0.7 loses at least three orders of magnitude", change[0.7] < 1e-3)
claim("f = 1.4 gains at least one order of magnitude", change[1.4] > 10)
claim("f = 1 loses a little", 0.1 < change[1.0] < 0.6)
claim(
    "with batch norm the layers after the first stay within a factor of 2",
    all(scale[True, f][1:].max() < 2 * scale[True, f][1:].min() for f in change),
)
claim(
    f"cosine: {alike[True][0]:.2f} in the first layer; in the last {alike[False][-1]:.2f} without "
    f"and {alike[True][-1]:.2f} with",
    alike[False][-1] > alike[True][-1] + 0.2 and alike[True][0] < 0.1,
)

# %% [markdown]
# The right $f$ is not quite 1: in an image of 8x8 pixels, padding makes a sixth of all products
# zero, and the solid red line falls. On the right, images that began with nothing in common end up
# alike. The classifier then has to tell them apart by what little is left.
#
# Careful weights can mend the scale before the first step. But weights move. Batch norm measures
# what *is*, and corrects it in every forward: the scale, and with the channel's mean much of what
# all images share. (Not all of it is gone from $z$: one ReLU takes unrelated normal numbers to a
# cosine of $E[\max(z, 0)]^2 / E[\max(z, 0)^2] = 1/\pi$, and we look before the next norm.)
#
# ## Forward
#
# A channel has $M = N \cdot H \cdot W$ numbers in a batch: all images, all pixels, for they have
# all been through the same filter. Call them $x_1, \dots, x_M$.
#
# $$\mu = \frac1M \sum_i x_i, \qquad v = \frac1M \sum_i (x_i - \mu)^2, \qquad
#   \sigma = \sqrt{v + \epsilon}, \qquad
#   \hat x_i = \frac{x_i - \mu}{\sigma}, \qquad y_i = \gamma \hat x_i + \beta .$$
#
# The variance is the biased one, divided by $M$ and not by $M - 1$: then it is exactly *this*
# batch that gets variance 1. The small $\epsilon$ saves a channel that does not vary. $\gamma$
# and $\beta$ are learned, one of each per channel, beginning at 1 and 0. With them the channel can
# have any scale and mean that serves the task, but as two numbers of its own, and not as a
# consequence of all weights below.


# %%
AXES = (0, 2, 3)  # N, H, W


def mean_of(x):
    """Every channel's mean, (1, C, 1, 1)."""
    return x.mean(axis=AXES, keepdims=True)


def batchnorm_forward(x, gamma, beta, eps=1e-5):
    mean = mean_of(x)
    std = np.sqrt(mean_of((x - mean) ** 2) + eps)
    x_hat = (x - mean) / std
    return gamma[:, None, None] * x_hat + beta[:, None, None], (x_hat, std, gamma)


x = 5 + 2 * rng.standard_normal((4, 3, 5, 6))
gamma, beta = rng.uniform(0.5, 2, 3), rng.standard_normal(3)
y, _ = batchnorm_forward(x, gamma, beta)
claim("a channel of y has mean beta", np.allclose(y.mean(axis=AXES), beta))
claim("and standard deviation gamma, up to eps", np.allclose(y.std(axis=AXES), gamma, rtol=1e-4))

# %% [markdown]
# The variance takes two passes over $x$: the mean first, then the deviations from it. The
# textbook's $v = E[x^2] - E[x]^2$ needs only one, and is a trap. It subtracts two numbers near
# $\mu^2$ that are known to a relative $2^{-24} \approx 6 \cdot 10^{-8}$ in float32, so its error
# is about $6 \cdot 10^{-8} \mu^2$, and relative to $v$ it grows with $(\mu / \sigma)^2$. Deviations
# are small numbers from the start.

# %%
print("mean / std   E[x^2] - E[x]^2   two passes   (worst relative error of 32 channels)")
for ratio in (1, 10, 100, 1000, 10000):
    far = (ratio + rng.standard_normal((16, 32, 8, 8))).astype(np.float32)
    exact = far.astype(np.float64).var(axis=AXES)
    one_pass = (mean_of(far**2) - mean_of(far) ** 2).ravel()
    two_passes = mean_of((far - mean_of(far)) ** 2).ravel()
    worst = [np.max(abs(found - exact) / exact) for found in (one_pass, two_passes)]
    print(f"{ratio:10} {worst[0]:17.0e} {worst[1]:12.0e}   negative: {(one_pass < 0).sum()}")
claim("in the last row one pass has lost the variance altogether", worst[0] > 0.5)
claim("two passes have not", worst[1] < 1e-3)

# %% [markdown]
# A negative variance becomes NaN under the root. The library takes two passes.
#
# ## Backward: three paths
#
# Given $dy_i = \partial L / \partial y_i$ we want $dx_j = \partial L / \partial x_j$. The last
# line of the forward is quickly done, as $\gamma$ and $\beta$ touch all numbers of the channel:
#
# $$d\beta = \sum_i dy_i, \qquad d\gamma = \sum_i dy_i\, \hat x_i, \qquad
#   d\hat x_i = \gamma\, dy_i .$$
#
# Now $\hat x_i = (x_i - \mu) / \sqrt{v + \epsilon}$. One $x_j$ reaches the loss in three ways:
#
#     x_j ──────────────────────────────►  x_hat_j            directly
#     x_j ──►  mean  ───────────────────►  x_hat_1 .. x_hat_M  through the mean
#     x_j ──►  variance  ───────────────►  x_hat_1 .. x_hat_M  through the variance
#
# The mean is inside the variance too; that will turn out not to matter. Take $\hat x_i$ as a
# function of three variables and differentiate by each, with the other two held fixed:
#
# $$\frac{\partial \hat x_i}{\partial x_i} = \frac1\sigma, \qquad
#   \frac{\partial \hat x_i}{\partial \mu} = -\frac1\sigma, \qquad
#   \frac{\partial \hat x_i}{\partial v} = -\frac12 (x_i - \mu)(v + \epsilon)^{-3/2}
#     = -\frac{\hat x_i}{2 \sigma^2} .$$
#
# Next, what $\mu$ and $v$ make of $x_j$. For the mean, $\partial \mu / \partial x_j = 1/M$. For
# the variance there are two ways, through the $j$-th deviation and through the mean in all of
# them (an upright $\mathrm d$ is a total derivative, and no gradient of $L$):
#
# $$\frac{\mathrm d v}{\mathrm d x_j} = \frac2M (x_j - \mu)
#     + \frac{\partial v}{\partial \mu} \cdot \frac1M, \qquad
#   \frac{\partial v}{\partial \mu} = -\frac2M \sum_i (x_i - \mu) = 0,$$
#
# because deviations from the mean add up to zero. What is left is
# $\mathrm d v / \mathrm d x_j = \tfrac2M (x_j - \mu) = \tfrac{2\sigma}{M} \hat x_j$. Now sum over
# all routes by which the loss depends on $\mu$ and $v$; these are their gradients,
#
# $$d\mu = \sum_i d\hat x_i \cdot \Bigl(-\frac1\sigma\Bigr) = -\frac1\sigma \sum_i d\hat x_i,
#   \qquad
#   dv = \sum_i d\hat x_i \cdot \Bigl(-\frac{\hat x_i}{2 \sigma^2}\Bigr)
#      = -\frac{1}{2\sigma^2} \sum_i d\hat x_i\, \hat x_i .$$
#
# Put the three paths together:
#
# $$dx_j
#   = \underbrace{\frac{d\hat x_j}{\sigma}}_{\text{directly}}
#   + \underbrace{d\mu \cdot \frac1M}_{\text{mean}}
#   + \underbrace{dv \cdot \frac{2\sigma}{M} \hat x_j}_{\text{variance}}
#   = \frac1\sigma \Bigl( d\hat x_j - \frac1M \sum_i d\hat x_i
#     - \hat x_j\, \frac1M \sum_i d\hat x_i\, \hat x_i \Bigr).$$
#
# Within a channel $\gamma$ is one number and comes out in front:
#
# $$\boxed{\; dx = \frac{\gamma}{\sigma} \Bigl( dy - \operatorname{mean}(dy)
#     - \hat x \cdot \operatorname{mean}(dy\, \hat x) \Bigr) \;}$$
#
# The two means are $d\beta / M$ and $d\gamma / M$, which we have anyway. In code each path
# is a term, and we can leave one out to see whether anybody notices.


# %%
def batchnorm_backward(dy, cache, paths=("mean", "variance")):
    x_hat, std, gamma = cache
    inside = dy.copy()  # directly
    if "mean" in paths:
        inside -= mean_of(dy)
    if "variance" in paths:
        inside -= x_hat * mean_of(dy * x_hat)
    dx = gamma[:, None, None] / std * inside
    return dx, (dy * x_hat).sum(axis=AXES), dy.sum(axis=AXES)


inputs = {"x": x, "gamma": gamma, "beta": beta}
report = check_op("batch norm", batchnorm_forward, batchnorm_backward, inputs, rng=rng)
claim(f"all three gradients are right: {report.worst.error:.0e}", report.passed)

# %% [markdown]
# [Tutorial 1](01_finite_differences.py) warned of an upstream gradient of ones. Now we can say
# exactly what it misses, and that it has a twin. Here are the right backward and three wrong ones,
# against three upstream gradients: ones, $\hat x$, and random numbers ($\epsilon = 0$, so that
# nothing small is left over).

# %%
_, cache = batchnorm_forward(x, gamma, beta, eps=0)
upstream = {"ones": np.ones(x.shape), "x_hat": cache[0].copy(), "random": rng.normal(size=x.shape)}


def passes(dy, backward):
    def loss():
        return (batchnorm_forward(x, gamma, beta, eps=0)[0] * dy).sum()

    dx = backward(dy)  # where the true gradient is zero only rounding is compared: be tolerant
    return compare("dx", loss, {"x": x}, {"x": dx}, rng=rng, tolerance=1e-3).passed


backwards = {
    "right": lambda dy: batchnorm_backward(dy, cache)[0],
    "forgot the variance": lambda dy: batchnorm_backward(dy, cache, paths=("mean",))[0],
    "forgot the mean": lambda dy: batchnorm_backward(dy, cache, paths=("variance",))[0],
    "three times the right": lambda dy: 3 * batchnorm_backward(dy, cache)[0],
}
verdicts = {}
print(f"{'dy:':24}" + "".join(f"{name:>10}" for name in upstream))
for name, backward in backwards.items():
    verdicts[name] = [passes(dy, backward) for dy in upstream.values()]
    print(f"{name:24}" + "".join(f"{'passes' if v else 'fails':>10}" for v in verdicts[name]))
ones, x_hats, random = zip(*verdicts.values(), strict=True)
claim("ones see the forgotten mean and nothing else", ones == (True, True, False, True))
claim("x_hat sees the forgotten variance and nothing else", x_hats == (True, False, True, True))
claim("random numbers see every mistake", random == (True, False, False, False))

# %% [markdown]
# ## The projection
#
# Why do ones see one mistake and $\hat x$ the other? Think of a channel as a vector of $M$ numbers.
# Two movements of $x$ leave $\hat x$ as it is: adding the same to all numbers, which is a step
# along $\mathbf 1 = (1, \dots, 1)$, and stretching the deviations, which is a step along $\hat x$.
# Along these two directions the loss is flat, whatever the loss is, so the gradient has no part
# along either:
#
# $$dx \cdot \mathbf 1 = 0, \qquad dx \cdot \hat x = 0 .$$
#
# The two directions are orthogonal, since $\hat x \cdot \mathbf 1 = 0$, and (without $\epsilon$)
# both have the squared length $M$. The part of $dy$ along $\mathbf 1$ is therefore
# $\tfrac{dy \cdot \mathbf 1}{M} \mathbf 1 = \operatorname{mean}(dy) \mathbf 1$, and the part along
# $\hat x$ is $\tfrac{dy \cdot \hat x}{M} \hat x = \hat x \operatorname{mean}(dy\, \hat x)$. These
# are the two terms that the formula subtracts. A small step $u$ at right angles to both changes
# neither mean nor variance (to first order), so $y$ moves by $\tfrac\gamma\sigma u$, and
# $dx \cdot u = \tfrac\gamma\sigma\, dy \cdot u$: all the rest of $dy$ stays. The backward
# **projects** $dy$ onto what the forward kept, and scales by $\gamma / \sigma$. Had we seen this
# first, we could have written the formula down without the three paths.

# %%
x_hat = cache[0]
dx, _, _ = batchnorm_backward(upstream["random"], cache)
along = max(abs(mean_of(dx)).max(), abs(mean_of(dx * x_hat)).max())
claim(f"dx is orthogonal to ones and to x_hat: {along:.0e}", along < 1e-12)

# %% [markdown]
# With $M = 3$ it can be drawn. The page is the plane orthogonal to $\mathbf 1$, and a channel with
# mean 0 is a point on it. The forward moves each point along its ray to the circle of radius
# $\sqrt 3$. Colour is a loss $L = \sum_i t_i y_i$ with some fixed $t$. The arrows on the right are
# $dx$, to half their length.

# %%
plane = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # two axes orthogonal to ones
t = np.array([1.0, 0.2]) @ plane


def to_circle(points):
    """Forward of one channel of three numbers for each of the points (P, 2) of the plane."""
    channels = len(points)
    return batchnorm_forward(
        (points @ plane).T[:, :, None, None], np.ones(channels), np.zeros(channels), eps=1e-12
    )


angle = np.linspace(0, 2 * np.pi, 13)[:-1]
ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
points = np.concatenate([1.2 * ring, np.sqrt(3) * ring, 2.4 * ring])
y, cache = to_circle(points)
dx, _, _ = batchnorm_backward(t[:, None, None, None] * np.ones(y.shape), cache)
arrows, landed = (a[:, :, 0, 0].T @ plane.T for a in (dx, y))
axis = np.linspace(-np.pi, np.pi, 160)
grid = np.stack(np.meshgrid(axis, axis), axis=-1)
level = (to_circle(grid.reshape(-1, 2))[0][:, :, 0, 0].T @ t).reshape(160, 160)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(9, 4.4)
panels = {"forward": (landed - points, 1), "backward": (arrows, 2)}
for axes, (title, (move, size)) in zip(figure.subplots(1, 2), panels.items(), strict=True):
    axes.contourf(axis, axis, level, levels=20, cmap="coolwarm", alpha=0.5)
    axes.plot(*(np.sqrt(3) * np.array([np.cos(axis), np.sin(axis)])), color="k", lw=1)
    axes.quiver(*points.T, *move.T, angles="xy", scale_units="xy", scale=size, width=0.006)
    axes.plot(*points.T, "k.", ms=4)
    axes.set(title=title, aspect="equal", xlabel="along (1, -1, 0)", ylabel="along (1, 1, -2)")
show(
    figure,
    "04_projection",
    "Batch norm of three numbers; colour: a loss, from low (blue) to high (red)",
    alt="Two planes of points with arrows, over a colour that depends only on the direction "
    "from the centre. Forward: all points move along their rays onto a circle. Backward: "
    "every arrow is at right angles to its ray, and shorter the farther out it starts.",
)

# %%
along = abs((arrows * points).sum(axis=1)).max()
claim(f"every arrow is at right angles to its ray ({along:.0e})", along < 1e-8)
length = np.linalg.norm(arrows, axis=1).reshape(3, -1)
claim("twice as far out, it is half as long", np.allclose(length[2], length[0] / 2))

# %% [markdown]
# The colours are rays: $L$ does not know how far out a point is. So the arrows run round the
# circle, and nearer the middle, where the same step turns the ray further, they are longer. That is
# the $1 / \sigma$. (With $\epsilon$ a little of the scale is felt after all: then
# $\hat x \cdot \hat x = M v / \sigma^2$, and the fraction $\epsilon / \sigma^2$ of the part along
# $\hat x$ survives.)
#
# ## What follows for the convolution before it
#
# A bias moves a channel along $\mathbf 1$. Batch norm takes it out again, and the bias's gradient
# $\sum_i dx_i$ is zero. That is why every convolution before a batch norm has `bias=False` here:
# the parameter could do nothing, and $\beta$ does its work.
#
# And a filter's scale stretches the channel, mean and deviations alike: a step within the plane of
# $\mathbf 1$ and $\hat x$. Multiply $w$ by 10: the output stays. A step $\delta$ now turns $w$ only
# a tenth as far, so its gradient is a tenth. And $dw$ is orthogonal to $w$.

# %%
conv = Conv2d(1, 6, 3, padding=1, bias=True, rng=rng, dtype=np.float64)
pair = Sequential(conv, BatchNorm2d(6, dtype=np.float64))
w = conv.w.data
dy = rng.standard_normal((16, 6, 8, 8))


def with_weights(w, bias):
    """The output, dw and db of convolution and batch norm with these weights."""
    conv.w.data, conv.b.data = w, np.full(6, float(bias))
    pair.zero_grad()
    y = pair.forward(images[:16].astype(np.float64))
    pair.backward(dy)
    return y, conv.w.grad, conv.b.grad


y, dw, db = with_weights(w, 0)
claim(f"the bias has no gradient: {abs(db).max():.0e}", abs(db).max() < 1e-10)
y5, dw5, _ = with_weights(w, 5)
claim("a bias of 5: the same output and dw", np.allclose(y5, y) and np.allclose(dw5, dw))
y10, dw10, _ = with_weights(10 * w, 0)
claim("10 w: the same output, up to eps", np.allclose(y10, y, atol=1e-4))
claim("and a tenth of the gradient", np.allclose(10 * dw10, dw, atol=1e-4 * abs(dw).max()))
cosine = (w * dw).sum() / (np.linalg.norm(w) * np.linalg.norm(dw))
claim(f"cosine between w and dw, up to eps: {cosine:.0e}", abs(cosine) < 1e-4)

# %% [markdown]
# So the size of a weight before batch norm means nothing for what the network computes, and much
# for how it *trains*. A step of gradient descent changes $w$, relative to its size, by
# $\eta\, |dw| / |w|$ for a learning rate $\eta$. With ten times the weights that is a hundredth:
# the **effective learning rate** is $\eta / |w|^2$. If this is all there is to it, then $10 w$ with
# $100 \eta$ is the same training as $w$ with $\eta$. We try, with a rate of its own for the
# convolutions and no weight decay.


# %%
def train(model, optimizers, steps, rng, before_step=lambda step: None):
    """Losses by step, on batches of 64."""
    losses = []
    for step in range(steps):
        before_step(step)
        batch = rng.choice(len(images), 64, replace=False)
        model.zero_grad()
        loss, dlogits = ops.softmax_cross_entropy(model.forward(images[batch]), labels[batch])
        model.backward(dlogits)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss)
    return np.array(losses)


steps = 12 if QUICK else 80
losses = {}
for factor, lr in ((1, 0.1), (10, 10), (10, 0.1)):
    model = stack(4, True, np.random.default_rng(3), factor, width=8)
    convs = Sequential(*(layer for layer in model.layers if isinstance(layer, Conv2d)))
    others = Sequential(*(layer for layer in model.layers if not isinstance(layer, Conv2d)))
    optimizers = [SGD(convs, lr, weight_decay=0), SGD(others, 0.1, weight_decay=0)]
    losses[factor, lr] = train(model, optimizers, steps, np.random.default_rng(0))

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 3.4)
axes = figure.subplots()
styles = ({"color": WITH, "lw": 2.4}, {"color": "k", "lw": 1.4, "ls": ":"}, {"color": WITHOUT})
for ((factor, lr), found), style in zip(losses.items(), styles, strict=True):
    axes.plot(found, label=f"{factor} w, rate {lr}", **{"lw": 2.4} | style)
finish(axes, "step", "training loss")
show(
    figure,
    "04_weight_scale",
    "Ten times the weights and a hundred times the rate: the same training",
    alt="Training loss by step. The line of ten times the weights and a hundred times the rate "
    "lies on that of the ordinary network. Ten times the weights at the old rate stays "
    "higher and falls later.",
)

# %%
difference = abs(losses[1, 0.1] - losses[10, 10])[:20].max()
claim(
    f"10 w, 100 times the rate: for the first steps the same to {difference:.0e}", difference < 0.02
)
end = {key: found[-10:].mean() for key, found in losses.items()}
claim(
    f"at the old rate 10 w learns later: {end[10, 0.1]:.1f}, not {end[1, 0.1]:.1f}",
    end[10, 0.1] > end[1, 0.1] + 0.3,
    in_full=True,
)

# %% [markdown]
# One more consequence of $dw \perp w$: a step at right angles makes a vector longer,
# $|w - \eta\, dw|^2 = |w|^2 + \eta^2 |dw|^2$. So $|w|$ would only ever grow, and the effective rate
# fall. That is what weight decay works against before a batch norm. It cannot make the function
# simpler, for that does not depend on $|w|$ at all ([van Laarhoven
# 2017](https://arxiv.org/abs/1706.05350)).
#
# ## Running statistics
#
# A trained network's answer for an image must not depend on the other images of its batch. So while
# training, each batch norm follows its batches' statistics,
#
# $$r \leftarrow (1 - m)\, r + m \cdot (\text{the batch's}), \qquad m = 0.1,$$
#
# and in evaluation $r$ stands for $\mu$ and $v$. The mean starts at 0 and the variance at 1; after
# $k$ batches the start still has the weight $0.9^k$. The variance that goes in is the unbiased one,
# divided by $M - 1$: now the batch is a sample, and we ask about what it was drawn from. The
# library does this in the forward, in place. (A block that [tutorial 6](06_stochastic_depth.py)
# skips sees no batch, so its statistics stay where they were.)

# %%
running_mean, running_var = np.zeros(3), np.ones(3)
y, cache = ops.batchnorm2d_forward(x, gamma, beta, running_mean, running_var, training=True)
ours, our_cache = batchnorm_forward(x, gamma, beta)
claim("the library's forward is ours", np.allclose(y, ours, rtol=1e-12, atol=1e-12))
dy = rng.standard_normal(x.shape)
pairs = zip(ops.batchnorm2d_backward(dy, cache), batchnorm_backward(dy, our_cache), strict=True)
claim("so is its backward", all(np.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in pairs))
claim("the mean has moved by a tenth", np.allclose(running_mean, 0.1 * x.mean(axis=AXES)))
claim(
    "so has the variance, towards the unbiased one",
    np.allclose(running_var, 0.9 + 0.1 * x.var(axis=AXES, ddof=1)),
)
for _ in range(43):
    ops.batchnorm2d_forward(x, gamma, beta, running_mean, running_var, training=True)
arrived = running_mean[0] / x[:, 0].mean()
claim(f"after 44 batches, {arrived:.4f} of the way", np.isclose(arrived, 1 - 0.9**44))

# %% [markdown]
# In evaluation the statistics are constants. Two of the three paths do not exist, and
# $dx = \tfrac{\gamma}{\sigma} dy$. (You need that backward for input gradients, or to fine-tune
# with frozen statistics.) Here the two other paths are wrong, and the check says so.


# %%
def evaluation_forward(x, gamma, beta):
    return ops.batchnorm2d_forward(x, gamma, beta, running_mean, running_var, training=False)


report = check_op("evaluation", evaluation_forward, ops.batchnorm2d_backward, inputs, rng=rng)
claim(f"the library's is right in evaluation: {report.worst.error:.0e}", report.passed)

std = np.sqrt(running_var + 1e-5)[:, None, None]
constants = (x - running_mean[:, None, None]) / std, std, gamma  # ours, with these statistics
passed = {}
for paths in ((), ("mean", "variance")):

    def ours_backward(dy, cache, paths=paths):
        return batchnorm_backward(dy, constants, paths)

    passed[paths] = check_op("ours", evaluation_forward, ours_backward, inputs, rng=rng).passed
claim("so is ours without the two paths, and not with them", list(passed.values()) == [True, False])

# %% [markdown]
# **What the cache costs.** Ours keeps $\hat x$, a new array as large as $x$. So does `minisd/ops/`,
# the library's book. Its engine, `minisd/fast/`, has a function of the same name that keeps $x$
# itself. The convolution before has made $x$ anyway, so nothing new is written but $\mu$ and
# $1 / \sigma$, two numbers a channel. When the backward wants $\hat x$, it is one subtraction and
# one multiplication away. In training most memory is such caches. So ask of everything you keep: is
# it cheaper to make again? [Tutorial 10](10_fast.py) goes further and does not write $y$ either.

# %%
claim("the book keeps x_hat, as we do", np.allclose(cache[0], our_cache[0]))
_, engines = fast.batchnorm2d_forward(x, gamma, beta, running_mean, running_var, training=True)
claim("the engine keeps x, and no copy of it", any(kept is x for kept in engines))

# %% [markdown]
# ## What breaks without it
#
# Fourteen convolutions, the digits, SGD with momentum: once with batch norm, and once without it,
# with biases in the convolutions instead. The same learning rates for both, two seeds each.

# %%
depth, steps = (6, 8) if QUICK else (14, 120)
rates = (0.03, 0.1) if QUICK else (0.003, 0.01, 0.03, 0.1, 0.3)
seeds = (0,) if QUICK else (0, 1)
curves, spread = {}, {}
for normed in (False, True):
    for lr in rates:
        for seed in seeds:
            model = stack(depth, normed, np.random.default_rng(seed))
            batches = np.random.default_rng(100 + seed)
            with np.errstate(over="ignore", invalid="ignore"):  # some losses run away
                curves[normed, lr, seed] = train(model, [SGD(model, lr)], steps, batches)
                logits = model.eval().forward(test_images)
                spread[normed, lr, seed] = logits.std(axis=0).max()
final = {
    (normed, seed): [curves[normed, lr, seed][-20:].mean() for lr in rates]
    for normed in (False, True)
    for seed in seeds
}

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(9, 3.6)
left, right = figure.subplots(1, 2)
for normed, name, colour in ((False, "without", WITHOUT), (True, "with batch norm", WITH)):
    for seed in seeds:
        label = name if seed == 0 else None
        left.plot(curves[normed, 0.1, seed], color=colour, lw=1.2, label=label)
        right.semilogx(rates, final[normed, seed], ".-", color=colour, label=label)
for axes in (left, right):
    axes.axhline(np.log(10), color="k", ls=":", lw=1, label="log 10: knows nothing")
    axes.set_ylim(0, 3)
finish(left, "step, at a learning rate of 0.1", "training loss")
finish(right, "learning rate", "mean of the last 20 losses")
show(
    figure,
    "04_without",
    "14 convolutions on the digits, with and without batch norm; two seeds each",
    alt="Left: training loss by step at rate 0.1. With batch norm it falls well below 1; "
    "without it stays level at log 10. Right: by learning rate, without batch norm none of "
    "the rates gets far below log 10, with it most do.",
)

# %%
best = {n: [np.nanmin(final[n, seed]) for seed in seeds] for n in (False, True)}
claim(
    f"at its best rate: {max(best[True]):.2f} with batch norm, {min(best[False]):.2f} without",
    max(best[True]) < 1 and min(best[False]) > 1.5,
    in_full=True,
)
apart = [[spread[n, 0.1, seed] for seed in seeds] for n in (False, True)]
claim(
    f"from one test image to another a logit varies by {max(apart[0]):.0e} without batch norm, "
    f"and by {min(apart[1]):.0f} with",
    max(apart[0]) < 0.3 and min(apart[1]) > 1,
    in_full=True,
)
model = stack(depth, False, np.random.default_rng(0), factor=12 / 11)
patient = train(model, [SGD(model, 0.01)], steps * 10 // 3, np.random.default_rng(100))
claim(
    f"without it, but with patience: {patient[-40:].mean():.2f} after {len(patient)} steps",
    patient[-40:].mean() < 2.15,
    in_full=True,
)

# %% [markdown]
# At the rate at which batch norm does well, the network without it ends up saying the same of
# every image, as the first figure let us fear. It is not hopeless. The last line has weights
# adapted to the padding (a share $(11/12)^2$ of all products is not with a zero), a smaller rate
# and more than three times as many steps, and it begins to learn. Batch norm spares us the
# adapting and the waiting.
#
# ## What breaks with it: the wrong statistics
#
# Batch norm makes a network two functions, one for training and one for evaluation, and they agree
# only if the statistics do. Three ways to get it wrong, one panel each. First, evaluation while
# training: the running statistics are an average over the last ten batches or so, of weights that
# have moved on since. Second, the same with the weights held still: we set the statistics of the
# trained network back to 0 and 1, and let batches pass. Third, forgetting to call `eval()`, so
# that each test batch is normalised by itself.


# %%
def error(model, batches):
    """Test error, batch by batch, in the mode that the model is in."""
    kept = [(buffer, buffer.copy()) for _, buffer in model.buffers()]
    wrong = 0
    for batch in batches:
        wrong += (model.forward(test_images[batch]).argmax(axis=1) != test_labels[batch]).sum()
    for buffer, before in kept:  # forwards in training mode have moved the running statistics
        buffer[...] = before
    return wrong / len(test_labels)


shuffled = np.random.default_rng(5).permutation(len(test_labels))
mixed = np.array_split(shuffled, 3)
model = stack(depth, True, np.random.default_rng(0))
steps = 12 if QUICK else 160
looks = range(0, 12 if QUICK else 100, 4)
seen = []


def look(step):
    if step in looks:
        seen.append((error(model.eval(), mixed), error(model.train(), mixed)))


train(model, [SGD(model, 0.1)], steps, np.random.default_rng(100), look)
seen = np.array(seen)
sizes = [8, 32, 128] if QUICK else [1, 2, 4, 8, 16, 32, 64, 128]
forgotten = [error(model, np.array_split(shuffled, len(shuffled) // size)) for size in sizes]
one_class = error(model, [np.flatnonzero(test_labels == label) for label in range(10)])
trained = error(model, mixed)

for layer in model.layers:
    if isinstance(layer, BatchNorm2d):
        layer.running_mean[:], layer.running_var[:] = 0, 1
arriving = [error(model.eval(), mixed)]
for _ in range(8 if QUICK else 50):
    model.train().forward(images[rng.choice(len(images), 64, replace=False)])  # no step follows
    arriving.append(error(model.eval(), mixed))

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(10, 3.4)
training, still, size = figure.subplots(1, 3, sharey=True)
for column, name, colour in ((0, "running statistics", WITHOUT), (1, "the batch's own", WITH)):
    training.plot(looks, 100 * seen[:, column], ".-", color=colour, label=name)
still.plot(100 * np.array(arriving), ".-", color=WITHOUT, label="running statistics")
still.axhline(100 * trained, color=WITH, lw=1.2, label="the batch's own")
size.semilogx(sizes, 100 * np.array(forgotten), ".-", color=WITH, label="the batch's own")
size.plot(36, 100 * one_class, "kD", ms=5, label="the batch's own, one class")
size.set_xticks([1, 10, 100], ["1", "10", "100"])
size.set_ylim(0, 100)
finish(training, "step of training", "test error (%)")
finish(still, "batches since the reset")
finish(size, "test images in a batch", loc="center right")
training.set_title("evaluated while training", fontsize=9)
still.set_title("weights held still, statistics reset", fontsize=9)
size.set_title("trained, never told to evaluate", fontsize=9)
show(
    figure,
    "04_statistics",
    "Test error with the wrong statistics: 14 convolutions with batch norm, digits",
    alt="Test error in three panels. In training, the running statistics are above the batch's "
    "own. After a reset, the error falls within some twenty batches to that of the batch's "
    "own. Never told to evaluate, it is highest for batches of one image and falls with "
    "their size; batches of one class are nearly as bad.",
)

# %%
lag = 100 * (seen[2:, 0] - seen[2:, 1]).mean()
claim(f"in training, running statistics cost {lag:.0f} points on average", lag > 3, in_full=True)
claim(
    f"reset: {arriving[0]:.0%} wrong, and {arriving[-1]:.0%} when {len(arriving) - 1} batches "
    "have passed",
    arriving[0] > 0.6 and arriving[-1] < 0.2,
    in_full=True,
)
claim(
    f"trained, not told to evaluate: {trained:.0%} wrong in batches of 120, {forgotten[0]:.0%} one "
    f"by one, {one_class:.0%} class by class",
    trained < 0.2 and forgotten[0] > 0.6 and one_class > 0.5,
    in_full=True,
)

# %% [markdown]
# While the rate is high, an error measured on the running statistics says as much about their lag
# as about the network; the batch's own statistics show what it has learned. In the middle, after
# ten batches the start still has the weight $0.9^{10} \approx 0.35$, and that in each of fourteen
# layers. On the right, a single image still has 64 numbers in a channel. But normalised by itself,
# it has the mean $\beta$ in every channel, like every other image, and the classifier looks at
# nothing but means over the image: what is left is what the last ReLU makes of it. A batch of a
# single class loses in the same way what its images have in common, which is their class.
#
# ## Exercises
#
# Solutions are in `solutions/04_batchnorm.py`. In a shell, `--exercise 1` runs the first one alone.
#
# **1.** In evaluation, batch norm multiplies and adds constants. A convolution does that anyway.
# Write `fold`, which is given a convolution's weights (it has no bias) and returns the weights and
# the bias of a convolution that does both.


# %%
def fold(w, gamma, beta, running_mean, running_var, eps):
    raise NotImplementedError


def check(fold):
    rng = np.random.default_rng(41)
    w, two = rng.standard_normal((3, 2, 3, 3)), rng.standard_normal((4, 2, 5, 6))
    gamma, beta, mean = rng.standard_normal((3, 3))
    var = rng.uniform(0.1, 2, 3)
    z = ops.conv2d_forward(two, w, None, stride=1, padding=1)[0]
    for eps in (0.05, 0.4):
        wanted, _ = ops.batchnorm2d_forward(
            z, gamma, beta, mean.copy(), var.copy(), training=False, eps=eps
        )
        folded_w, folded_b = fold.returning(w=w, b=beta)(w, gamma, beta, mean, var, eps)
        found = ops.conv2d_forward(two, folded_w, folded_b, stride=1, padding=1)[0]
        error = abs(found - wanted).max()
        assert error < 1e-10, f"expected what conv and batch norm give, got it wrong by {error:.1e}"


exercise(1, fold, check)

# %% [markdown]
# **2.** Running statistics forget and lag. One can instead take the statistics of the whole
# training set, batch by batch. Write `pooled`, which is given each batch's count of numbers (B,)
# and its means and biased variances (B, C), and returns the mean and the *unbiased* variance (C,)
# of all numbers together. The batches need not be of one size. It should survive float32 with a
# mean far from 0.


# %%
def pooled(counts, means, variances):
    raise NotImplementedError


def check(pooled):
    rng = np.random.default_rng(42)
    everything = 4000 + 3 * rng.standard_normal((90, 3)).astype(np.float32)
    batches = np.split(everything, [20, 50, 60])
    for batch, far in zip(batches, (6, -4, 9, 2), strict=True):
        batch += np.float32(far)
    counts = np.array([len(batch) for batch in batches])
    means = np.array([batch.mean(axis=0) for batch in batches])
    variances = np.array([batch.var(axis=0) for batch in batches])
    mean, var = pooled.returning(mean=(3,), variance=(3,))(counts, means, variances)
    exact = everything.astype(np.float64)
    wanted = exact.mean(axis=0)
    assert np.allclose(mean, wanted, rtol=0, atol=0.01), f"mean: expected {wanted}, got {mean}"
    wanted = exact.var(axis=0, ddof=1)
    assert np.allclose(var, wanted, rtol=3e-3, atol=0), f"variance: expected {wanted}, got {var}"


exercise(2, pooled, check)

# %% [markdown]
# **3.** A batch of one image need not break anything, if each image is normalised on its own.
# *Group norm* takes mean and variance over groups of channels of one image; with a single group
# this is layer norm. $\gamma$ and $\beta$ are still one per channel. Derive its backward and write
# it (it returns $dx$, $d\gamma$ and $d\beta$). Most of the derivation above holds, and one step of
# it does not: which?


# %%
def groupnorm_forward(x, gamma, beta, groups, eps=1e-5):
    by_group = x.reshape(len(x), groups, -1)  # (N, groups, numbers)
    centred = by_group - by_group.mean(axis=2, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=2, keepdims=True) + eps)
    x_hat = (centred / std).reshape(x.shape)
    return gamma[:, None, None] * x_hat + beta[:, None, None], (x_hat, std, gamma, groups)


def groupnorm_backward(dy, cache):
    raise NotImplementedError


def check(groupnorm_backward):
    rng = np.random.default_rng(43)
    x = 1 + rng.standard_normal((3, 4, 5, 6))
    inputs = {"x": x, "gamma": rng.uniform(0.5, 2, 4), "beta": rng.standard_normal(4)}
    backward = groupnorm_backward.returning(**{f"d{name}": each for name, each in inputs.items()})
    for groups in (1, 2, 4):

        def forward(x, gamma, beta, groups=groups):
            return groupnorm_forward(x, gamma, beta, groups)

        report = check_op(f"groups = {groups}", forward, backward, inputs, rng=rng)
        assert report.passed, report.explain()


exercise(3, groupnorm_backward, check)

# %% [markdown]
# ## Your page in the library
#
# Here is `minisd/ops/batchnorm.py`, without docstrings. The first half of the forward chooses the
# statistics, the batch's own or the running ones. Its last lines are yours, with `x_hat` for
# $\hat x$ and `inv_std` for $1 / \sigma$.
#
# The backward begins with $d\gamma$ and $d\beta$. Divided by $M$ they are the two means of the box,
# `mean_dy` and `mean_dy_x_hat`. In training one line subtracts both paths, and the last line
# multiplies by $\gamma / \sigma$. (`group` is for a batch in several parts, each of which knows
# only its own sums. Here there is none.)


# %%
def source(function):
    """What stands in the library, without types and docstring."""
    names = ", ".join(inspect.signature(function).parameters)
    body = inspect.getsource(function).rpartition('"""')[2]
    return f"def {function.__name__}({names}):{body}"


print(source(ops.batchnorm2d_forward))
print(source(ops.batchnorm2d_backward))

# %% [markdown]
# ## What to read next
#
# [Tutorial 5](05_residual_block.py) puts convolution and batch norm into a branch, and a shortcut
# beside it. In the library, `minisd/fast/batchnorm.py` has it as the machine likes it, and
# `minisd/fast/conv_norm.py` in one pass with the convolution. S. Ioffe and C. Szegedy, [*Batch
# normalization*](https://arxiv.org/abs/1502.03167), 2015, is the source. Why it helps is still
# argued: S. Santurkar et al., [*How does batch normalization help
# optimization?*](https://arxiv.org/abs/1805.11604), 2018, doubt the reason that the source gives.
# On statistics that go wrong: Y. Wu and J. Johnson, [*Rethinking "batch" in
# BatchNorm*](https://arxiv.org/abs/2105.07576), 2021.
