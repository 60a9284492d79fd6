"""What is shown never decides what is kept: standard streams that are closed, full or gone."""

import os
import signal
import subprocess
import sys

import pytest

from minisd.cli import main
from minisd.runs.progress import Console, Progress
from minisd.runs.session import train
from minisd.streams import Stream, safe_streams
from tiny_runs import command, is_one_sentence, options, outcome, tiny

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a shell")
full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


def shell(line, *arguments, **changes):
    """Run a line of a shell, in which ``minisd`` is the command with these arguments."""
    quoted = " ".join(f"'{word}'" for word in command(*arguments))
    return subprocess.run(
        ["bash", "-c", line.replace("minisd", quoted)],
        env={**os.environ, **changes}, capture_output=True, text=True, errors="replace", timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(tiny(epochs=2), folder)
    return folder, outcome(folder)


TRAINS = {
    "no output": "minisd >&-",
    "no streams at all": "minisd >&- 2>&- <&-",
    "output full": "minisd >/dev/full",
    "both full": "minisd >/dev/full 2>/dev/full",
    "reader gone": "minisd | head -1; exit ${PIPESTATUS[0]}",
}


@full
@pytest.mark.parametrize("kind", TRAINS)
def test_training_goes_on(tmp_path, expected, kind):
    folder = tmp_path / "run"
    done = shell(TRAINS[kind], "train", "--out", folder, *options(epochs=2))
    assert (done.returncode, done.stderr) == (0, "")
    assert outcome(folder) == expected[1]
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in expected[0].iterdir())


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_a_name_that_cannot_be_shown(tmp_path, expected, encoding):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xe2\x82\xac")
    done = shell("minisd", "train", "--out", folder, *options(epochs=2), PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "result    test error" in done.stdout
    assert "caf\\udce9" in done.stdout
    assert os.path.exists(os.path.join(folder, "curve.png"))


def test_a_terminal_that_closes(tmp_path, expected):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    line = command("train", "--out", tmp_path / "run", *options(epochs=2))
    child = subprocess.Popen(line, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.read(ours, 10)
    os.close(ours)
    assert child.wait(60) == 0
    assert outcome(tmp_path / "run") == expected[1]


@full
def test_an_experiment_goes_on(tmp_path):
    line = ["experiment", "depth-distribution", "--quick", "--out", tmp_path, "--depth=8"]
    done = shell("minisd >/dev/full", *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "depth-distribution.svg").exists()


@full
@pytest.mark.parametrize(
    ("how", "arguments"),
    [(">/dev/full", ["info"]), (">&-", ["evaluate", "RUN"]), (">/dev/full", ["--help"]),
     (">&-", ["experiment"])],
)  # fmt: skip
def test_a_command_that_only_prints_has_failed(expected, how, arguments):
    arguments = [expected[0] if word == "RUN" else word for word in arguments]
    done = shell(f"minisd {how}", *arguments)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr)
    assert "standard output cannot be written" in done.stderr


@full
def test_an_error_that_cannot_be_told_has_its_exit_code():
    done = shell("minisd 2>/dev/full", "evaluate", "nowhere")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path):
    code = (
        "import os; from minisd.streams import safe_streams\n"
        f"with safe_streams(): print(os.open({str(tmp_path / 'file')!r}, os.O_CREAT), file=open"
        f"({str(tmp_path / 'number')!r}, 'w'))"
    )
    subprocess.run(
        ["bash", "-c", '"$0" -W ignore -c "$1" >&- 2>&- <&-', sys.executable, code], check=True
    )
    assert int((tmp_path / "number").read_text()) > 2


class Failing:
    encoding = "ascii"

    def write(self, text=""):
        raise OSError(28, "No space left on device")

    flush = isatty = write


def test_in_a_program_of_ones_own_too(tmp_path, monkeypatch):
    for stream in (Failing(), None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        Progress().warn("what nobody hears")
        console = Console()
        console.say("neither that")
    assert Stream(None).write("nor this") == 8


def test_the_streams_are_put_back(capsys):
    before = sys.stdout, sys.stderr
    with safe_streams():
        assert sys.stdout is not before[0]
    assert main(["experiment"]) == 0
    assert (sys.stdout, sys.stderr) == before


# Signals before and after the work

AT_IMPORT = """
import runpy, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == AT:
            signal.raise_signal(int(NUMBER))

_, AT, NUMBER = sys.argv
sys.meta_path.insert(0, Finder())
sys.argv[0] = "-m"
import minisd  # as `python -m minisd` does
sys.argv = ["minisd", "info"]
runpy.run_module("minisd", run_name="__main__")
"""


def code_at(where, number, prelude=""):
    line = [sys.executable, "-c", prelude + AT_IMPORT, where, str(int(number))]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("where", "name"),
    [("numpy", "SIGINT"), ("minisd.cli.parser", "SIGINT"), ("minisd.flow", "SIGTERM"),
     ("tqdm", "SIGHUP")],
)  # fmt: skip
def test_a_signal_while_the_command_is_loaded_ends_it_quietly(where, name):
    number = getattr(signal, name)
    done = code_at(where, number)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


def test_ctrl_c_after_the_last_line_does_nothing():
    prelude = "import atexit, signal; atexit.register(signal.raise_signal, signal.SIGINT)\n"
    done = code_at("nothing", signal.SIGINT, prelude)
    assert (done.returncode, done.stderr) == (0, "")
    assert "minisd " in done.stdout


def test_a_program_that_imports_minisd_keeps_its_signals():
    code = (
        "import signal; before = signal.getsignal(2), signal.getsignal(15)\n"
        "import minisd, minisd.cli; minisd.cli.main(['experiment'])\n"
        "assert before == (signal.getsignal(2), signal.getsignal(15))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("every", [0.001, 0.02])
def test_ctrl_c_again_and_again(tmp_path, every):
    line = command("train", "--out", tmp_path / "run", *options(epochs=100_000))
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while not run.stdout.readline().startswith("epoch"):
            assert run.poll() is None
        for _ in range(200):
            run.send_signal(signal.SIGINT)
            try:
                run.wait(every)
                break
            except subprocess.TimeoutExpired:
                continue
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in said
    assert main(["evaluate", str(tmp_path / "run")]) == 0
