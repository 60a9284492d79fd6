"""The errors that are the user's to mend: the command prints them as one sentence, no traceback.

Each also derives from the built-in type that fits, so a program can catch either.
Wrong arguments to a single function raise plain ``TypeError`` or ``ValueError``.
"""


class UserError(Exception):
    """Something outside the program has to change; the message says what, where and how."""


class ConfigError(UserError, ValueError):
    """A setting, or a combination of settings, that cannot be trained."""


class DataError(UserError, ValueError):
    """A data set that is missing, damaged or does not fit."""


def damaged(path: object, what: str, dataset: str) -> DataError:
    """Return the error for a data file that is not what it should be, with what to do about it."""
    return DataError(
        f"{path}: {what}; move it away and fetch it again with 'minisd data get {dataset}'"
    )


class CheckpointError(UserError, ValueError):
    """A checkpoint that cannot be read, does not fit, or could not be written."""


class RunFolderError(UserError, OSError):
    """A run folder that is taken, in use, unwritable, or not a run folder."""


class DeviceError(UserError, RuntimeError):
    """A device was asked for that this machine cannot use."""


class OutOfMemoryError(UserError, MemoryError):
    """The CPU's or the GPU's memory is too small for what was asked."""


class NonFiniteError(UserError, FloatingPointError):
    """Training produced a number that is not finite."""
