"""Right answers to assignment 5 in an unusual form. They must have full marks."""

import itertools

import numpy as np

from minisd.layer import Layer


@right("5.1", "arrays")
def _():
    def linear_decay(num_blocks, p_last):
        return np.linspace(1, p_last, num_blocks + 1)[1:]

    def expected_depth(probs):
        return np.asarray(probs).sum()

    return locals()


@right("5.1", "a tuple, and the terms in another order")
def _():
    def linear_decay(num_blocks, p_last):
        step = (1 - p_last) / num_blocks
        return tuple(p_last + step * (num_blocks - 1 - i) for i in range(num_blocks))

    def expected_depth(probs):
        return np.array(float(np.mean(probs) * len(probs)))

    return locals()


@right("5.1", "block by block")
def _():
    def linear_decay(num_blocks, p_last):
        probs = np.empty(num_blocks)
        for i in range(num_blocks):
            probs[i] = 1 - (i + 1) * (1 - p_last) / num_blocks
        return list(probs)

    def expected_depth(probs):
        total = 0
        for p in probs:
            total += p
        return total

    return locals()


@right("5.2", "an array")
def sample_gates(probs, rng):
    return rng.random(len(probs)) < np.asarray(probs)


@right("5.2", "a tuple of whole numbers")
def sample_gates(probs, rng):
    return tuple(map(int, np.less(rng.random(size=(len(probs),)), probs)))


@right("5.2", "one number after another")
def sample_gates(probs, rng):
    return [rng.random() < p for p in probs]


@right("5.3", "its own mask, and attributes as memory")
class GatedBlock(Layer):
    def __init__(self, branch, shortcut, survival_prob=1.0, scale="test"):
        self.parts = {"f": branch, "id": shortcut}
        self.p, self.divides = survival_prob, scale == "train"
        self.is_open = True
        if self.divides and not self.p > 0:
            raise ValueError

    def forward(self, x):
        runs = not self.training or self.is_open
        self.factor = 1
        if self.training and self.divides:
            self.factor = 1 / self.p
        elif not self.training and not self.divides:
            self.factor = self.p
        total = self.parts["id"].forward(x)
        if runs:
            total = self.parts["f"].forward(x) * self.factor + total
        self.mask, self.ran = total > 0, runs
        return np.where(self.mask, total, 0).astype(x.dtype)

    def backward(self, dy):
        ds = dy * self.mask
        if not self.ran:
            return self.parts["id"].backward(ds)
        return self.parts["f"].backward(self.factor * ds) + self.parts["id"].backward(ds)


@right("5.3", "a list of functions as memory, and a late refusal")
class GatedBlock(Layer):
    def __init__(self, branch, shortcut, survival_prob=1.0, scale="test"):
        self.ways, self.survival_prob, self.scale = [branch, shortcut], survival_prob, scale
        self.is_open = True

    def forward(self, x):
        if self.training and self.scale == "train" and self.survival_prob == 0:
            raise ValueError("1 / 0")
        weights = {
            (True, "test"): 1.0,
            (True, "train"): 1 / self.survival_prob if self.survival_prob else 0.0,
            (False, "test"): self.survival_prob,
            (False, "train"): 1.0,
        }
        terms = [(1.0, self.ways[1])]
        if self.is_open or not self.training:
            terms.insert(0, (weights[self.training, self.scale], self.ways[0]))
        s = sum(weight * layer.forward(x) for weight, layer in terms)
        self.save(lambda dy: sum(w * layer.backward(w_of(w, dy, s)) / w for w, layer in terms))
        return np.maximum(s, 0)

    def backward(self, dy):
        return self.take()(dy)


def w_of(weight, dy, s):
    """What arrives at a way of this weight."""
    return (weight * dy * (s > 0)).astype(dy.dtype)


@right("5.3", "two kinds of blocks, and a stack as memory")
class GatedBlock(Layer):
    def __init__(self, branch, shortcut, survival_prob=1.0, scale="test"):
        self.branch, self.shortcut = branch, shortcut
        self.survival_prob, self.scale, self.is_open = survival_prob, scale, True
        if scale == "train":
            try:
                self.inverse = 1 / survival_prob
            except ZeroDivisionError:
                raise ValueError("p must not be 0") from None
        self.stack = []

    @property
    def weight(self):
        if self.scale == "test":
            return 1.0 if self.training else self.survival_prob
        return self.inverse if self.training else 1.0

    def open_forward(self, x, weight):
        s = np.array(self.shortcut.forward(x))
        s += weight * self.branch.forward(x)
        return s

    def forward(self, x):
        if self.training and not self.is_open:
            s, weight = np.array(self.shortcut.forward(x)), None
        else:
            weight = self.weight
            s = self.open_forward(x, weight)
        negative = s <= 0
        s[negative] = 0
        self.stack.append((negative, weight))
        return s

    def backward(self, dy):
        negative, weight = self.stack.pop()
        ds = dy.copy()
        ds[negative] = 0
        dx = np.array(self.shortcut.backward(ds))
        if weight is not None:
            dx += self.branch.backward(weight * ds)
        return dx


@right("5.5", "a polynomial")
def depth_distribution(probs):
    polynomial = np.polynomial.Polynomial([1.0])
    for p in probs:
        polynomial = polynomial * np.polynomial.Polynomial([1 - p, p])
    found = np.zeros(len(probs) + 1)
    found[: len(polynomial.coef)] = polynomial.coef
    return found


@right("5.5", "a list, from the right, in place")
def depth_distribution(probs):
    found = [1.0] + [0.0] * len(probs)
    for p in probs:
        for k in range(len(probs), 0, -1):
            found[k] = (1 - p) * found[k] + p * found[k - 1]
        found[0] *= 1 - p
    return found


@right("5.5", "convolutions")
def depth_distribution(probs):
    found = np.array([1.0])
    for p in probs:
        found = np.convolve(found, [1 - p, p])
    return tuple(found)


@right("5.5", "a Fourier transform")
def depth_distribution(probs):
    p, n = np.asarray(probs)[:, None], len(probs) + 1
    z = np.exp(-2j * np.pi * np.arange(n) / n)
    return np.fft.ifft(np.prod(1 - p + p * z, axis=0)).real


@right("5.6", "all networks")
def ensemble_mean(matrices, probs, x):
    total = np.zeros_like(x)
    for gates in itertools.product((False, True), repeat=len(probs)):
        h, chance = x, 1.0
        for matrix, gate, p in zip(matrices, gates, probs, strict=True):
            chance = chance * (p if gate else 1 - p)
            h = h + matrix @ h if gate else h
        total += chance * h
    return total


@right("5.6", "one matrix")
def ensemble_mean(matrices, probs, x):
    whole = np.eye(len(x))
    for matrix, p in zip(matrices, probs, strict=True):
        whole = (np.eye(len(x)) + p * matrix) @ whole
    return whole @ x


@right("5.6", "recursion")
def ensemble_mean(matrices, probs, x):
    if len(probs) == 0:
        return x
    rest = [ensemble(matrices[1:], probs[1:], h) for h in (x, x + matrices[0].dot(x))]
    return (1 - probs[0]) * rest[0] + probs[0] * rest[1]


def ensemble(matrices, probs, x):
    """The same from the second block on."""
    if len(probs) == 0:
        return x
    rest = [ensemble(matrices[1:], probs[1:], h) for h in (x, x + matrices[0].dot(x))]
    return (1 - probs[0]) * rest[0] + probs[0] * rest[1]


@right("5.7", "in place")
def step_dropped(w, v, dw, *, lr, momentum, weight_decay, dropped):
    if dw is not None or dropped == "coast":
        v *= momentum
        v += weight_decay * w
        if dw is not None:
            v += dw
        w -= lr * v
    return w, v


@right("5.7", "zeros for None, copies back")
def step_dropped(w, v, dw, *, lr, momentum, weight_decay, dropped):
    if dw is None:
        if dropped == "freeze":
            return [w.copy(), v.copy()]
        dw = np.zeros_like(w)
    g = dw + weight_decay * w
    new = momentum * v + g
    return [w - lr * new, new]


@right("5.7", "with a factor")
def step_dropped(w, v, dw, *, lr, momentum, weight_decay, dropped):
    moves = not (dw is None and dropped == "freeze")
    g = (0 if dw is None else dw) + w * weight_decay
    new = v * momentum + g if moves else v
    return (w * (1 - lr * weight_decay) - lr * (new - w * weight_decay) if moves else w), new
