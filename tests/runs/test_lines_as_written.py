"""The lines that one wants to write, run character by character, and what they leave behind.

`test_lines.py` makes them small, for every day. Here nothing is added to them: networks, epochs and
seeds are those that a person gets. Only the names in them are defined before; and where a line is
about how a run begins, somebody presses Ctrl-C after two epochs. On two cores the study takes two
minutes, and everything together four.
"""

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import minisd
from minisd import cosine_decay, data, flow, linear_decay
from minisd.data import Split
from minisd.errors import MissingPackageError
from minisd.flow import Recorder
from minisd.runs.folder import count_epochs
from minisd.runs.interrupt import Interrupted
from systems import posix_only
from tiny_runs import outcome, read_log

pytestmark = pytest.mark.slow

PYTHON = """\
resnet(32, branch=preact_branch, block=PreActBlock, survival=my_probs, rng=rng)
minisd.fit(model, Adam(model, 1e-3), train, validation, epochs=16, schedule=cosine(1e-3), gates=every_other,
           callbacks=[recorder], out="runs/x")          # resumes like `minisd train`, bit for bit
model = minisd.load_model("runs/digits-1")               # best weights; which="last"
set_survival(model, probs);  print(model)                # a summary: layers, shapes, parameters, p_l, FLOPs, memory of a step
flow.load("runs/x").to_frame()                           # pandas, if installed
Study("s").runs({"cosine": my_probs, "linear": linear_decay(15)}, seeds=[1, 2, 3])
"""  # noqa: E501
COMMANDS = """\
minisd train --data mine.npz                              # images (N, C, H, W) or (N, H, W[, C]) uint8, labels; or a folder of class folders with PNG/JPEG (Pillow, an extra)
minisd train --survival 0.9,0.8,0.7 | --survival cosine | --survival my_rules.py:rule
minisd train --config a.json --lr 0.05                    # a run's own config.json is valid; overrides win; what was resolved is saved
minisd train --init runs/a --epochs 10                    # start from another run's weights
minisd train --resume runs/a --epochs 40                  # a finished or unfinished run goes on longer; what the schedule does then is said and saved
minisd train --seeds 1 2 3                                # one run each, in parallel as cores allow; mean and spread at the end
"""  # noqa: E501
PUBLIC = {"minisd": minisd, **{name: getattr(minisd, name) for name in minisd.__all__}}
"""All names in the lines that are not the user's own can be imported from ``minisd``."""
RULE = "def rule(L):\n    return [1 - 0.3 * (l / L) ** 2 for l in range(1, L + 1)]\n"
"""The content of ``my_rules.py``."""


def my_probs(L):
    return [1 - 0.2 * (block / L) ** 2 for block in range(1, L + 1)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which a person works."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(folder):
    return json.loads((Path(folder) / "config.json").read_text())


# ---- Python ----


def cells():
    """The text of each statement, and of two on one line together."""
    statements = ast.parse(PYTHON).body
    starts = sorted({statement.lineno for statement in statements})
    lines = PYTHON.splitlines(keepends=True)
    return [
        "".join(lines[start - 1 : end - 1])
        for start, end in zip(starts, [*starts[1:], len(lines) + 1], strict=True)
    ]


MODEL, FIT, LOAD, SET, FRAME, STUDY = cells()


def names():
    """What the lines presuppose: a generator, a network, images in colour, a recorder."""
    rng = np.random.default_rng(0)
    found = {"my_probs": my_probs, "rng": rng}
    found["model"] = eval(MODEL, PUBLIC | found)
    grey = data.load("digits").train
    colour = Split(np.repeat(grey.images, 3, axis=1), grey.labels)  # as `resnet` expects them
    found |= {"train": colour[:1300], "validation": colour[1300:]}
    return found | {"recorder": Recorder(found["model"])}


def test_a_training_of_ones_own_ends_the_same_however_often_it_was_stopped(here, monkeypatch):
    there = names()
    assert there["model"].survival_probs == my_probs(15)
    run = eval(FIT, PUBLIC | there)
    assert [row["epoch"] for row in run.history] == list(range(1, 17))
    assert run.best["val_error"] < 0.15
    rates = [row["lr"] for row in read_log(here / "runs" / "x")]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] < 1e-3
    assert rates[-1] > 0
    neighbours = flow.load("runs/x")["open"][:, :-1] + flow.load("runs/x")["open"][:, 1:]
    assert neighbours.min() == 1  # every_other: no two neighbours closed together, with these p_l
    frame(run)

    (here / "again").mkdir()
    monkeypatch.chdir(here / "again")
    for steps in (40, 50):  # both in the midst of an epoch of 11
        there = names()
        there["recorder"] = stopping_after(steps, there["recorder"])
        with pytest.raises(Interrupted):
            eval(FIT, PUBLIC | there)
    eval(FIT, PUBLIC | names())
    assert outcome(here / "again" / "runs" / "x") == outcome(here / "runs" / "x")
    whole, stopped = (flow.load(folder / "runs" / "x") for folder in (here, here / "again"))
    for name, values in whole.items():
        np.testing.assert_array_equal(stopped[name], values, err_msg=name)


def stopping_after(steps, recorder):
    """The recorder, and a Ctrl-C after so many steps."""
    left = iter(range(steps - 1))

    def callback(moment, run):
        recorder(moment, run)
        if moment == "step" and next(left, None) is None:
            signal.raise_signal(signal.SIGINT)

    return callback


def frame(run):
    """The line about pandas, with it or without."""
    try:
        import pandas as pd
    except ImportError:
        with pytest.raises(MissingPackageError, match="pip install pandas"):
            eval(FRAME, dict(PUBLIC))
        return
    table = eval(FRAME, dict(PUBLIC))
    assert isinstance(table, pd.DataFrame)
    assert table.index[-1] == run.steps_done
    assert table["loss"].iloc[-1].item() < table["loss"].iloc[0].item()


def test_a_trained_network_with_other_probabilities(here, capsys):
    command("minisd train --epochs 2")
    there = PUBLIC | {"probs": linear_decay(9, 0.8)}
    exec(LOAD, there)
    assert not there["model"].training
    exec(SET, there)
    assert there["model"].survival_probs == linear_decay(9, 0.8)
    said = capsys.readouterr().out
    assert "ResNet for inputs of 1x8x8" in said
    for word in ("output", "parameters", "0.98-0.93", "0.82-0.80", "FLOPs", "for a training step"):
        assert word in said


def test_a_study_of_ones_own_rules(here):
    runs = eval(STUDY, {**PUBLIC, "my_probs": my_probs})
    assert [(run.title, run.seed) for run in runs] == [
        (title, seed) for title in ("cosine", "linear") for seed in (1, 2, 3)
    ]
    for run in runs:
        probs = my_probs(15) if run.title == "cosine" else linear_decay(15)
        assert run.config["resolved"]["survival_probs"] == probs
        assert (run.config["depth"], len(run.log)) == (32, 32)
        assert run.best["val_error"] < 0.15
    errors = {(run.title, run.seed): run.best["val_error"] for run in runs}
    assert len(set(errors.values())) > 1
    before = {path: path.read_bytes() for path in here.rglob("checkpoint.npz")}
    assert len(before) == 6
    eval(STUDY, {**PUBLIC, "my_probs": my_probs})  # the same line again trains nothing
    assert {path: path.read_bytes() for path in before} == before


# ---- commands ----


DEFINED = f'minisd() {{ {shlex.quote(sys.executable)} -m minisd "$@"; }}\n'


def command(line):
    """Run a line in a shell, as it is typed; return what it prints."""
    done = subprocess.run(["sh", "-c", DEFINED + line], capture_output=True, text=True)
    complaints = re.sub(r"epochs of training: \d+ of \d+\n", "", done.stderr)
    assert (done.returncode, complaints) == (0, "")
    return " ".join(done.stdout.split())


def begun(line, folder="runs/digits-1", epochs=2):
    """Run a line, and press Ctrl-C after some epochs; return what it prints until then."""
    pipe, deadline = subprocess.PIPE, time.monotonic() + 120
    with subprocess.Popen(
        ["sh", "-c", DEFINED + line], stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as run:
        while count_epochs(Path(folder)) < epochs:
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGINT)
        said, saved = run.communicate(timeout=60)
    assert f"SIGINT: saved. Go on with: minisd train --resume {folder}" in saved
    return " ".join(said.split())


def lines():
    """Each line; one with alternatives as so many lines."""
    for line in COMMANDS.splitlines():
        first, *others = line.split(" | ")
        start = first[: first.index(" --survival")] if others else ""
        yield from (first, *(f"{start} {other}" for other in others))


DATA, PROBS, NAMED, OWN, CONFIG, INIT, RESUME, SEEDS = lines()


def test_the_lines_are_those_that_are_meant():
    assert PROBS == "minisd train --survival 0.9,0.8,0.7"
    assert OWN == "minisd train --survival my_rules.py:rule"
    assert SEEDS.startswith("minisd train --seeds 1 2 3 ")


@posix_only
def test_images_of_ones_own(here):
    digits = data.load("digits").train
    np.savez("mine.npz", images=digits.images[:600, 0], labels=digits.labels[:600])
    said = command(DATA)
    assert "480 training, 60 validation, 60 test images of 1x8x8" in said
    saved = settings("runs/mine-1")
    assert saved["data"] == str(here / "mine.npz")
    assert len(read_log(here / "runs" / "mine-1")) == saved["epochs"]
    assert "result test error" in said


@posix_only
@pytest.mark.parametrize(
    ("line", "probs"),
    [
        pytest.param(
            PROBS,
            [0.9, 0.8, 0.7],
            id="numbers",
        ),
        pytest.param(NAMED, cosine_decay(9, 0.9), id="name"),
        pytest.param(OWN, [1 - 0.3 * (l / 9) ** 2 for l in range(1, 10)], id="file"),  # noqa: E741
    ],
)
def test_a_survival_rule(here, line, probs):
    Path("my_rules.py").write_text(RULE)
    said = begun(line)
    Path("my_rules.py").unlink()
    saved = settings("runs/digits-1")
    assert saved["resolved"]["survival_probs"] == probs
    assert ("my_rules.py:rule" in str(saved.get("origin"))) == (line == OWN)
    assert f"L = {len(probs)} blocks" in said
    assert minisd.load_model("runs/digits-1").survival_probs == probs  # without the file


@posix_only
def test_settings_of_another_run(here):
    command("minisd train --out runs/a --epochs 2 --lr 0.02 --seed 3")
    Path("a.json").write_bytes(Path("runs/a/config.json").read_bytes())
    command(CONFIG)
    a, b = settings("runs/a"), settings("runs/digits-1")
    assert (a.pop("lr"), b.pop("lr")) == (0.02, 0.05)
    assert a == b


@posix_only
def test_weights_of_another_run_and_a_longer_run(here):
    command("minisd train --out runs/a --epochs 2")
    command(INIT)
    saved = settings("runs/digits-1")
    assert saved["origin"]["init"]["run"] == str(here / "runs" / "a")
    first, started = (read_log(Path("runs", name)) for name in ("a", "digits-1"))
    assert len(started) == 10
    assert started[0]["train_loss"] < 0.5 * first[0]["train_loss"]

    said = begun(RESUME, "runs/a", epochs=4)
    assert "2 epochs become 40" in said
    (change,) = settings("runs/a")["origin"]["lengths"]
    assert change["remark"] in said
    longer = read_log(Path("runs/a"))
    assert 4 <= len(longer) < 40
    assert longer[:2] == first


@posix_only
def test_several_seeds(here):
    said = command(SEEDS)
    folder = here / "runs" / "digits-1"
    assert sorted(path.name for path in folder.iterdir()) == ["seed-1", "seed-2", "seed-3"]
    assert [settings(folder / f"seed-{seed}")["seed"] for seed in (1, 2, 3)] == [1, 2, 3]
    assert "on average (standard deviation" in said
    assert "n = 3" in said
