"""Tiny runs for the tests: starting them, killing them, and comparing how they end."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minisd import files
from minisd.runs import checkpoint
from minisd.runs.config import Config, resolve
from minisd.runs.session import resume, train
from systems import KILL

TINY = {
    "depth": 8,
    "width": 2,
    "limit": 120,
    "batch_size": 16,
    "epochs": 4,
    "threads": 1,
    "seed": 3,
    "lr": 0.1,
    "p_last": 0.8,
    "max_shift": 1,
}
STEPS_PER_EPOCH = 7


def tiny(**changes: Any) -> Config:
    return resolve({**TINY, **changes})


def options(**changes: Any) -> list[str]:
    """The same settings as the command takes them."""
    settings = {**TINY, **changes}
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "minisd", *map(str, arguments)]


def minisd(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60)


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own, ``arguments`` being its ``sys.argv[1:]``."""
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


def is_one_sentence(stderr: str) -> bool:
    return stderr.startswith("minisd: ") and stderr.count("\n") == 1 and "Traceback" not in stderr


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=no_constant) for line in lines]


def without_seconds(value: Any) -> Any:
    """The same JSON without how long things took, the only thing that may differ."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def bits(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}


def state(path: Path) -> dict[str, Any]:
    """All that a checkpoint says of a run, to the bit.

    Weights, running statistics, momentum, best weights, generators, position and history.
    """
    arrays, meta = checkpoint.load(path)
    return {"arrays": bits(arrays), **without_seconds(meta)}


def outcome(folder: Path) -> dict[str, Any]:
    """The state at the end of a run, and its log."""
    return {**state(folder / "checkpoint.npz"), "log": without_seconds(read_log(folder))}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, except the lock, which has no content."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def how_to_start(folder: Path, **changes: Any) -> list[str]:
    """What a person types to go on, or to begin if nothing was written yet."""
    if (folder / "config.json").exists():
        return ["--resume", str(folder)]
    return ["--out", str(folder), *options(**changes)]


def go_on(folder: Path, config: Config) -> None:
    """`how_to_start`, within this process."""
    if (folder / "config.json").exists():
        resume(folder)
    else:
        train(config, folder)


def die() -> None:
    os.kill(os.getpid(), KILL)


def watch_writing(tick: Callable[[str, str], None]) -> None:
    """Call ``tick(what, file name)`` around everything that writes; for a process of its own.

    What: "write", with half of the bytes written, "fsync", "before" and "after" the renaming.
    """
    original_fsync, original_replace = os.fsync, os.replace

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            data = memoryview(data).cast("B")
            half = len(data) // 2
            super().write(data[:half])
            tick("write", Path(str(self.name)).name)
            super().write(data[half:])
            return len(data)

    def fsync(descriptor: int) -> None:
        tick("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        original_fsync(descriptor)

    def replace(source: Any, target: Any) -> None:
        tick("before", Path(target).name)
        original_replace(source, target)
        tick("after", Path(target).name)

    os.fsync, os.replace = fsync, replace
    files.open = lambda path, mode: io.BufferedWriter(Raw(path, mode))  # type: ignore[attr-defined]


def train_watched(folder: Path, config: Config, record: Path) -> None:
    """Train and write down every moment at which the process could have been killed."""
    moments: list[tuple[str, str]] = []
    watch_writing(lambda what, name: moments.append((what, name)))
    train(config, folder)
    record.write_text(json.dumps(moments))


def train_and_die(folder: Path, config: Config, moment: int) -> None:
    """Train, and be killed at the moment of that number in the record of `train_watched`."""
    count = iter(range(moment + 1))

    def tick(what: str, name: str) -> None:
        if next(count) == moment:
            die()

    watch_writing(tick)
    train(config, folder)
