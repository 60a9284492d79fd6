"""A chain of convolutions, each with batch norm and perhaps a ReLU: stem, branch, projection."""

from collections.abc import Callable, Iterator
from typing import Any

from minisd.backend import Array
from minisd.layer import Layer
from minisd.layers import BatchNorm2d, Conv2d, ReLU, Sequential
from minisd.ops.check import check_arrays, check_ndim, check_upstream
from minisd.ops.conv_norm import back_through, conv_norm_backward, conv_norm_forward
from minisd.ops.rows import as_images, by_rows
from minisd.ops.sources import Normalised, Plain, written_down


class ConvChain(Sequential):
    """`Sequential` of Conv2d - BatchNorm2d [- ReLU], any number of times, done in fewer passes.

    It computes what `Sequential` computes with the same layers. But what batch norms and ReLUs give
    is never written to memory: the next convolution computes it while it reads (see
    `minisd.ops.conv_norm`), nor kept for the backward.
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        self.check_order()

    def check_order(self) -> None:
        """Raise a TypeError unless the layers are in the order described above."""
        kinds = [type(layer) for layer in self.layers]
        while kinds[:2] == [Conv2d, BatchNorm2d]:
            kinds = kinds[3:] if kinds[2:3] == [ReLU] else kinds[2:]
        if kinds or not self.layers:
            raise TypeError(
                "a ConvChain is Conv2d, BatchNorm2d and perhaps ReLU, again and again; use "
                "Sequential for other layers"
            )
        if any(conv.b is not None for conv, _, _ in self.links()):
            raise TypeError("a convolution before batch norm needs no bias: use bias=False")

    def links(self) -> Iterator[tuple[Conv2d, BatchNorm2d, bool]]:
        """Yield (convolution, batch norm, whether a ReLU follows)."""
        for layer, norm, after in zip(
            self.layers, self.layers[1:], [*self.layers[2:], None], strict=False
        ):
            if isinstance(layer, Conv2d) and isinstance(norm, BatchNorm2d):
                yield layer, norm, isinstance(after, ReLU)

    def read(self, x: Array) -> Normalised:
        """Forward up to the last batch norm, which is left to whoever reads the result."""
        check_arrays("ConvChain", x=x)
        check_ndim("ConvChain", "x", x, "NCHW")
        y: Plain | Normalised = Plain(by_rows(x))
        saved = []
        for conv, norm, relu in self.links():
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
            )
            saved.append((y, cache))
        assert isinstance(y, Normalised)
        self.save(saved)
        return y

    def forward(self, x: Array) -> Array:  # noqa: D102
        return written_down(self.read(x))

    def backward(self, dy: Array) -> Array:  # noqa: D102
        saved = self.take()
        check_upstream("ConvChain.backward", dy, saved[-1][0].images_shape, saved[-1][0].z)
        g, parts = back_through(dy, saved[-1][0])
        return self._backward(g, parts, saved, None)

    def backward_of_sum(self, dy: Array, rectified: Any, skip: Callable[[Array], Array]) -> Array:
        """Backward of max(chain(x) + shortcut(x), 0), in fewer passes than one after another.

        Parameters
        ----------
        dy : (N, F, H, W)
        rectified
            The cache of `minisd.ops.add_relu_forward`.
        skip : function
            The shortcut's backward.
        """
        saved = self.take()
        g, parts = back_through(dy, saved[-1][0], rectified)
        return self._backward(g, parts, saved, by_rows(skip(as_images(g))))

    def _backward(self, g: Array, parts: list[Any], saved: list[Any], plus: Array | None) -> Array:
        for conv, norm, _ in reversed(list(self.links())):
            _, cache = saved.pop()
            g, parts, dw, dgamma, dbeta = conv_norm_backward(
                g, parts, cache, plus=None if saved else plus
            )
            conv.w.accumulate(dw)
            norm.gamma.accumulate(dgamma)
            norm.beta.accumulate(dbeta)
        return as_images(g)

    def signs(self) -> bytes:
        """Take what the forward saved, and return where its ReLUs were open: see `gradcheck`."""
        saved = [] if self._cache is None else self.take()
        return b"".join((written_down(y) > 0).tobytes() for y, _ in saved if y.relu)
