"""What forwards save: of one forward or of none, and whatever a batch norm's mode."""

import numpy as np
import pytest

from devices import assert_equal
from minisd import ResidualBlock, fuse, resnet
from minisd import ops as book
from minisd.flow.hooks import Hooks
from minisd.gradcheck import check_layer
from minisd.layer import Layer
from minisd.layers import BatchNorm2d, Conv2d, ReLU, Sequential
from minisd.residual import PadShortcut, basic_branch

SHAPE = (4, 3, 8, 8)


class Twice(Layer):
    """A user's container, which saves nothing itself."""

    def __init__(self, first, second):
        self.parts = {"first": first, "second": second}
        self.raises = False

    def forward(self, x):
        x = self.parts["first"].forward(x)
        if self.raises:
            raise KeyboardInterrupt
        return self.parts["second"].forward(x)

    def backward(self, dy):
        return self.parts["first"].backward(self.parts["second"].backward(dy))


def options(seed=0):
    return {"rng": np.random.default_rng(seed), "dtype": np.float64}


def branch(channels=3):
    return basic_branch(3, channels, **options())


def block():
    return ResidualBlock(branch(5), PadShortcut(3, 5, 1))


def net(**more):
    return resnet(8, width=2, **more, **options())


NETS = {
    "Sequential": branch,
    "chain": lambda: fuse(branch()),
    "chain, one by one": lambda: fuse(branch()).use(book),
    "block": block,
    "fused block": lambda: fuse(block()),
    "ResNet": lambda: net(fused=False),
    "fused ResNet": net,
    "recomputed ResNet": lambda: net(recompute_every=2),
    "ResNet of the book": lambda: net().use(book),
    "a user's": lambda: Twice(branch(), branch()),
    "a user's around fused ones": lambda: fuse(Twice(block(), ReLU())),
}


def saved(layer):
    return [each for each in layer.walk() if each._cache is not None]


def backward_and_gradients(layer, y):
    layer.zero_grad()
    dx = layer.backward(np.cos(np.arange(y.size)).reshape(y.shape))
    return [dx, *(p.grad for _, p in layer.parameters())]


@pytest.mark.parametrize("name", NETS)
def test_a_forward_that_raised_leaves_nothing_to_go_back_through(name, rng):
    """It stops at every batch norm in turn, after another forward had succeeded."""
    layer, fresh = NETS[name](), NETS[name]()
    x, other = rng.standard_normal(SHAPE), rng.standard_normal(SHAPE)
    norms = [each for each in layer.walk() if isinstance(each, BatchNorm2d)]
    for number, norm in enumerate(norms):
        y = layer.forward(other)
        right, norm.running_mean = norm.running_mean, np.zeros(17)
        with pytest.raises(ValueError, match="running_mean must have shape"):
            layer.forward(x)
        norm.running_mean = right
        assert saved(layer) == [], number
        with pytest.raises(RuntimeError, match="Call forward before each backward"):
            layer.backward(y)
    found = backward_and_gradients(layer, layer.forward(x))
    for ours, right in zip(found, backward_and_gradients(fresh, fresh.forward(x)), strict=True):
        assert_equal(ours, right)


def test_a_container_that_raises_between_its_layers_leaves_nothing_saved(rng):
    layer = Sequential(Twice(branch(), branch()), ReLU())
    y = layer.forward(rng.standard_normal(SHAPE))
    layer.layers[0].raises = True
    with pytest.raises(KeyboardInterrupt):
        layer.forward(rng.standard_normal(SHAPE))
    assert saved(layer) == []
    with pytest.raises(RuntimeError, match="Call forward before"):
        layer.layers[0].backward(y)


def test_a_hook_that_raises_leaves_nothing_saved(rng):
    layer, hooks = branch(), Hooks()

    def forward(original, x):
        original(x)
        raise KeyboardInterrupt

    y = layer.forward(rng.standard_normal(SHAPE))
    hooks.add(layer.layers[1], forward=forward)
    with pytest.raises(KeyboardInterrupt):
        layer.forward(rng.standard_normal(SHAPE))
    hooks.remove()
    with pytest.raises(RuntimeError, match="Call forward before"):
        layer.backward(y)


def test_one_layer_in_two_places_is_a_sentence(rng):
    """It remembers one forward, and takes it in the first of two backwards."""
    relu = ReLU()
    layer = Sequential(Conv2d(3, 3, 1, **options()), relu, Conv2d(3, 3, 1, **options()), relu)
    y = layer.forward(rng.standard_normal(SHAPE))
    with pytest.raises(RuntimeError, match="there is no saved forward"):
        layer.backward(y)


# ---- frozen: in evaluation alone, inside a container that trains ----


def frozen(layer):
    layer.running_mean[...], layer.running_var[...] = 0.3, 2.5
    return layer.eval()


def norm(channels=3):
    return frozen(BatchNorm2d(channels, dtype=np.float64))


class Weighted(Layer):
    """A user's container: a layer in an attribute, others in a dict and a nested list."""

    def __init__(self):
        self.a, self.more = norm(), {"b": [norm(), [ReLU()]]}

    def forward(self, x):
        b, (c,) = self.more["b"]
        return c.forward(b.forward(x)) + self.a.forward(x)

    def backward(self, dy):
        b, (c,) = self.more["b"]
        return b.backward(c.backward(dy)) + self.a.backward(dy)


def with_frozen(layer, which):
    for each in which(layer):
        each.eval()
    return layer


FROZEN = {
    "branch": lambda: ResidualBlock(norm(), Conv2d(3, 3, 1, **options())),
    "shortcut": lambda: ResidualBlock(branch(), norm()),
    "both": lambda: ResidualBlock(norm(), norm()),
    "a user's container": Weighted,
    "inside a user's block": lambda: ResidualBlock(Weighted(), norm()),
    "a whole block": lambda: with_frozen(net(), lambda m: [m.blocks[1]]),
    "the stem": lambda: with_frozen(net(), lambda m: [m.stem]),
    "a branch of a network": lambda: with_frozen(net(), lambda m: [m.blocks[2].branch]),
    "every batch norm": lambda: with_frozen(
        net(), lambda m: [each for each in m.walk() if isinstance(each, BatchNorm2d)]
    ),
    "recomputed": lambda: with_frozen(net(recompute_every=1), lambda m: m.blocks[:2]),
}


@pytest.mark.parametrize("name", FROZEN)
@pytest.mark.parametrize("form", ["plain", "fused", "book"])
def test_frozen_batch_norm_has_a_backward_wherever_it_stands(name, form, rng):
    layer = FROZEN[name]()
    layer = {"plain": lambda m: m, "fused": fuse, "book": lambda m: m.use(book)}[form](layer)
    assert check_layer(layer, rng.standard_normal((3, 3, 8, 4)), rng=rng, elements=4).passed
    statistics = [buffer.copy() for _, buffer in layer.buffers()]
    layer.backward(layer.forward(rng.standard_normal((3, 3, 8, 4))))
    for (_, buffer), before, owner in zip(
        layer.buffers(), statistics, owners_of_buffers(layer), strict=True
    ):
        assert (buffer == before).all() == (not owner.training)


def owners_of_buffers(layer):
    return [each for each in layer.walk() for _ in each.buffer_names]


def test_a_layer_that_trains_inside_one_in_evaluation_saves_nothing(rng):
    model = net().eval()
    model.stem.train()
    model.forward(rng.standard_normal(SHAPE))
    assert saved(model) == []
