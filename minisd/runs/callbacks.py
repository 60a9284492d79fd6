"""Functions of the user's own that training calls at named moments.

A callback is a plain function ``f(moment, run)``. ``moment`` is one of `MOMENTS`, and ``run`` the
`minisd.runs.training.Training`: it has ``model``, ``optimizer``, ``loss`` (of the last step),
``position``, ``history``, ``best`` and ``steps_done``. A `minisd.flow.Recorder` is one.

    def print_the_rate(moment, run):
        if moment == "epoch":
            print(run.position.epoch, run.optimizer.lr)

Callbacks are called in the order of the list. What they change, such as weights, changes the
training; what they remember is not part of a checkpoint.

An error in a callback ends training with that error. If the run has a folder, its state is saved
first, as after Ctrl-C, so that no step is lost; but an error at "backward" falls between gradient
and update, where there is no whole state: the last one that was saved stays. So it does if several
ranks train, since the others do not come to save.
"""

from collections.abc import Callable
from typing import Any

from minisd.errors import ConfigError
from minisd.runs.training import Training

MOMENTS = {
    "start": "before the first step, of a new run or of one that goes on",
    "backward": "the gradients are there, and the weights have not moved yet",
    "step": "the weights have moved",
    "validation": "the network was validated: run.position.evaluations[-1]",
    "epoch": "an epoch has ended: run.history[-1]",
    "save": "the state is about to be saved",
    "end": "training has ended, complete or not, also by an error",
}


def check_callbacks(callbacks: list[Any]) -> None:
    """Raise a ConfigError unless each can be called with a moment and a run."""
    for callback in callbacks:
        if isinstance(callback, type) or not callable(callback):
            raise ConfigError(
                f"a callback is a function f(moment, run), or an object that can be called so; got "
                f"{callback!r}"
            )


class Callbacks:
    """The callbacks of one run while it trains.

    Attributes
    ----------
    failed_at : str or None
        The moment at which a callback has raised an error.
    """

    def __init__(self, run: Training) -> None:
        check_callbacks(run.callbacks)
        self.run = run
        self.failed_at: str | None = None
        self._broken: list[Callable[..., Any]] = []

    @property
    def state_is_whole(self) -> bool:
        """Whether a callback has failed, at a moment at which the state could be saved."""
        return self.failed_at not in (None, "backward")

    def tell(self, moment: str) -> None:
        """Call all callbacks, except those that have failed before."""
        for callback in self.run.callbacks:
            if callback in self._broken:
                continue
            try:
                callback(moment, self.run)
            except BaseException:
                if self.failed_at is None:
                    self.failed_at = moment
                self._broken.append(callback)
                raise

    # what `minisd.train.train_step` asks of a recorder

    def after_backward(self, loss: Any = None) -> None:
        """The gradients are there."""
        self.run.loss = loss
        self.tell("backward")

    def after_step(self) -> None:
        """The weights have moved; the loop says so, when it has counted the step."""
