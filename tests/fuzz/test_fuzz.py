"""Damaged files of every kind: each is refused in a sentence, or does no harm.

A seeded few hundred of each kind here, and as many as you like with ``--fuzz N``.
"""

import contextlib
import dataclasses
import hashlib
import io
import random
import re
import shutil
import tarfile
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import BY_ACCIDENT, Damage, odd_json, odd_lines, odd_zip

from minisd import flow
from minisd.data import load
from minisd.data.unpack import unpack
from minisd.errors import DataError, UserError
from minisd.experiments import stored
from minisd.experiments.trained import TrainedRun
from minisd.readers import Kind
from minisd.runs import session, snapshot
from minisd.runs.run import Run
from minisd.runs.weights import load_model
from tiny_runs import contents, state, tiny

SLACK = 2**21
"""Bytes of memory that reading may take besides three times the size of the proper file."""


@dataclasses.dataclass
class Target:
    """A proper file, and how it is read.

    Attributes
    ----------
    read : function without arguments
        What it returns must not depend on the damage, if ``believed`` is False.
    never : bool
        Not even the proper file is accepted.
    """

    path: Path
    read: Callable[[], Any]
    damages: list[Damage]
    believed: bool = False
    never: bool = False


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
        snapshot.restore(run, folder / "run" / "checkpoint.npz")
        return state(folder / "run" / "checkpoint.npz")

    return Target(folder / "run" / "checkpoint.npz", read, [*BY_ACCIDENT, odd_zip, odd_zip])


def of_settings(trained, folder):
    def read():
        run = folder / "run"
        return session.read_settings(run, {}), read_again(run), load_model(run).num_parameters

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


def of_records(trained, folder):
    """Binary batches: labels and pixels. Nobody can tell one pixel from another."""
    for name in ("data_batch_1.bin", "test_batch.bin"):
        images = random.Random(name).randbytes(3072 * 4)
        records = [bytes([i]) + images[3072 * i : 3072 * (i + 1)] for i in range(4)]
        (folder / name).write_bytes(b"".join(records))

    def read():
        found = load("cifar10", folder)
        return len(found.train), found.num_classes

    return Target(folder / "data_batch_1.bin", read, BY_ACCIDENT, believed=True)


def of_own_npz(trained, folder):
    """Images and labels of a user. Nobody can tell one pixel from another, or one label."""
    path = folder / "mine.npz"
    images = np.random.default_rng(1).integers(0, 256, (24, 5, 4), np.uint8)
    np.savez(path, images=images, labels=np.arange(24) % 3)

    def read():
        found = load(str(path))
        return found.digest(), found.num_classes

    return Target(path, read, [*BY_ACCIDENT, odd_zip, odd_zip], believed=True)


def of_own_image(trained, folder):
    """One image among others."""
    Image = pytest.importorskip("PIL.Image")
    photos = folder / "photos"
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 5, 3), np.uint8)
        name = photos / "ab"[number // 3] / f"{number}.{'png' if number % 2 else 'jpg'}"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name)

    def read():
        found = load(str(photos))
        return found.digest(), found.num_classes

    return Target(photos / "a" / "1.png", read, BY_ACCIDENT, believed=True)


def of_mat(trained, folder):
    """MATLAB files that are not the official ones: they are not even parsed."""
    (folder / "test_32x32.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(600))
    shutil.copy(folder / "test_32x32.mat", folder / "train_32x32.mat")

    def read():
        load("svhn", folder)

    return Target(folder / "train_32x32.mat", read, BY_ACCIDENT, never=True)


def of_checksums(trained, folder):
    target = of_records(trained, folder)
    md5 = hashlib.md5(target.path.read_bytes()).hexdigest()
    (folder / "official.md5").write_text(f"{md5}  data_batch_1.bin\n")
    return Target(folder / "official.md5", target.read, BY_ACCIDENT, believed=True)


def of_archive(trained, folder):
    """A packed data set: what comes out is what went in, and nothing else is written."""
    contents = {"a.bin": bytes(range(256)) * 8, "b.bin": b"b" * 3000}
    path, target = folder / "toy.tar.gz", folder / "unpacked"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"toy/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))

    def read():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        sizes = {name: len(content) for name, content in contents.items()}
        try:
            with ARCHIVE.reading(path) as file:
                unpack(file, "toy", sizes, target, target)
            return {
                entry.name: entry.read_bytes() == contents[entry.name] for entry in target.iterdir()
            }
        finally:
            shutil.rmtree(target)

    return Target(path, read, BY_ACCIDENT, believed=True)  # its checksum is asked before


ARCHIVE = Kind("an archive", DataError, if_missing="fetch it", if_damaged="fetch it again")

TARGETS = {
    "checkpoint": of_checkpoint,
    "settings": of_settings,
    "log": of_log,
    "flow": of_flow,
    "results": of_results,
    "records": of_records,
    "own npz": of_own_npz,
    "own image": of_own_image,
    "mat": of_mat,
    "checksums": of_checksums,
    "archive": of_archive,
}


@pytest.mark.parametrize("kind", TARGETS)
def test_a_damaged_file_is_refused_in_a_sentence_or_does_no_harm(kind, trained, tmp_path, request):
    number = request.config.getoption("--fuzz")
    shutil.copytree(trained[0], tmp_path / "run")
    target = TARGETS[kind](trained, tmp_path)
    proper, expected = target.path.read_bytes(), None
    with pytest.raises(UserError) if target.never else contextlib.nullcontext():
        expected = target.read()
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
                assert not target.never, told
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
