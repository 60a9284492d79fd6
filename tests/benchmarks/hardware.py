"""On what the figures were measured."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import minisd
from minisd import machine

from .peers import INSTALL


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "minisd": minisd.__version__,
    }
    distributions = packages_distributions()  # "tensorflow" may be there as "tensorflow-cpu"
    for package in ("numpy", *INSTALL):
        names = distributions.get(package, ())
        found[package] = version(names[0]) if names else None
    return found


def description(
    *, seed: int, threads: int, repeat: int, quick: bool, only: Sequence[str] = ()
) -> dict[str, Any]:
    # What decides the figures, and not where they are kept: the file may be published.
    options = [f"--repeat {repeat} --threads {threads} --seed {seed}"]
    options += ["--quick"] if quick else []
    options += ["--only", *only] if only else []
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m tests.benchmarks", *options]),
        "seed": seed,
        "threads": threads,
        "repeat": repeat,
        "quick": quick,
        "machine": {
            "processor": processor(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "cores_allowed": machine.available_cores(),
            "memory_gib": memory_gib(),
            # Others at work on the machine show here, and in the spread.
            "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        },
        "versions": versions(),
        "blas": machine.blas_description(),
    }
