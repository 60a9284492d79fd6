"""Solutions to the exercises of tutorial 6, to be read as if they stood in it."""


def uniform_like(num_blocks, p_last):
    """The mean of p_l over l = 1..L, with the sum of l being L (L + 1) / 2."""
    return 1 - (1 - p_last) * (num_blocks + 1) / (2 * num_blocks)


def coasted(v, lr, momentum, n):
    """With g = 0 a step makes v <- momentum v and then moves w by -lr momentum v.

    So step k moves it by -lr v momentum^(k + 1): a geometric series, and for n to infinity
    -lr v momentum^2 / (1 - momentum), eight times lr v at 0.9.
    """
    return -lr * v * momentum**2 * (1 - momentum**n) / (1 - momentum)


class Scaled(Layer):
    """A branch, in training times a factor: forward and backward carry the same one."""

    def __init__(self, branch, factor):
        self.branch = branch
        self.factor = factor

    def forward(self, x):
        y = self.branch.forward(x)
        return self.factor * y if self.training else y

    def backward(self, dy):
        return self.branch.backward(self.factor * dy)


class InvertedBlock(GatedBlock):
    """ReLU(b/p f + id) in training, ReLU(f + id) in evaluation: a gate around f/p, and weight 1."""

    def __init__(self, branch, shortcut, survival_prob):
        super().__init__(Scaled(branch, 1 / survival_prob), shortcut, survival_prob=1.0)
