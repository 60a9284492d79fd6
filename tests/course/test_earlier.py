"""Earlier submissions on Gradescope: how hints grow, when the limit of a day is reached."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from test_assignments import FOLDERS
from test_class import ONCE

from minisd.course.export import earlier, gradescope
from minisd.errors import UserError

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


def metadata(path, *before):
    """Write metadata with earlier submissions, given as (hours ago, results)."""
    content = {
        "created_at": NOW.isoformat(),
        "previous_submissions": [
            {"submission_time": (NOW - timedelta(hours=h)).isoformat(), "results": r, **more}
            for h, r, more in before
        ],
    }
    path.write_text(json.dumps(content))
    return earlier.read(path)


def results(score, **status):
    tests = [{"number": "2.1", "name": name, "status": s} for name, s in status.items()]
    return {"score": score, "tests": tests}


def test_failures_are_counted_and_the_last_score_is_known(tmp_path):
    found = metadata(
        tmp_path / "m.json",
        (1, results(5, size="failed", refusal="passed"), {}),
        (3, results(2, size="failed", refusal="failed"), {}),
        (2, {**results(9, size="failed"), "extra_data": {"not_graded": True}}, {}),
        (0.5, None, {"autograder_error": True}),
    )
    assert found.score == 5
    assert found.failed() == {("2.1", "size"): 2, ("2.1", "refusal"): 1}
    assert found.when == NOW


@pytest.mark.parametrize(
    ("hours", "limit", "next_in"),
    [
        ([], 1, None),
        ([1], 1, None),  # the first retry is free
        ([1, 2], 1, 22),
        ([1, 2, 3], 1, 22),
        ([1, 25], 1, None),  # a day ago
        ([1, 2, 24], 2, None),
        ([1, 2, 23], 2, 1),
        ([1, 2, 3, 4, 5], 0, None),  # no limit
    ],
)
def test_the_limit_of_a_day(tmp_path, hours, limit, next_in):
    found = metadata(tmp_path / "m.json", *((h, results(1), {}) for h in hours))
    expected = None if next_in is None else NOW + timedelta(hours=next_in)
    assert found.next_time(limit) == expected


def test_what_was_over_the_limit_does_not_count(tmp_path):
    over = {"score": 1, "extra_data": {earlier.NOT_GRADED: True}}
    found = metadata(tmp_path / "m.json", (1, results(1), {}), (2, over, {}), (3, over, {}))
    assert found.next_time(1) is None


def test_without_metadata_nothing_is_known(tmp_path):
    found = earlier.read(tmp_path / "none.json")
    assert (found.when, found.score, found.next_time(1)) == (None, 0.0, None)
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(UserError, match="the metadata of a submission"):
        earlier.read(tmp_path / "m.json")


# ---- the autograder with them ----


@pytest.fixture
def home(tmp_path):
    """A folder like /autograder, in which task 2.1 is graded with hints that grow."""
    home = tmp_path / "autograder"
    shutil.copytree(FOLDERS["a2"], home / "source" / FOLDERS["a2"].name)
    (home / "source" / "course.toml").write_text(
        'seed = "0123456789abcdef"\n[extra_days]\n"ada@example.org" = 3\n[a2]\ntasks = ["2.1"]\n'
        'hints = "stepwise"\ndaily_limit = 1\ndue = 2027-02-27T12:00:00Z\nlate_per_day = 0.5\n'
    )
    (home / "submission").mkdir()
    (home / "submission" / "a2.py").write_text(ONCE)
    return home


def graded(home, *before, users=()):
    """Run the autograder after these earlier results, given as (hours ago, results)."""
    path = home / "submission_metadata.json"
    metadata(path, *((h, r, {}) for h, r in before))
    path.write_text(json.dumps({**json.loads(path.read_text()), "users": list(users)}))
    gradescope.run(home)
    return json.loads((home / "results" / "results.json").read_text())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="student code is confined on POSIX")
@pytest.mark.xdist_group("processes")
def test_the_autograder_gives_more_hints_then_stops_for_a_day(home, monkeypatch):
    monkeypatch.setenv("STUDENT", "")  # the same user
    ada = [{"email": "ada@example.org", "name": "Ada"}]
    first = graded(home, users=ada)
    assert first["score"] == 3  # two days late, with three more days
    assert graded(home)["score"] == 0
    said = [test["output"] for test in first["tests"] if test["name"] == "size"]
    second = graded(home, (1, first), users=ada)
    said += [test["output"] for test in second["tests"] if test["name"] == "size"]
    third = graded(home, (1, second), (2, first), users=ada)
    assert (third["score"], third["tests"]) == (3, [])
    assert "the next one is from 2027-03-02 10:00 UTC on. Your last score stays" in third["output"]
    fourth = graded(home, (1, third), (26, second), (27, first), users=ada)
    said += [test["output"] for test in fourth["tests"] if test["name"] == "size"]
    look, name = "On how many sides is the frame?", "the padding is counted once"
    assert [look in text for text in said] == [False, True, True]
    assert [name in text for text in said] == [False, False, True]


def test_a_grader_that_fails_keeps_the_last_score(home):
    path = home / "submission_metadata.json"
    metadata(path, (1, results(5, size="failed"), {}))
    gradescope.gave_up(home)
    content = json.loads((home / "results" / "results.json").read_text())
    assert content["score"] == 5
    assert "That is not your fault" in content["output"]
    assert content["extra_data"][earlier.NOT_GRADED]
