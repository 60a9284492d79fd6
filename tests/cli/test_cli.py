"""The command as a person meets it."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import minisd
from minisd.cli import commands, main, make_parser
from minisd.gpu import gpu_available
from minisd.gradcheck import Report, Slope

TINY = ["--depth", "8", "--width", "2", "--limit", "100", "--epochs", "2", "--threads", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run made by the real command in a process of its own, in an empty folder."""
    cwd = tmp_path_factory.mktemp("cwd")
    done = subprocess.run(
        [sys.executable, "-m", "minisd", "train", *TINY],
        cwd=cwd, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return cwd, done.stdout


def test_train_says_what_it_does_and_where_the_run_lies(finished):
    cwd, out = finished
    assert re.search(r"L = 3 blocks; .* expected depth 2.80", out)
    assert re.search(r"epoch 1/2  lr 0.05  loss .* val error .* open \d\.\d  .* left", out)
    assert re.search(r"test error \d+\.\d\d% at epoch \d, of lowest validation error", out)
    assert "1 thread\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "runs/digits-1/" in out
    assert "\r" not in out  # plain lines where there is no terminal
    names = {path.name for path in (cwd / "runs" / "digits-1").iterdir()}
    assert {"config.json", "log.jsonl", "checkpoint.npz", "curve.png"} <= names


def test_a_second_run_gets_a_folder_of_its_own(finished, monkeypatch):
    cwd, _ = finished
    monkeypatch.chdir(cwd)
    assert main(["train", *TINY, "--epochs", "1", "--quiet"]) == 0
    assert (cwd / "runs" / "digits-2" / "curve.png").exists()


def test_evaluate_repeats_the_result(finished, capsys):
    cwd, out = finished
    assert main(["evaluate", str(cwd / "runs" / "digits-1")]) == 0
    printed = capsys.readouterr().out
    assert "epoch 2 of 2" in printed
    error = r"test error +(\d+\.\d\d)%"
    assert re.search(error, printed)[1] == re.search(error, out)[1]
    assert main(["evaluate", str(cwd / "runs" / "digits-1"), "--which", "last"]) == 0
    last = json.loads((cwd / "runs" / "digits-1" / "log.jsonl").read_text().splitlines()[-1])
    printed = re.search(error, capsys.readouterr().out)[1]
    assert printed == f"{100 * last['test_error']:.2f}"


def test_a_run_trained_on_a_gpu_can_be_evaluated_without_one(finished, tmp_path, capsys):
    cwd, _ = finished
    shutil.copytree(cwd / "runs" / "digits-1", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["device"] = "cuda"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert "test error" in capsys.readouterr().out


def test_the_help_names_the_folder_that_a_run_gets(finished, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    folder = re.search(r"--resume (runs/\S+)", capsys.readouterr().out)[1]
    assert (finished[0] / folder).is_dir()


def test_evaluate_of_no_run_is_a_sentence(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_on_a_terminal_there_is_a_bar_with_the_open_blocks_and_nothing_wraps(tmp_path):
    pty, termios = (pytest.importorskip(name) for name in ("pty", "termios"))  # not on Windows
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    child = subprocess.Popen(
        [sys.executable, "-m", "minisd", "train", *TINY, "--out", "run"],
        cwd=tmp_path,
        stdout=theirs,
        env={k: v for k, v in os.environ.items() if k != "COLUMNS"},
    )
    os.close(theirs)
    output = bytearray()
    with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while data := terminal.read(4096):  # Linux ends with an OSError when the child is gone
            output += data
    assert child.wait() == 0
    text = output.decode()
    assert re.search(r"epoch 1/2 \|.*open \d/3 .* left", text)
    shown = [re.sub("\x1b\\[[A-Z]", "", line) for line in re.split(r"[\r\n]+", text)]
    assert max(map(len, shown)) <= 80
    assert [line for line in shown if line.startswith("epoch 2/2  lr")]


def test_quiet_says_nothing(tmp_path, capsys):
    arguments = ["train", *TINY, "--epochs", "1", "--quiet", "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.slow  # tests/layers/test_gradcheck.py has the same checks with another seed
def test_gradcheck_prints_a_table_and_passes(capsys):
    assert main(["gradcheck", "--seed", "1"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"worst of \d+ checks, tolerance 1e-06: all gradients are right", out)
    for name in ("conv2d", "batchnorm2d", "bottleneck", "gates 101", "projection"):
        assert name in out


def test_gradcheck_of_no_seed(capsys):
    assert main(["gradcheck", "--seed", "-1"]) == 2
    assert "at least 0" in capsys.readouterr().err


def test_gradcheck_fails_on_a_wrong_gradient(capsys, monkeypatch):
    wrong = Report("conv2d", 4, slopes=[Slope("w", (1, 0, 2, 1), 2.0, 0.5, 0.75)])
    monkeypatch.setattr(commands, "all_checks", lambda seed, device: iter([wrong]))
    assert main(["gradcheck", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert "w[1, 0, 2, 1]: analytic 2, numeric 0.5, ratio 4" in err
    assert "off by the batch size N = 4: sum or mean over the batch?" in err


@pytest.mark.skipif(os.name != "posix", reason="needs a shell with pipefail")
def test_a_reader_that_goes_away_is_no_error(tmp_path):
    """And the run can be gone on with."""
    arguments = " ".join(["-m", "minisd", "train", *TINY, "--epochs", "4", "--out", "run"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' {arguments} | head -10 > /dev/null"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode in (0, 141)
    assert main(["train", "--resume", str(tmp_path / "run"), "--quiet"]) == 0


def test_gpu_check_without_a_gpu_says_what_was_found(capfd):
    if gpu_available():
        pytest.skip("there is a GPU")
    assert main(["gpu-check"]) == 2
    said = capfd.readouterr()
    assert re.search("^minisd: no (usable )?GPU: ", said.err)
    assert said.err.count("\n") == 1
    assert minisd.__version__ in said.out


@pytest.mark.parametrize("wrong", [["--depth", "9"], ["--batch-size", "0"]])
def test_gpu_check_refuses_sizes_that_are_none(wrong, capsys):
    assert main(["gpu-check", *wrong]) == 2
    assert capsys.readouterr().err.startswith("minisd: ")


def test_info_names_versions_device_and_threads(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for words in (minisd.__version__, np.__version__, "threads", "gpu", "cores"):
        assert words in out


def test_data_lists_what_is_there(tmp_path, capsys):
    assert main(["data", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1438 training and 359 test images of 1x8x8" in out
    assert "minisd data get cifar10" in " ".join(out.split())


@pytest.mark.parametrize("command", ["train", "evaluate", "gradcheck", "data", "info"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "usage: minisd " + command in capsys.readouterr().out


def test_the_whole_help_teaches_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "130, 143 and 129" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"minisd {minisd.__version__}"


def test_a_tilde_is_the_home_folder_also_behind_an_equals_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for option in (["--out=~/x"], ["--out", "~/x"]):
        assert make_parser().parse_args(["train", *option]).out == tmp_path / "x"
