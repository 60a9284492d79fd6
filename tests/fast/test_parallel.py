"""How an operation uses the machine: threads, BLAS, memory; and that it cannot be seen."""

import multiprocessing
import os
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minisd import SGD, draw_gates, fast, linear_decay, machine, resnet
from minisd.errors import ConfigError
from minisd.machine import blas, memory, products, slabs
from minisd.machine.products import (
    products_with_transpose,
    run_dots,
    run_sums,
    sum_of_products,
    sum_over_rows,
)
from minisd.runs.checkpoint import layer_arrays
from minisd.runs.session import train
from minisd.train import train_step
from tiny_runs import outcome, python, tiny

LIKE = np.empty(1)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


# ---- the number of threads ----


def test_the_default_is_the_cores_of_this_process():
    with machine.threads():
        assert machine.num_threads() == machine.available_cores()


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({}, "", 8),
        ({"cpu.max": "max 100000"}, "", 8),
        ({"cpu.max": "250000 100000"}, "", 3),
        ({"cpu.max": "50000 100000"}, "", 1),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, "", 8),
        ({"cpu.cfs_quota_us": "400000", "cpu.cfs_period_us": "100000"}, "", 4),
        ({"cpu.max": "nonsense"}, "", 8),
        ({"cpu.max": "600000 100000"}, "2", 2),
        ({}, "3,1", 3),
        ({}, "16", 8),
        ({}, "0", 8),
        ({}, "many", 8),
    ],
)
def test_the_least_of_affinity_quota_and_omp_num_threads(files, environment, expected, monkeypatch):
    def read(path):
        if path.name in files:
            return files[path.name] + "\n"
        raise FileNotFoundError(path)

    monkeypatch.setattr(slabs.Path, "read_text", read)
    monkeypatch.setattr(slabs.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", environment)
    slabs._quota.cache_clear()
    try:
        assert machine.available_cores() == expected
    finally:
        slabs._quota.cache_clear()


def test_a_scope_is_undone_also_after_an_error():
    with machine.threads(3):
        with machine.threads(2) as count:
            assert count == machine.num_threads() == 2
        assert machine.num_threads() == 3
        with pytest.raises(ZeroDivisionError), machine.threads(5):
            _ = 1 / 0
        assert machine.num_threads() == 3


def test_set_threads_stays_until_it_is_set_again():
    with machine.threads(1):  # which puts back what was there
        machine.set_threads(3)
        assert machine.num_threads() == 3
        machine.set_threads(None)
        assert machine.num_threads() == machine.available_cores()


def test_blocks_of_several_threads_do_not_meet():
    """Entered and left crosswise; none leaves a setting behind, for itself or for others."""
    entered = [threading.Event() for _ in range(2)]
    left = threading.Event()
    found = {}

    def first():
        with machine.threads(1):
            entered[0].set()
            assert entered[1].wait(30)
            found["first"] = machine.num_threads()
        left.set()

    def second():
        assert entered[0].wait(30)
        found["outside"] = machine.num_threads()
        with machine.threads(3):
            entered[1].set()
            assert left.wait(30)
            found["second"] = machine.num_threads()
            machine.set_threads(4)
            found["set inside"] = machine.num_threads()
        found["after"] = machine.num_threads()

    before = machine.num_threads()
    both = [threading.Thread(target=target) for target in (first, second)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    cores = machine.available_cores()
    assert found == {
        "first": 1, "outside": cores, "second": 3, "set inside": 4, "after": cores,
    }  # fmt: skip
    assert machine.num_threads() == before


def test_set_threads_outside_of_blocks_is_for_all_threads():
    code = """
import threading
from minisd import machine
machine.set_threads(3)
found = []
thread = threading.Thread(target=lambda: found.append(machine.num_threads()))
thread.start()
thread.join()
print(found, machine.num_threads())
"""
    assert python(code).stdout.split() == ["[3]", "3"]


def test_a_block_is_in_force_in_the_workers_too():
    with machine.threads(3):
        assert machine.in_slabs(lambda part: machine.num_threads(), 9, 1, LIKE) == [3] * 9


@pytest.mark.parametrize(("name", "words"), [("accelerate", "VECLIB_MAXIMUM_THREADS=1"),
                                             ("netlib", "see its manual")])  # fmt: skip
def test_a_blas_library_that_cannot_be_held_is_said(name, words, monkeypatch):
    monkeypatch.setattr(blas, "threadpool_info", lambda: [{"user_api": "openmp"}])
    dependencies = {"Build Dependencies": {"blas": {"name": name}}}
    monkeypatch.setattr(blas.np, "show_config", lambda mode: dependencies)
    with machine.threads(2):
        assert machine.blas_description().endswith(", 2 threads")
    assert f"{name} (which cannot be held to one thread" in machine.blas_description()
    assert words in machine.blas_description()


@pytest.mark.parametrize("count", [0, -1, True])
def test_less_than_one_thread_is_refused(count):
    with pytest.raises(ConfigError, match="at least 1"):
        machine.set_threads(count)


# ---- slabs ----


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(("size", "thickness"), [(1, 1), (7, 2), (8, 2), (5, 9), (40, 1)])
def test_every_row_is_in_one_slab_and_results_are_in_order(threads, size, thickness):
    with machine.threads(threads):
        found = machine.in_slabs(lambda part: (part.start, part.stop), size, thickness, LIKE)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(size))


def test_slabs_run_on_as_many_threads_as_asked_for():
    meeting = threading.Barrier(3, timeout=10)  # passed only by three threads at once
    with machine.threads(3):
        machine.in_slabs(lambda part: meeting.wait(), 3, 1, LIKE)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_an_error_in_a_slab_is_raised_and_ends_the_others(threads):
    done = []

    def task(part):
        if part.start == 5:
            raise ValueError("slab 5")
        time.sleep(0.001)
        done.append(part.start)

    before = blas_threads()
    with machine.threads(threads), pytest.raises(ValueError, match="slab 5"):
        machine.in_slabs(task, 1000, 1, LIKE)
    assert len(done) < 100
    assert blas_threads() == before


def test_workers_have_the_error_state_of_the_caller():
    def task(part):
        time.sleep(0.01)  # so that each thread has some
        return np.float32(1e30) * np.full(4, 1e30, np.float32)

    with machine.threads(4):
        with np.errstate(over="ignore"):
            machine.in_slabs(task, 8, 1, LIKE)
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            machine.in_slabs(task, 8, 1, LIKE)


def test_blas_and_numpy_are_as_before_afterwards():
    before, buffer = blas_threads(), np.getbufsize()
    inside = []
    machine.in_slabs(lambda part: inside.extend(blas_threads()), 4, 1, LIKE)
    assert set(inside) == {1}
    assert blas_threads() == before
    assert np.getbufsize() == buffer


def test_blas_is_given_back_by_the_last_of_several_threads():
    """The second to come must not take the first one's single thread for the normal state."""
    code = """
import threading
from threadpoolctl import threadpool_info, threadpool_limits
import numpy as np
from minisd import machine

def count():
    return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]

threadpool_limits(2, user_api="blas")
first_in, second_out, like = threading.Event(), threading.Event(), np.empty(1)

def first():
    machine.in_slabs(lambda part: (first_in.set(), second_out.wait(10)), 1, 1, like)

thread = threading.Thread(target=first)
thread.start()
first_in.wait(10)
machine.in_slabs(lambda part: None, 1, 1, like)
assert set(count()) == {1}, count()  # the first is still at work
second_out.set()
thread.join()
assert set(count()) == {2}, count()
print("right")
"""
    done = python(code)
    assert done.stdout.strip() == "right", done.stderr


def forward_and_backward(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((16, 8, 16, 16)).astype(np.float32)
    w = rng.standard_normal((8, 8, 3, 3)).astype(np.float32)
    y, cache = fast.conv2d_forward(x, w, padding=1)
    return [y, *fast.conv2d_backward(y, cache)[:2]]


def test_a_users_own_threads_get_what_one_gets():
    expected = [forward_and_backward(seed) for seed in range(6)]
    found = [None] * 6
    before = blas_threads()

    def work(seed):
        for _ in range(5):
            found[seed] = forward_and_backward(seed)

    with machine.threads(2):
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for ours, right in zip(found, expected, strict=True):
        for a, b in zip(ours, right, strict=True):
            np.testing.assert_array_equal(a, b)
    assert blas_threads() == before


FORKED = """
import os, sys
import numpy as np
from minisd import fast, machine

def work():
    x = np.random.default_rng(0).standard_normal((16, 8, 16, 16))
    w = np.random.default_rng(1).standard_normal((8, 8, 3, 3))
    return fast.conv2d_forward(x, w, padding=1)[0].sum()

machine.set_threads(2)
expected = work()  # there are workers now
child = os.fork()
if child == 0:
    os._exit(0 if work() == expected else 1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), work() == expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_it_works_in_a_forked_child():
    done = python(FORKED)
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_it_works_in_a_spawned_child():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(forward_and_backward)
    for ours, right in zip(found, forward_and_backward(), strict=True):
        np.testing.assert_array_equal(ours, right)


# ---- products in pieces ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("K", "R", "M", "D", "L"),
    [(3, 2, 16, 48, 4096), (3, 1, 64, 192, 1024), (1, 3, 5, 7, 130), (2, 2, 8, 24, 997),
     pytest.param(3, 2, 2000, 600, 64, marks=pytest.mark.slow), (5, 1, 1, 1, 1)],
)  # fmt: skip
def test_products_in_pieces_are_products(K, R, M, D, L, dtype, rng):
    a = rng.standard_normal((K, M, D)).astype(dtype)
    b = rng.standard_normal((K, R, D, L)).astype(dtype)
    out = np.empty((R, M, L), dtype)
    sum_of_products(a, b, out)
    exact = np.einsum("kmd,krdl->rml", a.astype(float), b.astype(float), optimize=True)
    tolerance = 20 * np.finfo(dtype).eps * np.sqrt(K * D)
    np.testing.assert_allclose(out, exact, rtol=0, atol=tolerance * np.abs(exact).max())

    d = rng.standard_normal((R, M, L)).astype(dtype)
    found = products_with_transpose(b, d)
    exact = np.einsum("krdl,rml->rkdm", b.astype(float), d.astype(float), optimize=True)
    tolerance = 20 * np.finfo(dtype).eps * np.sqrt(L)
    np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance * np.abs(exact).max())


# ---- memory kept ----


@pytest.mark.parametrize(
    "shape", [(4, 16, 4096), (3, 5, 196), (1, 7, 1), (2, 3, 1021), (5, 2, 6000)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_over_runs_are_sums_and_each_row_is_its_own(shape, dtype, rng):
    a, b = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    exact = a.astype(np.float64), b.astype(np.float64)
    tolerance = 50 * np.finfo(dtype).eps * shape[2] ** 0.5
    sums, dots = run_sums(np, a), run_dots(np, a, b)
    np.testing.assert_allclose(sums, exact[0].sum(axis=2), atol=tolerance)
    np.testing.assert_allclose(dots, (exact[0] * exact[1]).sum(axis=2), atol=tolerance)
    for row in range(shape[0]):
        part = slice(row, row + 1)
        np.testing.assert_array_equal(run_sums(np, a[part]), sums[part])
        np.testing.assert_array_equal(run_dots(np, a[part], b[part]), dots[part])


@pytest.mark.parametrize("shape", [(40, 1), (17, 3), (32, 3, 48, 16)])
def test_a_sum_over_rows_is_the_same_however_they_were_cut(shape, rng):
    rows = rng.standard_normal(shape).astype(np.float32)
    whole = sum_over_rows([rows])
    np.testing.assert_allclose(whole, rows.sum(axis=0, dtype=np.float64), atol=1e-5)
    for cut in ([1], [4, 8], [5, 6, 11], range(1, len(rows))):
        np.testing.assert_array_equal(sum_over_rows(np.split(rows, cut)), whole)


@pytest.mark.parametrize(("channels", "side"), [(16, 32), (32, 16), (64, 8)])
def test_sums_over_a_slab_do_not_keep_other_threads_waiting(channels, side):
    """NumPy lets go of the interpreter lock in a matmul with 500 results or more."""
    images = np.empty((side, channels, side, 128), np.float32)
    rows = machine.rows_per_slab(side, images[0].nbytes, images)
    runs = images[:rows].reshape(rows, channels, -1)
    assert sum(np.prod(part.shape[:3]) for part in products._stretches(runs)) >= 500


def test_arrays_in_use_never_share_memory_and_idle_memory_is_used_again():
    machine.release()
    shape = (64, 1024)
    first = machine.empty(shape, np.float32, LIKE)
    second = machine.empty(shape, np.float32, LIKE)
    assert not np.shares_memory(first, second)
    address = first.__array_interface__["data"][0]
    view = first[3:5].T  # a view keeps the memory, too
    view[...] = 7
    del first
    third = machine.empty(shape, np.float32, LIKE)
    assert not np.shares_memory(third, view)
    third[...] = 1
    assert (view == 7).all()
    del view
    fourth = machine.empty(shape, np.float32, LIKE)
    assert fourth.__array_interface__["data"][0] == address


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3,), (100, 1000), (7, 11, 13, 101), (1 << 20,)])
def test_an_array_from_the_pool_is_an_ordinary_array(shape, dtype):
    array = machine.empty(shape, dtype, LIKE)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    if array.nbytes >= 1 << 16:
        assert array.ctypes.data % 64 == 0


def test_memory_of_sizes_no_longer_used_is_given_back(monkeypatch):
    monkeypatch.setattr(memory, "_ALWAYS_KEPT", 1 << 20)
    machine.release()
    for number in range(1, 40):
        machine.empty((number, 1 << 16), np.float32, LIKE)
    assert memory.bytes_idle() <= 2 * 39 << 18
    kept = [machine.empty((1, 1 << 16), np.float32, LIKE) for _ in range(9)]
    del kept
    again = memory.bytes_in_use() + memory.bytes_idle()
    kept = [machine.empty((1, 1 << 16), np.float32, LIKE) for _ in range(9)]
    assert memory.bytes_in_use() + memory.bytes_idle() == again  # of the same sizes
    assert len(kept) == 9


def test_the_pool_does_not_grow_with_the_number_of_sizes(monkeypatch):
    monkeypatch.setattr(memory, "_MOST_KINDS", 50)
    machine.release()
    for size in range(1, 500):
        memory.framed((size, 2, 9000, 1), (0, 1), (0, 2), LIKE)
        assert len(memory._idle) <= 52
    same = [memory.framed((7, 2, 9000, 1), (0, 1), (0, 2), LIKE).ctypes.data for _ in range(5)]
    assert len(set(same)) == 1


def test_an_array_that_could_not_be_made_leaves_nothing(monkeypatch):
    def no_memory(*arguments):
        raise MemoryError

    machine.release()
    before = memory.bytes_in_use()
    monkeypatch.setattr(memory, "_fresh", no_memory)
    with pytest.raises(MemoryError):  # and no message from a destructor, which is an error here
        machine.empty((1 << 20,), np.float32, LIKE)
    assert memory.bytes_in_use() == before


INTERRUPTED = """
import signal
import numpy as np
from minisd import machine

raised = caught = 0

def stop(*_):
    global raised
    raised += 1
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, stop)
like = np.empty(1)
while raised < 300:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002 + raised % 7 * 0.00003)
        while True:
            machine.empty((64, 1024), np.float32, like)
    except KeyboardInterrupt:
        caught += 1
machine.release()
print(raised, caught, machine.memory.bytes_in_use())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")
def test_an_interrupt_arrives_wherever_it_meets_the_pool():
    done = python(INTERRUPTED)
    assert done.stderr == ""
    raised, caught, in_use = map(int, done.stdout.split())
    assert raised == caught == 300
    assert in_use == 0


FORKED_WHILE_BUSY = """
import os, threading, time, warnings
import numpy as np
from minisd import machine

warnings.simplefilter("ignore")  # of threads that a fork leaves behind
like, stop = np.empty(1), threading.Event()

def busy():
    sizes = np.random.default_rng(0).integers(1, 40, 1000)
    while not stop.is_set():
        for size in sizes:
            machine.empty((size, 1 << 14), np.float32, like)
        machine.release()

threads = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
statuses = []
for _ in range(60):
    child = os.fork()
    if child == 0:
        kept = [machine.empty((n, 1 << 14), np.float32, like) for n in range(1, 60)]
        del kept
        machine.release()
        os._exit(0)
    deadline = time.monotonic() + 20
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, 9)
        time.sleep(0.0005)
    statuses.append(done[1])
stop.set()
print(set(statuses))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_other_threads_use_the_pool_does_not_hang():
    done = python(FORKED_WHILE_BUSY)
    assert done.stdout.strip() == "{0}", done.stderr


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 16, 10, 40), (3, 2, 4, 1)])
def test_a_frame_is_zero_whenever_its_memory_comes_back(shape, dtype):
    machine.release()
    like = np.empty(1, dtype)
    frames = [((0, shape[0] - 1), (1, shape[2] - 1)), ((1, shape[0]), (0, shape[2] - 2))]
    for _ in range(3):
        for (r0, r1), (c0, c1) in frames:
            images = memory.framed(shape, (r0, r1), (c0, c1), like)
            images[r0:r1, :, c0:c1] = np.nan
            assert np.isnan(images).sum() == (r1 - r0) * shape[1] * (c1 - c0) * shape[3]
            images[r0:r1, :, c0:c1] = 0
            assert not images.any()
            images[r0:r1, :, c0:c1] = 1  # and so it is given back
            del images


def test_a_step_leaves_every_frame_zero(rng):
    machine.release()
    model = resnet(14, in_channels=1, width=32, rng=rng)
    images = rng.standard_normal((32, 1, 16, 16)).astype(np.float32)
    train_step(model, SGD(model, 0.1), images, rng.integers(0, 10, 32))
    looked_at = 0
    assert memory.bytes_idle()
    for (_, frame), blocks in memory._idle.items():
        if frame is None:
            continue
        shape, dtype, (r0, r1), (c0, c1) = frame
        for kept, address in blocks:
            aligned = kept[address - kept.ctypes.data :]
            images = aligned[: np.prod(shape) * np.dtype(dtype).itemsize]
            images = images.view(dtype).reshape(shape).copy()
            images[r0:r1, :, c0:c1] = 0
            assert not images.any()
            looked_at += 1
    assert looked_at > 4


def test_zeros_are_made_once_and_cannot_be_written():
    for shape in ((3, 4), (20000,), (2, 5), (0,)):
        found = machine.zeros(shape, LIKE)
        assert found.shape == shape
        assert found.dtype == LIKE.dtype
        assert not found.any()
        with pytest.raises(ValueError, match="read-only"):
            found[...] = 1
    assert np.shares_memory(machine.zeros((9,), LIKE), machine.zeros((7, 2), LIKE))


def test_release_gives_idle_memory_back():
    machine.empty((1 << 20,), np.float32, LIKE)
    assert memory.bytes_idle()
    machine.release()
    assert memory.bytes_idle() == 0
    assert forward_and_backward()[0].size  # and all goes on


def test_a_step_gives_back_all_it_took(rng):
    model = resnet(8, survival=[0.5] * 3, rng=rng)
    optimizer = SGD(model, 0.1)
    images = rng.standard_normal((32, 3, 16, 16)).astype(np.float32)
    labels = rng.integers(0, 10, 32)
    before = memory.bytes_in_use()
    for _ in range(3):
        draw_gates(model, rng)
        train_step(model, optimizer, images, labels)
    assert memory.bytes_in_use() == before


# ---- the same bits at any thread count ----


def three_steps(threads, dtype, depth=14, **options):
    rng = np.random.default_rng(5)
    with machine.threads(threads):
        model = resnet(
            depth,
            survival=linear_decay(6, 0.6),
            rng=np.random.default_rng(1),
            dtype=dtype,
            **options,
        )
        optimizer = SGD(model, 0.1)
        for _ in range(3):
            draw_gates(model, rng)
            images = rng.standard_normal((24, 3, 16, 16)).astype(dtype)
            train_step(model, optimizer, images, rng.integers(0, 10, 24))
        return {name: array.tobytes() for name, array in layer_arrays(model).items()}


@pytest.fixture
def small_slabs(monkeypatch):
    """Let small networks, too, be cut as large ones are."""
    monkeypatch.setattr(slabs, "_SLAB", 1 << 14)
    monkeypatch.setattr(slabs, "_SMALLEST_SLAB", 1 << 10)


@pytest.mark.usefixtures("small_slabs")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    [{}, {"shortcut": "projection"}, {"shortcut": "A-subsample", "scale": "train"},
     {"depth": 20, "branch": "bottleneck", "width": 4}],
)  # fmt: skip
def test_weights_are_the_same_at_any_thread_count(dtype, options):
    expected = three_steps(1, dtype, **options)
    for threads in (2, 3, 4):
        assert three_steps(threads, dtype, **options) == expected


@pytest.mark.usefixtures("small_slabs")
def test_slabs_do_differ_between_thread_counts():
    """Otherwise the test above would prove nothing."""
    found = set()
    for threads in (1, 2, 4):
        with machine.threads(threads):
            found.add(machine.rows_per_slab(16, 1 << 10, LIKE))
    assert found == {16, 8, 4}


@pytest.mark.usefixtures("small_slabs")
def test_a_run_ends_the_same_at_any_thread_count(tmp_path):
    outcomes = []
    for threads in (1, 2, 4):
        folder = tmp_path / str(threads)
        train(tiny(threads=threads, epochs=2), folder)
        found = outcome(folder)
        del found["config"]  # which has the number of threads
        outcomes.append(found)
    assert outcomes[0] == outcomes[1] == outcomes[2]


@pytest.mark.parametrize("size", [1 << 20, 1 << 21])
def test_a_slab_fills_the_cache_if_every_thread_has_one(size, monkeypatch):
    monkeypatch.setattr(slabs, "_SLAB", size)
    with machine.threads(4):
        assert machine.rows_per_slab(32, 1 << 18, LIKE) == size >> 18
        assert machine.rows_per_slab(8, 1 << 18, LIKE) == 2
        assert machine.rows_per_slab(2, 1 << 30, LIKE) == 1
        assert machine.rows_per_slab(8, 1 << 12, LIKE) >= 8  # what is small is not worth a thread


def test_a_slab_has_one_to_two_megabytes():
    assert 1 << 20 <= slabs._SLAB <= 1 << 21


@pytest.mark.parametrize(
    ("told", "size"), [("2048K\n", 1 << 21), ("512K", 1 << 19), ("", 0), (None, 0)]
)
def test_what_linux_tells_of_the_cache(told, size, monkeypatch):
    def read(path):
        if told is None:
            raise FileNotFoundError(path)
        return told

    monkeypatch.setattr(slabs.Path, "read_text", read)
    assert slabs._second_level_cache() == size
