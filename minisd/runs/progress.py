"""How a run reports its progress: a bar on a terminal, plain lines elsewhere, or nothing."""

import sys
import time
from typing import Any

from tqdm import tqdm

from minisd.streams import Stream
from minisd.terminal import columns, wrapped

_PLAIN_INTERVAL = 30.0  # seconds between lines within an epoch, without a terminal


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where that is right.

    Examples
    --------
    >>> counted(1, "epoch"), counted(2, "epoch")
    ('1 epoch', '2 epochs')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Progress:
    """Reports what training does. This one prints nothing; derive your own class from it."""

    def say(self, text: str) -> None:
        """Print a line."""

    def warn(self, text: str) -> None:
        """Print a line to standard error, also where nothing else is printed."""
        print(f"minisd: {text}", file=Stream(sys.stderr), flush=True)

    def start(self, *, done: int, total: int) -> None:
        """Training starts, after ``done`` of ``total`` steps."""

    def step(
        self, *, epoch: int, epochs: int, loss: float, num_open: float, num_blocks: int
    ) -> None:
        """One more step was done."""

    def epoch(self, row: dict[str, Any], epochs: int) -> None:
        """An epoch has ended; ``row`` is its line of the log."""

    def stop(self) -> None:
        """Training has ended, with or without an error."""


class Silent(Progress):
    """Prints nothing at all. For all ranks but the first: what concerns them, it says."""

    def warn(self, text: str) -> None:  # noqa: D102
        pass


class Counting:
    """Reports how many of ``total`` things are done: a bar, or a plain line from time to time."""

    def __init__(self, total: int, what: str, *, quiet: bool = False) -> None:
        self.total, self.what, self.done = total, what, 0
        self._errors = Stream(sys.stderr)
        self._lines = not quiet and not self._errors.isatty()
        self._said = time.monotonic()
        self._bar = tqdm(
            total=total, desc=what, disable=quiet or self._lines, leave=False, file=self._errors
        )

    def reach(self, done: int) -> None:
        """Report that ``done`` of them are done."""
        self._bar.update(done - self.done)
        self.done = done
        if self._lines and time.monotonic() - self._said > _PLAIN_INTERVAL:
            print(f"{self.what}: {done} of {self.total}", file=self._errors, flush=True)
            self._said = time.monotonic()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


class _Bar(tqdm):
    """A bar that shows ``status``, without the comma that tqdm puts before its own postfix."""

    status = ""

    @property
    def format_dict(self) -> Any:
        """The values that the bar's format may use."""
        return {**super().format_dict, "status": self.status}


class Console(Progress):
    """Prints to standard output, in lines that fit the terminal.

    What cannot be printed is dropped: training goes on.
    """

    def __init__(self) -> None:
        self._output = Stream(sys.stdout)
        self._bar: _Bar | None = None
        self._plain_since = time.monotonic()

    def say(self, text: str) -> None:  # noqa: D102
        text = wrapped(text)
        if self._bar is None:
            print(text, file=self._output, flush=True)
        else:
            self._bar.write(text, file=self._output)
            self._output.flush()

    def start(self, *, done: int, total: int) -> None:  # noqa: D102
        self._bar = _Bar(
            total=total,
            initial=done,
            disable=None if self._output.isatty() else True,
            file=self._output,
            dynamic_ncols=True,
            leave=False,
            bar_format="{desc} |{bar}| {percentage:3.0f}%  {status}  {remaining} left",
        )
        self._done = self._done_before = done
        self._total = total
        self._started = self._plain_since = time.monotonic()

    def step(  # noqa: D102
        self, *, epoch: int, epochs: int, loss: float, num_open: float, num_blocks: int
    ) -> None:
        assert self._bar is not None
        self._done += 1
        status = f"open {num_open:.3g}/{num_blocks}  loss {loss:.3f}"
        self._bar.set_description_str(f"epoch {epoch}/{epochs}", refresh=False)
        self._bar.status = status
        self._bar.update()
        if self._bar.disable and time.monotonic() - self._plain_since > _PLAIN_INTERVAL:
            self.say(
                f"epoch {epoch}/{epochs}  step {self._done}/{self._total}  {status}  "
                f"{self._time_left()} left"
            )
            self._plain_since = time.monotonic()

    def epoch(self, row: dict[str, Any], epochs: int) -> None:  # noqa: D102
        has_bar = self._bar is not None and not self._bar.disable  # which shows the time left
        left = "" if has_bar or row["epoch"] == epochs else f"  {self._time_left()} left"
        line = (
            f"epoch {row['epoch']:{len(str(epochs))}}/{epochs}  lr {row['lr']:.3g}  "
            f"loss {row['train_loss']:.3f}  val error {row['val_error']:.2%}  "
            f"open {row['mean_open']:.1f}  {row['seconds']:.1f} s"
        )
        self.say(line + left if len(line + left) <= columns() else line)
        self._plain_since = time.monotonic()

    def stop(self) -> None:  # noqa: D102
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _time_left(self) -> str:
        steps = max(1, self._done - self._done_before)
        seconds = (time.monotonic() - self._started) / steps * (self._total - self._done)
        return str(tqdm.format_interval(seconds))
