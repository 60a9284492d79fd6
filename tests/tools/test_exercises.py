"""Every exercise takes right answers of any kind, and refuses wrong ones with the right words.

The answers are in ``answers/NN_name.py``, in cells whose first lines say ``# %% N right: what it
does`` or ``# %% N wrong: what it does | what its author is told``. They are read as if they stood
in their tutorial.
"""

import argparse
import ast
import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import every_tutorial
from minisd.errors import UserError
from minisd.tutorial import excerpt, notebooks, tools

HERE = Path(__file__).parent / "answers"
SCRIPTS = notebooks.scripts(every_tutorial.FOLDER)
each_exercise = pytest.mark.parametrize(
    ("script", "number"),
    [pytest.param(script, n, id=f"{script.stem}-{n}") for script in SCRIPTS for n in (1, 2, 3)],
)


class Given(NamedTuple):
    """An answer that somebody might give."""

    right: bool
    does: str
    told: str
    code: str


def answers_to(script: Path, number: int) -> list[Given]:
    """The answers to an exercise, from their file."""
    found = []
    for cell in (HERE / script.name).read_text(encoding="utf-8").split("\n# %% ")[1:]:
        head, code = cell.split("\n", 1)
        which, does = head.split(": ", 1)
        if which.startswith(f"{number} "):
            does, _, told = does.partition(" | ")
            found.append(Given(which.endswith("right"), does, told, code))
    return found


@pytest.fixture
def run(monkeypatch):
    """Run an excerpt of a tutorial in this process; return what it has defined and printed."""
    options = argparse.Namespace(quick=True, exercise=None, solutions=False)
    monkeypatch.setattr(tools, "_arguments", lambda: options)

    def run_it(script: Path, number: int, also: str = "") -> tuple[dict[str, Any], str]:
        tutorial: dict[str, Any] = {"__file__": str(script), "__name__": "tutorial"}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(excerpt.of(script, number, also), tutorial)
        return tutorial, printed.getvalue()

    return run_it


def name_of(script: Path, number: int) -> str:
    """The name of the function that an exercise asks for."""
    text = script.read_text(encoding="utf-8")
    return re.search(rf"^exercise\({number}, (\w+), check\)$", text, re.MULTILINE)[1]


@each_exercise
def test_right_answers_pass_and_wrong_ones_are_told_what_is_wrong(script, number, run):
    answers, name = answers_to(script, number), name_of(script, number)
    assert sum(given.right for given in answers) >= 2
    assert sum(not given.right for given in answers) >= 4
    tutorial, _ = run(script, number, "\n".join(given.code for given in answers))
    mistaken = []
    for right, does, told, code in answers:
        attempt = dict(tutorial)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(code, f"<{does}>", "exec"), attempt)
            problem = tools.problem_of(attempt[name], name, tutorial["check"])
        if problem is not None if right else told not in (problem or ""):
            mistaken.append(f"{does}: {problem}")
        elif not right:
            assert told, f"what is the author of {does!r} told?"
    assert not mistaken, "\n".join(mistaken)


SLIPS = [
    ("...", "is yours to write"),
    ("pass", "is yours to write"),
    ("raise NotImplementedError('later')", "is yours to write"),
    ("x = arguments", "not yet: your {} returned None: is its return missing?"),
    ("return missing", "not yet: your {} raised NameError: name 'missing' is not defined"),
    ("return lambda: 0", "not yet: your {} returned a function "),
]


@each_exercise
def test_slips_are_called_by_their_name(script, number, run):
    name = name_of(script, number)
    tutorial, printed = run(script, number)
    assert printed.endswith(f"exercise {number} is yours to write\n")
    for body, told in SLIPS:
        exec(f"def {name}(*arguments, **options):\n    {body}", attempt := {})
        problem = tools.problem_of(attempt[name], name, tutorial["check"])
        assert problem.startswith(told.format(name)), body
        assert len(problem) < 400


@each_exercise
def test_an_exercise_runs_alone_when_it_is_solved(script, number, run, tmp_path):
    """The solution is written into the tutorial, where the reader would write it."""
    name, text = name_of(script, number), script.read_text(encoding="utf-8")
    blank = next(node for node in ast.parse(text).body if getattr(node, "name", None) == name)
    lines = text.split("\n")
    lines[blank.lineno - 1 : blank.end_lineno] = tools.solution(script).split("\n")
    solved = tmp_path / script.name
    solved.write_text("\n".join(lines), encoding="utf-8")
    _, printed = run(solved, number)
    assert printed.endswith(f"exercise {number} solved\n")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_one_exercise_and_no_more(script, tmp_path):
    done = every_tutorial.run(script, tmp_path, "--exercise", "2", "--solutions")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-2:]
    assert (first, second) == ("exercise 2 is yours to write", "exercise 2 the solution passes")
    assert done.stdout.count("holds") <= 1
    assert not list(tmp_path.iterdir())  # no figures


def test_an_exercise_that_is_not_there_is_refused_in_a_sentence(tmp_path):
    for number, told in (("4", "has no exercise 4; its exercises are 1, 2, 3"), ("x", "invalid")):
        done = every_tutorial.run(SCRIPTS[0], tmp_path, "--exercise", number)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr


TUTORIAL = """\
import math
from pathlib import Path

# %%
rate = 1
rate += 2
table = {}
table["a"] = rate
if rate > 2:
    limit = 10
slow = [1][5]
k = "of nobody"
double = lambda x: factor * x
factor = 3
squares = [limit * k for k in range(3)]


class Base:
    size = double(1)
    later = lambda self: Path


# %%
def yours(x):
    return x


found = (Base, squares, table)
exercise(1, yours, None)
factor = 4
"""


@pytest.mark.parametrize(
    ("cell", "needs"),
    [
        ("pass", ""),
        ("rate", "rate = 1; rate += 2"),
        ("table", "rate = 1; rate += 2; table = {}; table['a'] = rate"),
        ("limit", "rate = 1; rate += 2; if rate > 2:\n    limit = 10"),
        ("double", "double = lambda x: factor * x; factor = 3"),
        ("slow", "slow = [1][5]"),
        ("lambda slow: slow", ""),
        ("{k: slow for k in () for slow in ()}", ""),
        ("Path, unknown", "from pathlib import Path"),
    ],
)
def test_an_excerpt_has_what_is_needed_and_no_more(tmp_path, monkeypatch, cell, needs):
    script, kept = tmp_path / "01_one.py", []
    text = TUTORIAL.replace("found = (Base, squares, table)", cell)
    script.write_text(text)
    monkeypatch.setattr(excerpt, "compile", lambda tree, *_: kept.append(tree), raising=False)
    excerpt.of(script, 1)
    before = [ast.unparse(node) for node in kept[0].body]
    del before[before.index("def yours(x):\n    return x") :]
    assert "; ".join(before) == needs


def test_an_excerpt_runs(tmp_path):
    script = tmp_path / "01_one.py"
    script.write_text(TUTORIAL)
    calls = []
    tutorial = {"exercise": lambda *given: calls.append(given)}
    exec(excerpt.of(script, 1), tutorial)
    assert [given[0] for given in calls] == [1]
    assert tutorial["squares"] == [0, 10, 20]
    assert tutorial["table"] == {"a": 3}
    assert tutorial["Base"].size == 3
    assert not {"math", "slow"} & tutorial.keys()
    with pytest.raises(UserError, match="has no exercise 2; its exercises are 1"):
        excerpt.of(script, 2)
