"""The losses of a run: when to look at them.

A loss is computed where the images are. On a CPU it is there at once. To look at it on a GPU is to
wait for all that was launched before, so it stays there until a look is due.
"""

import math
from typing import Any

from minisd.backend import values
from minisd.errors import NonFiniteError
from minisd.explain import explained
from minisd.run import Run

INTERVAL = 50
"""Steps between two looks on a GPU, after one at the first step."""


class Losses:
    """The losses of the steps since somebody last looked, as the device has them.

    Attributes
    ----------
    last : float
        The newest one that was looked at.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.last = math.nan
        self._waiting: list[tuple[Any, int]] = []
        self._interval = 1  # on a GPU longer, when the first step is seen to work

    def add(self, loss: Any, num_images: int) -> None:
        """Take the loss of one more step, a float or a 0-d array."""
        self._waiting.append((loss, num_images))

    @property
    def are_due(self) -> bool:
        """Whether it is time to look."""
        return len(self._waiting) >= self._interval

    def book(self) -> None:
        """Look: wait for the device, and add the losses to the epoch's sum.

        Raises
        ------
        NonFiniteError
            If one is not finite.
        """
        position, first = self.run.position, self.run.steps_done - len(self._waiting) + 1
        waiting, self._waiting = self._waiting, []
        for step, (loss, (_, num_images)) in enumerate(
            zip(values([loss for loss, _ in waiting]), waiting, strict=True), first
        ):
            with explained(self.run, step):
                if not math.isfinite(loss):
                    raise NonFiniteError(
                        f"the loss is {loss}; on a GPU it is looked at every {INTERVAL} "
                        "steps, when the weights have moved on: --resume with --device cpu names "
                        "the layer"
                    )
            position.loss_sum += loss * num_images
            self.last = loss
        self._interval = 1 if self.run.device == "cpu" else INTERVAL
