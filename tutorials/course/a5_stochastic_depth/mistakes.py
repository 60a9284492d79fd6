"""Wrong answers to assignment 5 that students really give."""

import math

import numpy as np

RULES, GATE = "6: How likely to be open? The survival rules", "6: The block with a gate"
ZERO = "6: Why multiplying by zero is not dropping"
VALLEY = "2: A valley"
TEST = "6: Test time: all of it, and how much of each"


def entry(task, name, *loses, says, look, read, hidden=()):
    """A mistake whose forms have the same words."""

    def add(function):
        return mistake(
            task, name, loses=loses, says=says, look=look, read=read, loses_hidden=hidden
        )(function)

    return add


# ---- 5.1 ----

from_zero = entry(
    "5.1", "from-zero", "linear decay", read=RULES,
    says="one block too early: your first block is certain, and your last one is above p_L",
    look="From which number to which does l run?",
)  # fmt: skip


@from_zero
def linear_decay(num_blocks, p_last):
    return [1 - block / num_blocks * (1 - p_last) for block in range(num_blocks)]


two_ends = entry(
    "5.1", "L-minus-1", "linear decay", read=RULES,
    says="your last block has p_L, but your first one is certain: 1 belongs to the input, block 0",
    look="What is p_1 for L = 4 and p_L = 0.5?",
)  # fmt: skip


@two_ends
def linear_decay(num_blocks, p_last):
    return [1 - block / (num_blocks - 1) * (1 - p_last) for block in range(num_blocks)]


@two_ends
def linear_decay(num_blocks, p_last):
    return np.linspace(1, p_last, num_blocks)


@two_ends
def linear_decay(num_blocks, p_last):
    last = num_blocks - 1
    return [1 - block / last * (1 - p_last) if last else p_last for block in range(num_blocks)]


@entry(
    "5.1", "decays-to-1-minus", "linear decay", read=RULES,
    says="your last block survives with 1 - p_L: p_L is how often it is there, not how often it is "
    "missing",
    look="Which p does your last block have for p_L = 0.9?",
)  # fmt: skip
def linear_decay(num_blocks, p_last):
    return [1 - block / num_blocks * p_last for block in range(1, num_blocks + 1)]


@entry(
    "5.1", "with-block-0", "linear decay", read=RULES,
    says="L + 1 numbers: block 0 is the input, and has no gate",
    look="From which number to which does l run?",
)  # fmt: skip
def linear_decay(num_blocks, p_last):
    return [1 - block / num_blocks * (1 - p_last) for block in range(num_blocks + 1)]


@entry(
    "5.1", "other-end", "linear decay", read=RULES,
    says="the right numbers in reverse order: your first block is the one that is open least",
    look="Which blocks does everything after them rely on?",
)  # fmt: skip
def linear_decay(num_blocks, p_last):
    return solution.linear_decay(num_blocks, p_last)[::-1]


rounded = entry(
    "5.1", "rounded", "expected depth", read=RULES,
    says="a whole number: the mean of whole numbers need not be one",
    look="How many heads do you expect of three coins?",
)  # fmt: skip


@rounded
def expected_depth(probs):
    return round(sum(probs))


@rounded
def expected_depth(probs):
    return int(sum(probs))


@rounded
def expected_depth(probs):
    return int(sum(probs) + 0.5)


@rounded
def expected_depth(probs):
    return math.ceil(sum(probs))


@entry(
    "5.1", "mean-p", "expected depth", read=RULES,
    says="that is the mean probability of a block: asked for is a number of blocks",
    look="What is it if all L blocks are certain?",
)  # fmt: skip
def expected_depth(probs):
    return sum(probs) / len(probs)


@entry(
    "5.1", "formula-of-one-rule", "expected depth", read=RULES,
    says="right for a linear decay to 0.5 only: (3L - 1) / 4 does not look at the probabilities",
    look="Where does probs occur in your formula?",
)  # fmt: skip
def expected_depth(probs):
    return (3 * len(probs) - 1) / 4


# ---- 5.2 ----

inverted = entry(
    "5.2", "inverted", "gates", read=RULES,
    says="your blocks are open as often as they should be closed",
    look="How often is u < p, for u even between 0 and 1?",
)  # fmt: skip


@inverted
def sample_gates(probs, rng):
    return [bool(u < 1 - p) for u, p in zip(rng.random(len(probs)), probs, strict=True)]


@inverted
def sample_gates(probs, rng):
    return [bool(u > p) for u, p in zip(rng.random(len(probs)), probs, strict=True)]


@entry(
    "5.2", "other-side", "gates", read=RULES,
    says="open with the right probability, but not where u < p: so the same rng gives other gates",
    look="Which side of p, or of 1 - p, is open in your comparison?",
)  # fmt: skip
def sample_gates(probs, rng):
    return [bool(u > 1 - p) for u, p in zip(rng.random(len(probs)), probs, strict=True)]


@entry(
    "5.2", "one-coin", "gates", "stream", read=RULES,
    says="one number decides for all blocks: they open together",
    look="How many numbers do L blocks need?",
)  # fmt: skip
def sample_gates(probs, rng):
    u = rng.random()
    return [bool(u < p) for p in probs]


needed = entry(
    "5.2", "draws-if-needed", "gates", "stream", read=RULES,
    says="nothing is drawn for a certain block: so the gates of all later ones depend on whether "
    "some p is 0 or 1",
    look="How many numbers do you draw if all p are 1?",
)  # fmt: skip


@needed
def sample_gates(probs, rng):
    return [bool(p == 1 or rng.random() < p) for p in probs]


@needed
def sample_gates(probs, rng):
    return [bool(p > 0 and (p == 1 or rng.random() < p)) for p in probs]


elsewhere = entry(
    "5.2", "global-rng", "gates", "stream", read=RULES,
    says="the gates do not come from your rng: it is where it was, and gives other ones",
    look="Which generator do your numbers come from?",
)  # fmt: skip


@elsewhere
def sample_gates(probs, rng):
    return np.random.default_rng().random(len(probs)) < probs


@elsewhere
def sample_gates(probs, rng):
    return np.random.default_rng(0).random(len(probs)) < probs


@entry(
    "5.2", "fair-coin", "gates", read=RULES,
    says="your gates do not know p: all blocks are open half of the time",
    look="What do you compare u with?",
)  # fmt: skip
def sample_gates(probs, rng):
    return rng.random(len(probs)) < 0.5


# ---- 5.3: in training ----


@entry(
    "5.3", "masks", "not entered", read=ZERO,
    says="the closed branch was entered, and multiplied by zero: 0 times inf is NaN, and its "
    "running statistics have moved",
    look="Which lines of yours run when the gate is closed?",
)  # fmt: skip
class GatedBlock(solution.GatedBlock):
    def forward(self, x):
        self.save((self.is_open, 1.0))
        branch = float(self.is_open) * self.branch.forward(x)
        return self.relu.forward(self.shortcut.forward(x) + branch)


@entry(
    "5.3", "stats-move", "not entered", read=ZERO,
    says="the closed branch was run, and its result put aside: its running statistics have moved",
    look="Which lines of yours run when the gate is closed?",
)  # fmt: skip
class GatedBlock(solution.GatedBlock):
    def forward(self, x):
        s, f = self.shortcut.forward(x), self.branch.forward(x)
        self.save((self.is_open, 1.0))
        return self.relu.forward(s + f if self.is_open else s)


inside = entry(
    "5.3", "draws-inside", "closed", "closed backward", read=GATE,
    says="two equal forwards differ: your block draws its gate, and does not use the one that is "
    "set from outside",
    look="Which line of yours sets is_open, and when?",
)  # fmt: skip


def drawing(change):
    """A block that draws its gate in the forward, from a generator of its own."""

    class GatedBlock(solution.GatedBlock):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.rng = np.random.default_rng(1)

        def forward(self, x):
            before, gate = self.is_open, bool(self.rng.random() < self.survival_prob)
            self.is_open = gate if self.training else True
            y = super().forward(x)
            self.is_open = self.is_open if change else before
            return y

    return GatedBlock


@inside
def _():
    return {"GatedBlock": drawing(True)}


@inside
def _():
    return {"GatedBlock": drawing(False)}


@entry(
    "5.3", "gate-ignored", "closed", "closed backward", "not entered", "remembers its gate",
    read=GATE,
    says="a closed block gives what an open one gives: your block does not look at is_open",
    look="Where does is_open occur in your forward?",
)  # fmt: skip
class GatedBlock(solution.GatedBlock):
    def forward(self, x):
        before, self.is_open = self.is_open, True
        y = super().forward(x)
        self.is_open = before
        return y


forgotten = entry(
    "5.3", "gate-forgotten", "closed backward", read=GATE,
    says="the block was closed, yet its backward enters the branch, whose weights get gradients",
    look="What does the branch's own backward get if the gate was closed?",
)  # fmt: skip


@forgotten
class GatedBlock(solution.GatedBlock):
    def backward(self, dy):
        self.take()
        ds = self.relu.backward(dy)
        return self.shortcut.backward(ds) + self.branch.backward(ds)


@forgotten
class GatedBlock(solution.GatedBlock):
    def backward(self, dy):
        gate, _ = self.take()
        ds = self.relu.backward(dy)
        return self.shortcut.backward(ds) + gate * self.branch.backward(ds)


@entry(
    "5.3", "present-gate", "remembers its gate", read=GATE,
    says="your backward goes by the gate that is set now, not by the one of its forward",
    look="Which gate does your backward look at, if it has been set anew?",
)  # fmt: skip
class GatedBlock(solution.GatedBlock):
    def backward(self, dy):
        self.take()
        ds = self.relu.backward(dy)
        dx = self.shortcut.backward(ds)
        return dx + self.branch.backward(ds) if self.is_open else dx


LAST = []


@entry(
    "5.3", "one-memory", "remembers its gate", read=GATE,
    says="two blocks share one memory: the second forward overwrites the gate of the first",
    look="Where do you keep the gate: in the block, or in something that all blocks have?",
)  # fmt: skip
class GatedBlock(solution.GatedBlock):
    def forward(self, x):
        y = super().forward(x)
        LAST.append(self.take())
        return y

    def backward(self, dy):
        self.save(LAST[-1])
        return super().backward(dy)


@entry(
    "5.3", "zeros-not-none", "closed backward", read=ZERO,
    says="the gradients of a closed branch are arrays of zeros: None says 'not reached', and zero "
    "is a gradient like any other",
    look="What is grad of a parameter that no backward has reached?",
)  # fmt: skip
class GatedBlock(solution.GatedBlock):
    def backward(self, dy):
        was_open, _ = self._cache[0]
        dx = super().backward(dy)
        if not was_open:
            for _, parameter in self.branch.parameters():
                parameter.grad = np.zeros_like(parameter.data)
        return dx


no_relu = entry(
    "5.3", "closed-no-relu", "closed", "closed backward", read=GATE,
    says="a closed block is its shortcut alone, without the ReLU: that comes after the sum, and "
    "always",
    look="Can a negative number leave a closed block?",
)  # fmt: skip


@no_relu
class GatedBlock(solution.GatedBlock):
    def forward(self, x):
        if self.is_open:
            return super().forward(x)
        self.save((False, 1.0))
        return self.shortcut.forward(x)

    def backward(self, dy):
        if self._cache[0][0]:
            return super().backward(dy)
        return self.shortcut.backward(dy)


@no_relu
class GatedBlock(solution.GatedBlock):
    def forward(self, x):
        if self.is_open:
            return super().forward(x)
        self.save((False, 1.0))
        return self.shortcut.forward(x)


class OpenOnly(solution.GatedBlock):
    """Right when it is closed; `opened` and `opened_backward` are what a mistake changes."""

    def opened(self, x):
        return self.relu.forward(self.shortcut.forward(x) + self.branch.forward(x))

    def opened_backward(self, dy):
        ds = self.relu.backward(dy)
        return self.shortcut.backward(ds) + self.branch.backward(ds)

    def forward(self, x):
        if not self.is_open:
            return super().forward(x)
        self.save((True, 1.0))
        return self.opened(x)

    def backward(self, dy):
        return self.opened_backward(dy) if self._cache[0][0] else super().backward(dy)


@entry(
    "5.3", "relu-before-sum", "open", "open backward", read=GATE,
    says="your ReLU is around the branch: it comes after the sum with the shortcut",
    look="Can a negative number leave your open block?",
)  # fmt: skip
class GatedBlock(OpenOnly):
    def opened(self, x):
        return self.shortcut.forward(x) + self.relu.forward(self.branch.forward(x))

    def opened_backward(self, dy):
        return self.shortcut.backward(dy) + self.branch.backward(self.relu.backward(dy))


@entry(
    "5.3", "no-last-relu", "open", read=GATE,
    says="negative numbers leave an open block: there is a ReLU after the sum",
    look="What comes after the sum of branch and shortcut?",
)  # fmt: skip
class GatedBlock(OpenOnly):
    def opened(self, x):
        s = self.shortcut.forward(x) + self.branch.forward(x)
        self.relu.forward(s)
        return s


@entry(
    "5.3", "no-mask", "open backward", read=GATE,
    says="dy passes where the ReLU has cut the output off: its mask is missing in the backward",
    look="What does the ReLU do to dy?",
)  # fmt: skip
class GatedBlock(OpenOnly):
    def opened_backward(self, dy):
        return self.shortcut.backward(dy) + self.branch.backward(dy)


@entry(
    "5.3", "no-way-around", "open backward", read=GATE,
    says="dx of an open block has the part of the branch only: the way around it is missing",
    look="On how many ways does x reach the sum?",
)  # fmt: skip
class GatedBlock(OpenOnly):
    def opened_backward(self, dy):
        ds = self.relu.backward(dy)
        self.shortcut.backward(ds)
        return self.branch.backward(ds)


@entry(
    "5.3", "one-after-the-other", "open", "open backward", read=GATE,
    says="your branch gets what the shortcut has made: both start at x",
    look="What is the argument of your branch?",
)  # fmt: skip
class GatedBlock(OpenOnly):
    def opened(self, x):
        s = self.shortcut.forward(x)
        return self.relu.forward(self.branch.forward(s))

    def opened_backward(self, dy):
        return self.shortcut.backward(self.branch.backward(self.relu.backward(dy)))


@entry(
    "5.3", "adds-into-x", "open", "open backward", read=GATE,
    says="your block writes into x: the identity hands x itself on, and += adds the branch to it",
    look="Which array does your += write into, if the shortcut returns its argument?",
)  # fmt: skip
class GatedBlock(OpenOnly):
    def opened(self, x):
        s = self.shortcut.forward(x)
        s += self.branch.forward(x)
        return self.relu.forward(s)


# ---- 5.4: in evaluation, and both scales ----


def weight_of(block):
    """The right weight of a branch that runs."""
    if block.training:
        return 1 / block.survival_prob if block.scale == "train" else 1.0
    return block.survival_prob if block.scale == "test" else 1.0


def block_with(*, train=None, test=None, back=weight_of, relu_in_test=True):
    """A block with other sums.

    ``train`` and ``test`` are functions of the block, a function that runs the branch, and what the
    shortcut gives; ``back`` gives the weight in the backward.
    """

    class GatedBlock(solution.GatedBlock):
        def forward(self, x):
            if self.training and not self.is_open:
                return super().forward(x)

            def f():
                return self.branch.forward(x)

            rule = (train if self.training else test) or (lambda b, f, h: h + weight_of(b) * f())
            s = np.asarray(rule(self, f, self.shortcut.forward(x)), x.dtype)
            self.save((True, back(self)))
            y = self.relu.forward(s)
            return y if self.training or relu_in_test else s

    return {"GatedBlock": GatedBlock}


@entry(
    "5.4", "unscaled", "evaluation", read=TEST,
    says="in evaluation your branch counts in full, but training has seen it only with probability "
    "p",
    look="What is the mean of b f(x), if b is 1 with probability p?",
)  # fmt: skip
def _():
    return block_with(test=lambda b, f, h: h + f())


@entry(
    "5.4", "scales-all", "evaluation", read=TEST,
    says="in evaluation your shortcut is weighted by p, too: it was always there",
    look="Which part of the sum was missing when the block was closed?",
)  # fmt: skip
def _():
    return block_with(test=lambda b, f, h: (h + f()) * weight_of(b))


@entry(
    "5.4", "one-minus-p", "evaluation", read=TEST,
    says="in evaluation your branch is weighted by 1 - p: that is how often it was absent",
    look="What is the mean of b f(x), if b is 1 with probability p?",
)  # fmt: skip
def _():
    return block_with(
        test=lambda b, f, h: h + (1 - b.survival_prob if b.scale == "test" else 1.0) * f()
    )


@entry(
    "5.4", "gate-in-evaluation", "evaluation", read=TEST,
    says="a closed gate closes your block in evaluation, too: there it plays no part",
    look="Which branches run in evaluation?",
)  # fmt: skip
def _():
    return block_with(test=lambda b, f, h: h + weight_of(b) * f() if b.is_open else h)


@entry(
    "5.4", "evaluation-is-training", "evaluation", read=TEST,
    says="your block does in evaluation what it does in training: the gate decides, and the branch "
    "counts in full",
    look="Where does your forward ask whether it is in training?",
)  # fmt: skip
def _():
    return block_with(test=lambda b, f, h: h + f() if b.is_open or b.scale == "train" else h)


sampled = entry(
    "5.4", "samples-in-eval", "evaluation", read=TEST,
    says="two equal forwards in evaluation differ: it must not depend on chance",
    look="Which line of yours draws a number in evaluation?",
)  # fmt: skip


def sampling(weight):
    """A block that draws in evaluation."""
    rng = np.random.default_rng(2)

    def test(b, f, h):
        if b.scale == "train" or rng.random() < b.survival_prob:
            return h + weight(b) * f()
        return h

    return block_with(test=test)


@sampled
def _():
    return sampling(lambda block: 1.0)


@sampled
def _():
    return sampling(weight_of)


@entry(
    "5.4", "no-relu-in-eval", "evaluation", read=TEST,
    says="in evaluation negative numbers leave your block: the ReLU after the sum is always there",
    look="What do training and evaluation have in common?",
)  # fmt: skip
def _():
    return block_with(relu_in_test=False)


@entry(
    "5.4", "scales-twice", "training weight", read=TEST,
    says="your branch is weighted by p in training, too: it is open only with probability p, so "
    "that makes p twice",
    look="How often is an open block open?",
)  # fmt: skip
def _():
    return block_with(
        train=lambda b, f, h: h + (b.survival_prob if b.scale == "test" else weight_of(b)) * f()
    )


@entry(
    "5.4", "divides-always", "training weight", read=TEST,
    says="your branch is divided by p in training, though scale is 'test'",
    look="Which of the two scales divides by p?",
)  # fmt: skip
def _():
    return block_with(train=lambda b, f, h: h + f() / b.survival_prob)


@entry(
    "5.4", "scale-ignored", "scale train", "its gradient", read=TEST,
    says="with scale='train' your block does the same as with scale='test'",
    look="Where does your forward look at scale?",
)  # fmt: skip
def _():
    return block_with(
        train=lambda b, f, h: h + f(),
        test=lambda b, f, h: h + b.survival_prob * f(),
        back=lambda b: 1.0,
    )


@entry(
    "5.4", "train-times-p", "scale train", "its gradient", read=TEST,
    says="with scale='train' your branch is multiplied by p in training: it is divided by p, so "
    "that its mean is f(x)",
    look="Open with probability p, what has a branch to count to be f(x) on average?",
)  # fmt: skip
def _():
    def weight(b):
        return b.survival_prob if b.scale == "train" else 1.0

    return block_with(train=lambda b, f, h: h + weight(b) * f(), back=weight)


@entry(
    "5.4", "train-scale-twice", "scale train", read=TEST,
    says="with scale='train' your branch is weighted by p in evaluation, too: training has divided "
    "by it already",
    look="What is the mean of b f(x) / p?",
)  # fmt: skip
def _():
    return block_with(test=lambda b, f, h: h + b.survival_prob * f())


@entry(
    "5.4", "train-scale-on-all", "scale train", "its gradient", read=TEST,
    says="with scale='train' your shortcut is divided by p, too: only the branch is",
    look="Which part of the sum is missing when the block is closed?",
)  # fmt: skip
def _():
    class GatedBlock(solution.GatedBlock):
        def forward(self, x):
            weight = weight_of(self) if self.training else 1.0
            s = self.shortcut.forward(x) + (1.0 if self.training else weight_of(self)) * (
                self.branch.forward(x)
            )
            self.save(weight)
            return self.relu.forward(weight * s)

        def backward(self, dy):
            ds = self.take() * self.relu.backward(dy)
            return self.shortcut.backward(ds) + self.branch.backward(ds)

    return locals()


@entry(
    "5.4", "train-scale-forward-only", "its gradient", read=TEST,
    says="with scale='train' your forward divides by p, and your backward does not",
    look="By which factor does the branch change y, and by which dx?",
)  # fmt: skip
def _():
    return block_with(back=lambda b: 1.0)


@entry(
    "5.4", "train-scale-dx-only", "its gradient", read=TEST,
    says="dx is divided by p, and the gradients of the branch's own weights are not",
    look="Is what your branch's backward gets the gradient of the branch's output?",
)  # fmt: skip
class GatedBlock(solution.GatedBlock):
    def backward(self, dy):
        _, weight = self.take()
        ds = self.relu.backward(dy)
        return self.shortcut.backward(ds) + weight * self.branch.backward(ds)


no_refusal = entry(
    "5.4", "no-refusal", "refuses p = 0", read=TEST,
    says="scale='train' with p = 0 divides by zero: raise a ValueError that says so",
    look="What is 1 / p for a block that is never open?",
)  # fmt: skip


def unchecked(divide):
    """A block that takes any p."""

    class GatedBlock(solution.GatedBlock):
        def __init__(self, branch, shortcut, survival_prob=1.0, scale="test"):
            super().__init__(branch, shortcut, survival_prob or 1.0, scale)
            self.survival_prob = survival_prob

        def forward(self, x):
            before = self.survival_prob
            if self.training and self.scale == "train":
                self.survival_prob = divide(before)
            y = super().forward(x)
            self.survival_prob = before
            return y

    return {"GatedBlock": GatedBlock}


@no_refusal
def _():
    return unchecked(lambda p: p)


@no_refusal
def _():
    return unchecked(lambda p: p or 1.0)


@entry(
    "5.4", "refuses-always", "refuses p = 0", read=TEST,
    says="your block refuses p = 0 with scale='test', too: there nothing is divided by p",
    look="Which of the two scales divides by p?",
)  # fmt: skip
class GatedBlock(solution.GatedBlock):
    def __init__(self, branch, shortcut, survival_prob=1.0, scale="test"):
        if survival_prob == 0:
            raise ValueError("p must not be 0")
        super().__init__(branch, shortcut, survival_prob, scale)


# ---- 5.5 ----


@entry(
    "5.5", "binomial", "distribution", "many blocks", read=RULES,
    says="a binomial distribution with the mean p: its mean is right, its spread is not, since the "
    "blocks differ",
    look="When is a sum of independent gates binomial?",
)  # fmt: skip
def depth_distribution(probs):
    L, p = len(probs), float(np.mean(probs))
    return [math.comb(L, k) * p**k * (1 - p) ** (L - k) for k in range(L + 1)]


too_short = entry(
    "5.5", "off-by-one", "distribution", "many blocks", read=RULES,
    says="L numbers: from 0 to L blocks can be open, which makes L + 1",
    look="How many numbers are there from 0 to L?",
)  # fmt: skip


@too_short
def depth_distribution(probs):
    return solution.depth_distribution(probs)[:-1]


@too_short
def depth_distribution(probs):
    return solution.depth_distribution(probs)[1:]


@entry(
    "5.5", "counts-closed", "distribution", "many blocks", read=RULES,
    says="in reverse order: that is the distribution of the number of closed blocks",
    look="Which of your terms goes with p: one block more, or as many as before?",
)  # fmt: skip
def depth_distribution(probs):
    return solution.depth_distribution(probs)[::-1]


@entry(
    "5.5", "at-least", "distribution", "many blocks", read=RULES,
    says="added up from the right: the probabilities that at least k blocks are open",
    look="What is the sum of all your numbers?",
)  # fmt: skip
def depth_distribution(probs):
    return np.cumsum(solution.depth_distribution(probs)[::-1])[::-1]


@entry(
    "5.5", "at-most", "distribution", "many blocks", read=RULES,
    says="added up from the left: the probabilities that at most k blocks are open",
    look="What is the sum of all your numbers?",
)  # fmt: skip
def depth_distribution(probs):
    return np.cumsum(solution.depth_distribution(probs))


in_place = entry(
    "5.5", "in-place", "distribution", "many blocks", read=RULES,
    says="the old numbers are overwritten while they are still needed: some gates are counted "
    "several times",
    look="Is distribution[k - 1] that of the blocks before, or has this block changed it?",
)  # fmt: skip


@in_place
def depth_distribution(probs):
    distribution = np.zeros(len(probs) + 1)
    distribution[0] = 1
    for p in probs:
        for k in range(len(probs) + 1):
            before = distribution[k - 1] if k else 0
            distribution[k] = (1 - p) * distribution[k] + p * before
    return distribution


# ---- 5.6 ----

BOTH = ("one vector", "several columns")


@entry(
    "5.6", "unweighted", *BOTH, read=TEST,
    says="every network counts 1 / 2^L: right for p = 0.5 only, since patterns of gates are not "
    "equally likely",
    look="How likely is it that all blocks are open?",
)  # fmt: skip
def ensemble_mean(matrices, probs, x):
    return solution.ensemble_mean(matrices, np.full(len(probs), 0.5), x)


order = entry(
    "5.6", "order", *BOTH, read=TEST,
    says="the blocks act in the wrong order: block 1 is the first that x meets",
    look="Which matrix stands next to x in your product?",
)  # fmt: skip


@order
def ensemble_mean(matrices, probs, x):
    return solution.ensemble_mean(matrices[::-1], probs[::-1], x)


@entry(
    "5.6", "no-way-around", *BOTH, read=TEST,
    says="without the way around: an open block makes h into h + A h",
    look="What is left of h if A is zero?",
)  # fmt: skip
def ensemble_mean(matrices, probs, x):
    for matrix, p in zip(matrices, probs, strict=True):
        x = p * (matrix @ x)
    return x


@entry(
    "5.6", "closed-is-zero", *BOTH, read=TEST,
    says="a closed block gives zero with you: it hands h on as it is",
    look="What does a closed block do with h?",
)  # fmt: skip
def ensemble_mean(matrices, probs, x):
    for matrix, p in zip(matrices, probs, strict=True):
        x = p * (x + matrix @ x)
    return x


@entry(
    "5.6", "all-at-x", *BOTH, read=TEST,
    says="every block starts at x: it gets what the block before has made",
    look="What is the input of block 2?",
)  # fmt: skip
def ensemble_mean(matrices, probs, x):
    return x + sum(p * (matrix @ x) for matrix, p in zip(matrices, probs, strict=True))


@entry(
    "5.6", "all-open", *BOTH, read=TEST,
    says="that is the one network in which all blocks are open, not the mean of all",
    look="Where do the probabilities occur?",
)  # fmt: skip
def ensemble_mean(matrices, probs, x):
    return solution.ensemble_mean(matrices, np.ones(len(probs)), x)


@entry(
    "5.6", "one-minus-p", *BOTH, read=TEST,
    says="open and closed are exchanged: each branch counts 1 - p",
    look="With which probability is h + A h what comes out?",
)  # fmt: skip
def ensemble_mean(matrices, probs, x):
    return solution.ensemble_mean(matrices, 1 - probs, x)


@entry(
    "5.6", "rows-for-columns", *BOTH, read=TEST,
    says="x is multiplied from the left: that takes every matrix transposed",
    look="Is it A h or h A?",
)  # fmt: skip
def ensemble_mean(matrices, probs, x):
    for matrix, p in zip(matrices, probs, strict=True):
        x = x + p * (x @ matrix)
    return x


# ---- 5.7 ----

frozen_decays = entry(
    "5.7", "freeze-decays", "freeze", read=ZERO,
    says="weight decay moves your frozen weight: bit for bit the same is asked for",
    look="Which of your lines still run when a weight is frozen?",
)  # fmt: skip


def dropping(*, freeze=None, coast=None):
    """A step with other rules where dw is None; they are functions of w, v, lr, m and decay."""

    def step_dropped(w, v, dw, *, lr, momentum, weight_decay, dropped):
        rule = {"freeze": freeze, "coast": coast}[dropped]
        if dw is None and rule:
            return rule(w, v, lr, momentum, weight_decay)
        return solution.step_dropped(
            w, v, dw, lr=lr, momentum=momentum, weight_decay=weight_decay, dropped=dropped
        )

    return {"step_dropped": step_dropped}


@frozen_decays
def _():
    return dropping(freeze=lambda w, v, lr, m, decay: (w - lr * decay * w, v))


@frozen_decays
def _():
    def freeze(w, v, lr, m, decay):
        v = decay * w
        return w - lr * v, v

    return dropping(freeze=freeze)


def coasting(w, v, lr, m, decay):
    """What coasting is."""
    v = m * v + decay * w
    return w - lr * v, v


@entry(
    "5.7", "freeze-coasts", "freeze", read=ZERO,
    says="your frozen weight coasts: momentum and decay still move it",
    look="What does your code do with dropped='freeze'?",
)  # fmt: skip
def _():
    return dropping(freeze=coasting)


slows = entry(
    "5.7", "freeze-velocity", "freeze", read=ZERO,
    says="your frozen weight stands still, but its velocity does not: it is kept, too",
    look="Which of your lines still run when a weight is frozen?",
)  # fmt: skip


@slows
def _():
    return dropping(freeze=lambda w, v, lr, m, decay: (w, m * v))


@slows
def _():
    return dropping(freeze=lambda w, v, lr, m, decay: (w, m * v + decay * w))


@entry(
    "5.7", "freeze-resets", "freeze", read=ZERO,
    says="the velocity of your frozen weight is zero: it is kept, too",
    look="What is v when the block opens again?",
)  # fmt: skip
def _():
    return dropping(freeze=lambda w, v, lr, m, decay: (w, np.zeros_like(v)))


resets = entry(
    "5.7", "coast-resets", "coast", read=ZERO,
    says="the velocity of your coasting weight starts anew: momentum goes on",
    look="What becomes of v if dw is zero?",
)  # fmt: skip


@resets
def _():
    def coast(w, v, lr, m, decay):
        v = decay * w
        return w - lr * v, v

    return dropping(coast=coast)


@resets
def _():
    return dropping(coast=lambda w, v, lr, m, decay: (w, np.zeros_like(v)))


@resets
def _():
    return dropping(coast=lambda w, v, lr, m, decay: (w - lr * decay * w, np.zeros_like(v)))


no_decay = entry(
    "5.7", "coast-no-decay", "coast", read=ZERO,
    says="your coasting weight does not decay: only dw is zero, the rest of g is not",
    look="What is g if dw is zero?",
)  # fmt: skip


@no_decay
def _():
    return dropping(coast=lambda w, v, lr, m, decay: (w - lr * (m * v), m * v))


@entry(
    "5.7", "coast-old-velocity", "coast", read=ZERO,
    says="your coasting weight goes on with the velocity that it had: v has a step, too",
    look="Which v does w move by, the old or the new one?",
)  # fmt: skip
def _():
    return dropping(coast=lambda w, v, lr, m, decay: (w - lr * v, v))


@entry(
    "5.7", "coast-freezes", "coast", read=ZERO,
    says="your coasting weight stands still: a None is always frozen",
    look="Where does your code look at dropped?",
)  # fmt: skip
def _():
    return dropping(coast=lambda w, v, lr, m, decay: (w, v))


for_ever = entry(
    "5.7", "freeze-for-ever", "with a gradient", read=ZERO,
    says="with dropped='freeze' your weight stands still even where there is a gradient",
    look="When is a weight frozen: always, or if its gradient is None?",
)  # fmt: skip


@for_ever
def step_dropped(w, v, dw, *, lr, momentum, weight_decay, dropped):
    if dropped == "freeze":
        return w, v
    return solution.step_dropped(
        w, v, dw, lr=lr, momentum=momentum, weight_decay=weight_decay, dropped=dropped
    )


@for_ever
def step_dropped(w, v, dw, *, lr, momentum, weight_decay, dropped):
    new_w, new_v = solution.step_dropped(
        w, v, dw, lr=lr, momentum=momentum, weight_decay=weight_decay, dropped=dropped
    )
    return (w if dropped == "freeze" else new_w), new_v


def stepping(rule, coasts=True):
    """A step with another rule; where dw is None, only if it ``coasts``."""

    def step_dropped(w, v, dw, *, lr, momentum, weight_decay, dropped):
        if dw is not None or (coasts and dropped == "coast"):
            return rule(w, v, np.zeros_like(w) if dw is None else dw, lr, momentum, weight_decay)
        return solution.step_dropped(
            w, v, dw, lr=lr, momentum=momentum, weight_decay=weight_decay, dropped=dropped
        )

    return {"step_dropped": step_dropped}


@entry(
    "5.7", "no-decay", "with a gradient", read=VALLEY,
    says="your weight does not decay: g is dw and a part of w",
    look="What is g?",
)  # fmt: skip
def _():
    def rule(w, v, dw, lr, m, decay):
        v = m * v + dw
        return w - lr * v, v

    return stepping(rule, coasts=False)


STEPS = ("with a gradient", "coast")


@entry(
    "5.7", "nesterov", *STEPS, read=VALLEY,
    says="that is Nesterov's step: here w moves by v alone",
    look="What does w move by?",
)  # fmt: skip
def _():
    def rule(w, v, dw, lr, m, decay):
        g = dw + decay * w
        v = m * v + g
        return w - lr * (g + m * v), v

    return stepping(rule)


@entry(
    "5.7", "old-velocity", *STEPS, read=VALLEY,
    says="w moves by the old velocity: one step late",
    look="Which v does w move by, the old or the new one?",
)  # fmt: skip
def _():
    return stepping(lambda w, v, dw, lr, m, decay: (w - lr * v, m * v + dw + decay * w))


rate_in_v = entry(
    "5.7", "lr-in-v", *STEPS, read=VALLEY,
    says="your velocity contains the learning rate: so it keeps an old one when lr changes",
    look="What is added to v, g or lr times g?",
)  # fmt: skip


@rate_in_v
def _():
    def rule(w, v, dw, lr, m, decay):
        v = m * v + lr * (dw + decay * w)
        return w - v, v

    return stepping(rule)


@rate_in_v
def _():
    def rule(w, v, dw, lr, m, decay):
        v = m * v - lr * (dw + decay * w)
        return w + v, v

    return stepping(rule)


@entry(
    "5.7", "dampened", *STEPS, read=VALLEY,
    says="your velocity is a mean, (1 - m) times too short: g is added in full",
    look="By which factor do you multiply g?",
)  # fmt: skip
def _():
    def rule(w, v, dw, lr, m, decay):
        v = m * v + (1 - m) * (dw + decay * w)
        return w - lr * v, v

    return stepping(rule)
