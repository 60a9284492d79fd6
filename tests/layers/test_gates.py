"""Structured gates: what they promise, their marginal probabilities, and what is refused."""

from itertools import pairwise, product

import numpy as np
import pytest

from minisd import at_least, draw_gates, every_other, grouped, linear_decay, resnet, set_gates
from minisd.gates import open_probabilities
from minisd.stochastic_depth import sample_gates

PROBS = [0.9, 0.5, 1.0, 0.35, 0.0, 0.6]


class Chosen:
    """A generator whose numbers are chosen."""

    def __init__(self, *numbers):
        self.numbers = np.array(numbers)

    def random(self, size=None):
        return self.numbers[0] if size is None else self.numbers[:size]


GRID = (np.arange(400) + 0.5) / 400  # the probabilities above are multiples of 1/20


@pytest.mark.parametrize("sample", [every_other, grouped(1), grouped(2), grouped(9)])
def test_every_block_is_open_with_exactly_its_probability(sample):
    draws = [sample(PROBS, Chosen(*[u] * 6)) for u in GRID]
    np.testing.assert_allclose(np.mean(draws, axis=0), PROBS, rtol=0, atol=1e-12)
    assert all(type(gate) is bool for gate in draws[0])


@pytest.mark.parametrize("sample", [every_other, grouped(2), at_least(0)])
@pytest.mark.parametrize("u", [0.0, np.nextafter(1, 0)])
def test_0_is_never_open_and_1_always(sample, u):
    """Whatever is drawn from [0, 1)."""
    assert sample([0.0, 0.0, 1.0, 1.0], Chosen(*[u] * 4)) == [False, False, True, True]


def test_every_other_closes_no_two_neighbours_if_their_probabilities_add_up_to_one():
    for u in GRID:
        assert all(a or b for a, b in pairwise(every_other([0.9, 0.5, 0.5, 0.8], Chosen(u))))
        half = every_other([0.5] * 5, Chosen(u))
        assert all(a != b for a, b in pairwise(half))
    both = np.mean([not any(every_other([0.25, 0.5], Chosen(u))) for u in GRID])
    assert both == pytest.approx(1 - 0.25 - 0.5)


def test_groups_open_and_close_together(rng):
    for _ in range(50):
        gates = grouped(3)([0.5] * 8, rng)
        assert all(len(set(gates[start : start + 3])) == 1 for start in (0, 3, 6))
        a, b = grouped(2)([0.7, 0.3], rng)
        assert a or not b  # the likelier one is open whenever the other is
    assert len({tuple(grouped(4)([0.5] * 8, rng)) for _ in range(50)}) == 4


def conditional(probs, k):
    """Probability of every pattern with at least k open blocks, by enumeration."""
    found = {
        gates: np.prod([p if gate else 1 - p for gate, p in zip(gates, probs, strict=True)])
        for gates in product([False, True], repeat=len(probs))
        if sum(gates) >= k
    }
    return {gates: p / sum(found.values()) for gates, p in found.items()}


@pytest.mark.parametrize("k", range(5))
def test_at_least_k_open_is_the_conditional_distribution(k, rng):
    probs = [0.9, 0.5, 0.15, 0.6]
    expected = conditional(probs, k)
    marginals = np.sum([np.array(gates) * p for gates, p in expected.items()], axis=0)
    np.testing.assert_allclose(open_probabilities(probs, k), marginals, rtol=1e-12)
    if k:
        assert all(np.array(open_probabilities(probs, k)) > probs)  # not p_l, and said so
    draws = [tuple(at_least(k)(probs, rng)) for _ in range(1500)]
    assert min(map(sum, draws)) >= k
    for gates, p in expected.items():
        assert draws.count(gates) / 1500 == pytest.approx(p, abs=5 * np.sqrt(p / 1500) + 1e-9)


def test_at_least_k_holds_where_it_is_very_unlikely(rng):
    gates = at_least(30)([0.01] * 30 + [0.0] * 5, rng)
    assert gates == [True] * 30 + [False] * 5
    assert open_probabilities([0.5, 0.0, 0.5], 2) == [1, 0, 1]


def test_at_least_k_takes_l_numbers_whatever_happens():
    ends = set()
    for probs in ([0.1] * 4, [1.0] * 4, [0.5] * 4):
        rng = np.random.default_rng(1)
        at_least(2)(probs, rng)
        ends.add(rng.random())
    assert len(ends) == 1


def test_at_least_more_than_can_be_open_is_refused(rng):
    with pytest.raises(ValueError, match="at least 3 blocks cannot be open: only 2 of the 3"):
        at_least(3)([0.5, 0.0, 0.5], rng)
    for make in (grouped, at_least):
        with pytest.raises(ValueError, match="k must be a whole number"):
            make(0.5)
    with pytest.raises(ValueError, match="at least 1"):
        grouped(0)


@pytest.mark.parametrize("sample", [every_other, grouped(2), at_least(2), sample_gates])
def test_draw_gates_draws_with_a_function_and_sets_what_it_returns(sample, rng):
    model = resnet(14, width=2, survival=linear_decay, rng=rng)
    expected = sample(model.survival_probs, np.random.default_rng(3))
    gates = draw_gates(model, np.random.default_rng(3), sample=sample)
    assert gates == expected == [block.is_open for block in model.blocks]


def test_the_default_draws_what_it_always_drew(rng):
    model = resnet(14, width=2, survival=linear_decay, rng=rng)
    gates = draw_gates(model, np.random.default_rng(3))
    draws = np.random.default_rng(3).random(6)
    assert gates == [u < p for u, p in zip(draws, linear_decay(6), strict=True)]


def one_too_few(probabilities, rng):
    return [True] * (len(probabilities) - 1)


@pytest.mark.parametrize(
    ("sample", "error", "words"),
    [
        (one_too_few, ValueError, "that one_too_few drew: 3 blocks need 3 gates, got 2"),
        (lambda p, rng: p, TypeError, "that <lambda> drew: a gate must be True .* got 0.8"),
        (lambda p, rng: None, TypeError, "that <lambda> drew: gates are a list .* got None"),
        (lambda p, rng: iter(p), TypeError, "gates are a list of bools"),
        (grouped, TypeError, r"grouped cannot draw gates: .* such as every_other or grouped\(2\)"),
        ("every_other", TypeError, "str cannot draw gates: .*'every_other' is not a callable"),
        (lambda p, rng: p + 1, TypeError, "^can only concatenate list"),  # a fault inside it
    ],
)
def test_what_is_no_list_of_gates_is_refused_by_the_name_of_its_function(sample, error, words, rng):
    model = resnet(8, width=2, survival=[0.8, 0.7, 0.6], rng=rng)
    set_gates(model, [False, True, False])
    with pytest.raises(error, match=words):
        draw_gates(model, rng, sample=sample)
    assert [block.is_open for block in model.blocks] == [False, True, False]


def test_arrays_of_bools_are_gates_too(rng):
    model = resnet(8, width=2, rng=rng)
    gates = draw_gates(model, rng, sample=lambda p, rng: np.array([1, 0, 1], bool))
    assert gates == [True, False, True]
    assert all(type(gate) is bool for gate in gates)
