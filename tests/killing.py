"""Kill runs and experiments at random moments, go on, and compare with those left alone.

    python tests/killing.py 200

After every kill all files must be whole and ours, and no process may be left.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from minisd.files import aside_name
from minisd.locks import is_taken
from tiny_runs import command, how_to_start, leftovers, options, outcome, read_log, state
from tiny_studies import arguments

RUN = {"config.json", "log.jsonl", "checkpoint.npz", "curve.png", "flow.jsonl", ".lock"}
FIGURES = {f"gradients.{kind}" for kind in ("csv", "png", "svg")}
RUNS = ("digits-8-constant-seed1", "digits-8-linear-0.5-seed1")
SETTINGS = {"epochs": 6, "validate_every": 5, "flow": 4}
STUDY = {"epochs": 40, "limit": 100}
PATIENCE = 60  # seconds


def asides(names: set[str]) -> set[str]:
    return {aside_name(name) for name in names}


def check_run(folder: Path, epochs: int) -> str:
    """Assert that a killed run is whole and has no files but its own; return how far it is."""
    if not folder.exists():
        return "no folder"
    assert {path.name for path in folder.iterdir()} <= RUN | asides(RUN)
    if not (folder / "config.json").exists():
        return "no settings"
    assert "minisd" in json.loads((folder / "config.json").read_bytes())["versions"]
    if not (folder / "checkpoint.npz").exists():
        assert not (folder / "log.jsonl").exists()
        return "no checkpoint"
    epoch = state(folder / "checkpoint.npz")["position"]["epoch"]
    rows = len(read_log(folder)) if (folder / "log.jsonl").exists() else 0
    assert epoch - 2 <= rows <= epoch - 1
    if leftovers(folder):
        return f"writing {leftovers(folder)[0]}"
    return "all epochs done" if epoch > epochs else "in training"


def wait_for_the_end(folders: list[Path]) -> None:
    """Wait until no process trains into the folders; assert that none has their name."""
    deadline = time.monotonic() + PATIENCE
    while any(is_taken(folder / ".lock") for folder in folders if folder.is_dir()) or living(
        folders[0].parent
    ):
        assert time.monotonic() < deadline, f"{living(folders[0].parent)} is left"
        time.sleep(0.02)


def living(folder: Path) -> list[str]:
    """The processes whose command has the folder in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(folder) in line and line.startswith(sys.executable):
            found.append(line.replace("\0", " "))
    return found


def seconds_of(line: list[str]) -> float:
    """Run a command to its end; return how long it takes."""
    started = time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def is_killed(line: list[str], after: float) -> bool:
    """Run a command; kill it after so many seconds, unless it has ended well before."""
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    assert process.returncode == 0, said
    return False


def kill_training(base: Path, count: int, rng: np.random.Generator) -> Counter[str]:
    """Kill a run ``count`` times, and let it go on; begin another when it gets through."""
    whole = seconds_of(command("train", "--quiet", "--out", base / "whole", *options(**SETTINGS)))
    expected = outcome(base / "whole")
    moments: Counter[str] = Counter()
    number = 0
    while moments.total() < count or number == 0:
        folder = base / f"run-{number}"
        line = command("train", "--quiet", *how_to_start(folder, **SETTINGS))
        more = moments.total() < count
        if is_killed(line, rng.uniform(0.1, 1.05) * whole if more else PATIENCE):
            moments[check_run(folder, SETTINGS["epochs"])] += 1
            continue
        assert outcome(folder) == expected
        assert {path.name for path in folder.iterdir()} <= RUN
        number += 1
    return moments


def kill_experiment(base: Path, count: int, rng: np.random.Generator) -> Counter[str]:
    """Do the same with an experiment, whose two runs have processes of their own."""

    def line(out: Path) -> list[str]:
        return command(*arguments(out, "gradients", **STUDY))

    def ends(out: Path) -> dict[str, Any]:
        found = {name: outcome(out / "runs" / name) for name in RUNS}
        for end in found.values():
            del end["config"]["threads"]
        return found

    whole = seconds_of(line(base / "whole"))
    expected = ends(base / "whole")
    moments: Counter[str] = Counter()
    number = 0
    while moments.total() < count or number == 0:
        out = base / f"study-{number}"
        folders = [out / "runs" / name for name in RUNS]
        more, began = moments.total() < count, time.monotonic()
        if is_killed(line(out), rng.uniform(0.1, 1.05) * whole if more else PATIENCE):
            wait_for_the_end(folders)  # of the two processes, which save and end by themselves
            found = {check_run(folder, STUDY["epochs"]) for folder in folders}
            moments["experiment: " + ", ".join(sorted(found))] += 1
            if out.exists():
                names = {path.name for path in out.iterdir()}
                assert names <= FIGURES | asides(FIGURES) | {"runs", ".lock"}
            continue
        assert ends(out) == expected
        assert {path.name for path in out.iterdir()} == FIGURES | {"runs", ".lock"}
        whole = min(whole, time.monotonic() - began)  # the machine was busy when it was measured
        number += 1
    return moments


def main(count: int, seed: int = 1) -> None:
    """Kill ``count`` times, a quarter of it experiments, and say in what moments it was."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as base:
        moments = kill_training(Path(base, "runs"), count - count // 4, rng)
        moments += kill_experiment(Path(base, "studies"), count // 4, rng)
    for moment, times in moments.most_common():
        print(f"{times:5d}  {moment}")
    print(f"{moments.total():5d}  kills: everything was whole, went on, and ended as if left alone")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
