"""Survival rules: the named ones, one's own, what is refused; and new probabilities for a model."""

import math

import numpy as np
import pytest

from minisd import (
    constant,
    cosine_decay,
    expected_depth,
    linear_decay,
    resnet,
    set_gates,
    set_survival,
    uniform,
)
from minisd.rules import RULES, survival_probabilities


def test_the_named_rules_are_in_one_table():
    table = {"linear": linear_decay, "uniform": uniform, "constant": constant}
    assert table | {"cosine": cosine_decay} == RULES
    for name, rule in RULES.items():
        assert survival_probabilities(name, 6, 0.3) == rule(6, 0.3)
        assert survival_probabilities(name, 6) == rule(6)
    assert constant(3, 0.5) == [1, 1, 1]


@pytest.mark.parametrize("L", [1, 3, 54])
@pytest.mark.parametrize("p_last", [0.0, 0.2, 1.0])
def test_cosine_decay_is_half_a_cosine(L, p_last):
    probs = cosine_decay(L, p_last)
    for block, p in enumerate(probs, start=1):
        half = math.cos(math.pi * block / (2 * L)) ** 2  # (1 + cos 2a) / 2 = cos^2 a
        assert p == pytest.approx(p_last + (1 - p_last) * half, abs=1e-15)
    assert probs[-1] == p_last
    assert probs == sorted(probs, reverse=True)
    # the cosines of l and L - l cancel
    assert expected_depth(probs) == pytest.approx(expected_depth(linear_decay(L, p_last)))


def mine(num_blocks):
    return [1 / block for block in range(1, num_blocks + 1)]


def mine_with_p(num_blocks, p_last=0.5):
    return [1.0] * (num_blocks - 1) + [p_last]


def mine_with_a_setting(num_blocks, power=2):
    return [1 / power] * num_blocks


class OfAClass:
    def __call__(self, num_blocks):
        return np.full(num_blocks, 0.25, np.float32)


@pytest.mark.parametrize(
    ("rule", "p_last", "probs"),
    [
        (mine, None, [1, 1 / 2, 1 / 3]),
        (mine, 0.9, [1, 1 / 2, 1 / 3]),  # a rule of L alone has no p_L to take
        (mine_with_p, None, [1, 1, 0.5]),
        (mine_with_p, 0.2, [1, 1, 0.2]),
        (lambda L, last: [last] * L, 0.2, [0.2] * 3),  # it has no default, whatever its name
        (lambda *args: [args[1]] * args[0], 0.2, [0.2] * 3),
        (mine_with_a_setting, 0.2, [0.5] * 3),  # which is not p_L
        (OfAClass(), 0.2, [0.25] * 3),
        (lambda L: (1 for _ in range(L)), None, [1, 1, 1]),
        ([1, 0.5, np.float64(0.25)], 0.9, [1, 0.5, 0.25]),
        (None, None, [1, 1, 1]),
    ],
)
def test_a_rule_is_a_function_or_a_list_or_none(rule, p_last, probs, rng):
    found = survival_probabilities(rule, 3, p_last)
    assert found == probs
    assert all(type(p) is float for p in found)
    if p_last is None:
        assert resnet(8, width=2, survival=rule, rng=rng).survival_probs == probs


def failing(num_blocks):
    raise ZeroDivisionError("L - 3")


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        ("linaer", ValueError, "no survival rule 'linaer': use linear, uniform, constant, cosine"),
        ([0.5, 0.5], ValueError, "3 blocks need as many survival probabilities, but there are 2"),
        ([0.5, 1.5, 0.5], ValueError, r"must lie in \[0, 1\], got 1.5 for block 2"),
        ([0.5, math.nan, 0.5], ValueError, "got nan for block 2"),
        ([0.5, "0.5", 0.5], TypeError, "must be numbers, got '0.5' for block 2"),
        ([True, 0.5, 0.5], TypeError, "must be numbers, got True for block 1"),
        (0.5, TypeError, r"uniform\(num_blocks, p\)"),
        (failing, ValueError, "rule failing failed for 3 blocks: ZeroDivisionError: L - 3"),
        (lambda: [1, 1, 1], ValueError, "rule <lambda> failed for 3 blocks: TypeError"),
        (lambda L: [0.5] * (L + 1), ValueError, "must give 3 probabilities.* gave 4"),
        (lambda L: None, TypeError, "must give 3 probabilities for 3 blocks.* got None"),
        (lambda L: ["a"] * L, TypeError, "must give 3 probabilities.* numbers, got 'a'"),
        (lambda L: [-0.1] * L, ValueError, "must give 3 probabilities.* got -0.1 for block 1"),
    ],
)
def test_what_is_no_rule_is_refused_with_a_sentence(rule, error, words, rng):
    with pytest.raises(error, match=words):
        survival_probabilities(rule, 3)
    with pytest.raises(error, match=words):
        resnet(8, width=2, survival=rule, rng=rng)


@pytest.mark.parametrize(
    ("survival", "probs"),
    [([1, 0.5, 0], [1, 0.5, 0]), ("linear", linear_decay(3)), (mine, mine(3)),
     (np.array([0.5, 0.5, 1]), [0.5, 0.5, 1])],
)  # fmt: skip
def test_set_survival_changes_the_probabilities_only(survival, probs, rng):
    model = resnet(8, width=2, rng=rng)
    set_gates(model, [True, False, True])
    before = [parameter.data.copy() for _, parameter in model.parameters()]
    set_survival(model, survival)
    assert model.survival_probs == probs
    assert all(type(p) is float for p in model.survival_probs)
    assert [block.is_open for block in model.blocks] == [True, False, True]
    for (_, parameter), old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.data, old)


@pytest.mark.parametrize(
    ("options", "survival", "error", "words"),
    [
        ({}, [0.5, 0.5], ValueError, "3 blocks need"),
        ({}, [0.5, 0.5, 2], ValueError, "block 3"),
        ({}, ["a", 1, 1], TypeError, "numbers"),
        ({"scale": "train"}, [0.5, 0, 1], ValueError, "divides by .* 0 for block 2"),
        ({"shortcut": "none"}, [1, 1, 0.5], ValueError, "shortcut 'none'.* block 3"),
    ],
)
def test_set_survival_refuses_and_then_leaves_all_as_it_was(options, survival, error, words, rng):
    model = resnet(8, width=2, rng=rng, **options)
    with pytest.raises(error, match=words):
        set_survival(model, survival)
    assert model.survival_probs == [1, 1, 1]
