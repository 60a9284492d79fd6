"""Observe the inputs and outputs of residual blocks, by hooks around their methods."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minisd import fast
from minisd.backend import Array, array_module
from minisd.distributed import ALONE, Group
from minisd.flow.hooks import Hooks, is_hooked
from minisd.layer import is_saving
from minisd.ops.batchnorm import pooled_moments
from minisd.residual import ResidualBlock


@dataclass
class Look:
    """What is observed of a block in one step. Arrays are (2, C): mean and variance by channel.

    Of a closed block this is ``output_grad`` alone.
    """

    gate: bool
    weight: float
    went_back: bool = False
    arrays: dict[str, Array] = field(default_factory=dict)
    numbers_per_channel: dict[str, int] = field(default_factory=dict)

    def see(self, what: str, x: Any, group: Group) -> None:
        """Store the channel moments of an array (N, C, H, W) or (N, C).

        ``x`` may also be an object with ``channel_moments()`` and ``size``: a fused layer may not
        have computed the array itself. Of several ranks each has some of the images.
        """
        if hasattr(x, "channel_moments"):
            moments = x.channel_moments()
        else:
            moments = fast.channel_moments(x if x.ndim == 4 else x.reshape(*x.shape, 1, 1))
        mean, var = moments
        count = x.size // len(mean)
        if group.size > 1:
            count, mean, var = pooled_moments(group.gather((count, mean, var)))
        self.arrays[what] = array_module(mean).stack([mean, var])
        self.numbers_per_channel[what] = count


class Watch:
    """Observes the training forwards and backwards of residual blocks, until `detach`.

    Parameters
    ----------
    blocks : list of ResidualBlock
    is_looking : function without arguments
        Whether to look at activations in the present step. Gates are always recorded.

    Attributes
    ----------
    group : Group
        Ranks that share the images of a step; all look at the same time.
    """

    group: Group = ALONE

    def __init__(self, blocks: list[ResidualBlock], is_looking: Callable[[], bool]) -> None:
        self.blocks = blocks
        self.is_looking = is_looking
        self._seen: list[Look | None] = [None] * len(blocks)
        self._hooks = Hooks()
        try:
            for number in range(len(blocks)):
                self._watch(number)
        except BaseException:
            self.detach()
            raise

    def take(self) -> list[Look]:
        """Return what was observed in the last training forward and backward of every block.

        Raises
        ------
        RuntimeError
            If a block has had no training forward or no backward since the last call.
        """
        observed, self._seen = self._seen, [None] * len(self.blocks)
        if None in observed:
            raise RuntimeError(
                f"block {observed.index(None) + 1} has had no training forward since the last "
                "step: make the recorder before the forward, and call after_backward once per step"
            )
        looks = [look for look in observed if look is not None]
        for number, look in enumerate(looks, start=1):
            if not look.went_back:
                raise RuntimeError(
                    f"block {number} has had no backward since its forward: call after_backward "
                    "after model.backward"
                )
        return looks

    def detach(self) -> None:
        """Remove the hooks from the blocks."""
        self._hooks.remove()

    def _watch(self, number: int) -> None:
        block = self.blocks[number]
        if not isinstance(block, ResidualBlock):
            raise RuntimeError(
                f"block {number + 1} is a {type(block).__name__}, not a ResidualBlock: a recorder "
                "looks at its branch, shortcut and gate"
            )
        for layer in (block, block.shortcut, block.branch):
            if is_hooked(layer):
                raise RuntimeError(
                    f"block {number + 1} ({type(layer).__name__}) already has a recorder: close "
                    "the other recorder first, and let no two blocks share a layer"
                )

        def look_to_fill() -> Look | None:
            """Return the block's `Look`, if the block is open and this step is looked at."""
            look = self._seen[number]
            return look if look is not None and look.gate and self.is_looking() else None

        def see(what: str) -> Callable[..., Any]:
            def around(original: Callable[[Array], Any], x: Array) -> Any:
                y, look = original(x), look_to_fill() if is_saving(block) else None
                if look is not None and what not in look.arrays:
                    look.see(what, y, self.group)
                return y

            return around

        def forward(original: Callable[[Array], Array], x: Array) -> Array:
            if not is_saving(block):  # as in an evaluation between two steps
                return original(x)
            is_open = block.is_open or not block.training  # it may be in evaluation alone
            self._seen[number] = Look(is_open, block.branch_weight)
            y, look = original(x), look_to_fill()
            if look is not None:
                look.see("output", y, self.group)
                missing = {"branch", "shortcut"} - look.arrays.keys()
                if missing:
                    raise RuntimeError(
                        f"block {number + 1} ({type(block).__name__}) is open, but did not call "
                        f"forward of its {' and '.join(sorted(missing))}: the recorder needs that "
                        "call"
                    )
            return y

        def backward(original: Callable[[Array], Array], dy: Array) -> Array:
            look = self._seen[number]
            if look is not None:
                look.went_back = True
                if self.is_looking():
                    look.see(
                        "output_grad", dy, self.group
                    )  # of a closed block as well: its shortcut takes it
            return original(dy)

        self._hooks.add(block, forward=forward, backward=backward, run_branch=see("branch"))
        self._hooks.add(block.shortcut, forward=see("shortcut"))
        self._hooks.add(block.branch, forward=see("branch"))
