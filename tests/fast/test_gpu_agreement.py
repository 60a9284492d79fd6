"""The same network on NumPy and on CuPy: the same draws, the same numbers, the same bits again."""

import json
import signal

import numpy as np
import pytest

from devices import NAMES, assert_close, assert_equal
from minisd import SGD, draw_gates, linear_decay, ops, resnet
from minisd.backend import to_device_together, values
from minisd.cli import gpu_check, main
from minisd.cli.gpu_check import Finding, difference, trained
from minisd.data import Normaliser, load
from minisd.data.batches import Augmentation, evaluation_batches, training_batches
from minisd.errors import NonFiniteError, OutOfMemoryError
from minisd.runs import snapshot
from minisd.runs.fit import error_rate, train_step
from minisd.runs.interrupt import Interrupted
from minisd.runs.progress import Progress
from minisd.runs.run import Run
from minisd.runs.session import resume, train
from tiny_runs import outcome, read_log, tiny

L = 6


@pytest.mark.parametrize(
    "options",
    [{}, {"shortcut": "projection", "scale": "train"}, {"shortcut": "A-subsample"},
     {"recompute_every": 2}],
)  # fmt: skip
def test_float64_agrees_through_ten_steps_with_gates(gpu, options):
    ours, gates = trained("cpu", **options)
    theirs, same_gates = trained("cuda", **options)
    assert gates == same_gates
    assert len({tuple(pattern) for pattern in gates}) > 3
    assert len(ours) > 70
    assert difference(theirs, ours) < 1e-10


def test_float32_is_within_1e_4_of_float64(gpu):
    exact, _ = trained("cpu")
    single, _ = trained("cuda", np.float32)
    assert {array.dtype for name, array in single.items() if name != "losses"} == {np.dtype("f4")}
    assert difference(single, exact) < 1e-4


def test_the_same_seed_gives_the_same_bits_again(device):
    first, _ = trained(device.name, np.float32)
    second, _ = trained(device.name, np.float32)
    assert difference(second, first) == 0


def test_a_difference_is_seen():
    ours, _ = trained("cpu", steps=1)
    ours_again = {name: array.copy() for name, array in ours.items()}
    ours_again["head.w"][0, 0] += 1e-6
    assert 1e-7 < difference(ours_again, ours) < 1e-3
    ours_again["head.w"][0, 0] = np.nan
    assert not Finding("", difference(ours_again, ours), 1.0).passed


def test_weights_are_the_same_bits_on_both(gpu):
    ours, theirs = (resnet(14, rng=np.random.default_rng(5)).to(name) for name in NAMES)
    for (name, p), (_, q) in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_equal(p.data, q.data), name


def test_batches_are_the_same_images_on_both(gpu):
    """Shuffling, shifts and flips are drawn on the host; what is picked is the same to the bit."""
    split = load("digits").train[:50]
    normaliser = Normaliser.fit(split.images)
    epochs = []
    for name in NAMES:
        rng = np.random.default_rng(6)
        epochs.append(list(training_batches(
            split, 16, normaliser=normaliser, augmentation=Augmentation(2, True), rng=rng,
            device=name,
        )) + list(evaluation_batches(split, 16, normaliser=normaliser, device=name)))  # fmt: skip
    for (x, labels), (other, other_labels) in zip(*epochs, strict=True):
        assert_equal(labels, other_labels)
        assert x.dtype == other.dtype == np.float32
        assert_close(other, x, rtol=3e-7, atol=0)  # a GPU may divide by multiplying


@pytest.mark.parametrize("dtypes", [(np.uint8, np.int64, bool), (np.float32, np.int8)])
def test_arrays_that_travel_together_arrive_as_they_were(device, dtypes, rng):
    arrays = [rng.integers(0, 2, (3, i + 5, 2)).astype(dtype) for i, dtype in enumerate(dtypes)]
    arrays.append(np.asarray(rng.standard_normal((4, 3)))[:, ::2])
    for array, there in zip(arrays, to_device_together(arrays, device.name), strict=True):
        assert there.dtype == array.dtype
        assert_equal(there, array)


def test_values_are_read_in_their_order(device):
    numbers = device.put(np.array([3.0, -1.5, 2.25]))
    assert values(list(numbers)) == [3.0, -1.5, 2.25]
    assert values([]) == []


# Whole runs


def log(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(folder)]


def test_an_epoch_of_training_gives_the_same_log(gpu, tmp_path):
    for name in NAMES:
        train(tiny(device=name, epochs=2, validate_every=3), tmp_path / name)
    ours, theirs = (log(tmp_path / name) for name in NAMES)
    for row, other in zip(ours, theirs, strict=True):
        assert other["train_loss"] == pytest.approx(row["train_loss"], rel=1e-4)
        assert other["mean_open"] == row["mean_open"]
        assert other["val_error"] == pytest.approx(row["val_error"], abs=2 / 12)
    config = json.loads((tmp_path / "cuda" / "config.json").read_text())
    assert "CuPy" in config["versions"]["gpu"]


def test_an_interrupted_run_goes_on_to_the_same_bits(gpu, tmp_path):
    """The signal comes between two looks at the losses: none of them is lost."""

    class SignalInStep(Progress):
        def step(self, **_):
            signal.raise_signal(signal.SIGTERM)

    train(tiny(device="cuda", epochs=2), tmp_path / "whole")
    stops = 0
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        train(tiny(device="cuda", epochs=2), folder, progress=SignalInStep())
    for stops in range(1, 10):
        try:
            resume(folder, progress=SignalInStep() if stops % 2 else None)
        except Interrupted:
            continue
        break
    assert stops == 2
    assert outcome(folder) == outcome(tmp_path / "whole")


@pytest.mark.parametrize(("first", "second"), [NAMES, NAMES[::-1]])
def test_a_run_goes_on_on_the_other_device(gpu, first, second, tmp_path):
    train(tiny(epochs=3), tmp_path / "whole")
    folder = tmp_path / "moved"

    class Stop(Exception):
        pass

    class StopAfterOneEpoch(Progress):
        def epoch(self, row, epochs):
            raise Stop

    with pytest.raises(Stop):
        train(tiny(epochs=3, device=first), folder, progress=StopAfterOneEpoch())
    run = resume(folder, {"device": second})
    assert run.device == second
    for row, moved in zip(log(tmp_path / "whole"), log(folder), strict=True):
        assert moved["train_loss"] == pytest.approx(row["train_loss"], rel=1e-3)
        assert moved["mean_open"] == row["mean_open"]
    on_cpu = Run(tiny(epochs=3))
    snapshot.load_weights(on_cpu, folder / "checkpoint.npz", "model")
    assert error_rate(on_cpu, on_cpu.test) == pytest.approx(error_rate(run, run.test), abs=1 / 300)


def test_a_loss_that_is_not_finite_stops_the_run_when_it_is_looked_at(device, tmp_path):
    with pytest.raises(NonFiniteError, match=r"stopped at step \d+ .*the loss is (nan|inf)"):
        train(tiny(device=device.name, lr=1e30, epochs=2), tmp_path / "run")


def test_too_little_memory_is_a_sentence_that_says_what_to_change(gpu, tmp_path):
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + 3 * 2**20)
    try:
        with pytest.raises(OutOfMemoryError, match=r"GPU is too small .*--recompute-every"):
            train(tiny(device="cuda", width=16, batch_size=64), tmp_path / "run")
    finally:
        pool.set_limit(size=0)
    assert train(tiny(device="cuda", epochs=1), tmp_path / "smaller").is_complete


def test_gpu_check_compares_twice_and_times(gpu, capfd):
    assert main(["gpu-check", "--depth", "8", "--batch-size", "2"]) == 0
    text = capfd.readouterr().out
    assert text.count("ten steps with gates, shortcut A, float32") == 2
    assert text.count("0.0e+00  arrays with other bits when ten steps are repeated") == 2
    assert "FAILED" not in text
    for line in (
        "minisd gpu-check",
        "all passed",
        "CuPy",
        "batch 2, float32",
        "3 of 3 blocks open",
        "0 of 3",
    ):
        assert line in text


def test_gpu_check_notices_a_gpu_that_is_wrong(gpu, monkeypatch, capsys):
    def wrong(device, dtype="float64", **options):
        found, gates = trained(device, dtype, **options)
        if device == "cuda":
            found["head.w"] = found["head.w"] + 1e-3
        return found, gates

    monkeypatch.setattr(gpu_check, "trained", wrong)
    assert gpu_check.compare() == 1
    assert "FAILED, tolerance 1e-10" in capsys.readouterr().out


# Memory of the GPU


class Memory:
    """A pool of its own for CuPy, how much of it is in use at most, and perhaps filled with NaN."""

    def __init__(self, *, poison=False):
        import cupy
        from cupy.cuda import memory_hook, runtime

        memory = self

        class Hook(memory_hook.MemoryHook):
            name = "minisd tests"

            def malloc_postprocess(self, **block):
                memory.peak = max(memory.peak, memory.pool.used_bytes())
                if poison and block["mem_ptr"]:
                    runtime.memset(block["mem_ptr"], 0xFF, block["mem_size"])  # NaN

        self.pool, self.peak = cupy.cuda.MemoryPool(), 0
        self.contexts = cupy.cuda.using_allocator(self.pool.malloc), Hook()

    def __enter__(self):
        for context in self.contexts:
            context.__enter__()
        return self

    def __exit__(self, *error):
        for context in reversed(self.contexts):
            context.__exit__(*error)


def test_no_number_is_read_before_it_is_written(gpu):
    plain, _ = trained("cuda", np.float32, steps=3)
    with Memory(poison=True):
        poisoned, _ = trained("cuda", np.float32, steps=3)
    assert difference(poisoned, plain) == 0


def test_random_gates_need_no_more_memory_than_all_open(gpu):
    """How a pool cuts its memory is partly chance: the most of five is what all open needs."""
    totals = []

    def two_steps(memory):
        rng = np.random.default_rng(20160330)
        model = resnet(14, width=4, survival=linear_decay(L, 0.5), rng=rng).to("cuda")
        optimizer = SGD(model, 0.05)
        images = gpu.standard_normal(rng, (16, 3, 16, 16), np.float32)
        labels = gpu.put(rng.integers(0, 10, 16))

        def step():
            train_step(model, optimizer, images, labels)

        step()
        step()
        totals.append(memory.pool.total_bytes())
        return model, step, rng

    for _ in range(4):
        with Memory() as memory:
            two_steps(memory)
    with Memory() as memory:
        model, step, rng = two_steps(memory)
        all_open = memory.peak, max(totals)
        for _ in range(50):
            draw_gates(model, rng)
            step()
        assert memory.peak <= 1.1 * all_open[0]
        assert memory.pool.total_bytes() <= 1.1 * all_open[1]


def test_activations_are_freed_as_the_backward_goes(gpu, rng):
    import cupy

    pool = cupy.get_default_memory_pool()
    model = resnet(14, width=4, rng=rng).to("cuda")
    images = gpu.standard_normal(rng, (16, 3, 16, 16), np.float32)
    labels = gpu.put(rng.integers(0, 10, 16))
    before = pool.used_bytes()
    _, dlogits = ops.softmax_cross_entropy(model.forward(images), labels)
    held = [pool.used_bytes() - before]
    for block in model.blocks:

        def backward(dy, original=block.backward):
            dx = original(dy)
            held.append(pool.used_bytes() - before)
            return dx

        block.backward = backward
    dx = model.backward(dlogits)
    assert held == sorted(held, reverse=True)
    gradients = sum(p.grad.nbytes for _, p in model.parameters())
    assert pool.used_bytes() - before < 2 * (dx.nbytes + gradients) + 512 * 100  # rounded up each
