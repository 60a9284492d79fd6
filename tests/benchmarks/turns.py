"""Contestants in processes of their own: they wait for their turn, take a step, and answer.

Libraries that share a process also share its threads, its memory and the environment that they read
at the start. So each gets a process. Between its turns it waits at a pipe, which takes no time from
the others.

The process is sent the number of the round in a line, and answers with a line of JSON. Its first
line, unasked, says that it is ready, and how its threads are limited.
"""

import gc
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .measure import ROOT

CHECKED_STEPS = 3
"""Steps before the first that is timed. Their losses are compared."""
PATIENCE = 10  # seconds for a process to end by itself, when there are no more turns


class Failed(RuntimeError):
    """A contestant ended before its time."""


class Process:
    """A contestant: call it with the number of the round, 0 to warm up.

    Attributes
    ----------
    held : str
        How its threads are limited, in its own words.
    warm_up : float
        Seconds until it could be timed: importing, compiling, the first steps.
    cores : list of float
        Of each step that was timed: its processor time over its time, so the cores it kept busy.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.cores: list[float] = []
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        began = time.perf_counter()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                start_new_session=True,  # Ctrl-C is for us: we end it
            )
        except OSError as error:
            self._errors.close()
            raise Failed(f"{name} failed: {command[0]} does not start: {error}") from error
        try:
            self.held = self._answer()["held"]
        except BaseException:
            self.close()
            raise
        self.warm_up = time.perf_counter() - began

    def __call__(self, number: int) -> tuple[float, ...]:
        """Return the loss of a step; in the round that warms up, those of several."""
        if number == 0:
            began = time.perf_counter()
            losses = tuple(self._step(0)["loss"] for _ in range(CHECKED_STEPS))
            self.warm_up += time.perf_counter() - began
            return losses
        answer = self._step(number)
        self.cores.append(answer["cores"])
        return (answer["loss"],)

    def facts(self) -> dict[str, Any]:
        return {
            "held": self.held,
            "warm_up": self.warm_up,
            "cores": statistics.median(self.cores) if self.cores else None,
        }

    def _step(self, number: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, so there is no answer either: told there
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or [f"it ended with code {code}"]
            raise Failed(f"{self.name} failed: {said[-1]}")
        return json.loads(line)

    def close(self) -> None:
        """End it: it does so by itself when it is sent nothing more, and is killed if not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)  # with what it has started
            else:
                self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(step: Callable[[int], float], held: str) -> None:
    """In the process: take a step whenever a line asks for it, until no more come."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints shall not be taken for an answer

    def answer(**facts: Any) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    answer(held=held)
    for line in sys.stdin:
        began, busy = time.perf_counter(), time.process_time()
        loss = step(int(line))
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
        answer(loss=loss, seconds=seconds, cores=busy / seconds)
        gc.collect()  # now, and not in the next step
        gc.freeze()
