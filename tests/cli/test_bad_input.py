"""Bad input is answered with a sentence of a fitting type, before any work, nothing half-written.

Damaged data files, checkpoints and run folders have tables of their own in test_data_files.py,
test_checkpoint.py and test_runfolder.py.
"""

import json
import sys
import warnings

import numpy as np
import pytest

import minisd
from minisd import (
    SGD,
    BatchNorm2d,
    Conv2d,
    Linear,
    ReLU,
    ResidualBlock,
    StepSchedule,
    depth_distribution,
    draw_gates,
    expected_depth,
    gpu,
    linear_decay,
    resnet,
    uniform,
)
from minisd.backend import to_device
from minisd.cli import main
from minisd.data import Dataset, Normaliser, Split, load, split_validation
from minisd.errors import ConfigError, DataError, DeviceError
from minisd.gradcheck import compare
from minisd.residual import IdentityShortcut, PadShortcut, make_shortcut
from minisd.runs.config import resolve
from tiny_runs import options

RNG = np.random.default_rng(0)


def f(*shape, dtype=np.float64):
    return np.ones(shape, dtype)


def bn(ops, x, **changed):
    arrays = {name: f(3) for name in ("gamma", "beta", "running_mean", "running_var")} | changed
    return ops.batchnorm2d_forward(x, **arrays, training=True)


def after(forward, backward, dy):
    return lambda: backward(dy, forward()[1])


NAN_IMAGE = np.where(np.arange(4 * 48).reshape(4, 3, 4, 4) == 60, np.nan, 1.0)
IMAGES = f(4, 3, 4, 4, dtype=np.uint8)
GOOD = Split(IMAGES, np.arange(4))


def functions(ops):
    """name: (call, error, words of the sentence), of one edition."""
    return {
        # dtypes and libraries
        "conv of integers": (lambda: ops.conv2d_forward(f(1, 1, 3, 3, dtype=int), f(1, 1, 3, 3)), TypeError, "int64"),
        "conv of float16": (lambda: ops.conv2d_forward(f(1, 1, 3, 3, dtype=np.float16), f(1, 1, 3, 3)), TypeError, "float16"),
        "conv of mixed dtypes": (lambda: ops.conv2d_forward(f(1, 1, 3, 3, dtype=np.float32), f(1, 1, 3, 3)), TypeError, "one dtype"),
        "conv of a list": (lambda: ops.conv2d_forward([[1.0]], f(1, 1, 1, 1)), TypeError, "list"),
        "bn of integers": (lambda: bn(ops, f(2, 3, 4, 4, dtype=int)), TypeError, "int64"),
        "bn with float32 gamma": (lambda: bn(ops, f(2, 3, 4, 4), gamma=f(3, dtype=np.float32)), TypeError, "one dtype"),
        "relu of booleans": (lambda: ops.relu_forward(f(2, dtype=bool)), TypeError, "bool"),
        "linear of complex": (lambda: ops.linear_forward(f(2, 3, dtype=complex), f(4, 3)), TypeError, "complex"),
        "pool of float16": (lambda: ops.avg_pool2d_forward(f(1, 1, 2, 2, dtype=np.float16), 2), TypeError, "float16"),
        "backward of another dtype": (after(lambda: ops.linear_forward(f(2, 3), f(4, 3)), ops.linear_backward, f(2, 4, dtype=np.float32)), TypeError, "one dtype"),
        # empty
        "conv of an empty batch": (lambda: ops.conv2d_forward(f(0, 1, 3, 3), f(1, 1, 3, 3)), ValueError, "empty"),
        "bn of an empty batch": (lambda: bn(ops, f(0, 3, 4, 4)), ValueError, "empty"),
        "linear of an empty batch": (lambda: ops.linear_forward(f(0, 3), f(4, 3)), ValueError, "empty"),
        "loss of an empty batch": (lambda: ops.softmax_cross_entropy(f(0, 3), np.zeros(0, int)), ValueError, "empty"),
        # shapes
        "conv of a single image": (lambda: ops.conv2d_forward(f(1, 3, 3), f(1, 1, 3, 3)), ValueError, "NCHW|N, C, H, W"),
        "conv with a flat filter": (lambda: ops.conv2d_forward(f(1, 1, 3, 3), f(1, 9)), ValueError, "w must be"),
        "conv of other channels": (lambda: ops.conv2d_forward(f(1, 2, 3, 3), f(1, 3, 3, 3)), ValueError, "2 channels"),
        "conv kernel too large": (lambda: ops.conv2d_forward(f(1, 1, 3, 3), f(1, 1, 5, 5)), ValueError, "does not fit"),
        "conv bias of another length": (lambda: ops.conv2d_forward(f(1, 1, 3, 3), f(2, 1, 3, 3), f(3)), ValueError, r"\(2,\)"),
        "conv stride 0": (lambda: ops.conv2d_forward(f(1, 1, 3, 3), f(1, 1, 3, 3), stride=0), ValueError, "stride"),
        "conv stride 1.5": (lambda: ops.conv2d_forward(f(1, 1, 3, 3), f(1, 1, 3, 3), stride=1.5), ValueError, "stride"),
        "conv padding -1": (lambda: ops.conv2d_forward(f(1, 1, 3, 3), f(1, 1, 3, 3), padding=-1), ValueError, "padding"),
        "conv dy of another shape": (after(lambda: ops.conv2d_forward(f(1, 1, 4, 4), f(1, 1, 3, 3)), ops.conv2d_backward, f(1, 1, 4, 4)), ValueError, "dy must have shape"),
        "bn of 2-D": (lambda: bn(ops, f(2, 3)), ValueError, "N, C, H, W"),
        "bn of other channels": (lambda: bn(ops, f(2, 4, 3, 3)), ValueError, "gamma must have shape"),
        "bn of one number": (lambda: bn(ops, f(1, 3, 1, 1)), ValueError, "more than one number"),
        "bn dy of another shape": (after(lambda: bn(ops, f(2, 3, 4, 4)), ops.batchnorm2d_backward, f(2, 3, 4, 5)), ValueError, "dy must have"),
        "relu dy of another shape": (after(lambda: ops.relu_forward(f(2, 3)), ops.relu_backward, f(3, 2)), ValueError, "dy must have"),
        "pool that does not tile": (lambda: ops.avg_pool2d_forward(f(1, 1, 5, 4), 2), ValueError, "5x4"),
        "pool kernel 0": (lambda: ops.avg_pool2d_forward(f(1, 1, 4, 4), 0), ValueError, "kernel"),
        "pool dy of another shape": (after(lambda: ops.avg_pool2d_forward(f(1, 1, 4, 4), 2), ops.avg_pool2d_backward, f(1, 1, 4, 4)), ValueError, "dy must have"),
        "global pool of 2-D": (lambda: ops.global_avg_pool_forward(f(2, 3)), ValueError, "N, C, H, W"),
        "linear of other features": (lambda: ops.linear_forward(f(2, 3), f(4, 5)), ValueError, "3 features"),
        "linear of images": (lambda: ops.linear_forward(f(2, 3, 4, 4), f(4, 48)), ValueError, "N, D"),
        # labels
        "label too large": (lambda: ops.softmax_cross_entropy(f(2, 3), np.array([0, 3])), ValueError, "between 0 and 2"),
        "label -1": (lambda: ops.softmax_cross_entropy(f(2, 3), np.array([0, -1])), ValueError, "between 0 and 2"),
        "float labels": (lambda: ops.softmax_cross_entropy(f(2, 3), np.array([0.0, 1.0])), TypeError, "integers"),
        "too few labels": (lambda: ops.softmax_cross_entropy(f(2, 3), np.array([0])), ValueError, r"\(2,\)"),
        "one-hot labels": (lambda: ops.softmax_cross_entropy(f(2, 3), np.eye(2, 3, dtype=int)), ValueError, r"\(2,\)"),
        # networks
        "depth not 6n + 2": (lambda: resnet(21, rng=RNG), ValueError, "try 20 or 26"),
        "depth 2": (lambda: resnet(2, rng=RNG), ValueError, "at least 8"),
        "no generator": (lambda: resnet(8, rng=None), TypeError, "needs a generator"),
        "a seed for a generator": (lambda: Conv2d(1, 1, 3, rng=0), TypeError, "default_rng"),
        "gates from no generator": (lambda: draw_gates(resnet(8, rng=RNG), None), TypeError, "draw_gates"),
        "layer without channels": (lambda: Conv2d(0, 1, 3, rng=RNG), ValueError, "in_channels"),
        "layer with stride 0": (lambda: Conv2d(1, 1, 3, stride=0, rng=RNG), ValueError, "stride"),
        "kernel of two sizes": (lambda: Conv2d(1, 1, (3, 3), rng=RNG), ValueError, "kernel_size"),
        "network to integers": (lambda: resnet(8, rng=RNG).to("cpu", np.int32), TypeError, "int32"),
        "blocks 2.5": (lambda: uniform(2.5), ValueError, "whole number"),
        "optimiser of nothing": (lambda: SGD(ReLU(), 0.1), ValueError, "no parameters"),
        "depth 20.0": (lambda: resnet(20.0, rng=RNG), ValueError, "whole number"),
        "bottleneck depth": (lambda: resnet(20 + 2, branch="bottleneck", rng=RNG), ValueError, "try 20 or 29"),
        "width 0": (lambda: resnet(8, width=0, rng=RNG), ValueError, "width"),
        "no classes": (lambda: resnet(8, num_classes=0, rng=RNG), ValueError, "num_classes"),
        "float16 network": (lambda: resnet(8, dtype=np.float16, rng=RNG), TypeError, "float16"),
        "unknown shortcut": (lambda: make_shortcut("C", 2, 4, 2, rng=RNG), ValueError, "A-subsample"),
        "unknown branch": (lambda: resnet(8, branch="wide", rng=RNG), ValueError, "bottleneck"),
        "unknown gamma": (lambda: BatchNorm2d(3, gamma="two"), ValueError, "uniform"),
        "uniform gamma without rng": (lambda: BatchNorm2d(3, gamma="uniform"), TypeError, "generator"),
        "too few probabilities": (lambda: resnet(8, survival=[0.5], rng=RNG), ValueError, "3 blocks"),
        "probability 1.1 in a list": (lambda: resnet(8, survival=[1, 1.1, 1], rng=RNG), ValueError, "1.1 for block 2"),
        "p_last above 1": (lambda: linear_decay(3, 1.5), ValueError, r"\[0, 1\]"),
        "p below 0": (lambda: uniform(3, -0.1), ValueError, r"\[0, 1\]"),
        "p NaN": (lambda: expected_depth([float("nan")]), ValueError, r"\[0, 1\]"),
        "distribution of 2": (lambda: depth_distribution([0.5, 2]), ValueError, "block 2"),
        "no blocks": (lambda: linear_decay(0), ValueError, "at least 1"),
        "block probability": (lambda: ResidualBlock(IdentityShortcut(), IdentityShortcut(), survival_prob=7), ValueError, "7"),
        "unknown scale": (lambda: ResidualBlock(IdentityShortcut(), IdentityShortcut(), scale="x"), ValueError, "scale"),
        "scale train at p 0": (lambda: ResidualBlock(IdentityShortcut(), IdentityShortcut(), survival_prob=0, scale="train"), ValueError, "divides"),
        "branch of another shape": (lambda: ResidualBlock(Conv2d(3, 2, 1, rng=RNG), IdentityShortcut()).forward(f(1, 3, 2, 2, dtype=np.float32)), ValueError, "branch of a ResidualBlock gives"),
        "fewer channels by shortcut A": (lambda: PadShortcut(4, 2, 2), ValueError, "append"),
        "images of odd size": (lambda: resnet(8, rng=RNG).forward(f(2, 3, 9, 9, dtype=np.float32)), ValueError, "tiles"),
        "grey images for colour": (lambda: resnet(8, rng=RNG).forward(f(2, 1, 8, 8, dtype=np.float32)), ValueError, "1 channels"),
        "float64 images": (lambda: resnet(8, rng=RNG).forward(f(2, 3, 8, 8)), TypeError, "one dtype"),
        # optimiser, schedule, devices
        "negative rate": (lambda: SGD(Linear(1, 1, rng=RNG), -1), ValueError, "lr"),
        "NaN rate": (lambda: SGD(Linear(1, 1, rng=RNG), float("nan")), ValueError, "lr"),
        "momentum 1": (lambda: SGD(Linear(1, 1, rng=RNG), 1, momentum=1), ValueError, "momentum"),
        "Nesterov without momentum": (lambda: SGD(Linear(1, 1, rng=RNG), 1, momentum=0), ValueError, "Nesterov"),
        "infinite decay": (lambda: SGD(Linear(1, 1, rng=RNG), 1, weight_decay=float("inf")), ValueError, "decay"),
        "unknown dropped": (lambda: SGD(Linear(1, 1, rng=RNG), 1, dropped="keep"), ValueError, "coast"),
        "schedule of no epochs": (lambda: StepSchedule(0.1, 0), ValueError, "epoch"),
        "schedule rate 0": (lambda: StepSchedule(0.0, 1), ValueError, "lr"),
        "drop at 0": (lambda: StepSchedule(0.1, 10, (0,)), ValueError, "drop"),
        "unknown device": (lambda: to_device(f(1), "tpu"), DeviceError, "tpu"),
        "gradient of another shape": (lambda: compare("x", float, {"x": f(2)}, {"x": f(3)}, rng=RNG), ValueError, "shape"),
        # data given as arrays
        "unknown data set": (lambda: load("mnist"), DataError, "digits"),
        "NaN in images": (lambda: Split(NAN_IMAGE, np.zeros(4, int)).check("mine", 10), DataError, "image 1 "),
        "no images": (lambda: Split(IMAGES[:0], np.zeros(0, int)).check("mine", 10), DataError, "no images"),
        "flat images": (lambda: Split(IMAGES.reshape(4, -1), np.zeros(4, int)).check("mine", 10), DataError, "N, C, H, W"),
        "labels of the wrong length": (lambda: Split(IMAGES, np.zeros(5, int)).check("mine", 10), DataError, "4 images"),
        "label out of range": (lambda: Split(IMAGES, np.array([0, 1, 10, 2])).check("mine", 10), DataError, "label 10 of image 2"),
        "float labels of data": (lambda: Split(IMAGES, np.zeros(4)).check("mine", 10), DataError, "integers"),
        "int64 images": (lambda: Split(IMAGES.astype(int), np.zeros(4, int)).check("mine", 10), DataError, "int64"),
        "float16 images": (lambda: Split(IMAGES.astype(np.float16), np.zeros(4, int)).check("mine", 10), DataError, "float16"),
        "test images of another size": (lambda: Dataset("mine", GOOD, Split(f(4, 3, 8, 8, dtype=np.uint8), np.arange(4)), 10), DataError, "training images are"),
        "one training image": (lambda: split_validation(Dataset("mine", GOOD[:1], GOOD, 10), RNG), DataError, "split"),
        "images all the same": (lambda: Normaliser.fit(IMAGES), DataError, "the same"),
        "limit 0": (lambda: Dataset("mine", GOOD, GOOD, 10).limited(0), DataError, "at least 1"),
        "unknown preset": (lambda: resolve({"preset": "cifar1O"}), ConfigError, "did you mean"),
        "depth of a misread file": (lambda: resolve({"depth": 2**63}), ConfigError, "at most 1,000,000"),
        "width of a misread file": (lambda: resolve({"width": 2**63}), ConfigError, "width must be at most"),
        "unknown setting": (lambda: resolve({"dept": 20}), ConfigError, "did you mean 'depth'"),
        "setting of another type": (lambda: resolve({"depth": "20"}), ConfigError, "depth cannot be '20'"),
        "boolean for a number": (lambda: resolve({"epochs": True}), ConfigError, "epochs"),
    }  # fmt: skip


FUNCTIONS = list(functions(minisd.ops))

COMMANDS = {
    "depth": ["--depth", "21"],
    "p_last": ["--p-last", "1.5"],
    "p_last NaN": ["--p-last", "nan"],
    "epochs 0": ["--epochs", "0"],
    "batch size 0": ["--batch-size", "0"],
    "rate 0": ["--lr", "0"],
    "rate inf": ["--lr", "inf"],
    "width 0": ["--width", "0"],
    "limit 0": ["--limit", "0"],
    "limit 1": ["--limit", "1"],
    "seed -1": ["--seed", "-1"],
    "threads 0": ["--threads", "0"],
    "momentum 1": ["--momentum", "1"],
    "decay -1": ["--weight-decay", "-1"],
    "scale train at p 0": ["--scale", "train", "--p-last", "0"],
    "scale train at p 0 for all": ["--scale", "train", "--p-last", "0", "--survival", "uniform"],
    "shift out of sight": ["--max-shift", "8"],
    "preset": ["--preset", "cifar11"],
    "no such data": ["--data", "cifar10", "--data-dir", "nowhere"],
}


def test_there_are_enough_cases():
    assert len(FUNCTIONS) + len(COMMANDS) > 60


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_bad_argument_is_refused_with_a_sentence(ops, name):
    call, error, words = functions(ops)[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # refused before NumPy has anything to complain about
        with pytest.raises(error, match=words) as caught:
            call()
    assert type(caught.value).__name__ == error.__name__


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_option_is_refused_before_anything_is_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--out", "made/run", *COMMANDS[name]]) == 2
    assert list(tmp_path.iterdir()) == []
    message = capsys.readouterr().err
    assert message.startswith("minisd: ")
    assert message.count("\n") == 1


def test_a_batch_of_one_single_pixel_is_refused_before_training(tmp_path, monkeypatch, capsys):
    """4x4 images shrink to one pixel; a last batch of one image could then not be normalised."""
    images = np.random.default_rng(0).integers(0, 255, (40, 1, 4, 4)).astype(np.uint8)
    tiny = Split(images, np.arange(40) % 10)
    monkeypatch.setattr("minisd.data.load", lambda *_, **__: Dataset("digits", tiny, tiny, 10))
    arguments = ["train", "--out", str(tmp_path / "run"), "--epochs", "1", "--depth", "8"]
    assert main([*arguments, "--batch-size", "5"]) == 2  # 36 training images: 7 batches and one
    assert "one pixel" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*arguments, "--batch-size", "6", "--quiet"]) == 0


def test_a_gpu_that_is_not_there_is_refused_with_what_was_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_tried_cupy", None)
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    for command in (["train", "--out", str(tmp_path / "run")], ["gradcheck"]):
        assert main([*command, "--device", "cuda"]) == 2
        assert "CuPy is not installed; pip install 'minisd[cuda13]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_auto_trains_without_a_gpu_and_says_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_tried_cupy", None)
    monkeypatch.setitem(sys.modules, "cupy", None)
    folder = tmp_path / "run"
    assert main(["train", *options(epochs=1), "--device", "auto", "--out", str(folder)]) == 0
    assert "device    cpu (auto: no GPU: CuPy is not installed" in capsys.readouterr().out
    assert json.loads((folder / "config.json").read_text())["device"] == "cpu"
