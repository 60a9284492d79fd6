"""Damaged files of every kind: each is refused in a sentence, or does no harm.

A seeded few hundred of each kind here, and as many as you like with ``--fuzz N``.
"""

import dataclasses
import random
import re
import shutil
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import BY_ACCIDENT, Damage, odd_json, odd_lines, odd_zip

from minisd import flow
from minisd.errors import UserError
from minisd.experiments import stored
from minisd.experiments.trained import TrainedRun
from minisd.runs import session
from minisd.runs.run import Run
from tiny_runs import contents, state, tiny

SLACK = 2**20
"""Bytes of memory that reading may take besides three times the size of the proper file."""


@dataclasses.dataclass
class Target:
    """A proper file, and how it is read.

    Attributes
    ----------
    read : function without arguments
        What it returns must not depend on the damage, if ``believed`` is False.
    """

    path: Path
    read: Callable[[], Any]
    damages: list[Damage]
    believed: bool = False


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a complete run with a recording, and the run."""
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    config = tiny(epochs=2, flow=3)
    session.train(config, folder)
    return folder, Run(config)


def read_again(folder: Path) -> Any:
    """Read all that the experiments read of a run, and do what they do with it."""
    run = TrainedRun(folder, ("linear", 0.8, 3), {})
    return run.best, run.rate_changes, run.per_epoch("grad_mean"), run.per_epoch("grad_max")


def of_checkpoint(trained, folder):
    _, run = trained

    def read():
        run.restore(folder / "run" / "checkpoint.npz")
        return state(folder / "run" / "checkpoint.npz")

    return Target(folder / "run" / "checkpoint.npz", read, [*BY_ACCIDENT, odd_zip, odd_zip])


def of_settings(trained, folder):
    read = lambda: (session.read_settings(folder / "run", {}), read_again(folder / "run"))  # noqa: E731
    return Target(folder / "run" / "config.json", read, [*BY_ACCIDENT, odd_json], believed=True)


def of_log(trained, folder):
    read = lambda: read_again(folder / "run")  # noqa: E731
    damages = [*BY_ACCIDENT, odd_json, odd_json, odd_lines]
    return Target(folder / "run" / "log.jsonl", read, damages, believed=True)


def of_flow(trained, folder):
    read = lambda: (flow.load(folder / "run"), read_again(folder / "run"))  # noqa: E731
    damages = [*BY_ACCIDENT, odd_json, odd_json, odd_lines]
    return Target(folder / "run" / "flow.jsonl", read, damages, believed=True)


def of_results(trained, folder):
    path = folder / "name.jsonl"
    for key in "abc":
        stored.add(path, key, {"numbers": [1, 2.5, None], "of": key})

    def read():
        return all(
            result == {"numbers": [1, 2.5, None], "of": key}
            for key, result in stored.load(path).items()
        )

    return Target(path, read, [*BY_ACCIDENT, odd_json, odd_lines])


TARGETS = {
    "checkpoint": of_checkpoint,
    "settings": of_settings,
    "log": of_log,
    "flow": of_flow,
    "results": of_results,
}


@pytest.mark.parametrize("kind", TARGETS)
def test_a_damaged_file_is_refused_in_a_sentence_or_does_no_harm(kind, trained, tmp_path, request):
    number = request.config.getoption("--fuzz")
    shutil.copytree(trained[0], tmp_path / "run")
    target = TARGETS[kind](trained, tmp_path)
    proper, expected = target.path.read_bytes(), target.read()
    others = without(contents(tmp_path), target.path)
    accepted = 0
    tracemalloc.start()
    try:
        for seed in range(number):
            rng = random.Random(f"{kind} {seed}")
            damage = rng.choice(target.damages)
            told = f"{kind}, {damage.__name__}, seed {seed}"
            target.path.write_bytes(damage(proper, rng))
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    result = target.read()
            except UserError as error:
                said = str(error)
                assert str(target.path.parent) in said, told
                assert re.fullmatch(r"[^\n\x1b]{20,900}", said), f"{told}: {said[:900]!r}"
            except BaseException as error:
                raise AssertionError(told) from error
            else:
                accepted += 1
                assert target.believed or result == expected, told
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 3 * len(proper) + SLACK, f"{told}: {peak - before} bytes"
    finally:
        tracemalloc.stop()
    assert without(contents(tmp_path), target.path) == others
    assert accepted < number, "nothing was refused"
    print(f"{kind}: {number} mutants, {accepted} of them accepted")


def without(files: dict[str, bytes], path: Path) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not str(path).endswith(name)}
