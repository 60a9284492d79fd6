"""Assignment 6 where each student has parameters of their own: whose they are, and what is said."""

import csv
import functools
import io
import itertools
import json
import re
from dataclasses import replace

import pytest
from test_a6 import on_posix
from test_assignments import FOLDERS, SOURCES, assignment, kit, made, solution

from minisd.cli import main
from minisd.course import bundle, grading, make, own, settings, submissions
from minisd.course import kit as kits
from minisd.course.export import gradescope
from minisd.course.handouts.a6 import experiment
from minisd.course.handouts.a6.experiment import Parameters, read_parameters
from minisd.course.handouts.a6.variants.own.checks import missing
from minisd.course.settings import OfAssignment
from minisd.errors import UserError

SEED = "a secret of sixteen letters"
ADA, BOB = "ada.2@example.org", "bob.0@example.org"
VARIANT = replace(kit("a6", kits.PUBLIC_SEED, "own"), seed=SEED)
"""Of 6.4 nothing is drawn: so the public cases serve with any seed."""
ONLY = OfAssignment(tasks=["6.4"], variant="own")


# ---- whose they are ----


@pytest.mark.parametrize(
    ("student", "depth", "p_last", "seeds"),
    [
        (ADA, 8, 0.4, (12796, 26383, 31325)),
        (BOB, 14, 0.7, (11617, 21818, 33716)),
        ("Gödel", 8, 0.7, (11613, 28047, 39084)),
    ],
)
def test_parameters_are_the_same_on_every_machine(student, depth, p_last, seeds):
    assert own.parameters(SEED, student) == Parameters(depth, p_last, seeds)
    for spelled in (student.upper(), f" {student}\n", student.replace("ö", "o\u0308")):
        assert own.parameters(SEED, spelled) == Parameters(depth, p_last, seeds)


def test_students_and_courses_have_different_ones():
    found = [own.parameters(SEED, f"student {number}") for number in range(1000)]
    assert len(set(found)) == 1000
    assert {p.depth for p in found} == set(own.DEPTHS)
    assert {p.p_last for p in found} == set(own.SURVIVALS)
    assert all(len({*p.seeds}) == 3 for p in found)
    assert max(own.DEPTHS) <= 32
    assert own.parameters(f"{SEED}.", ADA) != own.parameters(SEED, ADA)


def test_what_is_handed_out_is_read_again():
    for student in (ADA, "=1+1", 'Lovelace, "Ada"'):
        found = read_parameters(own.table(SEED, [student]).encode())
        assert found == own.parameters(SEED, student)
    assert own.table(SEED, ["=1+1"]).split("\n")[1].startswith("'=1+1,")


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([], "there are no ids"),
        ([ADA, ""], "the id '' is empty"),
        ([ADA, BOB, ADA.title()], "the id 'Ada.2@Example.Org' comes twice"),
    ],
)
def test_a_class_without_ids_is_a_sentence(ids, said):
    with pytest.raises(UserError, match=said):
        own.table(SEED, ids)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it has no column depth"),
        (b"depth,p_last\n8,0.5", "it has no column seeds"),
        (b"depth,p_last,seeds\n", "one row below its head"),
        (b"depth,p_last,seeds\n8,0.5,1\n8,0.5,2", "one row below its head"),
        (b"depth,p_last,seeds\n8,0,5,1", "one row below its head"),
        (b"depth,p_last,seeds\n8,0.5,", "it has no seeds"),
        (b"depth,p_last,seeds\n8,0.5,1;2;3", "row 2: seed is no whole number"),
        (b"depth,p_last,seeds\n8.5,0.5,1", "row 2: depth is no whole number"),
        (b"\xff", "utf-8|UTF-8"),
    ],
)
def test_parameters_in_another_form_are_a_sentence(text, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        read_parameters(text)
    (tmp_path / "parameters.csv").write_bytes(text)
    with pytest.raises(UserError, match=f"is damaged, or is not a student's parameters .*({said})"):
        experiment.load_parameters(tmp_path / "parameters.csv")
    assert re.search(said, lost({"parameters.csv": text})["own results"])
    with pytest.raises(UserError, match="save your row of your instructor's table"):
        experiment.load_parameters(tmp_path / "none.csv")


# ---- what is said of other ones ----


def lost(files, names=None):
    """The properties of 6.4 that a student with the reference's code loses, with what is said."""
    found = {}
    names = {**(names or made("a6", "own").solution), **files}
    for check in [check for check in VARIANT.checks if check.task == "6.4"]:
        (outcomes,) = make.answer_all([check], "a6", SEED, names).values()
        for name, outcome in outcomes.items():
            judged = grading.judge(VARIANT, check, name, {check.cases[0].name: outcome})
            if judged.diagnosis:
                found[name] = judged.diagnosis.says
    return found


@functools.cache
def table_of(student):
    """The table of a student who has the reference's code, two steps of each run."""
    depth, p_last, seeds = own.parameters(SEED, student)
    data = experiment.digits()
    of_seeds = [solution("a6")["two_arms"](data, seed, depth, 2, p_last) for seed in seeds]
    return list(itertools.chain.from_iterable(of_seeds))


def handed_in(records, tmp_path):
    """The files of a submission with these records, and claims about them."""
    experiment.save(records, tmp_path / "results.csv")
    how = {"of": "loss", "arm": "constant", "take": "last"}
    number = float(f"{solution('a6')['number_of'](how, records):.4g}")
    claims = {"claims": 3 * [{"sentence": "It has learnt.", "number": number, "how": how}]}
    table = (tmp_path / "results.csv").read_bytes()
    return {"results.csv": table, "claims.json": json.dumps(claims).encode()}


def test_a_table_of_a_classmate_is_caught_and_the_own_one_has_all_points(tmp_path):
    files = handed_in(table_of(ADA), tmp_path)
    assert own.parameters(SEED, ADA).depth == 8  # quick
    assert lost({**files, **own.given(VARIANT, ADA)}) == {}
    found = lost({**files, **own.given(VARIANT, BOB)})
    assert set(found) == {"own results", "rerun"}
    depth, p_last, seeds = own.parameters(SEED, BOB)
    for said in found.values():
        assert f"depth is 8 in results.csv, and yours is {depth}" in said
        assert f"and yours is {p_last:g}" in said
        assert f"yours {', '.join(map(str, seeds))}" in said


def test_a_table_whose_parameters_were_written_over_does_not_come_out_again(tmp_path):
    """The numbers of a classmate's runs below one's own seeds."""
    seeds = dict(zip(own.parameters(SEED, ADA).seeds, (4, 5, 6), strict=True))
    files = handed_in([r | {"seed": seeds[r["seed"]]} for r in table_of(ADA)], tmp_path)
    depth, p_last, _ = own.parameters(SEED, ADA)
    row = f"student,depth,p_last,seeds\nx,{depth},{p_last},4 5 6\n".encode()
    assert set(lost({**files, "parameters.csv": row})) == {"rerun"}


OWN = Parameters(8, 0.5, (1, 2, 3))


def rows(*runs):
    return [
        {"seed": seed, "depth": depth, "p_last": p_last, "arm": "constant", "step": 1}
        for seed, depth, p_last in runs
    ]


ALL = [(1, 8, 0.5), (2, 8, 0.5), (3, 8, 0.5)]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (ALL, ""),
        ([*ALL, (1, 14, 0.5), (9, 8, 0.5)], ""),
        ([(s, 14, p) for s, _, p in ALL], "depth is 14 in results.csv, and yours is 8"),
        ([(s, d, 0.4) for s, d, _ in ALL], "p_L is 0.4 in results.csv, and yours is 0.5"),
        ([*ALL[:2], (4, 8, 0.5)], "the seeds of results.csv are 1, 2, 4, yours 1, 2, 3"),
        (
            [(s, 14, 0.3) for s in range(1, 8)],
            "depth is 14 in results.csv, and yours is 8; p_L is 0.3 in results.csv, and yours is "
            "0.5",
        ),
        (
            [(s, 8, 0.5) for s in range(4, 20)],
            "the seeds of results.csv are 4, 5, 6, 7, 8, ..., yours 1, 2, 3",
        ),
        ([*ALL[:2], (3, 8, 0.6)], "no run has seed 3, depth 8 and p_L 0.5"),
    ],
)
def test_it_is_said_which_parameter_is_another_one(runs, said):
    assert missing(rows(*runs), OWN) == (f"other-parameters {said}" if said else "")


# ---- grading ----


def test_without_the_student_nothing_is_judged():
    code = submissions.Code("", [])
    with pytest.raises(UserError, match=r"\(variant own\) cannot be judged: it is not known whose"):
        grading.grade_as_set(VARIANT, code, ONLY)
    assert own.given(kit("a6", kits.PUBLIC_SEED), None) == {}


@on_posix
@pytest.mark.xdist_group("processes")
def test_the_grader_goes_by_its_own_parameters_whatever_was_handed_in(tmp_path):
    """Bob hands in all that Ada has: the whole folder, with her parameters."""
    files = {**handed_in(table_of(ADA), tmp_path), **own.given(VARIANT, ADA)}
    code = submissions.Code(assignment("a6", "own").solution, [], files)
    found = grading.grade_as_set(VARIANT, code, ONLY, student=BOB)
    assert found.flags == ["has other parameters than theirs"]
    assert (found.earned, found.points) == (7, 15)
    assert found.mistakes == ["6.4 other-parameters"] * 2


@on_posix
@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_class_is_graded_by_the_parameters_of_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    course = f'seed = "{SEED}"\n[a6]\nvariant = "own"\ntasks = ["6.4"]\n'
    (tmp_path / "course.toml").write_text(course)
    files = handed_in(table_of(ADA), tmp_path)
    for student in (ADA, BOB):
        folder = tmp_path / "handed" / student
        folder.mkdir(parents=True)
        (folder / "a6.py").write_text(assignment("a6", "own").solution)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    sources = ["--sources", str(SOURCES)]
    assert main(["course", "grade", "a6", "handed", "--quiet", *sources]) == 0
    with (tmp_path / "graded" / "grades.csv").open() as file:
        ada, bob = csv.DictReader(file)
    assert (ada["student"], float(ada["raw"]), ada["flags"]) == (ADA, 15, "")
    assert (float(bob["raw"]), bob["flags"]) == (7, "has other parameters than theirs")
    assert "and yours is" in (tmp_path / "graded" / "feedback" / f"{BOB}.md").read_text()
    assert main(["course", "explain", "a6", BOB, *sources]) == 0
    assert "own results: 0 of 3" in capsys.readouterr().out
    assert main(["course", "explain", "a6", f"handed/{ADA}/a6.py", *sources]) == 2
    assert "it is not known whose submission it is" in capsys.readouterr().err


@on_posix
@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_on_gradescope_the_id_is_the_address(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDENT", "")
    source, home = tmp_path / "source", tmp_path / "submission"
    for folder in (source, home):
        folder.mkdir()
    (source / FOLDERS["a6"].name).symlink_to(FOLDERS["a6"])
    course = f'seed = "{SEED}"\n[a6]\nvariant = "own"\ntasks = ["6.4"]\n'
    (source / "course.toml").write_text(course)
    (home / "a6.py").write_text(assignment("a6", "own").solution)
    for name, content in handed_in(table_of(ADA), tmp_path).items():
        (home / name).write_bytes(content)
    for users, score in (([{"name": "A", "email": ADA}], 15), ([{"name": "B", "email": BOB}], 7)):
        about = {"created_at": "2027-01-01T00:00:00Z", "users": users}
        (tmp_path / "submission_metadata.json").write_text(json.dumps(about))
        gradescope.run(tmp_path)
        assert json.loads((tmp_path / "results" / "results.json").read_text())["score"] == score
    (tmp_path / "submission_metadata.json").unlink()
    gradescope.run(tmp_path)
    content = json.loads((tmp_path / "results" / "results.json").read_text())
    assert "it is not known whose submission it is" in content["output"]
    said = bundle.Bundle(source).check()
    assert "(variant own): the reference has 60 points, the empty handout none" in said


# ---- the command, and exports ----


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = settings.write_new(tmp_path)
    path.write_text(path.read_text() + '[a6]\nvariant = "own"\n')
    return path


def test_the_table_of_a_class(course, tmp_path, capsys):
    (tmp_path / "ids").write_text(f"\ufeff{BOB}\r\n\r\n Gödel \r\n", encoding="utf-8")
    line = ["course", "parameters", "a6", ADA, "--file", "ids"]
    assert main(line) == 0
    printed = capsys.readouterr().out
    seed = settings.read(course).seed
    found = list(csv.DictReader(io.StringIO(printed)))
    assert [row["student"] for row in found] == [ADA, BOB, "Gödel"]
    for row in found:
        depth, p_last, seeds = own.parameters(seed, row["student"])
        assert (row["depth"], row["p_last"]) == (str(depth), str(p_last))
        assert row["seeds"] == " ".join(map(str, seeds))
    assert seed not in printed
    assert main([*line, "--out", "class.csv"]) == 0
    assert (tmp_path / "class.csv").read_text() == printed
    assert main([*line, "--out", "class.csv"]) == 2
    assert "class.csv is there already" in capsys.readouterr().err


def test_what_the_command_cannot_do_is_a_sentence(course, tmp_path, capsys):
    (tmp_path / "ids").write_bytes(b"\xff\xfe")
    for arguments, said in (
        (["a6"], "there are no ids"),
        (["a6", "--file", "none"], "there is no none: write one id a line"),
        (["a6", "--file", "ids"], "is not a list of students"),
        (["a6", ADA, ADA], "comes twice"),
        (["a2", ADA], "chooses no variant of a2 in which students have parameters"),
        (["a9", ADA], "there is no assignment 'a9'"),
    ):
        assert main(["course", "parameters", *arguments]) == 2
        assert said in capsys.readouterr().err
    course.write_text(course.read_text().replace('"own"', '"none"'))
    assert main(["course", "parameters", "a6", ADA]) == 2
    assert 'parameters of their own: [a6] has one, variant = "own"' in capsys.readouterr().err


def test_a_platform_that_does_not_say_whose_it_is_is_refused(course, capsys):
    line = ["course", "export", "a6", "prairielearn", "--sources", str(SOURCES)]
    assert main(line) == 2
    assert "needs to know whose a submission is" in capsys.readouterr().err


def test_the_ordinary_assignment_asks_for_no_parameters():
    assert own.FILE not in kit("a6", kits.PUBLIC_SEED).files
    assert own.FILE not in assignment("a6").files
    assert set(kit("a6", kits.PUBLIC_SEED, "own").files) == {
        "results.csv", "claims.json", "parameters.csv",
    }  # fmt: skip
