"""What tutorials share: claims, figures, exercises, and the notebooks made from them."""

import subprocess
import sys
from pathlib import Path

import pytest

import every_tutorial
from minisd.cli import main
from minisd.errors import UserError
from minisd.tutorial import notebooks


def test_building_writes_a_notebook_beside_each_and_the_same_one_again(tmp_path, capsys):
    script = tmp_path / "01_one.py"
    script.write_text("# %% [markdown]\n# See [two](02_two.py).\n\n# %%\nprint(1)\n")
    assert main(["tutorials", "build", str(tmp_path)]) == 0
    made = script.with_suffix(".ipynb")
    assert capsys.readouterr().out == f"{made}\n"
    before = made.read_bytes()
    assert b"(02_two.ipynb)" in before
    assert main(["tutorials", "build", str(tmp_path)]) == 0
    assert made.read_bytes() == before


HEAD = """\
# %% [markdown]
# # 1. One
#
# Everybody counts. You
# may want to.
#
# **You will learn** to count,
# from one.
#
# **You need** fingers.
#
# **Time**: 5 minutes.
#
# One.
"""


def test_listing_names_them_and_an_empty_folder_says_what_to_do(tmp_path, capsys):
    assert main(["tutorials", "list", str(tmp_path)]) == 2
    assert "folder 'tutorials' of a checkout" in capsys.readouterr().err
    script = tmp_path / "01_one.py"
    script.write_text(HEAD)
    assert main(["tutorials", "list", str(tmp_path)]) == 0
    listed = capsys.readouterr().out.split()  # a long path stands on a line of its own
    assert listed == [str(script), "One", "(5", "minutes)"]
    assert notebooks.about(script) == notebooks.About(
        1, "One", "Everybody counts. You may want to.", "to count, from one.", "fingers.", 5
    )
    script.write_text(HEAD.replace("**Time**", "Time"))
    with pytest.raises(UserError, match="'You need' and 'Time'"):
        notebooks.about(script)


def test_without_jupytext_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    (tmp_path / "01_one.py").write_text(HEAD)
    monkeypatch.setitem(sys.modules, "jupytext", None)
    assert main(["tutorials", "build", str(tmp_path)]) == 2
    assert "pip install 'minisd[tutorials]'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["01_one.py"]


def test_a_figure_of_a_script_is_a_file(tmp_path):
    text = (
        "from minisd.figures import new_figure\nfrom minisd.tutorial import show\n"
        "show(new_figure(1, 1), '01_empty', 'Nothing')\n"
    )
    done = ask(tmp_path, text)
    assert done.stdout.split() == ["figure", str(Path("figures", "01_empty.png"))]
    assert (tmp_path / "figures" / "01_empty.png").read_bytes().startswith(b"\x89PNG")


EXERCISE = """
from minisd.tutorial import claim, exercise, is_quick

def double(x):
    raise NotImplementedError

def check(double):
    {check}

exercise(1, double, check)
"""


def ask(folder: Path, text: str, solution: str = "", *options: str):
    script = folder / "01_one.py"
    script.write_text(text)
    (folder / "solutions").mkdir(exist_ok=True)
    (folder / "solutions" / script.name).write_text(solution)
    return every_tutorial.run(script, folder, *options)


SOLUTION = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("check", "solution", "told"),
    [
        ("assert double(3) == 6", SOLUTION, None),
        ("pass", SOLUTION, "its check lets the empty double pass"),
        (
            "assert double(3) == 7, 'want 7'",
            SOLUTION,
            "solution is not yet: want 7",
        ),
        ("assert double(3) == 6", "", "has no double"),
        ("assert double(3) == 6", "def double(x):\n    return y\n", "NameError"),
    ],
)
def test_the_exercises_are_tested(tmp_path, check, solution, told):
    done = ask(tmp_path, EXERCISE.format(check=check), solution, "--solutions")
    if told is None:
        assert done.returncode == 0, done.stderr
        assert done.stdout == "exercise 1 is yours to write\nexercise 1 the solution passes\n"
    else:
        assert done.returncode == 1
        assert told in done.stderr


def test_a_reader_is_told_what_is_not_right_yet(tmp_path):
    text = EXERCISE.format(check="assert double(3) == 6, f'got {double(3)}'")
    for answer, told in (("3 * x", "not yet: got 9"), ("2 * x", "solved")):
        mine = text.replace("raise NotImplementedError", f"return {answer}")
        done = ask(tmp_path, mine)
        assert (done.returncode, done.stdout) == (0, f"exercise 1 {told}\n")


def test_a_failure_of_the_check_itself_has_its_name(tmp_path):
    text = EXERCISE.format(check="1 / 0")
    assert ask(tmp_path, text).stdout == "exercise 1 not yet: ZeroDivisionError: division by zero\n"


def test_a_claim_that_does_not_hold_stops_the_tutorial(tmp_path):
    text = "from minisd.tutorial import claim\nclaim('two is {}', 2 == {}{})\n"
    assert ask(tmp_path, text.format(2, 2, "")).stdout == "holds      two is 2\n"
    done = ask(tmp_path, text.format(3, 3, ""))
    assert done.returncode == 1
    assert "does not hold here: two is 3" in done.stderr
    in_full = text.format(3, 3, ", in_full=True")
    assert ask(tmp_path, in_full).returncode == 1
    assert "not asked of a quick run" in ask(tmp_path, in_full, "", "--quick").stdout


def test_a_mistyped_option_is_refused(tmp_path):
    done = ask(tmp_path, "from minisd.tutorial import is_quick\nis_quick()\n", "", "--quik")
    assert done.returncode == 2
    assert "--quik" in done.stderr
    assert subprocess.run([sys.executable, tmp_path / "01_one.py", "--help"]).returncode == 0
