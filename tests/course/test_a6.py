"""Assignment 6: what functions return, what of the library is there, what waits for a person."""

import math
import os
from pathlib import Path

import pytest
from test_a6_claims import TEST
from test_a6_files import DEEP, TABLE, with_claim
from test_assignments import assignment, kit, solution

from minisd.course import grading, make, staging
from minisd.course.answers import Local
from minisd.course.checks import Failure
from minisd.course.handouts.a6 import checks
from minisd.course.report import as_html, as_markdown, as_text
from minisd.course.sandbox import Sandbox

on_posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX")


# ---- what a student's functions return ----


def changed_records(change):
    def two_arms(*settings, **options):
        records = solution("a6")["two_arms"](*settings, **options)
        return change(records)

    return two_arms


def without_loss(records):
    return [{k: v for k, v in r.items() if k != "loss"} for r in records]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda records: None, "no list of dicts"),
        (without_loss, "records without 'loss'"),
        (lambda records: records[1:], "other steps of the constant arm than 1 to 3"),
        (lambda records: records * 2, "other steps of the constant arm than 1 to 3"),
        (
            lambda records: [r | {"seed": -1} for r in records],
            "records whose 'seed' is not the one",
        ),
        (lambda records: [r | {"arm": "a"} for r in records], "is neither constant nor stochastic"),
        (lambda records: [r | {"loss": "2"} for r in records], "records whose 'loss' is no number"),
        (lambda records: [r | {"gradients": 3.0} for r in records], "are no list of numbers"),
        (lambda records: [records[0] | {"gradients": [1.0]}, *records[1:]], "more gradients in"),
    ],
)
def test_records_of_another_form_are_a_sentence(change, said):
    (check,) = [c for c in checks.CHECKS if "gates" in c.points]
    names = {**solution("a6"), "two_arms": changed_records(change)}
    inputs = check.cases[0].inputs("one", "a6")
    with pytest.raises(Failure, match="G-results") as failed:
        check.run(Local(names), inputs)
    assert said in failed.value.kind


def faster(*settings, **options):
    return solution("a6")["two_arms"](*settings, **options | {"lr": 1.02 * options["lr"]})


def one_step_early(*settings, **options):
    records = solution("a6")["two_arms"](*settings, **options)
    names = ("validation_error", "test_error")
    return [
        late | {name: early[name] for name in names}
        for early, late in zip([records[0], *records], records, strict=False)
    ]


def into_the_images(data, *settings, **options):
    records = solution("a6")["two_arms"](data, *settings, **options)
    data["train"][0][0] += 1
    return records


def first_seed(records):
    seeds = {r["seed"] for r in records}
    found = solution("a6")["summary"]([r for r in records if r["seed"] == min(seeds)])
    return {arm: {**of, "sd": solution("a6")["summary"](records)[arm]["sd"]}
            for arm, of in found.items()}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "functions", "lost"),
    [
        ("6.2", {"two_arms": faster}, {"constant arm": "", "stochastic arm": ""}),
        ("6.2", {"two_arms": one_step_early}, {"errors": "", "stochastic arm": ""}),
        (
            "6.2",
            {"two_arms": into_the_images},
            dict.fromkeys(
                ("constant arm", "errors", "gates", "stochastic arm", "same start", "same batches"),
                "G-mutates",
            ),
        ),
        ("6.3", {"summary": first_seed}, {"means, always open": "", "means over open steps": "",
                                          "hardly any": ""}),
    ],
)  # fmt: skip
def test_what_no_mistake_of_the_bank_loses_can_be_lost(task, functions, lost):
    names = {**solution("a6"), **functions}
    found = make.lost(kit("a6", "public"), names, task=task)
    # errors of few images may be the same by chance
    assert {name: of for name, of in found.items() if name != "errors" or name in lost} == lost


# ---- in the student's process ----


@on_posix
@pytest.mark.xdist_group("processes")
def test_broken_files_cost_their_own_points_and_a_report_waits_for_a_person():
    broken = {"results.csv": b"\x00\xff", "claims.json": DEEP}
    found = grading.grade(
        kit("a6", "public"), assignment("a6").solution, tasks=("6.3", "6.4", "6.5"), files=broken
    )
    assert [(task.number, task.earned, task.waiting) for task in found.tasks] == [
        ("6.3", 10, 0), ("6.4", 0, 0), ("6.5", 0, 40),
    ]  # fmt: skip
    assert found.points == 25
    for text in (as_text(found), as_markdown(found), as_html(found)):
        assert "6.5 Report: 40 points, judged by a person: not yet" in text
        assert "results.csv cannot be read" in text


@on_posix
@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_stale_claim_is_named_and_said_where():
    """And a claim that was chosen on the test set, and a rerun of a network that learns slower."""
    text = assignment("a6").solution.replace("lr=0.05", "lr=0.04")
    claim = with_claim(number=1.7, how=TEST | {"take": "min"})
    found = grading.grade(
        kit("a6", "one"), text, tasks=("6.4",), files={"results.csv": TABLE, "claims.json": claim}
    )
    assert found.mistakes == ["6.4 stale-claim", "6.4 best-test"]
    assert found.earned == 3
    said = as_text(found)
    assert "a claim is not what the table gives: claim 3 says 1.7, and results.csv gives 0." in said
    assert "step 2: loss is 2.3" in said


ASKED = """
import minisd
from minisd.course.handouts.a6.experiment import digits
from minisd.data import load
from minisd.experiments import gradients
from minisd.runs import session

DIGITS = digits()

def train():
    import numpy as np
    model = minisd.resnet(8, in_channels=1, rng=np.random.default_rng(0), dtype=np.float64)
    images, labels = DIGITS["train"]
    from minisd.train import train_step
    loss = train_step(model, minisd.SGD(model, 0.05), images[:64], labels[:64])
    return loss, len(load("digits").test), session.__file__

def imports(name):
    __import__(name)
"""


@pytest.fixture(scope="module")
def staged():
    return (staging.stage(checks.STAGED, checks.LIBRARIES),)


@on_posix
@pytest.mark.slow
def test_all_of_minisd_is_there_but_the_course(staged):
    with Sandbox(ASKED, staged=staged) as student:
        loss, count, path = student.call("train")
        assert (count, math.isfinite(loss)) == (359, True)
        assert path.startswith(str(staged[0]))
        for name in ("minisd.course.kit", "minisd.course.handouts.a6.files", "matplotlib"):
            with pytest.raises(Failure, match="ModuleNotFoundError"):
                student.call("imports", name)
    found = {path.name for path in Path(staged[0]).rglob("*") if "course" in path.parts}
    assert found == {"course", "handouts", "a6", "__init__.py", "experiment.py", "claims.py"}
