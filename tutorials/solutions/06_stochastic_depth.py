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


class InvertedBlock(GatedBlock):
    """ReLU(b/p f + id) in training, ReLU(f + id) in evaluation; every branch term carries b/p."""

    def forward(self, x):
        s = self.shortcut.forward(x)
        if not self.training:
            s = s + self.branch.forward(x)
        elif self.is_open:
            s = s + self.branch.forward(x) / self.survival_prob
        self.save(self.is_open)
        return self.relu.forward(s)

    def backward(self, dy):
        was_open = self.take()
        ds = self.relu.backward(dy)
        dx = self.shortcut.backward(ds)
        if was_open:
            dx = dx + self.branch.backward(ds / self.survival_prob)
        return dx
