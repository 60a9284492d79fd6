"""Earlier submissions on Gradescope: how hints grow, when the limit of a day is reached."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from minisd.course.export import earlier
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
