"""`py.typed` is true: a user's program is type-checked against the wheel, as strictly as can be."""

import os
import re
import subprocess
import sys
import tomllib
import venv
from importlib import util
from pathlib import Path

import pytest

import wheels

PROGRAM = '''
"""Trains a small network, as a user would."""

import numpy as np

import minisd
from minisd import SGD, Adam, Layer, Parameter, ResNet, cosine, draw_gates, every_other
from minisd import linear_decay, ops, resnet
from minisd.data import Dataset, Normaliser, load, split_validation
from minisd.data.batches import Augmentation, evaluation_batches, training_batches
from minisd.runs.training import Training
from minisd.train import evaluate, train_step


class Scale(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.scale = Parameter(np.ones(1))


def tell(moment: str, run: Training) -> None:
    if moment == "epoch":
        print(run.position.epoch, run.optimizer.lr)


def main() -> float:
    rng = np.random.default_rng(1)
    data: Dataset = load("mine.npz", seed=2)
    train, validation = split_validation(data, rng)
    normalise = Normaliser.fit(train.images)
    probs: list[float] = linear_decay(3, p_last=0.5)
    model: ResNet = resnet(8, in_channels=1, width=4, survival=probs, rng=rng)
    optimizer = SGD(model, lr=0.05)
    for images, labels in training_batches(
        train, 64, normaliser=normalise, augmentation=Augmentation(flip=False), rng=rng
    ):
        gates: list[bool] = draw_gates(model, rng)
        print(sum(gates), float(train_step(model, optimizer, images, labels)))
    loss, dlogits = ops.softmax_cross_entropy(np.zeros((2, 10)), np.zeros(2, int))
    record = minisd.flow.load("flow.jsonl")
    print(loss, dlogits.shape, record["grad_norm"], Scale(), minisd.__version__)
    run = minisd.fit(
        model, Adam(model, 1e-3), train, validation, epochs=2, schedule=cosine(1e-3),
        gates=every_other, callbacks=[tell, minisd.flow.Recorder(model)], out="runs/mine"
    )
    best: ResNet = minisd.load_model("runs/mine", which="best")
    print(run.history, best, len(minisd.Study("s").runs({"mine": probs}, seeds=[1])))
    return evaluate(model, evaluation_batches(validation, 64, normaliser=normalise))


main()
'''
WRONG = {  # a wrong line: what mypy says of it
    "resnet('20', rng=np.random.default_rng())": "arg-type",
    "resnet(20)": "call-arg",
    "SGD(resnet(8, rng=np.random.default_rng()), rate=0.1)": "call-arg",
    "linear_decay(9).shape": "attr-defined",
    "minisd.relu": "attr-defined",
    "Normaliser.fit(np.zeros(3)).mean = 'x'; load(3)": "arg-type",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The Python of an environment that has the wheel and NumPy."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("typing")
    wheel = wheels.build(folder)
    venv.create(folder / "env")
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*line, "--target", site, wheel], check=True)
    numpy = util.find_spec("numpy")
    assert numpy is not None
    assert numpy.origin is not None
    (site / "numpy").symlink_to(Path(numpy.origin).parent)
    return python


def types(python: Path, program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Type-check a program in a folder where no other minisd is."""
    (folder / "program.py").write_text(program)
    line = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "program.py"]
    line += ["--cache-dir", python.parents[2] / "cache", "--config-file", os.devnull]
    environment = {k: v for k, v in os.environ.items() if k not in ("MYPYPATH", "PYTHONPATH")}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_users_program_has_the_types_of_the_installed_wheel(installed, tmp_path):
    done = types(installed, PROGRAM, tmp_path)
    assert done.returncode == 0, done.stdout
    wrong = types(installed, PROGRAM + "".join(f"\n{line}" for line in WRONG), tmp_path)
    first = PROGRAM.count("\n") + 2
    for number, code in enumerate(WRONG.values(), start=first):
        assert re.search(rf"program.py:{number}: error: .*\[{code}\]", wrong.stdout), wrong.stdout


def test_the_extra_for_students_has_no_linters():
    """``minisd[tutorials]`` is for whoever reads and runs; ``dev`` is for whoever changes."""
    extras = tomllib.loads((wheels.ROOT / "pyproject.toml").read_text())["project"]
    of = {
        extra: {re.split(r"[^\w-]", line)[0] for line in lines}
        for extra, lines in extras["optional-dependencies"].items()
    }
    tools = {"ruff", "mypy", "pytest", "build"}
    assert tools <= of["dev"]
    assert "jupytext" in of["tutorials"]
    assert not of["tutorials"] & {*tools, "minisd", "torch"}
