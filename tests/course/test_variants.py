"""Variants: how they are found and chosen, what their banks leave out, and how one is graded."""

import csv
import json
from dataclasses import replace

import pytest
from test_assignments import FOLDERS, PAIRS, SOURCES, assignment, changed, kit, made, remade

from minisd.cli import main
from minisd.course import bank as banks
from minisd.course import bundle, grading, make, material, settings, source, submissions, variants
from minisd.course import kit as kits
from minisd.course.answers import Answers, answer_all
from minisd.errors import ConfigError, UserError

VARIANTS = [pytest.param(*pair, id=" ".join(pair)) for pair in PAIRS if pair[1] != "none"]
LINE = "# minisd course: variant dilation\n"


def lost(name, variant, names, task=""):
    """The properties that functions lose in the tasks that the variant changes."""
    public = kit(name, kits.PUBLIC_SEED, variant)
    tasks = [task] if task else sorted(changed(name, variant))
    return {key: of for task in tasks for key, of in make.lost(public, names, task=task).items()}


# ---- what a variant asks for ----


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_the_reference_has_all_points_and_the_handout_none(name, variant):
    assert not lost(name, variant, made(name, variant).solution)
    script = (variants.handout(name, variant) / f"{name}.py").read_text()
    found = lost(name, variant, banks.namespace(script))
    checks = kit(name, kits.PUBLIC_SEED, variant).checks
    of_tasks = [check.points for check in checks if check.task in changed(name, variant)]
    assert set(found) == {point for points in of_tasks for point in points}
    # Of a6 that is the task of files: none is beside the handout.
    assert set(found.values()) == {"" if name == "a6" else "G-empty"}


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_answers_to_the_ordinary_assignment_do_not_fit(name, variant):
    """Each task whose text is another one loses points."""
    ordinary = {task.number: task.text for task in assignment(name).tasks}
    tasks = [t for t in assignment(name, variant).tasks if t.text != ordinary[t.number]]
    assert tasks
    for task in tasks:
        assert lost(name, variant, made(name).solution, task.number)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_what_is_stored_as_changes_is_all_of_it(name, variant):
    stored, again = kit(name, kits.PUBLIC_SEED, variant), remade(name, variant)
    assert stored.answers.expected.keys() == again.answers.expected.keys()
    assert stored.answers.mistakes.keys() == again.answers.mistakes.keys()
    assert again.mistakes.items() <= stored.mistakes.items()
    assert stored.tasks == again.tasks
    assert stored.title == again.title


# ---- what is left out of its bank ----


def is_needed(name, variant, task, mistake):
    """Whether a mistake has to be left out.

    It has to if in the variant it is right; or if, lifted, it does not lose exactly its points, or
    cannot be told from others.
    """
    forms = [
        entry
        for entry in made(name).bank.mistakes
        if (entry.about.task, entry.about.name) == (task, mistake)
    ]
    assert forms, f"there is no {task} {mistake}"
    public, ordinary = kit(name, kits.PUBLIC_SEED, variant), made(name).solution
    found = made(name, variant)
    checks = [check for check in public.checks if check.task == task]
    lifted = [
        found.solution
        | form.functions
        | material.lifted(found.assignment, {**ordinary, **form.functions})
        for form in forms
    ]
    prints = [answer_all(checks, name, kits.PUBLIC_SEED, names) for names in lifted]
    mistakes = {**public.answers.mistakes}
    mistakes[task, mistake] = [*mistakes.get((task, mistake), []), *prints]
    with_it = replace(
        public,
        answers=Answers(public.answers.expected, mistakes),
        mistakes={**public.mistakes, (task, mistake): forms[0].about},
    )
    for form, names in zip(forms, lifted, strict=True):
        losses = make.lost(with_it, names, task=task)
        is_known = set(losses) == set(form.loses) and set(losses.values()) == {mistake}
        if not is_known or not lost(name, variant, {**found.solution, **form.functions}, task):
            return True
    return False


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_nothing_is_left_out_that_could_stay(name, variant):
    for (task, mistake), why in made(name, variant).own.left_out.items():
        assert why
        assert is_needed(name, variant, task, mistake), (task, mistake)


def test_what_could_stay_is_seen():
    assert not is_needed("a2", "dilation", "2.3", "dw-mean")
    assert is_needed("a3", "unbiased", "3.1", "unbiased")
    assert not is_needed("a3", "unbiased", "3.1", "divides-by-var")


# ---- its source ----


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("# ## 2.3 Backward", "# ## 2.7 Backward"), "2.7 replaces nothing"),
        (("# %% task 2.2", "# %% task 2.8"), "task 2.8 replaces nothing"),
        (("# %% lift", "# %%"), "def spread(.*) replaces nothing"),
        (("# solution: begin", "# the solution"), "has no solution"),
    ],
)
def test_a_damaged_source_is_said(change, said, tmp_path):
    folder = tmp_path / "dilation"
    folder.mkdir()
    text = (FOLDERS["a2"] / "variants" / "dilation" / "assignment.py").read_text()
    assert change[0] in text
    (folder / "assignment.py").write_text(text.replace(*change))
    with pytest.raises(UserError, match=said):
        source.varied(assignment("a2"), folder / "assignment.py")
    with pytest.raises(UserError, match="there is no"):
        source.varied(assignment("a2"), tmp_path / "none" / "assignment.py")


def test_the_reference_of_a_task_stands_alone():
    """So it can take the place of a student's."""
    for task in assignment("a2", "dilation").tasks:
        names = banks.namespace(assignment("a2", "dilation").solution_of(task))
        assert set(task.names) <= set(names)


# ---- which one a file is of ----


def test_a_handout_says_its_variant_as_a_script_and_as_a_notebook():
    for name, variant in PAIRS:
        folder = variants.handout(name, variant)
        for path in (folder / f"{name}.py", folder / f"{name}.ipynb"):
            found = variants.of_code(submissions.read(path, name).text)
            assert found == (None if variant == "none" else variant)


@pytest.mark.parametrize(
    "text", ["", "variant dilation", "# minisd course: variant \x1b[31m", f"x = 1  {LINE}"]
)
def test_what_says_no_variant(text):
    assert variants.of_code(text) is None


def test_a_file_of_another_variant_is_said():
    """Nothing is judged here: there is no such task."""
    for variant, said in (("none", True), ("dilation", False)):
        found = grading.grade(kit("a2", kits.PUBLIC_SEED, variant), LINE, tasks=("none",))
        assert bool(found.flags) == said
        assert bool(found.remarks) == said
        assert found.title.endswith("(variant dilation)") == (variant == "dilation")
    assert found.flags == []


def test_a_student_takes_and_checks_a_variant(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "list"]) == 0
    assert "    variants: dilation" in capsys.readouterr().out
    assert main(["course", "new", "a2", "--variant", "dilaton"]) == 2
    assert "a2 has no variant 'dilaton'; did you mean 'dilation'?" in capsys.readouterr().err
    assert main(["course", "new", "a2", "--variant", "dilation"]) == 0
    assert main(["course", "check", "a2", "--task", "2.1"]) == 1
    assert "Convolution (variant dilation): 0 of 8" in capsys.readouterr().out
    path = tmp_path / "a2" / "a2.py"
    path.write_text(LINE + FULL)
    assert main(["course", "check", "a2", "--task", "2.1"]) == 0
    assert main(["course", "check", "a2", "--task", "2.1", "--variant", "none"]) == 1
    assert "note: your file is of variant dilation; this is" in capsys.readouterr().out
    assert main(["course", "pack", "a2"]) == 0
    path.write_text(LINE.replace("dilation", "dilatation") + FULL)
    for action in ("check", "pack"):
        assert main(["course", action, "a2"]) == 2
        assert "a2 has no variant 'dilatation'; did you" in capsys.readouterr().err


FULL = """
def conv_output_size(x_shape, w_shape, stride, padding, dilation):
    room = [n + 2 * padding - dilation * (k - 1) for n, k in zip(x_shape[2:], w_shape[2:])]
    if min(room) < 1:
        raise ValueError
    return tuple((r - 1) // stride + 1 for r in room)
"""


# ---- the course's choice ----


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = settings.write_new(tmp_path)
    path.write_text(path.read_text() + '[a2]\nvariant = "dilation"\ntasks = ["2.1"]\n')
    return path


def test_an_unknown_variant_in_the_settings_is_said(course):
    assert settings.read(course).of("a2").variant == "dilation"
    assert settings.read(course).of("a1").variant == "none"
    course.write_text(course.read_text().replace('"dilation"', '"dilations"'))
    with pytest.raises(
        ConfigError, match=r"a2 has no variant 'dilations'; did you mean 'dilation'"
    ):
        settings.read(course)


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_class_is_graded_by_the_variant_of_the_course(course, tmp_path, capsys):
    for student, text in (("ada", FULL), ("bob", FULL.replace("dilation *", "1 *"))):
        (tmp_path / "handed" / student).mkdir(parents=True)
        (tmp_path / "handed" / student / "a2.py").write_text(text)
    sources = ["--sources", str(SOURCES)]
    assert main(["course", "grade", "a2", "handed", "--quiet", *sources]) == 0
    assert (
        (tmp_path / "graded" / "summary.md")
        .read_text()
        .startswith("# Assignment 2: Convolution (variant dilation)\n")
    )
    assert json.loads((tmp_path / "graded" / "run.json").read_text())["variant"] == "dilation"
    with (tmp_path / "graded" / "grades.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["student"], float(row["raw"])) for row in rows] == [("ada", 8), ("bob", 0)]
    assert "2.1 dilation-ignored" in rows[1]["mistakes"]
    for action in ("cluster", "similar", "viva"):
        assert main(["course", action, *sources]) == 0
    assert "(variant dilation)" in (tmp_path / "graded" / "viva.md").read_text()
    base = tmp_path / "graded" / "similar" / "base" / "a2.py"
    assert LINE in base.read_text()
    assert "ordinary" not in base.read_text()
    assert main(["course", "explain", "a2", "handed/ada/a2.py", *sources]) == 0
    assert "2.1 The size of the output: 8 of 8" in capsys.readouterr().out


def test_an_export_has_the_variant_of_the_course(course):
    exported = bundle.export(FOLDERS["a2"], course)
    assert exported.assignment.title.endswith("(variant dilation)")
    assert exported.kit.variant == "dilation"
    folder = "a2_convolution/variants/dilation"
    files = {f"{folder}/{name}.py" for name in ("assignment", "mistakes", "right")}
    assert files <= set(exported.secret)


@pytest.mark.slow
def test_a_bundle_grades_a_variant(course, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / FOLDERS["a2"].name).symlink_to(FOLDERS["a2"])
    (home / "course.toml").write_text(course.read_text())
    (tmp_path / "a2.py").write_text(FULL)
    opened = bundle.Bundle(home)
    assert opened.grade(opened.read(tmp_path / "a2.py")).earned == 8
    said = opened.check()
    assert "(variant dilation): the reference has 100 points, the empty handout none" in said


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_in_a_notebook_of_a_platform_each_solution_stands_alone(name, variant):
    found = assignment(name, variant)
    cells = [cell.text for cell in found.cells if "[markdown]" not in cell.title]
    text = "\n\n".join(found.rewritten(cell, lambda indent, body, blank: body) for cell in cells)
    assert not lost(name, variant, {**banks.namespace(text), **found.files})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "broken", "task"),
    [
        ("a1", "temperature", "softmax_cross_entropy", "1.5"),
        ("a4", "zeros_first", "relu_forward", "4.2"),
    ],
)
def test_a_later_task_is_given_the_reference_of_earlier_ones(name, variant, broken, task):
    """In a variant that is the lifted one, in the student's process."""
    script = (variants.handout(name, variant) / f"{name}.py").read_text()
    of_task = next(t for t in assignment(name, variant).tasks if t.number == task)
    text = f"{script}\n\n{TRAIN if task == '1.5' else of_task.text}"
    assert broken in of_task.text or broken in TRAIN
    found = grading.grade(kit(name, "one", variant), text)
    points = {report.number: report.earned for report in found.tasks}
    assert points[task] == of_task.points
    assert sum(points.values()) == of_task.points


TRAIN = """
def train(images, labels, steps, batch, lr, rng, temperature):
    w, b = np.zeros((labels.max() + 1, images.shape[1])), np.zeros(labels.max() + 1)
    for _ in range(steps):
        chosen = rng.choice(len(images), batch, replace=False)
        logits, cache = linear_forward(images[chosen], w, b)
        _, dlogits = softmax_cross_entropy(logits, labels[chosen], temperature)
        _, dw, db = linear_backward(dlogits, cache)
        w, b = w - lr * dw, b - lr * db
    return w, b
"""
