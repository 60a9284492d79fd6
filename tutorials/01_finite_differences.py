# %% [markdown]
# # 1. Finite differences: is a gradient right?
#
# A gradient is easy to get almost right. A network whose gradient is wrong by a factor of two still
# trains, a little worse than it could, and nobody notices. A check that catches it takes ten lines.
#
# **You will learn** to tell a right gradient from a wrong one without trusting anybody, and why
# most gradient checks prove less than they seem to.
#
# **You need** NumPy and the chain rule.
#
# **Time**: 30 minutes.
#
# Everything in this course is a *forward*, which computes something, and a *backward*, which
# computes its gradient. Before we write the first backward we build the instrument that tells
# whether it is right.

# %%
import numpy as np

from minisd import ops
from minisd.figures import new_figure, tidy
from minisd.gradcheck import check_op
from minisd.tutorial import claim, exercise, is_quick, read_options, show

read_options()  # a script takes --quick, --exercise N, --help
rng = np.random.default_rng(1)

# %% [markdown]
# ## One number: the slope
#
# Take $f(x) = x^3$ at $x = 1$, where we know that $f'(1) = 3$. There are two ways to get a slope
# from values of $f$ alone:
#
# $$\underbrace{\frac{f(x+h) - f(x)}{h}}_{\text{forward}} \qquad\qquad
#   \underbrace{\frac{f(x+h) - f(x-h)}{2h}}_{\text{central}}$$
#
# Taylor says what they cost. Put
# $f(x \pm h) = f \pm h f' + \tfrac{h^2}{2} f'' \pm \tfrac{h^3}{6} f''' + \dots$ into both:
#
# $$\frac{f(x+h) - f(x)}{h} = f' + \tfrac{h}{2} f'' + \dots \qquad\qquad
#   \frac{f(x+h) - f(x-h)}{2h} = f' + \tfrac{h^2}{6} f''' + \dots$$
#
# The first is wrong by a multiple of $h$. In the second the even terms cancel, and what is left
# falls like $h^2$. So make $h$ tiny? Try it.


# %%
def cube(x):
    return x**3


def forward_difference(f, x, h):
    return (f(x + h) - f(x)) / h


def central_difference(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


h = np.logspace(-12, -1, 111)
errors = {
    "forward, float64": abs(forward_difference(cube, 1.0, h) - 3),
    "central, float64": abs(central_difference(cube, 1.0, h) - 3),
    "central, float32": abs(central_difference(cube, np.float32(1), h.astype(np.float32)) - 3),
}

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 4.2)
axes = figure.subplots()
for name, error in errors.items():
    axes.loglog(h, np.maximum(error, 1e-13), label=name, lw=1.4)
axes.loglog(h, h**2, "k:", lw=1, label="$h^2$: theory, central difference")
axes.set_xlabel("h")
axes.set_ylabel("error of the slope")
axes.set_ylim(1e-13, 10)
axes.legend(frameon=False)
tidy(axes)
show(
    figure,
    "01_step_size",
    "How wrong a slope of $x^3$ is, by the step h of the difference",
    alt="Error of the slope against h, both logarithmic. From the right, the forward difference "
    "falls like h and the central one like h squared, in float64 down to 1e-8 and 1e-11. "
    "Then each line turns and rises as h gets smaller; in float32 it turns already near h = "
    "0.005.",
)

# %% [markdown]
# Read the picture from the right. There the lines are the theory: a tenth of $h$ makes the forward
# difference ten times better and the central one a hundred times. Then they turn. A computer knows
# $f$ only to about $\epsilon |f|$, where $\epsilon = 2^{-52} \approx 2 \cdot 10^{-16}$ in float64.
# The difference of two such numbers, divided by $2h$, is wrong by about $\epsilon / h$, which
# *grows* as $h$ falls. Here $|f|$ and $f'''/6$ are 1, so the two errors meet where
# $h^2 \approx \epsilon / h$:
#
# $$h \approx \epsilon^{1/3} \approx 6 \cdot 10^{-6}, \qquad
#   \text{error} \approx \epsilon^{2/3} \approx 4 \cdot 10^{-11}.$$
#
# In float32, $\epsilon \approx 10^{-7}$, and by the same estimate the best to hope for is
# $\epsilon^{2/3} \approx 2 \cdot 10^{-5}$. At the $h$ that serves float64 best, two or three
# digits are left. (Where its line is flat, $x \pm h$ is rounded to $x$ and the slope is 0.) So
# **gradients are checked in float64**, with central differences and $h = 10^{-5}$, whatever the
# network is trained in.

# %%
near = abs(np.log10(h) + 5) < 0.5  # h within half a decade of 1e-5
typical = {name: np.median(error[near]) for name, error in errors.items()}
for name, error in typical.items():
    print(f"{name}, h near 1e-5: error {error:.0e}")
claim(
    f"near 1e-5 a central difference in float64 is right to ten digits "
    f"({typical['central, float64']:.0e})",
    typical["central, float64"] < 3e-10,
)
claim(
    f"a forward one there is right to four or five ({typical['forward, float64']:.0e})",
    1e-6 < typical["forward, float64"] < 1e-4,
)
claim(
    f"in float32 two or three digits are left ({typical['central, float32']:.0e})",
    1e-3 < typical["central, float32"] < 3e-2,
)
right = h > 1e-3  # where theory rules, far from rounding: the slopes of the lines
slopes = {name: np.polyfit(np.log(h[right]), np.log(errors[name][right]), 1)[0] for name in errors}
claim(
    f"the errors fall like h^{slopes['forward, float64']:.2f} and h^"
    f"{slopes['central, float64']:.2f}: theory says 1 and 2",
    abs(slopes["forward, float64"] - 1) < 0.05 and abs(slopes["central, float64"] - 2) < 0.05,
)

# %% [markdown]
# ## Many numbers: the gradient
#
# A layer takes an array $x$ to an array $y$. Its backward is handed the *upstream gradient*
# $dy = \partial L / \partial y$ by the layer above it, and returns $dx = \partial L / \partial x$.
# To check it we need some number $L$ to differentiate, and the simplest $L$ with that upstream
# gradient is
#
# $$L(x) = \sum_i y_i(x)\, dy_i ,$$
#
# with $dy$ held fixed. Along any direction $d$ the chain rule then says
#
# $$\sum_j dx_j\, d_j \;=\; \frac{L(x + h d) - L(x - h d)}{2h} \;+\; O(h^2).$$
#
# With $d$ a unit vector this is a single element of $dx$. With $d$ random it is all of them at
# once, and an error anywhere shows in one number. So we take a few random directions to learn
# *whether* a gradient is right, and single elements to learn *where* it is wrong.
#
# Here is a layer, $y = x^2 / 2$. Our forwards return $y$ and a *cache*, which is whatever the
# backward will need.


# %%
def half_square_forward(x):
    return x**2 / 2, x  # y, cache


def half_square_backward(dy, cache):
    x = cache
    return dy * x


def directional_slope(forward, x, dy, d, h=1e-5):
    """The slope of L = sum(y * dy) along d, by a central difference."""
    return ((forward(x + h * d)[0] - forward(x - h * d)[0]) * dy).sum() / (2 * h)


x, dy, d = rng.standard_normal((3, 4, 5))
_, cache = half_square_forward(x)
analytic = (half_square_backward(dy, cache) * d).sum()
numeric = directional_slope(half_square_forward, x, dy, d)
print(f"analytic {analytic:.12f}\nnumeric  {numeric:.12f}")
claim("they agree to nine digits", abs(analytic - numeric) < 1e-9 * abs(analytic))

# %% [markdown]
# ## Why a gradient of ones can prove nothing
#
# Many checks take $L = \sum_i y_i$: an upstream gradient of ones. It looks like the obvious
# choice, and for some layers it is worthless. Batch normalisation (we derive it in [tutorial
# 4](04_batchnorm.py)) subtracts the mean, so the sum of its output does not depend on its input at
# all. The true gradient of that $L$ is zero. A backward that returns the right answer times 3, or
# times $-1$, or times 0, returns zero as well, and passes.
#
# Let us plant exactly those errors and see who notices.


# %%
def batchnorm(x):
    channels = x.shape[1]
    gamma, beta = np.ones(channels), np.zeros(channels)
    mean, var = np.zeros(channels), np.ones(channels)
    return ops.batchnorm2d_forward(x, gamma, beta, mean, var, training=True)


def relative_error(factor, dy):
    """How far dx, multiplied by a factor, is from the slope along random directions."""
    _, cache = batchnorm(x)
    dx = factor * ops.batchnorm2d_backward(dy, cache)[0]
    worst = 0.0
    for d in directions:
        analytic, numeric = (dx * d).sum(), directional_slope(batchnorm, x, dy, d)
        scale = max(abs(analytic), abs(numeric), 1e-3)  # where both are 0, do not divide by it
        worst = max(worst, abs(analytic - numeric) / scale)
    return worst


x = rng.standard_normal((4, 3, 5, 6))
directions = rng.standard_normal((3, *x.shape))
upstream = {"ones": np.ones(x.shape), "random": rng.standard_normal(x.shape)}
factors = [1, 0, -1, 3, 1.001]
seen = {name: [relative_error(factor, dy) for factor in factors] for name, dy in upstream.items()}
print("dx multiplied by" + "".join(f"{factor:>10}" for factor in factors))
for name, found in seen.items():
    print(f"dy = {name:11}" + "".join(f"{error:10.0e}" for error in found))
claim("with ones every wrong gradient passes", max(seen["ones"]) < 1e-6)
claim("with a random dy the right one passes", seen["random"][0] < 1e-6)
claim("and every wrong one fails, by one in a thousand too", min(seen["random"][1:]) > 5e-4)

# %% [markdown]
# A check that cannot fail says nothing when it passes. That goes for tests in general and is worth
# a habit: **after the check has passed, plant an error and see it fail.** Every gradient test of
# this library has such a twin.
#
# Other habits that cost nothing:
#
# - **All dimensions different.** $(N, C, H, W) = (4, 3, 5, 6)$ catches a transposed axis,
#   $(3, 3, 3, 3)$ does not.
# - **A relative error.** $|a - n|$ alone passes any tiny gradient; divide by the larger of the two.
# - **Stay away from kinks.** $\max(0, x)$ has no slope at 0, and a step that crosses it measures
#   something between 0 and 1. That is no error of yours. The picture shows it: a ReLU's measured
#   slope against $x$, with a step that is far too large, so that you can see it.

# %%
wide = 0.2
grid = np.linspace(-1, 1, 401)
measured = central_difference(lambda x: np.maximum(x, 0), grid, wide)

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 3)
axes = figure.subplots()
axes.plot(grid, measured, lw=1.6, label=f"central difference, h = {wide}")
axes.plot(grid, grid > 0, "k:", lw=1.2, label="the gradient")
axes.set_xlabel("x")
axes.set_ylabel("slope")
axes.legend(frameon=False)
tidy(axes)
show(
    figure,
    "01_kink",
    "A step that crosses the kink of a ReLU measures something in between",
    alt="Slope against x. The gradient jumps from 0 to 1 at x = 0. What is measured rises in a "
    "straight line from 0 at x = -0.2 to 1 at x = 0.2.",
)

# %%
outside = abs(grid) > wide
claim(
    "a step that crosses no kink measures the slope",
    np.allclose(measured[outside], (grid > 0)[outside]),
)
claim("one that does measures something else", abs(measured[200] - 0.5) < 1e-9)

# %% [markdown]
# ## The instrument
#
# `minisd.gradcheck` is all of this in one call: random upstream gradient, random directions and
# single elements, relative errors, another step where one crosses a kink. A sentence says what is
# wrong and where, and what the ratio of the two numbers suggests. Its tolerance is $10^{-6}$. We
# will use it after every backward that we derive.

# %%
report = check_op("half square", half_square_forward, half_square_backward, {"x": x}, rng=rng)
claim(f"right: worst relative error {report.worst.error:.0e}", report.passed)


def forgot_the_half(dy, cache):
    return 2 * half_square_backward(dy, cache)


report = check_op("half square", half_square_forward, forgot_the_half, {"x": x}, rng=rng)
print(report.explain())
claim("wrong by a factor of two: seen", not report.passed)

# %% [markdown]
# How small an error does it see? We multiply a right gradient by $1 + \delta$ for smaller and
# smaller $\delta$. This is the instrument's resolution. Know it of any instrument that you trust.
# (It sees a little less than $\delta$, as it divides by the larger of the two numbers, and never by
# less than the gradient's root mean square.)

# %%
deltas = np.logspace(-12, 0, 7 if is_quick() else 25)
worst = [
    check_op(
        "half square",
        half_square_forward,
        lambda dy, x, delta=delta: (1 + delta) * dy * x,
        {"x": x},
        rng=np.random.default_rng(2),
        elements=0,
    ).worst.error
    for delta in deltas
]

# %% tags=["hide-input"] jupyter={"source_hidden": true}
figure = new_figure(7, 3.4)
axes = figure.subplots()
axes.loglog(deltas, worst, ".-", label="error seen")
axes.loglog(deltas, deltas, "k:", lw=1, label="error planted")
axes.axhline(1e-6, color="#c1432e", lw=1, label="tolerance")
axes.set_xlabel(r"error planted, $\delta$")
axes.set_ylabel("relative error")
axes.legend(frameon=False)
tidy(axes)
show(
    figure,
    "01_resolution",
    "How small an error the instrument sees",
    alt="Error seen against error planted, both logarithmic. The two agree along the diagonal "
    "from 1 down to a floor of rounding, which lies well below the tolerance of 1e-6.",
)

# %%
sizes = np.array(worst)[deltas > 1e-7] / deltas[deltas > 1e-7]
claim(
    f"above 1e-7, {sizes.min():.2f} to {sizes.max():.2f} of what was planted is seen",
    sizes.min() > 0.1 and sizes.max() < 1.1,
)
claim(f"below, there is a floor of rounding ({min(worst):.0e})", 1e-13 < min(worst) < 1e-8)

# %% [markdown]
# ## Exercises
#
# Write the function, run the cell, and it tells you whether you are right. Solutions are in
# `solutions/01_finite_differences.py`. In a shell, `python tutorials/01_finite_differences.py
# --exercise 1` runs the first one alone, in a second.
#
# **1.** The forward of $y = \tanh x$ returns $y$ as its cache. Write the backward, from $y$ alone.


# %%
def tanh_forward(x):
    y = np.tanh(x)
    return y, y


def tanh_backward(dy, y):
    raise NotImplementedError


def check(tanh_backward):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((4, 3, 5))
    backward = tanh_backward.returning(dx=x)
    report = check_op("tanh", tanh_forward, backward, {"x": x}, rng=rng)
    assert report.passed, report.explain()


exercise(1, tanh_backward, check)

# %% [markdown]
# **2.** Somebody's backward has a wrong element somewhere. Write
# `wrong_elements(forward, backward, x, rng)`, which returns the set of indices (tuples) where the
# relative error of $dx$ is above $10^{-6}$.


# %%
def wrong_elements(forward, backward, x, rng):
    raise NotImplementedError


def centred_forward(x):  # a dy of ones hides what is wrong here
    return x - x.mean(), None


def centred_backward(dy, cache):
    return dy - dy.mean()


def faint_forward(x):  # y has another shape than x, and its gradient is small
    return 1e-5 * (x**2).sum(axis=1), x


def faint_backward(dy, cache):
    return 2e-5 * dy[:, None] * cache


def check(wrong_elements):
    rng = np.random.default_rng(12)
    x = rng.choice([-1, 1], (3, 4)) * rng.uniform(0.5, 1.5, (3, 4))
    for forward, right in (
        (half_square_forward, half_square_backward),
        (centred_forward, centred_backward),
        (faint_forward, faint_backward),
    ):
        for planted in (
            {},
            {(1, 2): 1.01},
            {(0, 0): -1, (1, 1): 1 + 1e-8, (2, 3): 1 + 1e-5},  # the second is right to 10^-6
        ):

            def backward(dy, cache, right=right, planted=planted):
                dx = right(dy, cache)
                for index, factor in planted.items():
                    dx[index] *= factor
                return dx

            indices = wrong_elements.returning(indices=list)(forward, backward, x, rng)
            found = {tuple(index) for index in indices}
            wrong = {index for index, factor in planted.items() if abs(factor - 1) > 1e-6}
            assert found == wrong, f"{forward.__name__}: wrong are {wrong or 'none'}, found {found}"


exercise(2, wrong_elements, check)

# %% [markdown]
# **3.** There is a slope that loses no digits. If $f$ can be computed for complex numbers,
# then $f(x + ih) = f(x) + ih f'(x) - \dots$, and $\operatorname{Im} f(x + ih) / h$ is the slope
# with *no subtraction at all*. So $h$ may be $10^{-200}$. Write `complex_step(f, x)`. What does it
# make of `abs`? And of a ReLU, written with `np.maximum(x, 0)` or with `max(x, 0)`?


# %%
def complex_step(f, x):
    raise NotImplementedError


def check(complex_step):
    for f, derivative in ((cube, lambda x: 3 * x**2), (np.exp, np.exp), (np.sin, np.cos)):
        for x in (1.0, -0.7, 2.5):
            slope = derivative(x)
            error = abs(complex_step.returning(slope=float)(f, x) - slope)
            assert error < 4e-15 * max(1, abs(slope)), f"the slope is off by {error:.0e}"


exercise(3, complex_step, check)

# %% [markdown]
# ## What to read next
#
# [Tutorial 2](02_linear_softmax.py) derives the first backward worth having, that of a linear
# classifier, and trains it. The instrument itself is `minisd/gradcheck/compare.py`, with its report
# in `minisd/gradcheck/report.py`; `tests/layers/test_gradcheck.py` is the test of the tester. On
# doing it in practice: [the CS231n notes](https://cs231n.github.io/neural-networks-3/#gradcheck).
# On the complex step: W. Squire and G. Trapp, *Using complex variables to estimate derivatives of
# real functions*, 1998.
