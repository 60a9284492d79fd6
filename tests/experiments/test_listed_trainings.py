"""``minisd experiment --list``: the commands of trainings, and the script that a queue runs."""

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minisd.cli import main, make_parser
from minisd.experiments.catalogue import EXPERIMENTS, trainings
from minisd.experiments.process import epochs_done
from minisd.experiments.study import Study
from minisd.runs import in_folder, session
from minisd.runs.config import Config, resolve
from minisd.runs.interrupt import Interrupted
from systems import posix_only
from tiny_runs import contents, is_one_sentence, outcome
from tiny_studies import TINY_STUDY, study

PAGE = Path(__file__).parents[2] / "tutorials" / "site" / "cluster.md"
NAMES = ["digits-8-constant-seed1", "digits-8-linear-0.5-seed1"]
FIELDS = {field.name for field in dataclasses.fields(Config)}
OPTIONS = [f"--{key.replace('_', '-')}={value}" for key, value in TINY_STUDY.items()]


def line(out: Path, name: str = "gradients", *more: str) -> list[str]:
    return ["experiment", name, "--out", str(out), "--quick", *OPTIONS, *more]


def listed(out: Path, capsys, name: str = "gradients", *more: str) -> list[str]:
    assert main(line(out, name, "--list", *more)) == 0
    return capsys.readouterr().out.splitlines()


def pretend(out: Path, name: str, *, epochs: int) -> None:
    """Make the log of a run."""
    (out / "runs" / name).mkdir(parents=True)
    (out / "runs" / name / "log.jsonl").write_text("{}\n" * epochs)


def end(folder: Path) -> dict:
    found = outcome(folder)
    del found["config"]["threads"]
    return found


def test_each_line_is_the_command_of_a_training(tmp_path, capsys):
    out = tmp_path / "a study's"
    found = [shlex.split(text) for text in listed(out, capsys)]
    assert not out.exists()
    assert [words[:4] for words in found] == [[sys.executable, "-m", "minisd", "train"]] * 2
    assert [words[-2:] for words in found] == [["--out", str(out / "runs" / n)] for n in NAMES]
    assert not any(
        word.startswith(("--threads", "--end-with")) for words in found for word in words
    )
    for words, rule in zip(found, [("constant", 1.0), ("linear", 0.5)], strict=True):
        given = vars(make_parser().parse_args(words[3:]))
        settings = {name: value for name, value in given.items() if name in FIELDS}
        assert resolve(settings) == study(out).config(*rule, 1)


def test_what_is_complete_is_left_out(tmp_path, capsys):
    before = listed(tmp_path, capsys)
    pretend(tmp_path, NAMES[1], epochs=2)
    assert listed(tmp_path, capsys) == before[:1]
    pretend(tmp_path, NAMES[0], epochs=1)
    assert listed(tmp_path, capsys) == before[:1]


def test_every_line_trains_its_run(tmp_path, capsys):
    """A person types them: no option in them is refused, at constant depth neither."""
    for printed in listed(tmp_path, capsys):
        assert main(shlex.split(printed)[3:]) == 0
    assert [epochs_done(tmp_path / "runs" / name) for name in NAMES] == [TINY_STUDY["epochs"]] * 2
    assert listed(tmp_path, capsys) == []


def test_a_run_that_has_begun_is_resumed(tmp_path, capsys):
    folder = tmp_path / "runs" / NAMES[0]

    def stop(*_):
        raise Interrupted(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(in_folder, "fit", stop)
        with pytest.raises(Interrupted):
            session.train(study(tmp_path).config("constant", 1.0, 1), folder)
    assert epochs_done(folder) == 0
    words = shlex.split(listed(tmp_path, capsys)[0])
    assert words[-2:] == ["--resume", str(folder)]
    assert main(words[3:]) == 0
    assert epochs_done(folder) == TINY_STUDY["epochs"]


def test_when_nothing_is_left_standard_output_is_empty(tmp_path, capsys):
    for name in NAMES:
        pretend(tmp_path, name, epochs=2)
    before = contents(tmp_path)
    assert main(line(tmp_path, "gradients", "--list", "--quiet")) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert is_one_sentence(printed.err)
    assert "nothing is left to train: 2 runs complete" in printed.err
    assert contents(tmp_path) == before


def test_all_lists_each_training_once(tmp_path, capsys):
    found = [shlex.split(text)[-1] for text in listed(tmp_path, capsys, "all")]
    of_each = {
        shlex.split(text)[-1] for name in EXPERIMENTS for text in listed(tmp_path, capsys, name)
    }
    assert len(found) == len(set(found)) > 6
    assert set(found) == of_each


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_listed_is_what_is_trained(name, tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    asked = {}

    def train(self, wanted):
        asked.update(self.planned(wanted))
        raise Asked

    monkeypatch.setattr(Study, "train", train)
    monkeypatch.setattr(Study, "each", lambda *_: {})
    monkeypatch.setattr("minisd.experiments.training_time.run", lambda _: None)
    monkeypatch.setattr("minisd.experiments.shattered.run", lambda _: None)
    try:
        EXPERIMENTS[name].run(study(tmp_path))
    except Asked:
        assert asked
    assert trainings([name], study(tmp_path)) == {f: run.config for f, run in asked.items()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gradients", "--list", "--scheduler", "a:1"], "leave out --scheduler"),
        (["--list"], "--list needs a name"),
        (["gradients", "--scheduler", "a:1", "--processes", "2"], "leave out --processes"),
        (["gradients", "--list", "--seeds", "1", "1"], "no number twice"),
    ],
)
def test_what_does_not_go_together_is_said(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert is_one_sentence(printed.err)
    assert said in printed.err
    assert not list(tmp_path.iterdir())


def test_a_list_of_another_study_is_refused(tmp_path, capsys):
    folder = tmp_path / "runs" / NAMES[0]
    folder.mkdir(parents=True)
    described = dataclasses.asdict(study(tmp_path).config("constant", 1.0, 1))
    (folder / "config.json").write_text(json.dumps(described))
    assert len(listed(tmp_path, capsys)) == 2
    assert main(line(tmp_path, "gradients", "--list", "--width=4")) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_an_experiment_without_trainings_says_so(tmp_path, capsys):
    assert main(line(tmp_path, "shattered-gradients", "--list")) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "minisd: shattered-gradients trains no runs\n")


def test_without_dask_the_extra_is_named(tmp_path, capsys, monkeypatch):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert main(line(tmp_path, "gradients", "--scheduler", "127.0.0.1:1")) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert "pip install 'minisd[dask]'" in said
    monkeypatch.setattr(metadata, "version", lambda name: "2024.12.1")
    assert main(line(tmp_path, "gradients", "--scheduler", "127.0.0.1:1")) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said)
    assert "2024.12.1 is here" in said


# The script for SLURM


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """What the page's script needs: itself, and stand-ins for the commands of SLURM."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (script,) = [block for block in blocks if 'srun "$@"' in block]
    (tmp_path / "one-run.sh").write_text(script)
    for name, does in (("srun", 'exec "$@"'), ("scontrol", 'echo "$@" >> requeued')):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{does}\n")
        path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PATH": path, "SLURM_ARRAY_JOB_ID": "7", "PYTHONPATH": root}


@posix_only
@pytest.mark.slow
def test_the_script_on_the_page_trains_saves_and_goes_on(slurm, tmp_path, capsys):
    out = Path("the study")
    more = ["--epochs=60", "--limit=100"]
    Path("runs.txt").write_text("\n".join(listed(out, capsys, "gradients", *more)) + "\n")
    env = slurm | {"SLURM_ARRAY_TASK_ID": "2"}
    folder = out / "runs" / NAMES[1]
    with subprocess.Popen(["bash", "one-run.sh"], env=env, stderr=subprocess.PIPE) as job:
        while not epochs_done(folder):
            assert job.poll() is None
            time.sleep(0.02)
        children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        for pid in children:  # --signal=TERM reaches the steps, and not the script
            os.kill(int(pid), 15)
        job.communicate(timeout=60)
    assert job.returncode == 143
    assert Path("requeued").read_text() == "requeue 7_2\n"
    assert 0 < epochs_done(folder) < 60
    done = subprocess.run(["bash", "one-run.sh"], env=env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    session.train(study(out, epochs=60, limit=100).config("linear", 0.5, 1), tmp_path / "whole")
    assert end(folder) == end(tmp_path / "whole")
    assert Path("requeued").read_text() == "requeue 7_2\n"
    assert len(listed(out, capsys, "gradients", *more)) == 1
