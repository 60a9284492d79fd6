"""Errors that the user can fix. The command prints them as one sentence, without a traceback.

Each class also derives from a fitting built-in exception, so a program can catch either.
Wrong arguments to a single function raise a plain ``TypeError`` or ``ValueError``.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix. The message says what to change, where and how.

    What it quotes may come from a damaged file, or from a strange file name. So what a terminal
    would obey is left out, and a message of more than `LONGEST` letters loses its middle.
    """

    LONGEST = 800

    def __str__(self) -> str:
        text = "".join(c if c.isprintable() else " " for c in super().__str__())
        half = self.LONGEST // 2
        return text if len(text) <= self.LONGEST else f"{text[:half]} ... {text[-half:]}"


def closest(name: object, known: Iterable[object]) -> str | None:
    """Return the known name that was perhaps meant, in whatever case; None if none is close.

    Examples
    --------
    >>> closest("CIFAR1O", ["cifar10", "svhn"])
    'cifar10'
    """
    names = {str(other).lower(): str(other) for other in known}
    close = difflib.get_close_matches(str(name).lower(), names, n=1)
    return names[close[0]] if close else None


def known_or_close(name: object, known: Iterable[object]) -> str:
    """Return advice on an unknown name: the one that was perhaps meant, or else all known ones.

    Examples
    --------
    >>> known_or_close("liner", ["linear", "uniform"])
    "did you mean 'linear'?"
    >>> known_or_close("none", ["linear", "uniform"])
    'there are linear, uniform'
    """
    known = list(known)
    close = closest(name, known)
    return f"did you mean {close!r}?" if close else f"there are {', '.join(map(str, known))}"


class ConfigError(UserError, ValueError):
    """A setting, or a combination of settings, cannot be used."""


class DataError(UserError, ValueError):
    """A data set is missing, damaged or does not fit."""


class CheckpointError(UserError, ValueError):
    """A checkpoint cannot be read or written, or does not fit the run."""


class RunFolderError(UserError, OSError):
    """A run folder is taken, in use or unwritable, or the folder is not a run folder."""


class DeviceError(UserError, RuntimeError):
    """This machine cannot use the requested device."""


class MissingPackageError(UserError, ImportError):
    """Something that is asked for needs a package which is not installed."""


class SchedulerError(UserError, ConnectionError):
    """The scheduler of a sweep does not answer, or does not fit."""


class OutOfMemoryError(UserError, MemoryError):
    """The memory of the CPU or the GPU is too small."""


class NonFiniteError(UserError, FloatingPointError):
    """Training produced a number that is not finite."""
