"""Standard streams that do not fail: what is shown never decides what is kept.

Standard output may be closed, its disk full, its reader or its terminal gone, and its encoding may
lack a character of a folder's name. A command that leaves files then goes on, and says nowhere else
what it cannot say. A command whose result is what it prints has failed.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

SIGPIPE, LOST = 128 + 13, 2
"""Exit codes when the reader has ended, as of a program that the signal ends; and otherwise."""


class Stream:
    """A stream of text that drops what cannot be written.

    Parameters
    ----------
    stream : text stream or None
        Asked for all else, such as ``isatty``. None, as Python has it for a closed one, drops all.

    Attributes
    ----------
    problem : OSError or None
        The first error in writing.
    needed : bool
        Whether the error is raised as well, so that the program ends early.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or io.StringIO()
        self.problem: OSError | None = None
        self.needed = False

    def write(self, text: str) -> int:
        """Write a text. Characters that the encoding lacks are written as numbers."""
        with self._problems_kept():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                codec = self._stream.encoding
                self._stream.write(text.encode(codec, "backslashreplace").decode(codec))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._problems_kept():
            self._stream.flush()

    @property
    def is_lost(self) -> bool:
        """Whether something that was needed could not be written."""
        with contextlib.suppress(OSError):
            self.flush()
        return self.needed and self.problem is not None

    @contextmanager
    def _problems_kept(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # a ValueError: the stream was closed
            if self.problem is None:
                self.problem = error if isinstance(error, OSError) else OSError(str(error))
            if self.needed:
                raise self.problem from None

    def finish(self) -> None:
        """Flush. What cannot be written even now is dropped, or it would fail after the program."""
        self.needed = False
        self.flush()
        if self.problem is None:
            return
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_streams() -> Iterator[Stream]:
    """Let standard output and standard error be such streams; yield the former."""
    before = sys.stdout, sys.stderr
    # A file that is opened must not get the number of a closed stream. Reading only: writing fails.
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(descriptor)
    output, errors = (Stream(stream or _opened(n)) for n, stream in enumerate(before, 1))
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield output
    finally:
        output.finish()
        errors.finish()
        sys.stdout, sys.stderr = before


def _opened(number: int) -> TextIO | None:
    """Return a standard stream that Python found closed. Writing there fails, and is noticed."""
    with contextlib.suppress(OSError):  # on Windows without a console
        return os.fdopen(number, "w", closefd=False)
    return None


def with_safe_streams(run: Callable[[Stream], int]) -> int:
    """Return the exit code of ``run``, or one that says that what it printed was lost.

    Parameters
    ----------
    run : function of a Stream
        It is given standard output. If it leaves files, it says that its output is not ``needed``.
    """
    with safe_streams() as output:
        output.needed = True
        try:
            code = run(output)
        except SystemExit:  # of argparse, which has printed help
            if output.is_lost:
                raise SystemExit(_said_lost(output)) from None
            raise
        except OSError as error:
            if error is not output.problem:
                raise
            return _said_lost(output)
        return _said_lost(output) if output.is_lost else code


def _said_lost(output: Stream) -> int:
    """Say why the output is lost, but not if its reader wanted no more; return the exit code."""
    if isinstance(output.problem, BrokenPipeError):
        return SIGPIPE
    print(f"minisd: standard output cannot be written: {output.problem}", file=sys.stderr)
    return LOST
