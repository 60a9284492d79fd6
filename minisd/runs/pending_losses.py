"""The losses of a run: when to look at them.

A loss is computed where the images are. On a CPU it is there at once. To look at it on a GPU is to
wait for all that was launched before, so it stays there until a look is due.
"""

import math
from typing import Any

from minisd.backend import values
from minisd.errors import NonFiniteError
from minisd.runs.explain import explained
from minisd.runs.run import Run

INTERVAL = 50
"""Steps between two looks on a GPU, after one at the first step."""


class PendingLosses:
    """The losses of the steps since somebody last looked, as the device has them.

    Attributes
    ----------
    last : float
        The newest one that was looked at.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.last = math.nan
        self._losses: list[Any] = []  # not looked at yet
        self._sizes: list[int] = []
        self._interval = 1  # on a GPU longer, when the first step is seen to work

    def add(self, loss: Any, num_images: int) -> None:
        """Take the loss of one more step, a float or a 0-d array."""
        self._losses.append(loss)
        self._sizes.append(num_images)

    @property
    def are_due(self) -> bool:
        """Whether it is time to look."""
        return len(self._losses) >= self._interval

    def collect(self) -> None:
        """Look: wait for the device, and add the losses to the epoch's sum.

        Raises
        ------
        NonFiniteError
            If one is not finite.
        """
        losses, sizes = values(self._losses), self._sizes
        self._losses, self._sizes = [], []
        step = self.run.steps_done - len(losses)
        for loss, num_images in zip(losses, sizes, strict=True):
            step += 1
            with explained(self.run, step):
                if not math.isfinite(loss):
                    raise NonFiniteError(
                        f"the loss is {loss}; which layer it comes from is not known, as a GPU's "
                        f"losses are looked at every {INTERVAL} steps only (--device cpu names it)"
                    )
            self.run.position.loss_sum += loss * num_images
            self.last = loss
        self._interval = 1 if self.run.device == "cpu" else INTERVAL
