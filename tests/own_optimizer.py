"""An optimiser as a user would write one, for the tests."""


class RMSProp:
    """As the documentation of the protocol has it, in twelve lines."""

    def __init__(self, model, lr):
        self.parameters, self.lr, self.dropped = dict(model.parameters()), lr, "freeze"
        self.square = {name: 0 * p.data for name, p in self.parameters.items()}

    def step(self):
        for name, p in self.parameters.items():
            if p.grad is not None:
                self.square[name] = 0.9 * self.square[name] + 0.1 * p.grad**2
                p.data -= self.lr * p.grad / (self.square[name] ** 0.5 + 1e-8)

    def state(self):
        return {f"square/{name}": square for name, square in self.square.items()}

    def restore(self, state):
        self.square = {name: state[f"square/{name}"] for name in self.square}
