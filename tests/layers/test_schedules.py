"""The schedules that know the length of the run, or are told it."""

import math

import pytest

from minisd import StepSchedule, cosine, one_cycle
from minisd.optim import SCHEDULES, bound, schedule_from


def test_cosine_follows_its_formula():
    schedule = cosine(0.3, lr_min=0.1).over(8)
    for done in (0, 0.25, 3, 7.99, 8):
        expected = 0.1 + 0.2 / 2 * (1 + math.cos(math.pi * done / 8))
        assert schedule(1 + done) == pytest.approx(expected, rel=1e-14)


def test_a_warm_up_rises_evenly_and_the_cosine_has_the_rest():
    schedule, rest = cosine(0.3, warmup_epochs=2).over(10), cosine(0.3).over(8)
    assert [schedule(epoch) for epoch in (1, 1.5, 2)] == pytest.approx([0, 0.075, 0.15])
    assert schedule(3) == 0.3
    assert [schedule(epoch) for epoch in (4, 7.5, 11)] == pytest.approx(
        [rest(epoch) for epoch in (2, 5.5, 9)], abs=1e-17
    )


def test_one_cycle_goes_up_and_down():
    schedule = one_cycle(1.0, rise=0.25, div=10, final_div=100).over(8)
    assert schedule(1) == pytest.approx(0.1)
    assert schedule(2) == pytest.approx(0.55)
    assert schedule(3) == 1.0
    assert schedule(6) == pytest.approx((1 + 0.001) / 2)
    assert schedule(9) == pytest.approx(0.001)


def test_steps_are_by_epoch_whatever_part_of_it_is_done():
    schedule = StepSchedule(0.1, 4)
    for epoch in range(1, 5):
        assert {schedule(epoch + part) for part in (0.0, 0.5, 0.99)} == {schedule(epoch)}
    assert schedule(2.99) == 0.1
    assert schedule(3.0) == 0.01


def test_schedules_are_bound_to_a_length():
    unbound = StepSchedule(0.1)
    assert unbound.over(4) == StepSchedule(0.1, 4)
    assert unbound.epochs is None
    assert cosine(0.1).over(4).over(8) == cosine(0.1, epochs=8)  # a run that goes on longer
    assert StepSchedule(0.1, drops=(3,))(4) == 0.01  # a whole epoch needs no length

    def constant(epoch):
        return 0.1

    assert bound(constant, 4) is constant
    assert bound(cosine(0.1), 4) == cosine(0.1).over(4)


@pytest.mark.parametrize(
    "schedule",
    [
        StepSchedule(0.1, 7, drops=(0.5, 6), warmup_epochs=1),
        cosine(0.1, lr_min=0.01, warmup_epochs=0.5, epochs=4),
        one_cycle(0.2, rise=0.4),
    ],
)
def test_a_schedule_is_plain_data_and_back(schedule):
    described = schedule.describe()
    assert schedule_from(described) == schedule
    assert described["name"] in SCHEDULES
    assert all(isinstance(v, int | float | str | list | None) for v in described.values())


class Mine(type(cosine(0.1))):
    pass


WRONG = {
    "cosine unbound": (lambda: cosine(0.1)(1), ValueError, r"call schedule.over\(epochs\)"),
    "one-cycle unbound": (lambda: one_cycle(0.1)(1), ValueError, "this one-cycle schedule does"),
    "steps unbound": (lambda: StepSchedule(0.1)(1), ValueError, "this step schedule does not know"),
    "after the end": (lambda: cosine(0.1).over(4)(5.1), ValueError, "for 4 epochs, and epoch 5.1"),
    "before the start": (lambda: cosine(0.1).over(4)(0.9), ValueError, "counted from 1"),
    "not a number": (lambda: one_cycle(0.1).over(4)(math.nan), ValueError, "counted from 1"),
    "a long warm-up": (lambda: cosine(0.1, warmup_epochs=4).over(4), ValueError, "fewer warmup"),
    "exchanged": (lambda: cosine(0.1, lr_min=1), ValueError, "exchange the two"),
    "rise": (lambda: one_cycle(0.1, rise=30), ValueError, r"rise must lie in \(0, 1\)"),
    "epochs": (lambda: cosine(0.1).over(2.5), ValueError, "epochs must be a whole number"),
    "no function": (lambda: bound(0.1, 4), TypeError, "a schedule is a function of the epoch"),
    "a class": (lambda: bound(cosine, 4), TypeError, r"such as cosine\(0.1\) .* got <class"),
    "no schedule": (lambda: schedule_from({"name": "steps"}), ValueError, "there are step, cosine"),
    "no setting": (
        lambda: schedule_from({"name": "cosine", "lr": 0.1, "x": 1}), ValueError, "has no x"),
    "a class of one's own": (lambda: Mine(0.1).describe(), TypeError, "Mine cannot be described"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(wrong):
    make, error, sentence = WRONG[wrong]
    with pytest.raises(error, match=sentence):
        make()
