"""Fixtures and helpers that several test files share."""

import functools
import importlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minisd
from devices import NAMES, Device
from minisd import machine
from minisd.errors import DeviceError
from minisd.gpu import usable_cupy
from tiny_studies import make

collect_ignore = ["tools/answers"]  # cells of tutorials: see tests/tools/test_exercises.py
# Fixtures have no examples to run, and modules of one name cannot be imported side by side.
collect_ignore_glob = ["*/conftest.py"]

# Started in the background, or by nohup, signals are ignored: processes that tests start shall not.
for _name, _handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz", type=int, default=60, metavar="N", help="damaged files of each kind (tests/fuzz)"
    )


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of the test's own, so that tests do not depend on their order."""
    return np.random.default_rng(20160330)


@pytest.fixture(params=[minisd.ops, minisd.fast], ids=["ops", "fast"])
def ops(request: pytest.FixtureRequest) -> ModuleType:
    """Both editions in turn, the book and the engine."""
    return request.param


@dataclass(frozen=True)
class Form:
    """A form that networks come in: fused, layer by layer, or with the book under them."""

    name: str

    def resnet(self, *arguments: Any, **options: Any) -> minisd.ResNet:
        model = minisd.resnet(*arguments, **{"fused": self.name == "fused"} | options)
        return model.use(minisd.ops) if self.name == "book" else model


@pytest.fixture(params=["fused", "plain", "book"])
def in_every_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the test file's ``resnet`` make networks of each form in turn; return its name."""
    monkeypatch.setattr(request.module, "resnet", Form(request.param).resnet)
    return request.param


@functools.cache
def why_no_gpu() -> str:
    """Why tests with CuPy cannot run here; empty if they can."""
    try:
        usable_cupy()
    except DeviceError as error:
        return str(error)
    return ""


@pytest.fixture
def gpu() -> Device:
    """CuPy's alone, for what NumPy has nothing of: its memory, its launches."""
    if why_no_gpu():
        pytest.skip(why_no_gpu())
    return Device("cuda")


@pytest.fixture
def counter(gpu: Device) -> Any:
    """A module that counts what reaches the device: stats(), reset_stats(), kernels().

    A GPU does not count; an emulated device can. Its module is named by MINISD_DEVICE_COUNTER.
    """
    name = os.environ.get("MINISD_DEVICE_COUNTER")
    if not name:
        pytest.skip("nothing counts launches and transfers here: see tests/conftest.py")
    return importlib.import_module(name)


@pytest.fixture(params=NAMES)
def device(request: pytest.FixtureRequest) -> Device:
    """Both array libraries in turn. CuPy's turn is skipped where there is no usable GPU."""
    if request.param == "cuda" and why_no_gpu():
        pytest.skip(why_no_gpu())
    return Device(request.param)


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread() -> Iterator[None]:
    """Tests run side by side: more threads than cores only wait for one another."""
    with machine.threads(1):
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make an experiment when it is first asked for, once for all workers; return its folder."""
    base = tmp_path_factory.getbasetemp()
    return functools.partial(make, base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="module")
def without_pictures():
    """To be quick: runs draw no learning curve; `tests/runs/test_train.py` looks at it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("minisd.runs.in_folder._draw", lambda *_: None)
        yield
