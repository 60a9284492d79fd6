"""Looking at what goes through residual blocks, without a hook in any of them.

A method of one object can be covered by a function of the same name on that object. That is how the
blocks of one network, and no others, are watched; taking the functions away uncovers the methods.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minisd.backend import Array, array_module
from minisd.chain import ConvChain
from minisd.layer import Layer
from minisd.ops.batchnorm import channel_moments
from minisd.ops.rows import by_rows
from minisd.ops.sources import Normalised, written_down
from minisd.residual import ResidualBlock


@dataclass
class Look:
    """What is seen of one block in one step; arrays are (2, C), mean and variance by channel."""

    gate: bool
    weight: float
    went_back: bool = False
    arrays: dict[str, Array] = field(default_factory=dict)
    numbers_per_channel: dict[str, int] = field(default_factory=dict)

    def see(self, what: str, x: Array | Normalised) -> None:
        """Take the moments of an array (N, C, H, W) or (N, C), or of one that is not written."""
        if isinstance(x, Normalised) and x.relu:
            x = written_down(x)
        if isinstance(x, Normalised):
            mean, var = channel_moments(x.z)
            scale, shift = x.scale[:, 0, 0], x.shift[:, 0, 0]
            moments = scale * mean + shift, scale**2 * var
            size = x.z.size
        else:
            moments = channel_moments(by_rows(x if x.ndim == 4 else x.reshape(*x.shape, 1, 1)))
            size = x.size
        self.arrays[what] = array_module(moments[0]).stack(moments)
        self.numbers_per_channel[what] = size // len(moments[0])


class Watch:
    """Looks at the training forwards and backwards of residual blocks, until `detach`.

    Parameters
    ----------
    blocks : list of ResidualBlock
    is_looking : function without arguments
        Whether the present step's activations are to be looked at; gates always are.
    """

    def __init__(self, blocks: list[ResidualBlock], is_looking: Callable[[], bool]) -> None:
        self.blocks = blocks
        self.is_looking = is_looking
        self._seen: list[Look | None] = [None] * len(blocks)
        self._covered: list[tuple[Layer, str]] = []
        try:
            for number in range(len(blocks)):
                self._watch(number)
        except RuntimeError:
            self.detach()
            raise

    def take(self) -> list[Look]:
        """Hand out what was seen of every block in its last training forward and backward.

        Raises
        ------
        RuntimeError
            If there was no such forward, or no backward, since this was asked last.
        """
        seen, self._seen = self._seen, [None] * len(self.blocks)
        if None in seen:
            raise RuntimeError(
                f"block {seen.index(None) + 1} has had no training forward since the last step: "
                "make the recorder before the forward, and call after_backward once for each"
            )
        looks = [look for look in seen if look is not None]
        for number, look in enumerate(looks, start=1):
            if not look.went_back:
                raise RuntimeError(
                    f"block {number} has had no backward since its forward: after_backward comes "
                    "after model.backward"
                )
        return looks

    def detach(self) -> None:
        """Leave the blocks as they were."""
        for layer, method in self._covered:
            vars(layer).pop(method, None)
        self._covered = []

    def _watch(self, number: int) -> None:
        block = self.blocks[number]

        def begin(x: Array) -> None:
            self._seen[number] = Look(block.is_open, block.branch_weight)

        def begin_backward(dy: Array) -> None:
            look = self._seen[number]
            if look is not None:
                look.went_back = True
            see("output_grad")(dy)

        def see(what: str) -> Callable[[Any], None]:
            def look_at(x: Any) -> None:
                look = self._seen[number]
                if look is not None and look.gate and self.is_looking():
                    look.see(what, x)

            return look_at

        method = "read" if isinstance(block.branch, ConvChain) else "forward"
        self._cover(block, block, "forward", before=begin, after=see("output"))
        self._cover(block, block, "backward", before=begin_backward)
        self._cover(block, block.shortcut, "forward", after=see("shortcut"))
        self._cover(block, block.branch, method, after=see("branch"))

    def _cover(
        self,
        block: ResidualBlock,
        layer: Layer,
        method: str,
        *,
        before: Callable[[Any], None] = lambda x: None,
        after: Callable[[Any], None] = lambda y: None,
    ) -> None:
        """Let ``before`` see the argument, and ``after`` the result, of a call in training."""
        if method in vars(layer):
            raise RuntimeError(
                f"{type(layer).__name__}.{method} is being watched already: close the other "
                "recorder first, and let no two blocks share a layer"
            )
        original = getattr(layer, method)

        def watched(x: Any) -> Any:
            if not block.training and method != "backward":
                return original(x)
            before(x)
            y = original(x)
            after(y)
            return y

        setattr(layer, method, watched)
        self._covered.append((layer, method))
