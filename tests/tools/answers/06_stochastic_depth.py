"""Answers to the exercises of tutorial 6: see `tests/tools/test_exercises.py`."""


# %% 1 right: the mean of the rule
def uniform_like(num_blocks, p_last):
    return np.mean(linear_decay(num_blocks, p_last))


# %% 1 right: by a loop
def uniform_like(num_blocks, p_last):
    total = 0
    for block in range(num_blocks, 0, -1):
        total += 1 - block / num_blocks * (1 - p_last)
    return total / num_blocks


# %% 1 wrong: half way between 1 and p_L | blocks open, not
def uniform_like(num_blocks, p_last):
    return (1 + p_last) / 2


# %% 1 wrong: one half is hard-coded | blocks open, not
def uniform_like(num_blocks, p_last):
    return (3 * num_blocks - 1) / (4 * num_blocks)


# %% 1 wrong: blocks counted from 0 | blocks open, not
def uniform_like(num_blocks, p_last):
    return 1 - (1 - p_last) * (num_blocks - 1) / (2 * num_blocks)


# %% 1 wrong: the number of blocks | a probability lies between 0 and 1, got
def uniform_like(num_blocks, p_last):
    return expected_depth(linear_decay(num_blocks, p_last))


# %% 1 wrong: a rule | returned a list for p, where a real number is asked
def uniform_like(num_blocks, p_last):
    return uniform(num_blocks, p_last)


# %% 2 right: the sum of an array of powers
def coasted(v, lr, momentum, n):
    return -lr * v * (momentum ** np.arange(2, n + 2)).sum()


# %% 2 right: what has gone of the velocity
def coasted(v, lr, momentum, n):
    left = v * momentum**n
    return -lr * momentum**2 / (1 - momentum) * (v - left)


# %% 2 wrong: a loop | right, but n = 100 takes
def coasted(v, lr, momentum, n):
    moved = 0.0
    for _ in range(n):
        v = momentum * v
        moved -= lr * momentum * v
    return moved


# %% 2 wrong: a loop in one line | right, but n = 100 takes
def coasted(v, lr, momentum, n):
    return -lr * v * sum(momentum ** (k + 1) for k in range(1, n + 1))


# %% 2 wrong: a recursion | right, but n = 100 takes
def coasted(v, lr, momentum, n):
    if n == 0:
        return 0.0
    return momentum * (coasted(v, lr, momentum, n - 1) - lr * momentum * v)


# %% 2 wrong: heavy ball, not Nesterov | after 1 steps
def coasted(v, lr, momentum, n):
    return -lr * v * momentum * (1 - momentum**n) / (1 - momentum)


# %% 2 wrong: for ever | after 1 steps
def coasted(v, lr, momentum, n):
    return -lr * v * momentum**2 / (1 - momentum)


# %% 2 wrong: one step more | after 1 steps
def coasted(v, lr, momentum, n):
    return -lr * v * momentum**2 * (1 - momentum ** (n + 1)) / (1 - momentum)


# %% 2 wrong: the sign | after 1 steps
def coasted(v, lr, momentum, n):
    return lr * v * momentum**2 * (1 - momentum**n) / (1 - momentum)


# %% 3 right: written from the beginning, on Layer
class InvertedBlock(Layer):
    is_open = True

    def __init__(self, branch, shortcut, survival_prob):
        self.f, self.id, self.after = branch, shortcut, ReLU()
        self.p = survival_prob

    def forward(self, x):
        weight = 1.0 if not self.training else self.is_open / self.p
        self.save(weight)
        s = self.id.forward(x)
        return self.after.forward(s + weight * self.f.forward(x) if weight else s)

    def backward(self, dy):
        weight, ds = self.take(), self.after.backward(dy)
        dx = self.id.backward(ds)
        return dx + self.f.backward(weight * ds) if weight else dx


# %% 3 right: a function that makes a block, the gate as a number
def InvertedBlock(branch, shortcut, survival_prob):
    class Inverted(GatedBlock):
        def forward(self, x):
            gates.append(int(self.is_open))
            s = shortcut.forward(x)
            if not self.training:
                s = np.add(branch.forward(x), s)
            elif gates[-1]:
                s = np.add(branch.forward(x) / survival_prob, s)
            return self.relu.forward(s)

        def backward(self, dy):
            ds = self.relu.backward(dy)
            through = branch.backward(ds / survival_prob) if gates.pop() else 0
            return shortcut.backward(ds) + through

    gates = []
    return Inverted(branch, shortcut)


# %% 3 wrong: the present gate in its backward | with another gate drawn
class InvertedBlock(GatedBlock):
    def forward(self, x):
        s = self.shortcut.forward(x)
        if not self.training:
            s = s + self.branch.forward(x)
        elif self.is_open:
            s = s + self.branch.forward(x) / self.survival_prob
        return self.relu.forward(s)

    def backward(self, dy):
        ds = self.relu.backward(dy)
        dx = self.shortcut.backward(ds)
        if self.is_open:
            dx = dx + self.branch.backward(ds / self.survival_prob)
        return dx


# %% 3 wrong: 0.4 is hard-coded | p = 0.75, gate True: not the library's output
class InvertedBlock(GatedBlock):
    def forward(self, x):
        self.save(self.is_open)
        s = self.shortcut.forward(x)
        if not self.training:
            s = s + self.branch.forward(x)
        elif self.is_open:
            s = s + self.branch.forward(x) / 0.4
        return self.relu.forward(s)

    def backward(self, dy):
        was_open, ds = self.take(), self.relu.backward(dy)
        dx = self.shortcut.backward(ds)
        return dx + self.branch.backward(ds / 0.4) if was_open else dx


# %% 3 wrong: the library's own | that is the library's block: write your own
def InvertedBlock(branch, shortcut, survival_prob):
    return ResidualBlock(branch, shortcut, survival_prob=survival_prob, scale="train")


# %% 3 wrong: the library's own under another name | that is the library's block
class InvertedBlock(ResidualBlock):
    def __init__(self, branch, shortcut, survival_prob):
        super().__init__(branch, shortcut, survival_prob=survival_prob, scale="train")


# %% 3 wrong: the tutorial's block | not the library's output in training
class InvertedBlock(GatedBlock):
    pass


# %% 3 wrong: 1/p also in evaluation | not the library's in evaluation
class InvertedBlock(GatedBlock):
    def forward(self, x):
        self.save(self.is_open)
        s = self.shortcut.forward(x)
        if self.is_open or not self.training:
            s = s + self.branch.forward(x) / self.survival_prob
        return self.relu.forward(s)

    def backward(self, dy):
        was_open, ds = self.take(), self.relu.backward(dy)
        dx = self.shortcut.backward(ds)
        return dx + self.branch.backward(ds / self.survival_prob) if was_open else dx


# %% 3 wrong: forgot 1/p in the backward | not the library's
class InvertedBlock(GatedBlock):
    def forward(self, x):
        self.save(self.is_open)
        s = self.shortcut.forward(x)
        if not self.training:
            s = s + self.branch.forward(x)
        elif self.is_open:
            s = s + self.branch.forward(x) / self.survival_prob
        return self.relu.forward(s)


# %% 3 wrong: masked, not skipped | the branch's forward ran although it was closed
class InvertedBlock(GatedBlock):
    def forward(self, x):
        weight = self.is_open / self.survival_prob if self.training else 1.0
        self.save(weight)
        return self.relu.forward(self.shortcut.forward(x) + weight * self.branch.forward(x))

    def backward(self, dy):
        weight, ds = self.take(), self.relu.backward(dy)
        return self.shortcut.backward(ds) + self.branch.backward(weight * ds)


# %% 3 wrong: no shortcut but the identity | InvertedBlock.forward raised ValueError
class InvertedBlock(GatedBlock):
    def forward(self, x):
        self.save(self.is_open)
        s = x
        if not self.training:
            s = s + self.branch.forward(x)
        elif self.is_open:
            s = s + self.branch.forward(x) / self.survival_prob
        return self.relu.forward(s)

    def backward(self, dy):
        was_open, ds = self.take(), self.relu.backward(dy)
        return ds + self.branch.backward(ds / self.survival_prob) if was_open else ds


# %% 3 wrong: adds into its input | your InvertedBlock.forward changed its argument x
class InvertedBlock(GatedBlock):
    def forward(self, x):
        self.save(self.is_open)
        s = self.shortcut.forward(x)
        if self.is_open:
            s += self.branch.forward(x) / self.survival_prob
        return self.relu.forward(s)


# %% 3 wrong: forgot the return of the forward | your InvertedBlock.forward returned None
class InvertedBlock(GatedBlock):
    def forward(self, x):
        super().forward(x)


# %% 3 wrong: no layer | returned a function for block, where a Layer is asked
def InvertedBlock(branch, shortcut, survival_prob):
    return lambda x: branch.forward(x) / survival_prob + shortcut.forward(x)
