"""The losses of the last steps, until they are read from the device.

On a CPU a loss is known immediately. Reading it from a GPU means waiting for everything that was
launched before. So losses stay on the GPU, and are read once every `INTERVAL` steps.
"""

import math
from typing import Any

from minisd.backend import values
from minisd.errors import NonFiniteError
from minisd.runs.explain import explained
from minisd.runs.training import Training

INTERVAL = 50
"""Steps between two readings on a GPU. The first step is read by itself."""


class PendingLosses:
    """The losses that are not read yet.

    Attributes
    ----------
    last : float
        The newest loss that was read.
    """

    def __init__(self, run: Training) -> None:
        self.run = run
        self.last = math.nan
        self._losses: list[Any] = []
        self._sizes: list[int] = []
        self._interval = 1  # becomes longer on a GPU, after the first step

    def add(self, loss: Any, num_images: int) -> None:
        """Add the loss of one more step, a float or a 0-d array."""
        self._losses.append(loss)
        self._sizes.append(num_images)

    @property
    def are_due(self) -> bool:
        """Whether it is time to read them."""
        return len(self._losses) >= self._interval

    def collect(self) -> None:
        """Read the losses, waiting for the device, and add them to the epoch's sum.

        Raises
        ------
        NonFiniteError
            If a loss is not finite.
        """
        losses, sizes = values(self._losses), self._sizes
        self._losses, self._sizes = [], []
        step = self.run.steps_done - len(losses)
        for loss, num_images in zip(losses, sizes, strict=True):
            step += 1
            with explained(self.run, step):
                if not math.isfinite(loss):
                    raise NonFiniteError(
                        f"the loss is {loss}; the layer that it comes from is unknown, because a "
                        f"GPU's losses are read every {INTERVAL} steps only (--device cpu names it)"
                    )
            self.run.position.loss_sum += loss * num_images
            self.last = loss
        self._interval = 1 if self.run.device == "cpu" else INTERVAL
