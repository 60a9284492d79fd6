"""Tiny studies for the tests: as an object, as the command takes them, and what they wrote."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from minisd.experiments.study import Study

TINY_STUDY = {"depth": 8, "width": 2, "epochs": 2, "limit": 200, "batch_size": 32, "flow": 3}
OF_EXPERIMENTS = {"depth": 14, "width": 4, "limit": 480, "batch_size": 16}
L, EPOCHS, STEPS_PER_EPOCH = 6, 2, 27
CONSTANT, LINEAR = "digits-14-constant-seed1", "digits-14-linear-0.5-seed1"

Rows = list[dict[str, Any]]


def study(out: Path, **changes: Any) -> Study:
    return Study(out, size="quick", processes=2, quiet=True, **{**TINY_STUDY, **changes})


def arguments(out: Path, name: str, **changes: Any) -> list[str]:
    settings = {**TINY_STUDY, **changes}
    options = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
    return ["experiment", name, "--out", str(out), "--quick", "--processes=2", "--quiet", *options]


def make(base: Path, name: str) -> Path:
    """Make an experiment unless it is there, in the study that all tests share."""
    from minisd.cli import main

    out = base / "experiments"
    with FileLock(base / "experiments.lock"):
        if not (out / f"{name}.svg").exists():  # the last that is written
            assert main(arguments(out, name, **OF_EXPERIMENTS)) == 0
    return out


def again(out: Path, folder: Path, *, without: str = "") -> Path:
    """Another folder with the same runs, but perhaps one."""
    (folder / "runs").mkdir(parents=True)
    for run in (out / "runs").iterdir():
        if run.name != without:
            (folder / "runs" / run.name).symlink_to(run)
    return folder


def rows(out: Path, name: str) -> Rows:
    _, *lines = (out / f"{name}.csv").read_text().splitlines()
    return list(csv.DictReader(lines))


def of(found: Rows, **equal: Any) -> Rows:
    wanted = {name: str(value) for name, value in equal.items()}
    return [row for row in found if wanted.items() <= {k: str(v) for k, v in row.items()}.items()]


def numbers(found: Rows, column: str) -> np.ndarray:
    """A column; NaN where the cell is empty."""
    return np.array([float("nan" if row[column] == "" else row[column]) for row in found])


def flow(folder: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of the parameters, and the records, as the file has them."""
    header, *records = map(json.loads, (folder / "flow.jsonl").read_text().splitlines())
    return header["parameters"], records
