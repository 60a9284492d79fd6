"""What reaches the device: launches, transfers, waits. Counted, where something counts."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.gpu import launches
from launches import BACKWARD, FORWARD
from minisd import SGD, draw_gates, fast, linear_decay, resnet, set_gates
from minisd.data import Normaliser, load
from minisd.data.batches import Augmentation, training_batches
from minisd.residual import IdentityShortcut, ResidualBlock, basic_branch
from minisd.runs import pending_losses
from minisd.runs.run import Run
from minisd.runs.session import train
from minisd.train import train_step
from tiny_runs import tiny


def counted(counter, function):
    """What ``function`` makes the device do: (statistics, launches by kernel name)."""
    before = Counter(counter.kernels())
    counter.reset_stats()
    function()
    stats = counter.stats()
    return stats, Counter(counter.kernels()) - before


def network(rng):
    return resnet(14, width=4, survival=linear_decay(6, 0.5), rng=rng).to("cuda")


def batch(gpu, rng):
    images = gpu.standard_normal(rng, (8, 3, 8, 8), np.float32)
    return images, gpu.put(rng.integers(0, 10, 8))


def test_a_training_step_is_one_transfer_and_no_wait(counter, rng):
    """From the stored images to the moved weights, as `fit` does it."""
    split = load("digits").train[:96]
    model = resnet(14, in_channels=1, width=4, survival=linear_decay(6, 0.5), rng=rng).to("cuda")
    optimizer = SGD(model, 0.05)
    batches = training_batches(
        split, 16, normaliser=Normaliser.fit(split.images), augmentation=Augmentation(2, True),
        rng=rng, device="cuda",
    )  # fmt: skip

    def step():
        images, labels = next(batches)
        draw_gates(model, rng)
        train_step(model, optimizer, images, labels, wait=False)

    step()  # kernels are compiled, momentum is made
    for _ in range(4):
        stats, _ = counted(counter, step)
        image_bytes = 16 * 64
        assert stats["h2d"] == 1
        assert stats["h2d_bytes"] < image_bytes + 16 * (8 + 16 + 1) + 4 * 256
        assert stats["d2h"] == stats["sync"] == stats["bad_copy"] == 0


def test_a_run_looks_at_its_losses_at_the_interval_only(counter, tmp_path, monkeypatch):
    looked, original = [], pending_losses.values

    def values(numbers):
        looked.append(len(numbers))
        return original(numbers)

    monkeypatch.setattr(pending_losses, "values", values)
    monkeypatch.setattr(pending_losses, "INTERVAL", 3)
    monkeypatch.setattr("minisd.runs.fit.error_rate", lambda *arguments: 0.5)
    monkeypatch.setattr("minisd.runs.snapshot.save", lambda *copied_back: None)
    monkeypatch.setattr(Run, "keep_best", lambda *copied_back: None)
    stats, _ = counted(counter, lambda: train(tiny(device="cuda", epochs=2), tmp_path / "run"))
    assert looked == [1, 3, 3, 3, 3, 1]  # of 7 steps: the first, every third, where an epoch ends
    assert stats["d2h"] == stats["sync"] == len(looked)


def test_a_closed_block_costs_nothing_but_its_relu(counter, gpu, rng):
    """Launches, allocations and bytes: those of `ops.relu_forward` and its backward, no more."""
    from cupy.cuda import memory_hook

    class Allocations(memory_hook.MemoryHook):
        name = "allocations"

        def malloc_postprocess(self, **block):
            sizes.append(block["size"])

    block = ResidualBlock(basic_branch(4, 4, rng=rng), IdentityShortcut(), survival_prob=0.5)
    block.to("cuda")
    x = gpu.standard_normal(rng, (8, 4, 8, 8), np.float32)

    def through_the_block():
        block.backward(block.forward(x))

    def through_the_relu():
        y, cache = fast.relu_forward(x)
        fast.relu_backward(y, cache)

    found = []
    for gate, function in ((True, through_the_block), (False, through_the_block),
                           (None, through_the_relu)):  # fmt: skip
        block.is_open = bool(gate)
        function()
        sizes: list[int] = []
        with Allocations():
            stats, kernels = counted(counter, function)
        found.append((kernels, sizes, stats["memset"], stats["d2d"]))
    all_open, closed, relu = found
    assert closed == relu
    assert sum(all_open[0].values()) > 10 * sum(closed[0].values())
    assert sum(all_open[1]) > 10 * sum(closed[1])


def test_launches_are_linear_in_the_number_of_open_blocks(counter, gpu, rng):
    """A whole step's: every block of a group costs the same, or nothing."""
    model, (images, labels) = network(rng), batch(gpu, rng)

    def launches(gates, dropped="freeze"):
        optimizer = SGD(model, 0.05, dropped=dropped)
        set_gates(model, gates)
        train_step(model, optimizer, images, labels)
        _, kernels = counted(counter, lambda: train_step(model, optimizer, images, labels))
        return sum(kernels.values())

    none = launches([False] * 6)
    one = launches([True] + [False] * 5) - none
    assert launches([True, True] + [False] * 4) == none + 2 * one
    assert launches([False, False, False, True, False, True]) == none + 2 * one
    assert launches([False] * 6, "coast") == none + 6 * 6  # momentum and decay move its parameters
    assert one < FORWARD + BACKWARD + 6  # six parameters move; a closed block has a ReLU already


def test_the_launch_budget_of_a_block(counter):
    found = {what: sum(kernels.values()) for what, kernels in launches(counter).items()}
    assert found == {
        "open block, forward": FORWARD,
        "open block, backward": BACKWARD,
        "closed block, forward": 4,
        "closed block, backward": 2,
    }


@pytest.mark.parametrize("bad", [-1, 10])
def test_a_label_that_is_none_is_noticed_on_the_host(gpu, bad, rng):
    """CuPy would take it modulo 10. Data sets are checked where they are read."""
    model, (images, labels) = network(rng), batch(gpu, rng)
    labels[3] = bad
    with pytest.raises(ValueError, match="labels must lie between 0 and 9"):
        train_step(model, SGD(model, 0.05), images, labels)
