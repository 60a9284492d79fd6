"""Files of assignment 6: a table and claims that are not as they should be are a sentence."""

import functools
import json

import pytest
from test_a6_claims import RECORDS, TEST
from test_assignments import assignment, solution

from minisd.course.answers import Local
from minisd.course.handouts.a6 import experiment, files

TABLE, CLAIMS = (assignment("a6").files[name] for name in ("results.csv", "claims.json"))


def test_a_table_comes_back_as_it_was_saved(tmp_path):
    experiment.save(RECORDS, tmp_path / "results.csv")
    content = (tmp_path / "results.csv").read_bytes()
    assert content.split(b"\n")[5] == b"1,8,0.5,stochastic,1,2,1,0.5,,3"
    found = experiment.read_results(content)
    for one, other in zip(found, RECORDS, strict=True):
        assert one.pop("gradients") == pytest.approx(other["gradients"], nan_ok=True)
        assert one == pytest.approx({k: v for k, v in other.items() if k != "gradients"})


FILES = {"results_csv": "results.csv", "claims_json": "claims.json"}


def outcome(check, **changed):
    """Run a check of 6.4 with the reference and its files, some of them changed or None."""
    names = {**solution("a6"), **{FILES.get(name, name): v for name, v in changed.items()}}
    student = Local({name: value for name, value in names.items() if value is not None})
    (said,) = check(student, None).values()
    return said


def rows(change):
    """Return the table with a change in its rows, which are lists of cells."""
    cells = [line.split(",") for line in TABLE.decode().split("\n") if line]
    return "\n".join(",".join(row) for row in change(cells) or cells).encode()


def cell(number, column, text):
    def change(cells):
        cells[number][cells[0].index(column)] = text

    return rows(change)


def some_seeds(cells):
    return [row for row in cells if row[0] in ("seed", "1", "2")]


def of_depth(depth):
    return lambda cells: [cells[0], *([row[0], str(depth), *row[2:]] for row in cells[1:])]


def without_last_gradient(cells):
    return [row[:-1] for row in cells]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (TABLE, ""),
        (None, "there is no results.csv beside your code"),
        (b"", "cannot be read: it is empty"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b'seed,"\x00', "cannot be read"),
        (b"a,b\n1,2", "cannot be read: it has no column seed"),
        (TABLE.split(b"\n")[0], "it has no rows"),
        (cell(3, "loss", "much"), "row 4: loss is no number"),
        (cell(3, "loss", "nan"), "row 4: loss is no number"),
        (cell(3, "step", "1.5"), "row 4: step is no whole number"),
        (cell(3, "arm", "third"), "row 4: the arm is constant or stochastic"),
        (cell(3, "g1", "x"), "row 4: g1 is no number"),
        (cell(3, "step", "77"), "steps of seed 1 are not 1, 2, 3"),
        (cell(3, "seed", "77"), "do not have the same runs"),
        (rows(lambda cells: [*cells[:3], cells[3][:-1], *cells[4:]]), "row 4 has 10 cells"),
        (rows(some_seeds), "fewer than 3 seeds"),
        (rows(without_last_gradient), "too few gradients for 8 layers"),
        (rows(of_depth(38)), "at most 32 layers"),
        (rows(of_depth(9)), "depth must be 6n + 2"),
    ],
)
def test_a_table_that_is_not_whole_is_a_sentence(table, said):
    found = outcome(files.results, results_csv=table)
    assert said in found
    assert bool(found) == bool(said)
    if said and "read" in said:
        assert "results.csv" in outcome(files.claims, results_csv=table)
        assert "results.csv" in outcome(files.rerun, results_csv=table)


def with_claim(**changes):
    content = json.loads(CLAIMS)
    content["claims"][2].update(changes)
    return json.dumps(content).encode()


def some_claims(count):
    return json.dumps({"claims": (json.loads(CLAIMS)["claims"] * 9)[:count]}).encode()


DEEP = b'{"a":' * 100_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLAIMS, ""),
        (None, "there is no claims.json beside your code"),
        (b"", "claims.json cannot be read"),
        (DEEP, "claims.json cannot be read"),
        (b"[1]", "it is not a JSON object"),
        (b'{"claims": 3}', 'has no list "claims"'),
        (b'{"claims": [3]}', "claim 1 is no object"),
        (with_claim(number="many"), 'claim 3 needs "number"'),
        (with_claim(number=True), 'claim 3 needs "number"'),
        (with_claim(sentence=" "), "claim 3 says nothing"),
        (with_claim(how="eval"), 'claim 3 needs "how"'),
        (with_claim(how=TEST | {"of": "exec"}), "claim 3 cannot be computed: there is no column"),
        (with_claim(number=1.7), "stale-claim claim 3 says 1.7, and results.csv gives 1.6"),
        (with_claim(number=10**400), "it has a whole number of 401 digits"),
        (with_claim(number=1e300), "the number of claim 3 is too large"),
        (some_claims(2), "has 2 claims; 3 to 20 are asked"),
        (some_claims(21), "has 21 claims"),
        (some_claims(20), ""),
    ],
)
def test_claims_that_do_not_hold_are_a_sentence(text, said):
    found = outcome(files.claims, claims_json=text)
    assert said in found
    assert bool(found) == bool(said)
    if said and "read" in said:
        assert "claims.json" in outcome(files.choice, claims_json=text)


def test_the_first_rows_come_out_again_or_it_is_said_which_does_not():
    assert outcome(files.rerun) == ""
    assert outcome(files.rerun, results_csv=cell(2, "loss", "2.34")).startswith(
        "the constant arm of seed 1, step 2: loss is 2.34 in results.csv, now 2.33"
    )
    said = outcome(files.rerun, results_csv=cell(1, "g3", ""))
    assert "step 1: g3 is nan in results.csv" in said
    within = f"{float(TABLE.decode().split()[1].split(',')[5]) * (1 + 5e-7):.12g}"
    assert outcome(files.rerun, results_csv=cell(1, "loss", within)) == ""
    assert "does not have the first 2 steps" in outcome(
        files.rerun, results_csv=rows(lambda cells: cells[:2])
    )
    slower = functools.partial(solution("a6")["two_arms"], lr=0.04)
    assert "step 2: loss" in outcome(files.rerun, two_arms=slower)
    assert outcome(files.rerun, two_arms=lambda *a, **k: 3) == "no list of dicts"
