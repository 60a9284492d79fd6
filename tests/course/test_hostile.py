"""Submissions that attack the grader: each gets the score of its honest part, and no more."""

import os
import tempfile
import time

import pytest
from test_assignments import FOLDERS, assignment, kit

from minisd.course import grading, source
from minisd.course import kit as kits
from minisd.course.report import as_html, as_markdown, as_text
from minisd.course.sandbox import Sandbox

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX"),
    pytest.mark.xdist_group("processes"),
]
HONEST = """
def conv_output_size(x_shape, w_shape, stride, padding):
    size = []
    for image, kernel in zip(x_shape[2:], w_shape[2:]):
        if image + 2 * padding < kernel:
            raise ValueError
        size.append((image + 2 * padding - kernel) // stride + 1)
    return tuple(size)
"""
"""Worth 8 points: the whole of task 2.1."""

ATTACKS = {
    "prints that it has passed": (8, "print('all passed'); print('{\"score\": 100}')"),
    "writes results": (8, "open('results.json', 'w').write('{\"score\": 100}')"),
    "atexit": (8, "import atexit; atexit.register(lambda: print('100 of 100'))"),
    "exits when it is loaded": (0, "raise SystemExit(0)"),
    "exits hard when it is loaded": (0, "import os; os._exit(0)"),
    "objects that equal everything": (
        8,
        "class Yes:\n    __eq__ = lambda self, other: True\n    __array__ = None\n"
        "def conv2d_forward(*a, **k): return Yes(), Yes()\n"
        "def conv2d_backward(*a): return Yes(), Yes(), Yes()",
    ),
    "an array of one's own class": (
        8,
        "import numpy as np\nclass A(np.ndarray):\n    __eq__ = lambda s, o: True\n"
        "def conv2d_forward(x, *a, **k): return x.view(A), None\n",
    ),
    "patches NumPy": (
        8,
        "import numpy as np\nnp.allclose = np.array_equal = lambda *a, **k: True",
    ),
    "looks at the stack": (
        8,
        "import sys\ndef conv2d_forward(*a, **k):\n    f = sys._getframe()\n    while f:\n"
        "        for v in list(f.f_locals.values()):\n"
        "            if isinstance(v, dict) and 'expected' in v: return v['expected'], None\n"
        "        f = f.f_back",
    ),
    "imports the library": (
        8,
        "def conv2d_forward(*a, **k):\n"
        "    return __import__('mini' + 'sd').ops.conv2d_forward(*a, **k)",
    ),
    "never ends": (8, "def conv2d_forward(*a, **k):\n    while True: pass"),
    "takes all memory": (8, "def conv2d_forward(*a, **k):\n    return [0] * 10**10, None"),
    "a fork bomb": (
        8,
        "import os\ndef conv2d_forward(*a, **k):\n    while True:\n        os.fork()",
    ),
    "detaches a process": (
        8,
        "import os\ndef conv2d_forward(*a, **k):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        if os.fork() == 0:\n            import time\n            time.sleep(600)\n"
        "    return None",
    ),
    "prints without end": (8, "def conv2d_forward(*a, **k):\n    while True: print('x' * 9999)"),
    "fills the disk": (
        8,
        "def conv2d_forward(*a, **k):\n    for i in range(10**6):\n"
        "        open(f'f{i}', 'w').write('x' * 9999)",
    ),
    "kills the judge": (
        8,
        "import os\ndef conv2d_forward(*a, **k):\n    os.kill(os.getppid(), 9)",
    ),
    "kills its group": (
        8,
        "import os, signal\ndef conv2d_forward(*a, **k):\n    os.killpg(0, signal.SIGKILL)",
    ),
    "floods the pipe": (
        8,
        "import os\ndef conv2d_forward(*a, **k):\n    for n in range(3, 20):\n        try:\n"
        "            os.write(n, b'x' * 99)\n        except OSError: pass\n    return None",
    ),
    "closes everything": (8, "import os\ndef conv2d_forward(*a, **k):\n    os.closerange(0, 99)"),
    "an error whose text never ends": (
        8,
        "class E(Exception):\n    def __str__(self):\n        while True: pass\n"
        "def conv2d_forward(*a, **k): raise E",
    ),
    "a name with HTML and escapes": (
        8,
        "def conv2d_forward(*a, **k):\n    raise type('<script>\\x1b[31m', (Exception,), {})",
    ),
    "a huge result": (
        8,
        "import numpy as np\ndef conv2d_forward(*a, **k):\n"
        "    return np.zeros((1, 1, 9999, 999)), None",
    ),
}


def processes(folder):
    """Numbers of the processes that work below a folder."""
    found = set()
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{number}/cwd").startswith(str(folder)):
                found.add(int(number))
        except OSError:
            continue
    return found


IN_SHORT = {
    *("exits hard when it is loaded", "detaches a process"),
    *("kills the judge", "objects that equal everything"),
}


@pytest.mark.parametrize(
    "attack",
    [a if a in IN_SHORT else pytest.param(a, marks=pytest.mark.slow) for a in ATTACKS],
)
def test_an_attack_gets_the_score_of_its_honest_part(
    attack, tmp_path, tmp_path_factory, monkeypatch
):
    points, code = ATTACKS[attack]
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    monkeypatch.chdir(tmp_path)
    sandboxes = tmp_path_factory.mktemp("sandboxes")
    monkeypatch.setattr(tempfile, "tempdir", str(sandboxes))
    started = time.monotonic()
    report = grading.grade(
        kit("a2", "one"), HONEST + code + "\n", tasks=("2.1", "2.2"), seconds_per_call=1,
    )  # fmt: skip
    assert report.earned == points
    assert time.monotonic() - started < 40
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert outside.read_text() == "untouched"
    for text in (as_text(report), as_markdown(report), as_html(report)):
        assert "\x1b" not in text
        assert "<script>" not in text
    for _ in range(50):  # what it has started ends with it
        if not processes(sandboxes):
            break
        time.sleep(0.1)
    assert not processes(sandboxes)
    assert list(sandboxes.iterdir()) == []


def test_what_brings_an_answer_is_not_run_and_is_flagged():
    for line in ("from minisd import ops", "import torch", "from scipy import signal"):
        report = grading.grade(kit("a2", "one"), f"{line}\n{HONEST}", tasks=("2.1",))
        assert report.earned == 0
        assert report.mistakes == ["2.1 G-import"] * 2
    report = grading.grade(kit("a2", "one"), f"import os\n{HONEST}", tasks=("2.1",))
    assert report.earned == 8
    assert report.flags == ["imports os"]


def test_files_cannot_be_read_where_the_system_allows_to_forbid_it(tmp_path):
    secret = tmp_path / "course.toml"
    secret.write_text("seed = 'secret'")
    code = f"def f():\n    return open({str(secret)!r}).read()"
    with Sandbox(code) as student:
        if student.level < 2:
            pytest.skip("this system cannot forbid it")
        with pytest.raises(Exception, match="PermissionError"):
            student.call("f")


def test_the_network_cannot_be_reached_where_the_system_allows_to_forbid_it():
    code = (
        "import socket\ndef f(port):\n"
        "    return socket.create_connection(('127.0.0.1', port), 1) and 'reached'"
    )
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server, Sandbox(code) as student:
        if student.level < 2:
            pytest.skip("this system cannot forbid it")
        with pytest.raises(Exception, match=r"PermissionError|OSError"):
            student.call("f", server.getsockname()[1])


def test_the_worker_knows_neither_seed_nor_reference():
    code = "import os, sys\ndef f():\n    return str(dict(os.environ)), str(sys.argv)"
    with Sandbox(code) as student:
        environment, line = student.call("f")
    assert "one" not in line
    assert "seed" not in environment.lower()


@pytest.mark.slow
def test_the_same_report_twice():
    text = source.read(FOLDERS["a2"] / "assignment.py").solution.replace("+=", "=", 1)
    first, second = (
        grading.grade(kit("a2", "one"), text, tasks=("2.3",)).as_json() for _ in range(2)
    )
    assert first == second
    assert first["seed_digest"] != grading.grade(kit("a2", "3"), HONEST).seed_digest


def test_a_backward_of_a_wrong_forward_is_not_paid_for_twice():
    """A forward with a doubled result, and the gradient of just that."""
    text = assignment("a2").solution.replace(
        "return y, (x, w, b, stride, padding)", "return 2 * y, (x, w, b, stride, padding)"
    )
    text = text.replace(
        "x, w, b, stride, padding = cache", "x, w, b, stride, padding = cache\n    dy = 2 * dy"
    )
    report = grading.grade(kit("a2", "one"), text, tasks=("2.2", "2.3"))
    forward, backward = report.tasks
    assert forward.earned == 0
    assert backward.earned == pytest.approx(0.7 * 40 + 5)
    assert kits.public("a2").is_public
