"""The scheduler of a sweep: is Dask installed, does it answer, has it the same versions?"""

import asyncio
import logging
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import Any

from minisd.errors import ConfigError, MissingPackageError, SchedulerError
from minisd.runs.interrupt import StopSignals

OLDEST = (2026, 1)
"""The first version of Dask that is known to work."""
SAME_VERSIONS = "install the same versions for scheduler, workers and this command"
_MUST_AGREE = ("distributed", "dask", "minisd")  # packages, in their versions
PATIENCE = 30.0  # seconds without an answer of a scheduler that was there
_FIRST_PATIENCE = 10.0  # seconds for the first answer
_ONE_TRY = 5.0  # seconds for one attempt to reach it
_PAUSE = 0.2  # seconds between two attempts


def check_installed() -> None:
    """Raise a MissingPackageError if Dask is not installed, or too old."""
    oldest = ".".join(map(str, OLDEST))
    try:
        installed = metadata.version("distributed")
    except metadata.PackageNotFoundError:
        raise MissingPackageError(
            "a sweep with --scheduler needs Dask: pip install 'minisd[dask]'"
        ) from None
    if tuple(int(part) for part in installed.split(".")[:2]) < OLDEST:
        raise MissingPackageError(
            f"a sweep with --scheduler needs Dask {oldest} or newer, and {installed} is here: "
            "pip install --upgrade 'minisd[dask]', also where scheduler and workers run"
        )


@contextmanager
def connected(address: str, stop: StopSignals, was_lost: bool) -> Iterator[Any]:
    """Yield a client of the scheduler.

    Parameters
    ----------
    was_lost : bool
        Whether it had answered before.
    """
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    with _without_log(), warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # `_check_versions` says it
        _check_versions(address, _versions(address, stop, was_lost))
        try:
            client = Client(address, timeout=_ONE_TRY, set_as_default=False, name="minisd")
        except OSError as error:
            raise _not_answering(address, was_lost) from error
        try:
            yield client
        finally:
            with suppress(OSError):  # the scheduler does not answer
                client.close(timeout=_ONE_TRY)


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep Dask from writing into standard error that it has lost a connection: we say so."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _versions(address: str, stop: StopSignals, was_lost: bool) -> dict[str, str | None]:
    """Return the versions of the packages at the scheduler, as soon as it answers.

    A client of Dask is made only later: one that does not get through leaves a traceback behind.
    """
    deadline = time.monotonic() + (PATIENCE if was_lost else _FIRST_PATIENCE)
    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop in the main thread
        while True:
            try:
                return thread.submit(asyncio.run, _ask_for_versions(address)).result()
            except OSError as error:  # a TimeoutError is one
                if time.monotonic() > deadline:
                    raise _not_answering(address, was_lost) from error
            except ValueError as error:
                raise ConfigError(
                    f"--scheduler {address} is not an address such as tcp://node1:8786 ({error})"
                ) from error
            except Exception as error:  # any bytes may have been read as if they were Dask's
                raise SchedulerError(
                    f"what answers at {address} is not a scheduler of this version of Dask "
                    f"({type(error).__name__}): give the address that 'dask scheduler' prints"
                ) from error
            stop.check()
            time.sleep(_PAUSE)


async def _ask_for_versions(address: str) -> dict[str, str | None]:
    from distributed.core import rpc
    from distributed.security import Security

    connection = Security().get_connection_args("client")
    async with asyncio.timeout(_ONE_TRY):
        async with rpc(address, timeout=_ONE_TRY, connection_args=connection) as scheduler:
            if (await scheduler.identity())["type"] != "Scheduler":
                raise TypeError("it is a worker")
            packages = (await scheduler.versions(packages=["minisd"]))["packages"]
            return dict(packages)


def _check_versions(address: str, there: dict[str, str | None]) -> None:
    """Raise a SchedulerError if the scheduler has other versions of Dask or minisd."""
    for package in _MUST_AGREE:
        here = metadata.version(package)
        if there.get(package) != here:
            raise SchedulerError(
                f"the scheduler at {address} has {package} {there.get(package) or 'not installed'}"
                f", and here it is {here}: {SAME_VERSIONS}"
            )


def _not_answering(address: str, was_lost: bool) -> SchedulerError:
    if was_lost:
        return SchedulerError(
            f"the scheduler at {address} has not answered for {PATIENCE:.0f} seconds; trainings "
            "are saved, and end with their workers: start it again, and the same command goes on"
        )
    return SchedulerError(
        f"no scheduler answers at {address}: start one with 'dask scheduler', and give the address "
        "that it prints"
    )
