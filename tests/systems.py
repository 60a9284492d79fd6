"""What not every system has: tests ask here, so that they are collected everywhere."""

import os
import signal
import subprocess

import pytest

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and files")
not_as_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write everywhere"
)
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Ends a process at once; on Windows SIGTERM does."""


def killed(process: subprocess.Popen) -> None:
    """End a process as a power cut would."""
    process.kill()
    process.wait()
