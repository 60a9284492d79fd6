"""After grading: unnamed mistakes of a class, answers that look alike, questions, one in full."""

import shutil

import pytest
from test_assignments import FOLDERS, SOURCES, assignment, bank
from test_class import RIGHT, SHORT

from minisd.cli import main
from minisd.course import batch, cluster, graded, grading, settings, similar, submissions, viva
from minisd.course import kit as kits
from minisd.course.report import Report
from minisd.course.settings import OfAssignment, Settings
from minisd.errors import UserError

pytestmark = pytest.mark.xdist_group("processes")
ODD = """
from math import floor as down
ONE = 1

def steps(room, stride):
    return down(room / stride) + 2 * ONE

def conv_output_size(x_shape, w_shape, stride, padding):
    # by Bob, at night
    room = [n + 2 * padding - k for n, k in zip(x_shape[2:], w_shape[2:])]
    if min(room) < 0:
        raise ValueError
    return tuple(steps(r, stride) for r in room)
"""
ODD_TOO = RIGHT.replace("+ 1", "+ 2")
ANOTHER = RIGHT.replace("// stride", "// stride ** 2")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A graded class, with sources of its own: results, the folder, the sources."""
    folder = tmp_path_factory.mktemp("class")
    sources = folder / "course"
    sources.mkdir()
    shutil.copytree(FOLDERS["a2"], sources / FOLDERS["a2"].name)
    for name, code in {"ada": RIGHT, "bob": ODD, "cleo": ODD_TOO, "dan": ANOTHER}.items():
        (folder / "handed in" / name).mkdir(parents=True)
        (folder / "handed in" / name / "a2.py").write_text(code)
    path = settings.write_new(folder)
    path.write_text(path.read_text() + '[a2]\ntasks = ["2.1"]\n')
    of = settings.read(path)
    kit = kits.full(sources / FOLDERS["a2"].name, of.seed)
    found = submissions.find(folder / "handed in", "a2")
    batch.grade_class(kit, found, of, folder / "graded", jobs=2)
    return graded.read_run(folder / "graded")[1], folder / "graded", sources


def test_equal_wrong_answers_are_a_group_however_they_are_written(course):
    results, _, _ = course
    found = cluster.groups(results)
    assert [(g.task, g.properties, g.students) for g in found] == [
        ("2.1", ("size",), ("bob", "cleo")), ("2.1", ("size",), ("dan",)),
    ]  # fmt: skip
    assert "| 1 | 2 | 2.1 | size |" in cluster.as_markdown("A", found)


def test_a_group_that_is_adopted_is_named_from_then_on(course, capsys):
    _, folder, sources = course
    mistakes = sources / FOLDERS["a2"].name / "mistakes.py"
    before = mistakes.read_text()
    line = ["course", "cluster", str(folder), "--sources", str(sources)]
    assert main(line) == 0
    assert main([*line, "--adopt", "3", "--name", "x"]) == 2
    assert "there is no group 3; there are 2" in capsys.readouterr().err
    assert main([*line, "--adopt", "1"]) == 2
    assert "needs a --name" in capsys.readouterr().err
    assert main([*line, "--adopt", "1", "--name", "rounds-up"]) == 2
    assert "has a mistake 2.1 rounds-up already" in capsys.readouterr().err
    assert mistakes.read_text() == before
    assert main([*line, "--adopt", "1", "--name", "two-more"]) == 0
    stub = mistakes.read_text().removeprefix(before)
    place = mistakes.read_text().splitlines().index("@mistake(", before.count("\n"))
    assert f"line {place + 1}:" in capsys.readouterr().out
    assert "Bob" not in stub  # no comments of a student
    assert "from math import floor" in stub
    kit = kits.full(mistakes.parent, "another seed")
    for code in (ODD, ODD_TOO):
        assert grading.grade(kit, code, tasks=("2.1",)).mistakes == ["2.1 two-more"]
    assert grading.grade(kit, ANOTHER, tasks=("2.1",)).mistakes == []
    mistakes.write_text(before)


def test_code_that_reaches_for_the_system_is_not_adopted(course, tmp_path):
    results, _, _ = course
    group = cluster.groups(results)[0]
    evil = [graded.Result("bob", "", "", code="import os\n" + ODD)]
    path = tmp_path / "mistakes.py"
    path.write_text("")
    (tmp_path / "right.py").write_text("")
    with pytest.raises(UserError, match="runs in your own process: write this one yourself"):
        cluster.adopt(group, "x", evil, assignment("a2"), path)
    assert path.read_text() == ""


def test_grading_again_with_another_bank_names_and_costs_nothing(course, tmp_path):
    results, folder, sources = course
    copy = tmp_path / "a2_convolution"
    shutil.copytree(sources / FOLDERS["a2"].name, copy)
    cluster.adopt(
        cluster.groups(results)[0], "two-more", results, assignment("a2"), copy / "mistakes.py"
    )
    course_settings = Settings("0123456789abcdef", assignments={"a2": SHORT})
    found = submissions.find(folder.parent / "handed in", "a2")
    rows = [
        batch.grade_class(kits.full(of, "s"), found, course_settings, tmp_path / "out", jobs=2)
        for of in (FOLDERS["a2"], copy)
    ]
    assert [[row["total"] for row in r] for r in rows] == [[8, 3, 3, 3]] * 2
    assert [[row["mistakes"] for row in r] for r in rows] == [
        ["", "", "", ""], ["", "2.1 two-more", "2.1 two-more", ""],
    ]  # fmt: skip


# ---- similar ----

CODE = """
def conv_output_size(x_shape, w_shape, stride, padding):
    _, _, height, width = x_shape
    _, _, rows, columns = w_shape
    free = height + 2 * padding - rows, width + 2 * padding - columns
    if free[0] < 0 or free[1] < 0:
        raise ValueError("too large")
    down, right = free[0] // stride, free[1] // stride
    return down + 1, right + 1
"""
RENAMED = CODE.replace("height", "a").replace("width", "bb").replace("free", "rest").replace(
    "too large", "oh no"
).replace("down,", "d ,").replace("down +", "d  +  ")  # fmt: skip
OTHER = """
def conv_output_size(x_shape, w_shape, stride, padding):
    size = []
    for n, k in list(zip(x_shape, w_shape))[2:]:
        last = n - k + padding + padding
        assert_fits(last)
        size.append(len(range(0, last + 1, stride)))
    return tuple(size)

def assert_fits(last):
    if last < 0:
        raise ValueError(last)
"""


def of_class(**codes):
    return [graded.Result(name, "", "", code=code) for name, code in codes.items()]


def test_a_renamed_copy_is_found_and_another_answer_is_not():
    handout = assignment("a2").blank(assignment("a2").solution)
    (pair,) = similar.pairs(of_class(ada=CODE, bob=RENAMED, cleo=OTHER), handout, {})
    assert (pair.one, pair.other) == ("ada", "bob")
    assert pair.shared > 0.9
    (copied,) = similar.pairs(of_class(ada=CODE), handout, {"the solution": RENAMED})
    assert copied.other == "the solution"


def test_what_all_have_been_given_or_many_have_written_is_no_sign():
    assert similar.pairs(of_class(ada=CODE, bob=CODE), CODE, {}) == []
    many = {f"s{i}": CODE.replace("+ 1", f"+ {i}") for i in range(9)}
    assert similar.pairs(of_class(**many), "", {}) == []
    few = {name: many[name] for name in ("s1", "s2")}
    assert len(similar.pairs(of_class(**few), "", {})) == 1


def test_a_wrong_answer_that_only_two_have_is_listed_with_them(course):
    results, _, _ = course
    pairs = similar.pairs(results, "", {})
    assert [(p.one, p.other, p.mistakes) for p in pairs if p.mistakes] == [
        ("bob", "cleo", ("2.1 size",))
    ]


def test_code_that_is_no_python_is_compared_as_far_as_it_goes():
    broken = CODE + "\ndef ((\n'''"
    (pair,) = similar.pairs(of_class(ada=CODE, bob=broken, cleo="(", dan=""), "", {})
    assert (pair.one, pair.other) == ("ada", "bob")


def test_the_command_writes_the_pairs_and_folders_for_other_programs(course):
    _, folder, sources = course
    assert main(["course", "similar", str(folder), "--sources", str(sources)]) == 0
    assert "| bob | cleo |" in (folder / "similar.md").read_text()
    assert (folder / "similar" / "students" / "bob" / "a2.py").read_text() == ODD
    assert "raise NotImplementedError" in (folder / "similar" / "base" / "a2.py").read_text()
    assert "students/bob/a2.py,bob" in (folder / "similar" / "info.csv").read_text()


# ---- viva, explain ----


def test_questions_are_about_what_is_right_and_other_ones_for_each(course):
    _, folder, sources = course
    assert main(["course", "viva", str(folder), "--sources", str(sources)]) == 0
    text = (folder / "viva.md").read_text()
    of = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    assert of["ada"].count("Which line of yours prevents that?") == viva.QUESTIONS
    assert "right in theirs: size" not in of["bob"]
    entries = bank("a2").mistakes
    points = {task.number: task.points for task in assignment("a2").tasks}
    full = grading.grade(kits.public("a2"), assignment("a2").solution)
    asked = [
        [e.about.name for e in viva.questions(entries, graded.Result(n, "", "", full), points)]
        for n in ("ada", "ada", "bob", "cleo", "dan", "eve")
    ]
    assert asked[0] == asked[1]
    assert len({tuple(names) for names in asked}) >= 3
    tasks = [
        e.about.task for e in viva.questions(entries, graded.Result("x", "", "", full), points)
    ]
    assert tasks == ["2.3", "2.2"]  # those with the most points


def test_one_submission_in_full_has_inputs_and_right_results(course, capsys):
    _, folder, sources = course
    line = ["--graded", str(folder), "--sources", str(sources), "--settings"]
    line.append(str(folder.parent / "course.toml"))
    assert main(["course", "explain", "a2", "bob", *line]) == 0
    said = capsys.readouterr().out
    assert "2.1 size, case" in said
    assert "x_shape: " in said
    assert "theirs: " in said
    assert "right: " in said
    assert main(["course", "explain", "a2", str(folder.parent / "handed in/ada/a2.py"), *line]) == 0
    assert "2.1 size, case" not in capsys.readouterr().out
    assert main(["course", "explain", "a2", "zoe", *line]) == 2
    assert "'zoe' is no file, and" in capsys.readouterr().err


# ---- hints that grow ----


def test_a_hint_more_with_each_submission_that_failed_in_the_same_property(tmp_path):
    course = Settings("0123456789abcdef", assignments={"a2": OfAssignment(
        tasks=["2.1"], hints="stepwise", seconds_per_call=2)})  # fmt: skip
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "ada").mkdir(parents=True)
    kit = kits.full(FOLDERS["a2"], course.seed)
    says, look = "counted once", "On how many sides"

    def hand_in(code):
        (folder / "ada" / "a2.py").write_text(code)
        batch.grade_class(kit, submissions.find(folder, "a2"), course, out, jobs=1)
        text = (out / "feedback" / "ada.md").read_text()
        return look in text, says in text

    once = RIGHT.replace("2 * padding", "padding")
    assert hand_in(once) == (False, False)
    assert hand_in(once) == (False, False)  # the same file: it is not another submission
    assert hand_in(once + "\n# 2") == (True, False)
    assert hand_in(once + "\n# 3") == (True, True)
    assert hand_in(RIGHT) == (False, False)
    assert hand_in(once + "\n# 4") == (True, True)


def test_points_as_set_are_the_points_that_the_student_sees(tmp_path):
    of = OfAssignment(tasks=["2.1"], points={"2.1": 16})
    course = Settings("0123456789abcdef", assignments={"a2": of})
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "ada" / "a2.py").write_text(ODD)
    kit = kits.full(FOLDERS["a2"], course.seed)
    found = submissions.find(tmp_path / "in", "a2")
    (row,) = batch.grade_class(kit, found, course, tmp_path / "out", jobs=1)
    assert row["total"] == 6
    text = (tmp_path / "out" / "feedback" / "ada.md").read_text()
    assert "**6 of 16 points**" in text


def test_a_folder_that_was_not_graded_is_refused(tmp_path, capsys):
    for action in ("cluster", "similar", "viva"):
        assert main(["course", action, str(tmp_path), "--sources", str(SOURCES)]) == 2
        assert "give the folder that 'minisd course grade' has written" in capsys.readouterr().err
    assert cluster.groups([graded.Result("a", "", "", Report("a2", "", "", 2, []))]) == []
