# %% [markdown]
# # 2. A linear classifier: the first backward, and how far to step
#
# Whoever trains a network has to choose a learning rate, and mostly guesses. In a network of one
# layer nobody needs to guess: which rates work can be computed, and so can what momentum adds. Much
# of what goes wrong in deep networks can be understood here first.
#
# **You will learn** to derive the gradients of a linear layer and of softmax with cross-entropy, to
# train with them, and to say which learning rates work, with momentum and without.
#
# **You need** [tutorial 1](01_finite_differences.py).
#
# **Time**: 60 minutes.
#
# A gradient says in which direction to go. It does not say how far, and much of what goes wrong in
# training is a matter of how far. The answer is in the *curvature* of the loss. We meet it here in
# the smallest network there is, one linear layer, where everything can be computed.

# %%
import numpy as np

from minisd import SGD, Linear, ops
from minisd.data import Normaliser, load
from minisd.figures import new_figure, tidy
from minisd.gradcheck import check_op
from minisd.tutorial import claim, exercise, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
rng = np.random.default_rng(2)

# %% [markdown]
# ## The digits
#
# The library comes with 1,797 handwritten digits of 8x8 pixels. Before anything is learned from an
# image it is *normalised*: each pixel's mean over the training images is subtracted, and all pixels
# are divided by one standard deviation. Both are taken from the training images alone: nothing may
# depend on the test images. Then it is *flattened* to a row of 64 numbers, as a linear layer knows
# of no neighbours. We use float64 throughout, so that gradients can be checked.

# %%
digits = load("digits")
train, test = digits.train, digits.test
normalise = Normaliser.fit(train.images)
x_train, x_test = (
    normalise(split.images).reshape(len(split), -1).astype(np.float64) for split in (train, test)
)
(N, D), K = x_train.shape, digits.num_classes
claim(
    f"{N} training and {len(test)} test images, {D} pixels, {K} classes",
    (N, len(test), D, K) == (1438, 359, 64, 10),
)
claim("pixels have mean 0 now", np.allclose(x_train.mean(axis=0), 0, atol=1e-5))
claim("and all together standard deviation 1", abs(x_train.std() - 1) < 1e-4)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 1.7)
for k, pair in enumerate(figure.subplots(2, 10).T):
    for axes, image in zip(pair, train.images[train.labels == k], strict=False):
        axes.imshow(image[0], cmap="gray_r")
        axes.axis("off")
show(
    figure,
    "02_digits",
    "Two training images of each digit, 8x8 pixels",
    alt="Twenty grey images in two rows: the digits 0 to 9 from left to right, coarse but "
    "readable.",
)

# %% [markdown]
# ## A linear layer
#
# Every image gets a score for each class, a weighted sum of its pixels, with weights of that class:
#
# $$y_{nk} = \sum_d x_{nd}\, w_{kd} + b_k , \qquad\text{or}\qquad y = x w^T + b .$$
#
# Now the backward. Given $dy_{nk} = \partial L / \partial y_{nk}$, what is
# $\partial L / \partial w_{kd}$? Ask where $w_{kd}$ was used: in $y_{nk}$, for every image $n$,
# each time multiplied by $x_{nd}$. The chain rule sums over the uses. $x_{nd}$ was used once for
# every class, and $b_k$ once for every image, with factor 1:
#
# $$dw_{kd} = \sum_n dy_{nk}\, x_{nd} , \qquad dx_{nd} = \sum_k dy_{nk}\, w_{kd} , \qquad
#   db_k = \sum_n dy_{nk} .$$
#
# In matrices, $dw = dy^T x$ and $dx = dy\, w$. Nobody needs to remember what is transposed: with
# $N$, $D$ and $K$ all different, only one product has the right shape. What is worth remembering is
# the rule. *A gradient is a sum over all uses*: whatever a forward shares, its backward sums.


# %%
def linear_forward(x, w, b):
    return x @ w.T + b, (x, w)


def linear_backward(dy, cache):
    x, w = cache
    return dy @ w, dy.T @ x, dy.sum(axis=0)  # dx, dw, db


shapes = {"x": (5, 4), "w": (3, 4), "b": (3,)}
inputs = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
report = check_op("linear", linear_forward, linear_backward, inputs, rng=rng)
claim(f"right: worst relative error {report.worst.error:.0e}", report.passed)

dy = rng.standard_normal((5, 3))
ours = linear_backward(dy, linear_forward(**inputs)[1])
theirs = ops.linear_backward(dy, ops.linear_forward(**inputs)[1])
claim("the library agrees", all(np.allclose(*pair) for pair in zip(ours, theirs, strict=True)))


def averaged_the_bias(dy, cache):  # a popular error: the mean over the batch, not the sum
    dx, dw, db = linear_backward(dy, cache)
    return dx, dw, db / len(dy)


report = check_op("linear", linear_forward, averaged_the_bias, inputs, rng=rng)
print(report.explain())
claim("the error we planted is seen", not report.passed)

# %% [markdown]
# ## From scores to a loss
#
# *Softmax* makes probabilities of an image's scores $s_1 \dots s_K$, and *cross-entropy* asks how
# probable the right class $t$ was:
#
# $$p_k = \frac{e^{s_k}}{\sum_j e^{s_j}} , \qquad
#   L = -\log p_t = \log \sum_j e^{s_j} \;-\; s_t .$$
#
# Who is certain and right pays nothing; who is certain and wrong pays without bound. Scores meant
# for a softmax are called *logits*.
#
# As it stands the formula does not survive float32, in which $e^{89}$ is infinite already. But the
# same number added to all scores cancels in every $p_k$. So the largest score is taken off first.
# Then the largest exponential is $e^0 = 1$: nothing overflows, and the sum, which is at least 1,
# has a logarithm. And as $p_t$ may be too small for float32, we form its logarithm directly.


# %%
def naive(scores, label):
    p = np.exp(scores) / np.exp(scores).sum()
    return -np.log(p[label])


def careful(scores, label):
    shifted = scores - scores.max()
    return np.log(np.exp(shifted).sum()) - shifted[label]


found = []
for scores, label in (([0, 1, 2], 0), ([0, 100, 200], 2), ([0, 100, 200], 0)):
    scores = np.array(scores, np.float32)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found.append((naive(scores, label), careful(scores, label)))
    print(f"scores {scores}, right class {label}: naive {found[-1][0]}, careful {found[-1][1]}")
claim("e^89 is too large for float32", np.exp(89.0) > np.finfo(np.float32).max)
claim("small scores: they agree", np.isclose(*found[0]))
claim("large ones: the naive loss is useless", np.isnan(found[1][0]) and np.isinf(found[2][0]))
claim("the careful one is right", found[1][1] == 0 and found[2][1] == 200)

# %% [markdown]
# ## The gradient that makes them belong together
#
# Differentiate the second form of the loss by one of the scores:
#
# $$\frac{\partial L}{\partial s_k} = \frac{e^{s_k}}{\sum_j e^{s_j}} - \delta_{kt}
#   = p_k - \delta_{kt} , \qquad \delta_{kt} = 1 \text{ if } k = t, \text{ else } 0 .$$
#
# What was believed minus what is true. Each wrong class is pushed down by the probability it was
# given, the right one up by the probability it lacked. The loss of a batch is the mean over its $N$
# images, so $dlogits = (p - \text{onehot}(t)) / N$.


# %%
def softmax_cross_entropy(logits, labels):
    """Return the mean loss and dlogits."""
    image = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    onehot = np.zeros_like(logits)
    onehot[image, labels] = 1
    return -log_p[image, labels].mean(), (np.exp(log_p) - onehot) / len(logits)


labels = np.array([0, 3, 1, 1, 2, 0])
inputs = {"logits": 3 * rng.standard_normal((6, 4))}


def loss_forward(logits):
    return softmax_cross_entropy(logits, labels)  # the loss, and dlogits as the cache


def loss_backward(dy, dlogits):
    return dy * dlogits


report = check_op("cross-entropy", loss_forward, loss_backward, inputs, rng=rng)
claim(f"right: worst relative error {report.worst.error:.0e}", report.passed)
ours = loss_forward(**inputs)
theirs = ops.softmax_cross_entropy(inputs["logits"], labels)
claim("the library agrees", all(np.allclose(*pair) for pair in zip(ours, theirs, strict=True)))


def forgot_the_mean(dy, dlogits):
    return dy * dlogits * len(labels)


report = check_op("cross-entropy", loss_forward, forgot_the_mean, inputs, rng=rng)
claim(f"a forgotten 1/N is seen: relative error {report.worst.error:.2f}", not report.passed)

# %% [markdown]
# ## Before training
#
# There is a number to which every first loss should be compared. Whoever knows nothing gives each
# of ten classes the probability 1/10 and loses $\log 10 \approx 2.303$. With zero weights it is
# exactly that. With random ones the logits have some variance $\sigma^2$, and $\log \sum_k e^{s_k}$
# to second order gives $\log K + \frac{K - 1}{2K} \sigma^2$ on average; $s_t$ has mean 0. The
# library's `Linear` draws $w$ uniformly from $-1/\sqrt{D}$ to $1/\sqrt{D}$, with variance $1/(3D)$;
# normalised pixels have mean square 1, so $\sigma^2 = 1/3$. A first loss far above such a number
# says that the logits are too large.

# %%
start, _ = ops.softmax_cross_entropy(np.zeros((N, K)), train.labels)
claim("zero weights: the loss is log 10", np.isclose(start, np.log(10)))
layers = [Linear(D, K, rng=rng, dtype=np.float64) for _ in range(50)]
drawn = [ops.softmax_cross_entropy(each.forward(x_train), train.labels)[0] for each in layers]
predicted, mean = np.log(K) + (K - 1) / (2 * K) / 3, np.mean(drawn)
claim(f"drawn: {mean:.2f} on average, predicted {predicted:.2f}", abs(mean - predicted) < 0.08)

# %% [markdown]
# ## Training
#
# The loss is a mean over 1,438 images, and so is its gradient. A mean can be estimated from a
# sample: 64 images give the right gradient plus noise of mean zero, for a twentieth of the work.
# That is all there is to *stochastic gradient descent*, SGD. An *epoch* is a pass over all images,
# in a random order.
#
# We start from zero weights. In deeper networks these would leave all units the same for ever; one
# layer has no such symmetry to break. The rate, 0.1, and the number of epochs, 30, are fixed
# beforehand, and the test images are looked at when all is done. Whoever stops where the test error
# is lowest has trained on the test images.

# %%
EPOCHS, BATCH = 30, 64


def gradients(x, labels, w, b):
    """Return the loss, dw and db."""
    logits, cache = ops.linear_forward(x, w, b)
    loss, dlogits = ops.softmax_cross_entropy(logits, labels)
    _, dw, db = ops.linear_backward(dlogits, cache)
    return loss, dw, db


def batches(rng):
    """The indices of one epoch's batches."""
    order = rng.permutation(N)
    return [order[i : i + BATCH] for i in range(0, N, BATCH)]


w, b = np.zeros((K, D)), np.zeros(K)
for epoch in range(EPOCHS):
    for batch in batches(rng):
        _, dw, db = gradients(x_train[batch], train.labels[batch], w, b)
        w -= 0.1 * dw
        b -= 0.1 * db
    if epoch in (0, 1, 3, 9, EPOCHS - 1):
        print(f"epoch {epoch + 1:2}  loss {gradients(x_train, train.labels, w, b)[0]:.3f}")

error = np.mean((x_test @ w.T + b).argmax(axis=1) != test.labels)
luck = np.sqrt(error * (1 - error) / len(test))  # the standard deviation of such a mean
claim(f"test error {error:.1%}, give or take {luck:.1%}", 0.02 < error < 0.07)

# %% [markdown]
# What has it learned? A row of $w$ has a number per pixel, so it is an image. Above, the mean image
# of each class; below, its weights, red where ink speaks for the class and blue where against.

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(8, 2)
for k, (top, bottom) in enumerate(figure.subplots(2, 10).T):
    top.imshow(train.images[train.labels == k].mean(axis=0)[0], cmap="gray_r")
    bottom.imshow(w[k].reshape(8, 8), cmap="RdBu_r", vmin=-abs(w).max(), vmax=abs(w).max())
    top.set_title(k, fontsize=9)
    top.axis("off")
    bottom.axis("off")
show(
    figure,
    "02_weights",
    "Above: the mean image of a class. Below: its weights; red: ink speaks for it, blue: against",
    alt="Ten columns, one for each digit. The mean images are blurred digits. The weights below "
    "them are patches of red and blue, for the 0 blue in the middle.",
)

# %%
blank = train.images.max(axis=0).reshape(-1) == 0
claim(f"{blank.sum()} pixels never had ink: their weights have not moved", not w[:, blank].any())
row, column = divmod(w[0].argmin(), 8)
claim(
    f"the strongest weight of a 0 is negative and in the middle, row {row}, column {column}",
    -w[0].min() > w[0].max() and 2 <= row <= 5 and 2 <= column <= 5,
)

# %% [markdown]
# These are no pictures of digits. They say what tells a class from the other nine, and for a 0 the
# hole in the middle, where others have ink, counts more than the ring.
#
# ## A valley
#
# How large may the rate be? Near a minimum a smooth loss is a quadratic. In the right coordinates,
# the eigenvectors of its matrix of second derivatives (the *Hessian*), a quadratic is a sum:
#
# $$f(w) = \frac12 \sum_i \lambda_i w_i^2 , \qquad dw_i = \lambda_i w_i , \qquad
#   w_i \leftarrow w_i - \text{lr}\,\lambda_i w_i = (1 - \text{lr}\,\lambda_i)\, w_i .$$
#
# The $\lambda_i$ are the curvatures, and a step of gradient descent multiplies each $w_i$ by a
# number of its own. It shrinks if $|1 - \text{lr}\,\lambda_i| < 1$, that is, if
# $\text{lr} < 2/\lambda_i$. **The steepest direction sets the rate**,
# $\text{lr} < 2/\lambda_{\max}$. The shallowest then sets the time, for a step leaves
# $1 - \text{lr}\,\lambda_{\min}$ of it. Where the two are far apart the loss is a long, narrow
# valley: descent bounces from wall to wall and creeps along the floor.
#
# **Momentum.** Look at the gradients of that descent. Across the valley they change sign at every
# step, along it they agree. A running sum cancels the first and collects the second:
#
# $$v \leftarrow m v + dw , \qquad w \leftarrow w - \text{lr}\, v .$$
#
# The velocity $v$ keeps the fraction $m$, often 0.9, of what it was. A gradient that never changes
# adds up to $dw\,(1 + m + m^2 + \dots) = dw / (1 - m)$, ten times itself.
#
# **Nesterov.** Momentum will carry us to about $w - \text{lr}\, m v$, whatever the gradient says.
# So take the gradient there, ahead, where it can still correct what momentum does:
#
# $$v' = m v + dw(w - \text{lr}\, m v) , \qquad w' = w - \text{lr}\, v' ,$$
#
# where $dw(\cdot)$ is the gradient at that point. But the weights are not there. So let us keep the
# point ahead, $u = w - \text{lr}\, m v$, instead of $w$. As $v' - m v = dw$, it moves like this:
#
# $$u' = w' - \text{lr}\, m v' = (u + \text{lr}\, m v) - \text{lr}\, v' - \text{lr}\, m v'
#      = u - \text{lr}\,(dw + m v') .$$
#
# Call $u$ the weights, and Nesterov's rule is momentum's with $dw + m v$ in place of $v$.


# %%
def sgd(w, v, dw, lr, m):
    return w - lr * dw, v


def momentum(w, v, dw, lr, m):
    v = m * v + dw
    return w - lr * v, v


def nesterov(w, v, dw, lr, m):
    v = m * v + dw
    return w - lr * (dw + m * v), v


RULES = {"SGD": sgd, "momentum": momentum, "Nesterov": nesterov}
COLOURS = {"SGD": "#3a6ea5", "momentum": "#c1432e", "Nesterov": "#5b8c5a"}
CURVATURE = np.array([1.0, 200.0])  # along the valley, across


def descend(rule, lr, steps, m=0.9):
    """The points that a rule visits in the valley."""
    points, v = [np.array([-10.0, 1.0])], np.zeros(2)
    for _ in range(steps):
        w, v = rule(points[-1], v, CURVATURE * points[-1], lr, m)
        points.append(w)
    return np.array(points)


w, v, lr, m, ahead = np.array([-10.0, 1.0]), np.zeros(2), 0.003, 0.9, []
for _ in range(51):  # Nesterov's rule as it was first written
    ahead.append(w - lr * m * v)
    v = m * v + CURVATURE * ahead[-1]
    w = w - lr * v
claim("Nesterov's two forms visit the same points", np.allclose(ahead, descend(nesterov, lr, 50)))

# %% [markdown]
# With a velocity, too, there is a largest stable rate. Exercise 2 finds
# $2 (1 + m) / \lambda_{\max}$ for momentum, nearly twice SGD's, and
# $2 (1 + m) / (1 + 2m) / \lambda_{\max}$ for Nesterov, which is *less* than SGD's. We try each
# limit from both sides.

# %%
limits = {"SGD": 2, "momentum": 2 * 1.9, "Nesterov": 2 * 1.9 / 2.8}  # of lr * lambda_max; m = 0.9
for name, limit in limits.items():
    lr = limit / CURVATURE.max()
    below, above = (abs(descend(RULES[name], c * lr, 200)[-1, 1]) for c in (0.97, 1.03))
    told = f"{name}: of 1 across, 3 % below the limit {below:.0e} is left, 3 % above it {above:.0e}"
    claim(told, below < 1e-2 and above > 1e2)

# %% [markdown]
# Here are 80 steps of each, in a valley 200 times steeper across than along. SGD has the rate that
# is best for it, $2 / (\lambda_{\min} + \lambda_{\max})$, at which both directions shrink equally
# fast. The other two have 0.003, less than a third of that.

# %%
rates = {name: 2 / CURVATURE.sum() if rule is sgd else 0.003 for name, rule in RULES.items()}
paths = {name: descend(rule, rates[name], 80) for name, rule in RULES.items()}

plane = np.meshgrid(np.linspace(-11, 1.5, 200), np.linspace(-1.3, 1.3, 100))
height = (CURVATURE[0] * plane[0] ** 2 + CURVATURE[1] * plane[1] ** 2) / 2

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(8, 5)
for axes, (name, path) in zip(figure.subplots(3, 1, sharex=True), paths.items(), strict=True):
    axes.contour(*plane, height, levels=np.geomspace(0.5, 200, 8), colors="#cccccc", linewidths=0.7)
    axes.plot(*path.T, ".-", color=COLOURS[name], lw=0.9, ms=4)
    axes.plot(0, 0, "k+", ms=9)
    axes.set_title(f"{name}, lr = {rates[name]:.4f}", loc="left", fontsize=10)
    axes.set_ylabel("$w_2$")
    axes.spines[["top", "right"]].set_visible(False)
axes.set_xlabel("$w_1$, along the floor of the valley")
show(
    figure,
    "02_valley",
    "80 steps in a valley 200 times steeper across than along; grey: equal loss; +: the minimum",
    alt="Three panels with the contour lines of a long, narrow valley. SGD jumps from one side "
    "to the other at every step and has come half of the way. Momentum swings in waves that "
    "die down, Nesterov goes nearly straight along the floor, and both come near the "
    "minimum.",
)

# %%
left = {name: np.linalg.norm(path[-1]) for name, path in paths.items()}
claim(
    "distance left: " + ", ".join(f"{name} {distance:.1f}" for name, distance in left.items()),
    left["SGD"] > 4 and max(left["momentum"], left["Nesterov"]) < 1,
)

# %% [markdown]
# Along the floor momentum and Nesterov are equally fast. Across it momentum swings for a long time,
# and Nesterov, who looks ahead, hardly at all. `minisd.SGD` has these rules, and one thing more:
# *weight decay*, which adds $\frac{c}{2} |w|^2$ to the loss and so $c\, w$ to the gradient.

# %%
layer = Linear(D, K, rng=rng, dtype=np.float64)
for name, rule in RULES.items():
    m, c = (0.0 if rule is sgd else 0.9), 0.01
    optimizer = SGD(layer, lr=0.1, momentum=m, nesterov=rule is nesterov, weight_decay=c)
    w, v = layer.w.data.copy(), np.zeros((K, D))
    for _ in range(20):
        layer.w.grad, layer.b.grad = rng.standard_normal((K, D)), np.zeros(K)
        w, v = rule(w, v, layer.w.grad + c * w, 0.1, m)
        optimizer.step()
    claim(f"{name}: ours and the library's agree after 20 steps", np.allclose(w, layer.w.data))

# %% [markdown]
# ## Momentum on the digits
#
# Now the three on the digits, with the same rate and the same batches, and a fourth to think about:
# SGD without momentum, at the rate $0.1 / (1 - m) = 1$.


# %%
def learn(lr, momentum, nesterov):
    """Return the training loss after each epoch, and the test error at the end."""
    data_rng = np.random.default_rng(3)
    layer = Linear(D, K, rng=data_rng, dtype=np.float64)
    layer.w.data[:] = 0
    optimizer = SGD(layer, lr, momentum=momentum, nesterov=nesterov, weight_decay=0)
    losses = [np.log(K)]
    for _ in range(EPOCHS):
        for batch in batches(data_rng):
            layer.zero_grad()
            logits = layer.forward(x_train[batch])
            layer.backward(ops.softmax_cross_entropy(logits, train.labels[batch])[1])
            optimizer.step()
        losses.append(ops.softmax_cross_entropy(layer.forward(x_train), train.labels)[0])
    return losses, np.mean(layer.forward(x_test).argmax(axis=1) != test.labels)


curves, errors = {}, {}
for name, lr in (("SGD", 0.1), ("momentum", 0.1), ("Nesterov", 0.1), ("SGD", 1.0)):
    curves[name, lr], errors[name, lr] = learn(lr, 0.9 * (name != "SGD"), name == "Nesterov")
    print(f"{name}, {lr}: loss {curves[name, lr][-1]:.4f}, test error {errors[name, lr]:.2%}")

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 3.6)
axes = figure.subplots()
for (name, lr), losses in curves.items():
    line = "--" if lr == 1.0 else "-"
    axes.semilogy(losses, line, color=COLOURS[name], lw=1.5, label=f"{name}, lr = {lr}")
axes.set_xlabel("epoch")
axes.set_ylabel("training loss")
axes.legend(frameon=False)
tidy(axes)
show(
    figure,
    "02_momentum",
    "A linear classifier on the digits: three rules, and SGD at ten times the rate",
    alt="Training loss by epoch, logarithmic. At rate 0.1 momentum and Nesterov fall together "
    "and SGD stays above them. SGD at rate 1.0 comes down about as far as the two.",
)

# %%
same, tenfold = (curves["SGD", lr][-1] / curves["momentum", 0.1][-1] for lr in (0.1, 1.0))
claim(f"at the same rate SGD's loss is {same:.1f} times momentum's", same > 2.5)
claim(f"at ten times the rate it is {tenfold:.2f} times", 1 / 1.5 < tenfold < 1.5)
claim("the test errors lie within two points", np.ptp(list(errors.values())) < 0.02)

# %% [markdown]
# So momentum bought nothing here that a larger rate would not have. A comparison at one and the
# same rate proves little, and now you know why: to a gradient that changes slowly, momentum *is*
# a larger rate, by $1/(1 - m)$. Nor did the lower loss buy a better classifier.
#
# Momentum pays where the rate cannot be raised. Where is that limit on the digits? In the logits of
# one image, the second derivatives of the loss are the derivatives of $p_k - \delta_{kt}$:
#
# $$\frac{\partial p_k}{\partial s_j} = p_k (\delta_{kj} - p_j) .$$
#
# At zero weights $p_k = 1/K$, and this matrix takes every vector that sums to zero to $1/K$ of it.
# Through $s = x w^T$, the largest curvature in $w$ is the largest eigenvalue of $x^T x / N$,
# divided by $K$. We check it with a central difference of the gradient along that eigenvector, and
# then take steps with exact gradients at rates below the limit and far above it.


# %%
def gradient(w):
    return gradients(x_train, train.labels, w, np.zeros(K))[1]


eigenvalues, vectors = np.linalg.eigh(x_train.T @ x_train / N)
steepest = eigenvalues[-1] / K
d = np.zeros((K, D))
d[0], d[1] = vectors[:, -1], -vectors[:, -1]
slope = (gradient(1e-5 * d) - gradient(-1e-5 * d)) / 2e-5
claim(f"curvature {steepest:.2f}, so lr < {2 / steepest:.2f}", np.allclose(slope, steepest * d))

losses = {}
for lr in (1, 4, 20):
    w = np.zeros((K, D))
    for _ in range(300):
        w -= lr * gradient(w)
    losses[lr], dlogits = ops.softmax_cross_entropy(x_train @ w.T, train.labels)
    p = N * dlogits + np.eye(K)[train.labels]
    trace = np.mean(1 - (p**2).sum(axis=1))  # of the matrix above, on average
    print(f"lr = {lr:2}: loss after 300 steps {losses[lr]:.4f}, trace {trace:.3f}, at first 0.9")
claim(
    "the larger the rate the lower the loss, far above the limit too",
    losses[20] < losses[4] < losses[1],
)
claim(f"at lr = 20 the trace has fallen to {trace:.3f}", trace < 0.05)
wrong = ((x_train @ w.T).argmax(axis=1) != train.labels).sum()
claim("and no training image is wrong", wrong == 0)

# %% [markdown]
# Nothing exploded. The limit is about the curvature where we are, and here it does not stay. As the
# classifier becomes certain, $p$ becomes a row of one 1 and nine 0, for which the matrix above is
# zero. Too large a step lands where the loss is flat, and there it is not too large any more. These
# training images can be told apart by a linear classifier, so the minimum lies at infinity and the
# valley has no bottom. Few losses are so kind. In deep networks the curvature tends to *grow* until
# it is about $2/\text{lr}$, which is why the rate matters there, and momentum with it.
#
# ## Exercises
#
# Solutions are in `solutions/02_linear_softmax.py`. In a shell, `--exercise 1` runs the first one
# alone.
#
# **1.** *Label smoothing* replaces the onehot target by
# $q_k = (1 - \varepsilon)\, \delta_{kt} + \varepsilon / K$, and the loss of an image by
# $-\sum_k q_k \log p_k$. Return the mean loss and its gradient, also for logits of 1000. Where does
# the minimum lie now?


# %%
def smoothed_cross_entropy(logits, labels, epsilon):
    raise NotImplementedError


def check(smoothed_cross_entropy):
    rng = np.random.default_rng(21)
    labels = np.array([0, 3, 1, 1, 2, 0])
    logits = 3 * rng.standard_normal((6, 4))
    logits[4, 1] = 1000
    yours = smoothed_cross_entropy.returning(loss=float, dlogits=logits)
    for epsilon in (0, 0.1, 0.4):
        loss, _ = yours(logits, labels, epsilon)
        plain = ops.softmax_cross_entropy(logits, labels)[0]
        each = [ops.softmax_cross_entropy(logits, np.full(6, k))[0] for k in range(4)]
        wanted = (1 - epsilon) * plain + epsilon * np.mean(each)  # linear in the target
        assert np.isclose(loss, wanted), f"the loss is {loss:.6f}, expected {wanted:.6f}"

        def forward(logits, epsilon=epsilon):
            return yours(logits, labels, epsilon)

        report = check_op("smoothed", forward, loss_backward, {"logits": logits}, rng=rng)
        assert report.passed, report.explain()


exercise(1, smoothed_cross_entropy, check)

# %% [markdown]
# **2.** Where did the limits of momentum and Nesterov come from? Take one direction of curvature
# $\lambda$, put $a = \text{lr}\, \lambda$, and measure the velocity as $\text{lr}\, v$. A step
# then takes the pair $(w, \text{lr}\, v)$ to a matrix times itself, which only depends on $a$ and
# $m$. In the long run a step multiplies its length by the larger $|z|$ of the matrix's two
# eigenvalues $z$. Return that; `rule` is `momentum` or `nesterov`, the functions above. Then draw
# it against $a$, on a logarithmic axis: why does Nesterov swing less, and at what price?


# %%
def long_run_factor(rule, a, m):
    raise NotImplementedError


def check(long_run_factor):
    cases = [(a, m) for a in (0.001, 0.3, 1.1, 2.5, 4.5) for m in (0.5, 0.9)]
    for rule, (a, m) in [(rule, case) for rule in (momentum, nesterov) for case in cases]:
        w, v, logs = 1.0, 0.0, []
        for _ in range(2001):
            length = np.hypot(w, v)
            w, v = w / length, v / length  # or they would overflow
            logs.append(np.log(length))
            w, v = rule(w, v, a * w, 1.0, m)
        seen = np.exp(np.mean(logs[1001:]))
        z = long_run_factor.returning(z=float)(rule, a, m)
        assert abs(z - seen) < 2e-3, f"{rule.__name__}, a = {a:.3f}, m = {m}: {z}, seen {seen:.4f}"


exercise(2, long_run_factor, check)

# %% [markdown]
# **3.** The loss of the linear classifier has $KD$ weights, and its Hessian $(KD)^2$ elements. One
# never needs them all. What is wanted is the Hessian times some $d$ of the shape of $w$, and that
# costs little more than a gradient. Derive it, exactly and without a difference, for $s = x w^T$.
# (If $w$ moves along $d$, how does $s$ move, then $p$, then $dw$?) Why is it not told the labels?
# Can the loss have a second minimum? Multiply by it again and again, and you have the largest
# curvature.


# %%
def hessian_times(x, w, d):
    raise NotImplementedError


def check(hessian_times):
    rng = np.random.default_rng(23)
    labels = np.array([0, 3, 1, 1, 2, 0])
    x, (w, d) = rng.standard_normal((6, 5)), rng.standard_normal((2, 4, 5))
    found = hessian_times.returning(Hd=w)(x, w, d)
    _, dlogits = softmax_cross_entropy(x @ (w + 1e-200j * d).T, labels)  # tutorial 1, exercise 3
    expected = (dlogits.T @ x).imag / 1e-200
    error = abs(found - expected).max() / abs(expected).max()
    assert error < 1e-5, f"it is off by {error:.0e} of its largest element"
    assert error < 1e-13, f"it is off by {error:.0e}: is there a difference in it?"


exercise(3, hessian_times, check)

# %% [markdown]
# ## What to read next
#
# [Tutorial 3](03_convolution.py) has the second forward and backward, of a layer that does know
# about neighbours. In the library: `minisd/ops/linear.py`, `minisd/ops/loss.py`, `minisd/optim/`.
# I. Sutskever, J. Martens, G. Dahl and G. Hinton, *On the importance of initialization and momentum
# in deep learning*, 2013. On curvature that grows to the limit: J. Cohen, S. Kaur, Y. Li, J. Kolter
# and A. Talwalkar, *Gradient descent on neural networks typically occurs at the edge of stability*,
# 2021 ([arXiv:2103.00065](https://arxiv.org/abs/2103.00065)).
