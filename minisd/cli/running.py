"""Run a command from its first line to its last, whatever happens, and say how it ended."""

import contextlib
import io
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Any

from minisd import ending
from minisd.cli import commands, training
from minisd.cli.parser import make_parser
from minisd.distributed.launch import (
    is_first_of_its_machine,
    joined,
    launcher_rank,
    start,
    started_with,
)
from minisd.errors import ConfigError, NonFiniteError, UserError
from minisd.runs.interrupt import Interrupted
from minisd.streams import Stream, with_safe_streams

FAULT, USER_ERROR, NOT_FINITE = 1, 2, 3
"""`minisd.cli.parser` lists all exit codes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        return with_safe_streams(partial(_run, arguments))
    finally:
        ending.is_over()


def _run(arguments: Sequence[str] | None, output: Stream) -> int:
    parser = make_parser()
    with contextlib.ExitStack() as quiet:
        if launcher_rank() > 0:  # the first rank says what is wrong with the arguments
            for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
                quiet.enter_context(redirect(io.StringIO()))
        namespace = vars(parser.parse_args(arguments))
    command = namespace.pop("command")
    output.needed = not _leaves_files(command, **namespace)
    try:
        with ending.Interruptible():
            _meet(command, namespace.get("processes"), arguments)
            return int(command(**namespace))
    except Interrupted as stopped:
        return _end(128 + stopped.number, "")
    except KeyboardInterrupt:
        words = "\nminisd: stopped immediately; everything saved so far is intact"
        return _end(128 + signal.SIGINT, words)
    except MemoryError as error:  # training explains it in full: see `minisd.runs.explain`
        problem = "" if isinstance(error, UserError) else "the memory is too small: "
        return _end(USER_ERROR, f"minisd: {problem}{error}")
    except NonFiniteError as error:
        return _end(NOT_FINITE, f"minisd: {error}")
    except UserError as error:
        return _end(USER_ERROR, f"minisd: {error}")
    except BaseException:
        if joined().size == 1:
            raise
        return _end(FAULT, f"minisd: an error that was not foreseen:\n{traceback.format_exc()}")


def _meet(command: Any, processes: int | None, arguments: Sequence[str] | None) -> None:
    """Start the ranks that are asked for, or refuse those that have no use."""
    if started_with() == 1:
        if command is training.train and processes is not None and processes > 1:
            start(processes, sys.argv[1:] if arguments is None else arguments)
    elif command not in (training.train, commands.info):
        raise ConfigError(
            "mpiexec is for 'minisd train': every process would do the same work. Start this "
            "command without it"
        )


def _end(code: int, words: str) -> int:
    """Say how the command ends, and return its exit code. Of several ranks, one says it.

    If the other ranks do not end as well, they wait for this one, or compute on: they are aborted.
    """
    group = joined()
    others_end = group.farewell(words)
    speaks = group.speaks if group.size > 1 else is_first_of_its_machine()
    if words and (speaks or not others_end):
        if group.rank > 0 and not others_end:  # else it is everybody's error, or says whose it is
            words = words.replace("minisd: ", f"minisd: on rank {group.rank}: ", 1)
        print(words, file=sys.stderr, flush=True)
    if not others_end:
        group.abort(code)
    return code


def _leaves_files(command: Any, name: str | None = None, action: str = "", **_: Any) -> bool:
    """Whether a command's result is in files, and not what it prints."""
    if command is commands.experiment:
        return name is not None
    return command is training.train or action in ("get", "build")
