"""Threads that wait to be task for help, and what they leave behind."""

import threading
import time
import weakref

import numpy as np
import pytest

from minisd import machine
from minisd.machine import workers

LIKE = np.empty(1)


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("minisd_")]


def test_a_worker_shares_in_what_it_is_asked_for_in_the_context_of_who_asked():
    workers.release()
    seen = []

    def work():
        seen.append((threading.current_thread().name, np.geterr()["over"]))

    with np.errstate(over="raise"):
        task = workers.start(work, 1)
    wait_until(lambda: seen)
    assert task.wait() is None
    assert seen == [("minisd_0", "raise")]


def test_help_that_has_not_begun_is_taken_back():
    workers.release()
    hold, began, done = threading.Event(), threading.Event(), []

    def long_work():
        began.set()
        hold.wait(30)

    first = workers.start(long_work, 1)
    assert began.wait(30)
    image = np.zeros(5)
    kept = weakref.ref(image)
    second = workers.start(lambda image=image: done.append(image), 1)  # the only worker is busy
    assert second.wait() is None
    del image
    assert kept() is None
    hold.set()
    assert first.wait() is None
    third = workers.start(lambda: done.append("third"), 1)
    wait_until(lambda: done)
    assert third.wait() is None
    assert done == ["third"]


def test_an_operation_inside_an_operation_does_not_wait_for_itself():
    def outer(part):
        return machine.in_slabs(lambda inner: (part.start, inner.start), 4, 1, LIKE)

    with machine.threads(3):
        found = machine.in_slabs(outer, 6, 1, LIKE)
    assert found == [[(i, j) for j in range(4)] for i in range(6)]


def test_workers_are_as_many_as_were_asked_for_and_end():
    workers.release()
    assert alive() == []
    with machine.threads(3):
        for _ in range(5):
            machine.in_slabs(lambda part: time.sleep(0.001), 8, 1, LIKE)
        assert len(alive()) == 2
        machine.in_slabs(lambda part: None, 2, 1, LIKE)
        assert len(alive()) == 2
    assert alive() == []


def test_a_worker_that_waits_holds_no_memory():
    image = np.zeros(5)
    kept = weakref.ref(image)
    ended = []

    def work(image=image):
        ended.append(image.sum())

    task = workers.start(work, 1)
    wait_until(lambda: ended)
    task.wait()
    del task, work, image
    wait_until(lambda: kept() is None)


def test_errors_in_workers_and_in_the_caller_are_raised_once_all_have_ended():
    def fail(part):
        time.sleep(0.01)
        raise KeyError(part.start)

    with machine.threads(3), pytest.raises(KeyError):
        machine.in_slabs(fail, 3, 1, LIKE)

    failing = threading.Event()

    def fail_elsewhere(part):
        if threading.current_thread() is threading.main_thread():
            assert failing.wait(30)
        else:
            failing.set()
            raise ValueError("of a worker")

    with machine.threads(2), pytest.raises(ValueError, match="of a worker"):
        machine.in_slabs(fail_elsewhere, 2, 1, LIKE)
    assert machine.in_slabs(lambda part: part.start, 2, 1, LIKE) == [0, 1]
