"""Claims of assignment 6: how a number comes from the table, in a vocabulary of data."""

import json
import math

import pytest

from minisd.course.handouts.a6 import claims


def record(seed, arm, step, loss, test_error, *gradients):
    return {
        "seed": seed, "depth": 8, "p_last": 0.5 if seed < 9 else 0.8, "arm": arm, "step": step,
        "loss": loss, "validation_error": 1 / step, "test_error": test_error,
        "gradients": list(gradients),
    }  # fmt: skip


NAN = math.nan
RECORDS = [
    record(1, "constant", 2, 3.0, 0.1, 4.0, 1.0),
    record(1, "constant", 1, 5.0, 0.2, 6.0, 1.0),
    record(1, "constant", 3, 1.0, 0.4, 8.0, 1.0),
    record(2, "constant", 1, 9.0, 0.3, 2.0, 1.0),
    record(1, "stochastic", 1, 2.0, 0.5, NAN, 3.0),
    record(1, "stochastic", 2, 4.0, 0.6, 5.0, NAN),
    record(9, "stochastic", 1, 8.0, 0.7, NAN, 9.0),
]
CONSTANT = {"of": "loss", "arm": "constant"}
GRADIENT = {"of": "g1", "arm": "stochastic"}


@pytest.mark.parametrize(
    ("how", "number"),
    [
        (CONSTANT, (3 + 9) / 2),
        (CONSTANT | {"runs": "sd"}, 6 / math.sqrt(2)),
        (CONSTANT | {"runs": "min"}, 3),
        (CONSTANT | {"runs": "max"}, 9),
        (CONSTANT | {"take": "first"}, (5 + 9) / 2),
        (CONSTANT | {"take": "last"}, (1 + 9) / 2),
        (CONSTANT | {"take": "min", "seed": 1}, 1),
        (CONSTANT | {"take": "max", "seed": 1}, 5),
        (CONSTANT | {"take": "at lowest", "by": "test_error", "seed": 1}, 3),
        (CONSTANT | {"take": "at lowest", "by": "validation_error"}, (1 + 9) / 2),
        (CONSTANT | {"steps": [2, 3]}, 2),
        (CONSTANT | {"depth": 8, "p_last": 0.5, "seed": 2}, 9),
        (GRADIENT, 5),  # the first step had no gradient, and one run none at all
        (GRADIENT | {"of": "g2"}, (3 + 9) / 2),
        (GRADIENT | {"of": "g2", "p_last": 0.8}, 9),
        ({"ratio": [GRADIENT, CONSTANT]}, 5 / 6),
        ({"difference": [GRADIENT, CONSTANT]}, -1),
    ],
)
def test_a_number_is_computed_as_the_claim_says(how, number):
    assert claims.number_of(how, RECORDS) == pytest.approx(number)
    assert claims.number_of(json.loads(json.dumps(how)), RECORDS) == pytest.approx(number)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, '"arm" is one of'),
        ({"arm": "constant"}, "there is no column 'None'"),
        (CONSTANT | {"of": "g3"}, "there is no column 'g3'"),
        (CONSTANT | {"of": "g0"}, "there is no column 'g0'"),
        (CONSTANT | {"of": ["loss"]}, "there is no column"),
        (CONSTANT | {"take": "median"}, '"take" is one of mean'),
        (CONSTANT | {"runs": []}, '"runs" is one of mean'),
        (CONSTANT | {"take": "at lowest"}, '"by" goes with'),
        (CONSTANT | {"by": "loss"}, '"by" goes with'),
        (CONSTANT | {"seed": 3}, "no such rows"),
        (CONSTANT | {"seed": {}}, "no such rows"),
        (CONSTANT | {"steps": [7, 9]}, "no such rows"),
        (CONSTANT | {"steps": 3}, '"steps" is a list'),
        (CONSTANT | {"steps": [True, 2]}, '"steps" is a list'),
        (CONSTANT | {"runs": "sd", "seed": 1}, "needs two runs"),
        (CONSTANT | {"__import__": "os"}, "'__import__' is no word"),
        ({"ratio": [CONSTANT]}, "of two quantities"),
        ({"ratio": [CONSTANT, CONSTANT], "of": "loss"}, "of two quantities"),
        ({"ratio": [CONSTANT, 3]}, "a quantity is an object"),
        ({"ratio": 3}, "of two quantities"),
    ],
)
def test_a_claim_that_cannot_be_computed_is_a_sentence(how, said):
    with pytest.raises(ValueError, match=r".") as error:
        claims.number_of(how, RECORDS)
    assert said in str(error.value)
    assert claims.is_chosen_on_test(how) is False


@pytest.mark.parametrize(
    ("claimed", "computed", "agrees"),
    [
        (1.8, 1.84, True), (1.8, 1.86, False), (1.8, 1.2, False), (0.00037, 0.000366, True),
        (0.00037, 0.000376, False), (2, 2.04, True), (2, 2.4, False), (-1.5, -1.46, True),
        (1.5, -1.5, False), (1200, 1200.4, True), (1200, 1201, False), (0, 0, True),
        (0, 0.01, False), (1.2e-5, 1.22e-5, True),
    ],
)  # fmt: skip
def test_a_number_is_rounded_to_its_digits_and_has_two(claimed, computed, agrees):
    assert claims.agree(claimed, computed) is agrees


TEST = {"of": "test_error", "arm": "constant"}


@pytest.mark.parametrize(
    ("how", "chosen"),
    [
        (TEST | {"take": "min"}, True),
        (TEST | {"runs": "min"}, True),
        (TEST | {"of": "loss", "take": "at lowest", "by": "test_error"}, True),
        ({"ratio": [CONSTANT, TEST | {"take": "min"}]}, True),
        (TEST | {"take": "at lowest", "by": "validation_error"}, False),
        (TEST | {"take": "last", "runs": "max"}, False),
        (TEST | {"of": "validation_error", "take": "min"}, False),
    ],
)
def test_what_is_chosen_on_the_test_set_is_seen(how, chosen):
    assert claims.is_chosen_on_test(how) is chosen
