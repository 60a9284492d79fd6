"""Run a command from its first line to its last, whatever happens, and say how it ended."""

import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from minisd import ending
from minisd.cli import commands
from minisd.cli.parser import make_parser
from minisd.errors import NonFiniteError, UserError
from minisd.runs.interrupt import Interrupted
from minisd.streams import Stream, with_safe_streams

USER_ERROR, NOT_FINITE = 2, 3
"""`minisd.cli.parser` lists all exit codes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        return with_safe_streams(partial(_run, arguments))
    finally:
        ending.is_over()


def _run(arguments: Sequence[str] | None, output: Stream) -> int:
    parser = make_parser()
    namespace = vars(parser.parse_args(arguments))
    command = namespace.pop("command")
    output.needed = not _leaves_files(command, **namespace)
    try:
        with ending.Interruptible():
            return int(command(**namespace))
    except Interrupted as stopped:
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("\nminisd: stopped immediately; everything saved so far is intact", file=sys.stderr)
        return 128 + signal.SIGINT
    except MemoryError as error:  # training explains it in full: see `minisd.runs.explain`
        problem = "" if isinstance(error, UserError) else "the memory is too small: "
        print(f"minisd: {problem}{error}", file=sys.stderr)
        return USER_ERROR
    except NonFiniteError as error:
        print(f"minisd: {error}", file=sys.stderr)
        return NOT_FINITE
    except UserError as error:
        print(f"minisd: {error}", file=sys.stderr)
        return USER_ERROR


def _leaves_files(command: Any, name: str | None = None, action: str = "", **_: Any) -> bool:
    """Whether a command's result is in files, and not what it prints."""
    if command is commands.experiment:
        return name is not None
    return command is commands.train or action in ("get", "build")
