"""Layers that do several others in one pass, and `fuse`, which puts them into a network.

A network is written with `Sequential` and `ResidualBlock`, which call their layers one after
another. Here are a chain and a block that compute the same with fewer passes over memory:

- `ConvChain`: convolution, batch norm and ReLU, any number of times (see `minisd.fast.conv_norm`);
- `FusedBlock`: a residual block around such a chain. Its addition and last ReLU read what the chain
  would have written.

Both ask at every forward whether their layers are still those that they do in one pass. If a layer
was exchanged, or inside `one_by_one`, each is what its base class is: its layers, one after
another. The backward goes the way of the forward.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakSet

from minisd import fast
from minisd.backend import Array
from minisd.fast.activation import add_relu_forward
from minisd.fast.conv_norm import conv_norm_backward, conv_norm_forward, gradient_of_norm_output
from minisd.fast.layout import as_images, by_rows
from minisd.fast.sources import Normalised, Plain, to_array
from minisd.layer import Layer, is_saving, kind
from minisd.layers import BatchNorm2d, Conv2d, ReLU, Sequential
from minisd.ops.check import check_arrays, check_ndim, check_upstream
from minisd.residual import ResidualBlock, Weight, misfit

Link = tuple[Conv2d, BatchNorm2d, bool]
"""A convolution, its batch norm, and whether a ReLU follows."""

L = TypeVar("L", bound=Layer)

_one_by_one: WeakSet[Layer] = WeakSet()  # no attribute of theirs: a copy is a layer like any other


def links(layers: Sequence[Layer]) -> list[Link]:
    """Return ``layers`` as links of a chain; [] unless they are such links, first to last.

    A convolution with a bias is none, as batch norm takes the bias away again.
    """
    chain: list[Link] = []
    rest = list(layers)
    while len(rest) > 1 and is_plain(rest[0], Conv2d) and is_plain(rest[1], BatchNorm2d):
        conv, norm, *rest = rest
        assert isinstance(conv, Conv2d)
        assert isinstance(norm, BatchNorm2d)
        relu = bool(rest) and is_plain(rest[0], ReLU)
        chain.append((conv, norm, relu))
        rest = rest[relu:]
        if conv.b is not None:
            return []
    return [] if rest else chain


def is_plain(layer: Layer, cls: type) -> bool:
    """Whether a layer computes as its class ``cls`` does: no subclass, no method of its own."""
    own = vars(layer)
    return kind(layer) is cls and "forward" not in own and "backward" not in own


class ConvChain(Sequential):
    """`Sequential` of Conv2d - BatchNorm2d [- ReLU], any number of times, done in fewer passes.

    What batch norms and ReLUs give is not written to memory: the next convolution computes it while
    it reads. Nor is it kept for the backward.

    Raises
    ------
    TypeError
        If the layers are others, or a convolution has a bias.
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        if not links(layers):
            raise TypeError(
                "a ConvChain is Conv2d (with bias=False), BatchNorm2d and perhaps ReLU, again and "
                "again; use Sequential for other layers"
            )

    @property
    def links(self) -> list[Link]:
        """The links that the next forward does in one pass; [] if it calls the layers."""
        if self in _one_by_one or any(layer.ops is not fast for layer in self.layers):
            return []
        return links(self.layers)

    def read(self, x: Array) -> Normalised:
        """Forward up to the last batch norm, which is left to whoever reads the result."""
        check_arrays("ConvChain", x=x)
        check_ndim("ConvChain", "x", x, "NCHW")
        for layer in self.layers:
            layer._cache = None  # of an earlier forward, one by one
        y: Plain | Normalised = Plain(by_rows(x))
        saved = []
        for conv, norm, relu in self.links:
            y, cache = conv_norm_forward(
                y,
                conv.w.data,
                norm.gamma.data,
                norm.beta.data,
                norm.running_mean,
                norm.running_var,
                stride=conv.stride,
                padding=conv.padding,
                training=norm.training,
                momentum=norm.momentum,
                eps=norm.eps,
                relu=relu,
                group=norm.group,
            )
            saved.append((y, cache, conv, norm))
        assert isinstance(y, Normalised)
        self.save(saved)
        return y

    def forward(self, x: Array) -> Array:  # noqa: D102
        if not self.links:
            self.save(None)
            return super().forward(x)
        return to_array(self.read(x))

    def backward(self, dy: Array) -> Array:  # noqa: D102
        saved = self.take()
        if saved is None:
            return super().backward(dy)
        y = saved[-1][0]
        check_upstream("ConvChain.backward", dy, y.images_shape, y.z)
        g, parts = gradient_of_norm_output(dy, y)
        return self._backward(g, parts, list(saved), None)

    def backward_of_sum(self, dy: Array, rectified: Any, skip: Callable[[Array], Array]) -> Array:
        """Backward of max(chain(x) + shortcut(x), 0), in fewer passes than one after another.

        The chain's last layer is a batch norm.

        Parameters
        ----------
        dy : (N, F, H, W)
        rectified
            The cache of `minisd.fast.add_relu_forward`.
        skip : function
            The shortcut's backward.
        """
        saved = list(self.take())
        g, parts = gradient_of_norm_output(dy, saved[-1][0], rectified)
        return self._backward(g, parts, saved, by_rows(skip(as_images(g))))

    def _backward(self, g: Array, parts: list[Any], saved: list[Any], plus: Array | None) -> Array:
        while saved:  # each cache goes when it is used
            _, cache, conv, norm = saved.pop()
            g, parts, dw, dgamma, dbeta = conv_norm_backward(
                g, parts, cache, plus=None if saved else plus
            )
            conv.w.accumulate(dw)
            norm.gamma.accumulate(dgamma)
            norm.beta.accumulate(dbeta)
        return as_images(g)

    flops = Sequential.flops  # that of its layers

    def kinks(self) -> bytes:
        """Where the ReLUs of the last forward were open, if it was done in one pass."""
        saved = None if self._cache is None else self.take()
        return b"".join((to_array(y) > 0).tobytes() for y, *_ in saved or [] if y.relu)


class FusedBlock(ResidualBlock):
    """`ResidualBlock` around a `ConvChain`, whose addition and last ReLU are done in one pass."""

    _sums_in_one_pass = False  # whether the last open forward can go back in one pass

    def run_branch(self, x: Array) -> Any:
        """Return f(x), from a chain as something that the addition reads: a `Normalised`."""
        return self.branch.read(x) if self._reads_branch() else super().run_branch(x)  # type: ignore[attr-defined]

    def open_forward(self, x: Array, weight: Weight) -> Array:  # noqa: D102
        self._sums_in_one_pass = False
        if not self._reads_branch():
            return super().open_forward(x, weight)
        shortcut, branch = self.shortcut.forward(x), self.run_branch(x)
        if shortcut.shape != branch.images_shape:
            raise misfit(self, shortcut.shape, branch.images_shape)
        if not isinstance(weight, float | int):  # one for each image; a chain scales by channels
            return self.relu.forward(self.ops.add(shortcut, weight * to_array(branch)))
        y, cache = add_relu_forward(shortcut, branch.scaled(weight), keep=is_saving(self.relu))
        self.relu.save(cache)
        # with another weight, or after a ReLU, the branch's gradient is not that of the sum
        self._sums_in_one_pass = weight == 1 and not branch.relu
        return y

    def open_backward(self, dy: Array, weight: Weight) -> Array:  # noqa: D102
        if not self._sums_in_one_pass or not isinstance(self.branch, ConvChain):
            return super().open_backward(dy, weight)
        rectified = self.relu.take()
        return self.branch.backward_of_sum(dy, rectified, self.shortcut.backward)

    def _reads_branch(self) -> bool:
        """Whether the branch is a chain that is done in one pass, and the last layer a ReLU."""
        branch: Any = self.branch
        return (
            self not in _one_by_one
            and is_plain(branch, ConvChain)
            and is_plain(self.relu, ReLU)
            and self.ops is self.relu.ops is fast
            and bool(branch.links)
        )


# ---- putting them into a network, and looking between their layers ----


def fuse(layer: L) -> L:
    """Put `ConvChain` and `FusedBlock` where they can stand, and return what it makes of ``layer``.

    Inside a model it works in place and returns the model; of a bare `Sequential` or
    `ResidualBlock` it returns the fused one. Parameters, buffers, their names and all settings are
    those that were there. Subclasses stay as they are, as nothing is known of what they compute.
    """
    done: dict[int, Any] = {}  # a layer may stand in two places

    def fused(value: Any) -> Any:
        if isinstance(value, list | tuple):
            items = [fused(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, dict):
            return {name: fused(item) for name, item in value.items()}
        if not isinstance(value, Layer):
            return value
        if id(value) not in done:
            for name, inner in vars(value).items():
                if isinstance(inner, Layer | list | tuple | dict):
                    setattr(value, name, fused(inner))
            done[id(value)] = _fused_kind(value)
        return done[id(value)]

    return fused(layer)


def _fused_kind(layer: Layer) -> Layer:
    """Return the same layer, of the class that does several in one pass, if it can be that."""
    made: Layer
    if isinstance(layer, Sequential) and kind(layer) is Sequential and links(layer.layers):
        made = ConvChain.__new__(ConvChain)
    elif kind(layer) is ResidualBlock:
        made = FusedBlock.__new__(FusedBlock)
    else:
        return layer
    vars(made).update(vars(layer))
    return made


@contextmanager
def one_by_one(model: Layer) -> Iterator[None]:
    """Let the fused layers of a network call their layers one after another inside the block.

    For whoever looks between them.
    """
    fused = [layer for layer in model.walk() if isinstance(layer, ConvChain | FusedBlock)]
    changed = [layer for layer in fused if layer not in _one_by_one]
    _one_by_one.update(changed)
    try:
        yield
    finally:
        _one_by_one.difference_update(changed)
